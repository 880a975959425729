//! The table of one link: rates, and how much of the link they fill.

use super::Distance;
use super::measure::{MIB, Rates};
use crate::table::Table;

/// The table, for a link of this rate.
pub(super) fn render(results: &[Rates], link_bytes_per_s: f64) -> String {
    let mut table = Table::new(["", "median MiB/s", "of the link", "min–max MiB/s", "stopped"]);
    for rates in results {
        let (Some(slowest), Some(fastest)) = (rates.bytes_per_s.first(), rates.bytes_per_s.last())
        else {
            continue;
        };
        table.push(vec![
            rates.name.into(),
            format!("{:.2}", rates.median() / MIB),
            format!("{:.1} %", rates.median() / link_bytes_per_s * 100.0),
            format!("{:.2}–{:.2}", slowest / MIB, fastest / MIB),
            match rates.cut_after {
                Some(after) => format!("after {:.0} s", after.as_secs_f64()),
                None => "–".into(),
            },
        ]);
    }
    let rounds = results.first().map_or(0, |rates| rates.bytes_per_s.len());
    format!("{rounds} rounds; who is stopped counts with what had come by then\n\n{table}\n")
}

/// Whether the one named fills as much of the link as it should.
pub(super) fn verdict(results: &[Rates], distance: &Distance, name: &str) -> String {
    let Some(rates) = results.iter().find(|rates| rates.name == name) else {
        return String::new();
    };
    let (share, aim) = (rates.median() / distance.rate_bytes_per_s(), distance.share_at_least);
    let verdict = if share >= aim { "met" } else { "MISSED" };
    format!("{name} : link = {share:.2} (target ≥ {aim:.2}) {verdict}\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn shares_are_of_the_link_and_a_stop_is_told() {
        let rates = |name, mbit_per_s: f64, cut_after| Rates {
            name,
            bytes_per_s: vec![mbit_per_s * 125_000.0],
            cut_after,
        };
        let results =
            [rates("fast", 180.0, None), rates("slow", 2.0, Some(Duration::from_secs(20)))];
        let distance =
            Distance { rate_mbit_per_s: 200, rtt_ms: 1, loss_ppm: 0, share_at_least: 0.9 };
        let table = render(&results, distance.rate_bytes_per_s());
        assert!(table.contains("90.0 %") && table.contains("1.0 %"), "{table}");
        assert!(table.contains("after 20 s"), "{table}");
        assert!(verdict(&results, &distance, "fast").contains("= 0.90 (target ≥ 0.90) met"));
        assert!(verdict(&results, &distance, "slow").contains("MISSED"));
    }
}
