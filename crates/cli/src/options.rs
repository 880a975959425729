//! How sizes and durations are written on the command line.

use std::time::Duration;

use towline_net::socket::Congestion;

/// Smallest and largest buffer that makes sense, in bytes.
const BUFFER_BYTES: std::ops::RangeInclusive<u64> = 512..=64 * 1_024 * 1_024;

/// A number of bytes: `4096`, `64K`, `1M`, `2G`, `1T`, each 1,024 times the one before; `KiB` and the like
/// mean the same.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        "T" | "TIB" => 40,
        _ => return Err("use a number of bytes, or one with K, M, G or T (1K = 1024)".into()),
    };
    let number: u64 = digits.trim().parse().map_err(|error| format!("`{digits}`: {error}"))?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".into())
}

/// A buffer's size in bytes.
pub(crate) fn buffer_size(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    if !BUFFER_BYTES.contains(&bytes) {
        return Err("use a size from 512 to 64M".into());
    }
    usize::try_from(bytes).map_err(|error| error.to_string())
}

/// Bytes per second: a size; at least one byte.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err("a rate of nothing lets nothing through".into()),
        rate => Ok(rate),
    }
}

/// A BLAKE3 hash: `blake3:` and 64 hexadecimal digits.
pub(crate) fn blake3(text: &str) -> Result<blake3::Hash, String> {
    let Some(digits) = text.strip_prefix("blake3:") else {
        return Err(match text.parse::<blake3::Hash>() {
            Ok(_) => format!("say which hash it is: blake3:{text}"),
            Err(_) => "write it as blake3:HEX, as `towline hash` prints it".into(),
        });
    };
    digits.parse().map_err(|_| {
        let count = digits.chars().count();
        format!("a BLAKE3 has 64 hexadecimal digits (0-9, a-f), and `{digits}` has {count}")
    })
}

/// How a sender meets congestion: `auto`, `system`, or an algorithm by its name.
pub(crate) fn congestion(text: &str) -> Result<Congestion, String> {
    match text {
        "auto" => Ok(Congestion::Auto),
        "system" => Ok(Congestion::System),
        "" => Err("name an algorithm, or use auto or system".into()),
        name => Ok(Congestion::Named(name.into())),
    }
}

/// A duration: `30` or `2.5` are seconds, `500ms`, `1m 30s` and `1h` are as written.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// A duration longer than none.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a timeout of no time lets nothing through".into()),
        timeout => Ok(timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::{blake3, buffer_size, duration, rate, size, timeout};
    use std::time::Duration;

    #[test]
    fn sizes_count_in_1024() {
        assert_eq!(size("4096"), Ok(4_096));
        assert_eq!(size("64k"), Ok(65_536));
        assert_eq!(size("1 MiB"), Ok(1_048_576));
        for bad in ["", "K", "-1", "1X", "1.5G", "99999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(buffer_size("4096").is_ok() && buffer_size("0").is_err());
    }

    #[test]
    fn rates_and_hashes_are_checked() {
        assert_eq!(rate("10M/s"), Ok(10 << 20));
        assert!(rate("0").is_err());
        let hash = ::blake3::hash(b"x");
        assert_eq!(blake3(&format!("blake3:{hash}")), Ok(hash));
        assert!(blake3(&hash.to_string()).is_err() && blake3("blake3:12").is_err());
    }

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        assert_eq!(duration("2.5"), Ok(Duration::from_millis(2_500)));
        assert_eq!(duration("1m 30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "-1", "nan", "inf", "1x"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(timeout("0").is_err());
    }
}
