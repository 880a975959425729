//! Printing that outlives a closed terminal or pipe, and sizes and times as people read them.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use indicatif::BinaryBytes;

/// Prints a result on standard output. Fails when its reader has gone away.
pub(crate) fn line(text: impl Display) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}

/// Prints an event on standard output; a transfer goes on when nobody reads them any more.
pub(crate) fn event(text: impl Display) {
    let _ = line(text);
}

/// Prints a message on standard error; where that is closed there is nobody to tell.
pub(crate) fn message(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints why the command fails.
pub(crate) fn error(text: impl Display) {
    message(format_args!("towline: {text}"));
}

/// `1.50 GiB`.
pub(crate) fn size(bytes: u64) -> impl Display {
    BinaryBytes(bytes)
}

/// `84.20 MiB/s`; the average over `elapsed`.
pub(crate) fn rate(bytes: u64, elapsed: Duration) -> impl Display {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes_per_s = (bytes as f64 / elapsed.as_secs_f64().max(1e-9)) as u64;
    format!("{}/s", BinaryBytes(bytes_per_s))
}

/// `1.23 s`.
pub(crate) fn seconds(elapsed: Duration) -> impl Display {
    format!("{:.2} s", elapsed.as_secs_f64())
}
