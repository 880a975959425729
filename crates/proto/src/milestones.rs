//! Which tenth of a transfer has been reached.

/// Tells when a transfer passes a further 10 %, so that a log gets ten lines and not a million.
#[derive(Clone, Debug)]
pub struct Milestones {
    total_bytes: u64,
    told_percent: u8,
}

impl Milestones {
    /// For a transfer of `total_bytes`.
    pub fn new(total_bytes: u64) -> Self {
        Self { total_bytes, told_percent: 0 }
    }

    /// The highest multiple of 10 that `done_bytes` has newly reached, in percent.
    pub fn reached(&mut self, done_bytes: u64) -> Option<u8> {
        let done = u128::from(done_bytes.min(self.total_bytes));
        let tenths = done.saturating_mul(10).checked_div(u128::from(self.total_bytes))?;
        let percent = u8::try_from(tenths).unwrap_or(10).saturating_mul(10);
        if percent <= self.told_percent {
            return None;
        }
        self.told_percent = percent;
        Some(percent)
    }
}

#[cfg(test)]
mod tests {
    use super::Milestones;

    #[test]
    fn each_tenth_is_told_once() {
        let mut milestones = Milestones::new(1_000);
        let told: Vec<_> = (0..=1_000).filter_map(|done| milestones.reached(done)).collect();
        assert_eq!(told, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]);
    }

    #[test]
    fn a_leap_tells_only_the_highest_and_an_empty_file_tells_nothing() {
        assert_eq!(Milestones::new(u64::MAX).reached(u64::MAX / 2 + 1), Some(50));
        assert_eq!(Milestones::new(0).reached(0), None);
    }
}
