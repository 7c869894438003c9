//! Making a program that shows a difference as short as it can be.

use crate::lockstep::Difference;
use crate::program::Program;

/// Take away as many actions as can be taken with something still differing.
///
/// # Panics
/// Nothing differs with `program` itself.
pub fn shortest(program: Program, differs: impl Fn(&Program) -> Option<Difference>) -> Difference {
    let mut best = differs(&program).expect("something differs");
    let mut piece = program.actions.iter().map(Vec::len).max().unwrap_or(0);
    while piece > 0 {
        let before = best.program.length();
        for thread in 0..program.actions.len() {
            let mut start = 0;
            while start < best.program.actions[thread].len() {
                let mut shorter = best.program.clone();
                let end = (start + piece).min(shorter.actions[thread].len());
                shorter.actions[thread].drain(start..end);
                match differs(&shorter) {
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
