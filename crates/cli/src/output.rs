//! Printing that outlives a closed terminal or pipe, and sizes and times as people read them.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{BinaryBytes, ProgressBar, WeakProgressBar};
use serde_json::Value;
use towline_proto::escape::EscapedJson;

/// An object for programs, on one line. What would act on a terminal is escaped, and means the same.
pub(crate) struct JsonLine(pub(crate) Value);

impl Display for JsonLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        EscapedJson(&self.0.to_string()).fmt(f)
    }
}

/// The bar on the terminal, if there is one.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);

/// From now on, whatever is printed goes above this bar, as long as it is there.
pub(crate) fn print_above(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

/// Prints while no bar is on the terminal. Must not be called by whoever draws it.
fn above_bar<T>(print: impl FnOnce() -> T) -> T {
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match bar.and_then(|bar| bar.upgrade()) {
        Some(bar) => bar.suspend(print),
        None => print(),
    }
}

/// Standard error, for whoever writes lines to it.
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        above_bar(|| io::stderr().lock().write_all(lines))?;
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Prints a result on standard output. Fails when its reader has gone away.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let print = || writeln!(io::stdout().lock(), "{text}");
    if io::stdout().is_terminal() { above_bar(print) } else { print() }
}

/// Prints an event on standard output; a transfer goes on when nobody reads them any more.
pub(crate) fn event(text: impl Display) {
    let _ = line(text);
}

/// Prints a message on standard error; where that is closed there is nobody to tell.
pub(crate) fn message(text: impl Display) {
    // In one piece: each part would go above the bar by itself.
    let _ = Stderr.write_all(format!("{text}\n").as_bytes());
}

/// Prints why the command fails.
pub(crate) fn error(text: impl Display) {
    message(format_args!("towline: {text}"));
}

/// `1.50 GiB`.
pub(crate) fn size(bytes: u64) -> impl Display {
    BinaryBytes(bytes)
}

/// `1 file`, `20 files`.
pub(crate) fn count(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// `84.20 MiB/s`; the average over `elapsed`.
pub(crate) fn rate(bytes: u64, elapsed: Duration) -> impl Display {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes_per_s = (bytes as f64 / elapsed.as_secs_f64().max(1e-9)) as u64;
    format!("{}/s", BinaryBytes(bytes_per_s))
}

/// `430 of 1024 MiB`: short, both in the unit that suits the whole.
pub(crate) fn part(bytes: u64, whole_bytes: u64) -> impl Display {
    let (unit_bytes, unit) = short_unit(whole_bytes);
    format!("{} of {} {unit}", bytes / unit_bytes, whole_bytes / unit_bytes)
}

/// `812 MiB`: short, without a fraction.
pub(crate) fn short_size(bytes: u64) -> impl Display {
    let (unit_bytes, unit) = short_unit(bytes);
    format!("{} {unit}", bytes / unit_bytes)
}

/// `90 s`, `12 min`, `47 h`, `9 d`: short, without a fraction, never too little.
pub(crate) fn short_time(time: Duration) -> impl Display {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        7_200..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        _ => format!("{} d", seconds.div_ceil(86_400)),
    }
}

/// The largest unit of which there are ten.
fn short_unit(bytes: u64) -> (u64, &'static str) {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units.into_iter().find(|(unit_bytes, _)| bytes >= 10 * unit_bytes).unwrap_or((1, "B"))
}

/// `1.23 s`.
pub(crate) fn seconds(elapsed: Duration) -> impl Display {
    format!("{:.2} s", elapsed.as_secs_f64())
}

/// How long something is waited for: `2 s`, `0.7 s`, `40 ms`.
pub(crate) fn wait(wait: Duration) -> impl Display {
    match wait.as_millis() {
        milliseconds @ 0..100 => format!("{milliseconds} ms"),
        milliseconds if milliseconds % 1_000 == 0 => format!("{} s", milliseconds / 1_000),
        _ => format!("{:.1} s", wait.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::JsonLine;

    #[test]
    fn what_acts_on_a_terminal_is_escaped_in_json_and_means_the_same() {
        let text = "\u{1b}[2J\u{7f}\u{9b}2J \u{202e}é\u{200b}\u{e0041}\"";
        let printed = JsonLine(json!({"path": text})).to_string();
        let escaped = r#"{"path":"\u001b[2J\u007f\u009b2J \u202eé\u200b\udb40\udc41\""}"#;
        assert_eq!(printed, escaped);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["path"], text);
    }
}
