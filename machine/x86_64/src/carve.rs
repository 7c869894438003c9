//! How addresses are shared out at boot: what the kernel keeps to itself, and what programs can be given. Nothing is both.
//!
//! RAM below 1 MiB is left to the firmware. The arena lies as high as possible below 4 GiB, so that the early direct map
//! reaches it. Devices are all that lies between RAM and the interrupt controllers.

use crate::page::PAGE;
use crate::range::{Range, Ranges};

const MEBIBYTE: u64 = 1 << 20;
/// Where the interrupt controllers' registers begin: the end of what devices are given.
const CONTROLLERS: u64 = 0xfec0_0000;
/// What the early tables map.
pub(crate) const EARLY_END: u64 = 1 << 32;
/// The arena is this part of RAM, within these bounds.
const ARENA_SHARE: u64 = 12;
const ARENA_LEAST: u64 = 12 * MEBIBYTE;
const ARENA_MOST: u64 = 1 << 30;

/// Who has which addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carving {
    /// All RAM in the direct map: whole pages.
    pub(crate) usable: Ranges,
    /// Of that, what nobody uses yet.
    pub(crate) free: Ranges,
    /// Of that, what the kernel has for its objects and page tables.
    pub(crate) arena: Range,
    /// Addresses of devices.
    pub(crate) devices: Range,
    /// The firmware's tables; empty if none.
    pub(crate) firmware: Range,
}

/// Share out what the firmware says there is. `image` is the kernel's, with its boot stub; the direct map reaches what is below
/// `mapped_end`. An empty arena: there is no room for it.
#[cfg_attr(target_os = "none", unsafe(link_section = ".boot.text"))]
pub(crate) fn carve(ram: &Ranges, reserved: &Ranges, image: Range, module: Range, mapped_end: u64) -> Carving {
    let mut usable = Ranges::new();
    for range in ram.members() {
        usable.add(range.shrunk_to_pages());
    }
    usable.remove(Range::new(0, MEBIBYTE));
    usable.remove(Range::new(CONTROLLERS, EARLY_END));
    usable.remove(Range::new(mapped_end, u64::MAX));

    let low = ram.members().iter().filter(|range| range.start < CONTROLLERS);
    let low_end = low.map(|range| range.grown_to_pages().end.min(CONTROLLERS)).max().unwrap_or(0);
    let firmware = reserved.members().iter().find(|range| range.start == low_end && range.end <= CONTROLLERS);
    let firmware = firmware.map_or(Range::new(low_end, low_end), |range| range.shrunk_to_pages());
    let devices = Range::new(firmware.end, CONTROLLERS);

    let mut free = usable;
    free.remove(image);
    free.remove(module.grown_to_pages());
    let length = (ram.total() / ARENA_SHARE).clamp(ARENA_LEAST, ARENA_MOST) & !(PAGE - 1);
    let arena = free.find_high(length, PAGE, EARLY_END).unwrap_or_default();
    free.remove(arena);
    Carving { usable, free, arena, devices, firmware }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIBIBYTE: u64 = 1 << 30;
    const MAPPED_END: u64 = 1 << 40;

    fn set(ranges: &[(u64, u64)]) -> Ranges {
        let mut set = Ranges::new();
        for &(start, end) in ranges {
            set.add(Range::new(start, end));
        }
        set
    }

    fn disjoint(one: Range, other: Range) -> bool {
        one.length() == 0 || other.length() == 0 || one.end <= other.start || other.end <= one.start
    }

    /// What programs can be given overlaps nothing of the kernel's, nor each other, and no page of RAM is lost.
    #[track_caller]
    fn check(ram: &Ranges, reserved: &Ranges, image: Range, module: Range) {
        let Carving { usable, free, arena, devices, firmware } = carve(ram, reserved, image, module, MAPPED_END);
        let module = module.grown_to_pages();
        let kept = [Range::new(0, MEBIBYTE), image, arena, Range::new(CONTROLLERS, EARLY_END)];
        let mut given = free.members().to_vec();
        given.extend([devices, firmware, module]);
        for (number, one) in given.iter().enumerate() {
            for other in kept.iter().chain(&given[..number]) {
                assert!(disjoint(*one, *other), "{one:x?} overlaps {other:x?}");
            }
            assert!(one.start.is_multiple_of(PAGE) && one.end.is_multiple_of(PAGE), "{one:x?}");
        }
        assert!(usable.contains(arena) && disjoint(arena, image));
        for range in ram.members() {
            assert!(disjoint(devices, *range), "{devices:x?} overlaps RAM, {range:x?}");
        }
        let in_use = [arena, image, module].map(Range::length).iter().sum::<u64>();
        assert_eq!(free.total() + in_use, usable.total());
        assert!((ARENA_LEAST..=ARENA_MOST).contains(&arena.length()) && arena.end <= EARLY_END);
    }

    /// As QEMU's `q35` has it: RAM up to the firmware's tables, and what is beyond 2 GiB above 4 GiB.
    #[test]
    fn nothing_that_programs_are_given_is_the_kernels() {
        let image = Range::new(MEBIBYTE, 5 * MEBIBYTE);
        for length in [64 * MEBIBYTE, 128 * MEBIBYTE, 512 * MEBIBYTE, 2 * GIBIBYTE, 3 * GIBIBYTE, 24 * GIBIBYTE] {
            let low = length.min(2 * GIBIBYTE);
            let tables = low - 0x2_1000;
            let mut ram = set(&[(0, 0x9_fc00), (MEBIBYTE, tables)]);
            ram.add(Range::new(EARLY_END, EARLY_END + (length - low)));
            let reserved =
                set(&[(0xf_0000, MEBIBYTE), (tables, low), (0xb000_0000, 0xc000_0000), (0xfeff_c000, EARLY_END)]);
            for module in [Range::new(8 * MEBIBYTE, 20 * MEBIBYTE + 5), Range::new(tables - 3 * MEBIBYTE, tables)] {
                check(&ram, &reserved, image, module);
            }
        }
    }

    /// RAM that reaches over the interrupt controllers, or that begins and ends anywhere.
    #[test]
    fn nor_if_the_firmware_says_odd_things() {
        let (image, module) = (Range::new(MEBIBYTE, 5 * MEBIBYTE), Range::new(8 * MEBIBYTE + 1, 9 * MEBIBYTE));
        check(&set(&[(0, 8 * GIBIBYTE)]), &set(&[]), image, module);
        check(&set(&[(0, GIBIBYTE + 77)]), &set(&[(GIBIBYTE + 77, GIBIBYTE + PAGE)]), image, module);
        check(
            &set(&[(0, GIBIBYTE), (GIBIBYTE + 5, CONTROLLERS + 5)]),
            &set(&[(CONTROLLERS, EARLY_END)]),
            image,
            module,
        );
        let mut state = 7_u64;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 20) % limit
        };
        for _ in 0..2_000 {
            let (mut ram, mut reserved) = (set(&[(0, GIBIBYTE)]), Ranges::new());
            for _ in 0..below(6) {
                let start = below(6 * GIBIBYTE);
                ram.add(Range::new(start, start + below(GIBIBYTE)));
            }
            for _ in 0..below(6) {
                let start = below(4 * GIBIBYTE);
                reserved.add(Range::new(start, start + below(MEBIBYTE)));
            }
            check(&ram, &reserved, image, module);
        }
    }

    #[test]
    fn without_room_for_the_arena_there_is_no_kernel() {
        let image = Range::new(MEBIBYTE, 5 * MEBIBYTE);
        let carving = carve(&set(&[(0, 16 * MEBIBYTE)]), &set(&[]), image, Range::default(), MAPPED_END);
        assert_eq!(carving.arena.length(), 0);
    }
}
