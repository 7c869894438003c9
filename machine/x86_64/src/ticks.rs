//! Arithmetic of clocks: frequencies from a calibration, nanoseconds from ticks and back.

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;
/// Counts of the programmable interval timer in a second.
pub(crate) const PIT_HZ: u64 = 1_193_182;

/// How often a counter ticks a second that made `ticks` while the interval timer made `counts`.
///
/// The interval timer is read to within 1 count at each end, and each reading takes about 1 us. A result that is as close
/// to a multiple of 10 MHz as these errors allow is taken to be that multiple: an emulator's virtual clock then comes out
/// as exactly 1 GHz, and on a real processor the error stays within the error of the measurement.
#[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
pub(crate) fn frequency_hz(ticks: u64, counts: u64) -> u64 {
    const ROUND: u64 = 10_000_000;
    if counts == 0 {
        return 0;
    }
    // The interval timer counts at most 55 ms: no counter ticks as often as would not fit.
    let measured = ticks.saturating_mul(PIT_HZ) / counts;
    let rounded = (measured + ROUND / 2) / ROUND * ROUND;
    let error = measured / counts * 3;
    if rounded != 0 && measured.abs_diff(rounded) <= error { rounded } else { measured }
}

/// A counter with a known rate: its value at time 0 and its frequency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) base: u64,
    pub(crate) hz: u64,
    /// Nanoseconds a tick, in units of 2^-60.
    scale: u64,
}

impl Rate {
    /// A counter of so many ticks a second (64 MHz to 17 GHz).
    #[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
    pub(crate) fn new(base: u64, hz: u64) -> Self {
        // 2^60 * SECOND_NS / hz, rounded up, in two steps of 30 bits.
        let first = (SECOND_NS << 30) / hz;
        let rest = ((SECOND_NS << 30) % hz) << 30;
        Self { base, hz, scale: (first << 30) + rest.div_ceil(hz) }
    }

    /// Nanoseconds at a reading: those of [`abi::system_page::SystemPage::monotonic_ns`], or one more, without a division. (The
    /// scale is too large by 2^-60 at most: that is a nanosecond after 36 years of ticks.)
    #[inline(always)]
    pub(crate) fn nanoseconds(self, reading: u64) -> u64 {
        let ticks = reading.wrapping_sub(self.base);
        ((u128::from(ticks) * u128::from(self.scale)) >> 60) as u64
    }

    /// The first reading at which the time is `ns` or later.
    pub(crate) fn reading(self, ns: u64) -> u64 {
        self.base.saturating_add(ticks(self.hz, ns))
    }
}

/// How many ticks of a counter make `ns`, rounded up.
pub(crate) fn ticks(hz: u64, ns: u64) -> u64 {
    let rest = ns % SECOND_NS * hz;
    (ns / SECOND_NS).saturating_mul(hz).saturating_add(rest.div_ceil(SECOND_NS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::system_page::SystemPage;

    #[test]
    fn an_emulated_gigahertz_comes_out_exactly() {
        // 20 ms, each end read up to a count and a few hundred instructions late.
        for late in [0, 300, 838, 1600] {
            assert_eq!(frequency_hz(20_000_000 + late, 23_864), 1_000_000_000);
            assert_eq!(frequency_hz(20_000_000 - late, 23_864), 1_000_000_000);
        }
    }

    #[test]
    fn an_odd_frequency_stays_as_measured() {
        let counts = 23_864;
        let ticks = 2_595_120_000 / 50;
        let hz = frequency_hz(ticks, counts);
        assert!(hz.abs_diff(2_595_120_000) < 100_000, "{hz}");
        assert_eq!(frequency_hz(1, 0), 0);
    }

    #[test]
    fn the_kernels_clock_is_the_system_pages() {
        for hz in [1_000_000_000, 2_595_124_321, 3_999_999_999, 16_999_999_999, 64_000_000] {
            let rate = Rate::new(16_867_785, hz);
            let page = SystemPage { tsc_hz: hz, tsc_base: rate.base, ..SystemPage::default() };
            let mut reading: u64 = rate.base;
            for step in 1..1000_u64 {
                reading += step * step * step * 7919;
                assert!(rate.nanoseconds(reading) - page.monotonic_ns(reading) <= u64::from(hz != 1_000_000_000));
            }
        }
    }

    #[test]
    fn an_alarm_is_never_early() {
        for hz in [1_000_000_000, 2_595_124_321, 64_000_001] {
            let rate = Rate::new(12_345, hz);
            for ns in [0, 1, 999, 1_000_001, 86_400_000_000_123, 31_557_600_000_000_001] {
                let reading = rate.reading(ns);
                assert!(rate.nanoseconds(reading) >= ns);
                assert!(ns == 0 || rate.nanoseconds(reading - 1) < ns);
            }
        }
        assert_eq!(Rate::new(1, 5_000_000_000).reading(u64::MAX), u64::MAX);
    }
}
