//! Which changes of the kernel does no test notice? See `run`.
#![forbid(unsafe_code)]

mod build;
mod list;
mod schemata;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use trial::{Tests, Verdict};

/// Where everything is put.
const TARGET: &str = "target";
fn main() {
    let Wish { packages, files, quick } = arguments(std::env::args().skip(1));
    let mutants = list::list("..", &files);
    println!("{} changes", mutants.len());
    let tree = Path::new(TARGET).join("tree");
    build::copy(Path::new(".."), &tree);
    let (programs, left_out) = build::build(&tree, &mutants, &packages);
    println!(
        "{} of them are in the build; the others do not compile, or are constants",
        mutants.len() - left_out.len()
    );
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let tests = Tests::new(jobs, &programs, quick);
    println!("{} tests", tests.count());

    let path = Path::new(TARGET).join("results");
    let known = results(&path);
    let file = OpenOptions::new().create(true).append(true).open(&path).expect("the file of results");
    let file = Mutex::new(file);
    let caught = |name| known.get(name).is_some_and(|verdict| verdict == "caught" || verdict == "stuck");
    let open: Vec<_> =
        mutants.iter().filter(|mutant| !left_out.contains(&mutant.number) && !caught(&mutant.name)).collect();
    trial::each(jobs, &open, |mutant| {
        let verdict = tests.trial(mutant);
        let mut file = file.lock().expect("nobody panics with it");
        writeln!(file, "{verdict}\t{}", mutant.name).expect("the file of results");
        if matches!(verdict, Verdict::Missed | Verdict::Unreached) {
            println!("{verdict}: {}", mutant.name);
        }
    });
    tell(&mutants, &left_out, &results(&path));
}

/// What is asked for.
struct Wish {
    /// Packages whose tests are run.
    packages: Vec<String>,
    /// Files of the kernel, none: all.
    files: Vec<String>,
    /// Only tests that take no more seconds.
    quick: Option<f64>,
}

fn arguments(mut words: impl Iterator<Item = String>) -> Wish {
    let (mut packages, mut files, mut quick) = (Vec::new(), Vec::new(), None);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--package" => packages.push(words.next().expect("--package: which?")),
            "--quick" => quick = words.next().map(|seconds| seconds.parse().expect("--quick: how many seconds?")),
            option if option.starts_with('-') => panic!("there is no option {option}"),
            _ => files.push(word),
        }
    }
    if packages.is_empty() {
        packages = build::PACKAGES.map(String::from).to_vec();
    }
    Wish { packages, files, quick }
}

/// What is known already, by name.
fn results(path: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once('\t')).map(|(how, name)| (name.into(), how.into())).collect()
}

/// File by file: how many were caught, and which were not.
fn tell(mutants: &[list::Mutant], left_out: &BTreeSet<usize>, results: &BTreeMap<String, String>) {
    let mut files: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    for mutant in mutants {
        let verdict = match results.get(&mutant.name) {
            Some(verdict) => verdict.as_str(),
            None if left_out.contains(&mutant.number) => "not in the build",
            None => "not run",
        };
        *files.entry(&mutant.file).or_default().entry(verdict).or_default() += 1;
    }
    for (file, verdicts) in files {
        let verdicts: Vec<_> = verdicts.iter().map(|(verdict, times)| format!("{times} {verdict}")).collect();
        println!("{file}: {}", verdicts.join(", "));
    }
    for mutant in mutants {
        if let Some(verdict @ ("missed" | "unreached")) = results.get(&mutant.name).map(String::as_str) {
            println!("{verdict}: {}", mutant.name);
        }
    }
}
