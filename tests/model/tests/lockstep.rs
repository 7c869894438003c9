//! Point 9: the kernel does what the model says.

use model::{Explored, Program, explore, run, shrink};

/// Steps in all, and how many runs share them.
const STEPS: u64 = 10_000_000;
const RUNS: u64 = 2;

#[test]
fn point_09_kernel_and_model_agree() {
    // Seeds of one part are not those of the other.
    let explore = |part| match explore(part << 32, STEPS / RUNS) {
        Ok(explored) => explored,
        Err(difference) => panic!("{difference}"),
    };
    let mut all = Explored::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..RUNS).map(|part| scope.spawn(move || explore(part))).collect();
        parts.into_iter().for_each(|part| all.add(&part.join().expect("it agrees")));
    });
    println!("{} steps in {} programs\n{}", all.steps, all.programs, all.coverage);
    assert_eq!(all.coverage.surprises(), [""; 0], "each method is tried, or an exception with its reason");
}

#[test]
fn point_09_a_wrong_model_is_found_out_and_shown_by_a_short_program() {
    let wrong = (0..50).map(|seed| Program { wrong: true, ..Program::random(seed) });
    let found = wrong.into_iter().find(|program| run(program).is_err()).expect("it is wrong");
    let difference = shrink::shortest(found, |shorter| run(shorter).err());
    // Two that wait at one gate, and somebody who receives the wrong one.
    assert!(difference.program.length() <= 8, "{difference}");
    // It can be repeated, and without what is wrong nothing differs.
    assert_eq!(run(&difference.program).err(), Some(difference.clone()));
    assert!(run(&Program { wrong: false, ..difference.program }).is_ok());
}
