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

/// How long something is waited for, to the millisecond.
pub(crate) fn wait(wait: Duration) -> impl Display {
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    format!("{:?}", Duration::from_millis(milliseconds))
}
