//! A transfer on one line of a terminal. Pure.

use console::measure_text_width;

/// Least columns of the bar, its brackets and the space behind it included; with less there is none.
const BAR_COLUMNS_MIN: usize = 10;

/// Most columns of the same.
const BAR_COLUMNS_MAX: usize = 33;

/// A name is shortened to this to have room for a bar.
const NAME_COLUMNS_FAIR: usize = 12;

/// A name is shortened to this to have room for facts.
const NAME_COLUMNS_MIN: usize = 8;

/// Name, percentage, bar and facts in at most `columns`. What has no room is left out: of the name its middle, then
/// the bar, then facts from the last on.
pub(super) fn line(name: &str, percent: u64, facts: &[String], columns: usize) -> String {
    let progress = format!("  {percent} % ");
    let name_columns = measure_text_width(name);
    let mut told = facts.len();
    let (facts, room) = loop {
        let facts = facts[..told].join(", ");
        let room = columns.checked_sub(progress.len() + facts.len());
        let enough = name_columns.min(NAME_COLUMNS_MIN);
        match room.filter(|room| *room >= enough || told == 0) {
            Some(room) => break (facts, room),
            None if told == 0 => return shortened(name, columns),
            None => told -= 1,
        }
    };
    if room < name_columns.min(NAME_COLUMNS_FAIR) + BAR_COLUMNS_MIN {
        return format!("{}{progress}{facts}", shortened(name, room));
    }
    let name = shortened(name, room - BAR_COLUMNS_MIN);
    let bar = bar(percent, (room - measure_text_width(&name)).min(BAR_COLUMNS_MAX));
    format!("{name}{progress}{bar}{facts}")
}

/// `text` in at most `columns`: where it is longer, its middle becomes `…`.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    if measure_text_width(text) <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(1) else { return String::new() };
    let end: Vec<char> = fitting(text.chars().rev(), room / 2);
    let begin = fitting(text.chars(), room - room / 2);
    begin.into_iter().chain(['…']).chain(end.into_iter().rev()).collect()
}

/// The first characters that fit.
fn fitting(text: impl Iterator<Item = char>, mut columns: usize) -> Vec<char> {
    let fits = |character: &char| {
        let width = measure_text_width(character.encode_utf8(&mut [0; 4]));
        let rest = columns.checked_sub(width);
        columns = rest.unwrap_or(0);
        rest.is_some()
    };
    text.take_while(fits).collect()
}

/// `[=====>    ] `, in so many columns.
fn bar(percent: u64, columns: usize) -> String {
    let inner = columns.saturating_sub("[] ".len());
    let done = inner * usize::try_from(percent.min(100)).unwrap_or(100) / 100;
    let bar: String = match done {
        0 => String::new(),
        _ if done == inner => "=".repeat(inner),
        _ => format!("{}>", "=".repeat(done - 1)),
    };
    format!("[{bar:inner$}] ")
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::{line, shortened};

    const FACTS: [&str; 6] = [
        "430 of 1024 MiB",
        "812 MiB/s",
        "1 s left",
        "2 conn.",
        "100 MiB resumed",
        "12288 KiB repaired",
    ];

    /// The line with as many of the facts.
    fn with_facts(name: &str, facts: usize, columns: usize) -> String {
        line(name, 42, &FACTS.map(str::to_owned)[..facts], columns)
    }

    #[test]
    fn the_line_has_name_percentage_bar_and_facts() {
        assert_eq!(
            with_facts("big.bin", 5, 92),
            "big.bin  42 % [====>        ] 430 of 1024 MiB, 812 MiB/s, 1 s left, 2 conn., 100 MiB resumed"
        );
        assert_eq!(
            with_facts("big.bin", 4, 80),
            "big.bin  42 % [======>           ] 430 of 1024 MiB, 812 MiB/s, 1 s left, 2 conn."
        );
    }

    #[test]
    fn where_it_is_narrow_the_bar_goes_first_then_facts_from_the_last_on() {
        assert_eq!(
            with_facts("big.bin", 5, 80),
            "big.bin  42 % 430 of 1024 MiB, 812 MiB/s, 1 s left, 2 conn., 100 MiB resumed"
        );
        assert_eq!(
            with_facts("big.bin", 6, 50),
            "big.bin  42 % 430 of 1024 MiB, 812 MiB/s, 1 s left"
        );
        assert_eq!(with_facts("big.bin", 6, 10), "b…n  42 % ");
    }

    #[test]
    fn a_long_name_loses_its_middle() {
        let name = "measurements of the whole year, second part.tar.zst";
        assert_eq!(
            with_facts(name, 4, 77),
            "measure…tar.zst  42 % [=>     ] 430 of 1024 MiB, 812 MiB/s, 1 s left, 2 conn."
        );
        assert_eq!(shortened("a name", 6), "a name");
        assert_eq!(shortened("a name", 5), "a …me");
        assert_eq!(shortened("名前の長いファイル", 8), "名前…ル");
        assert_eq!(shortened("a name", 0), "");
    }

    #[test]
    fn the_line_is_never_wider_than_it_may_be() {
        let names =
            ["", "a", "big.bin", "a rather long name, and more", "長い名前のファイル.tar.zst"];
        for name in names {
            for (facts, columns) in (0..=6).flat_map(|facts| (10..140).map(move |to| (facts, to))) {
                let line = with_facts(name, facts, columns);
                assert!(measure_text_width(&line) <= columns, "{columns}: {line}");
            }
        }
    }
}
