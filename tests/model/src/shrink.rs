//! Making a program that shows a difference as short as it can be.

use crate::lockstep::Difference;
use crate::program::Program;

/// A list that a program consists of, by number: what the threads do, then what the supervisor does.
fn length(program: &Program, list: usize) -> usize {
    program.actions.get(list).map_or(program.orders.len(), Vec::len)
}

/// The program without a part of a list.
fn without(program: &Program, list: usize, part: std::ops::Range<usize>) -> Program {
    let mut shorter = program.clone();
    match shorter.actions.get_mut(list) {
        Some(actions) => drop(actions.drain(part)),
        None => drop(shorter.orders.drain(part)),
    }
    shorter
}

/// Take away as many actions as can be taken with something still differing.
///
/// # Panics
/// Nothing differs with `program` itself.
pub fn shortest(program: Program, differs: impl Fn(&Program) -> Option<Difference>) -> Difference {
    let mut best = differs(&program).expect("something differs");
    let lists = program.actions.len() + 1;
    let mut piece = (0..lists).map(|list| length(&program, list)).max().unwrap_or(0);
    while piece > 0 {
        let before = best.program.length();
        for list in 0..lists {
            let mut start = 0;
            while start < length(&best.program, list) {
                let end = (start + piece).min(length(&best.program, list));
                match differs(&without(&best.program, list, start..end)) {
                    Some(difference) => best = difference,
                    None => start = end,
                }
            }
        }
        // Once more with single actions as long as that helps.
        if piece > 1 || best.program.length() == before {
            piece /= 2;
        }
    }
    best
}
