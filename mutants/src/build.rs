//! The copy of the tree, with the changes that compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::list::{Mutant, by_place};
use crate::schemata::Schemata;

/// What of the tree is needed.
const FOLDERS: [&str; 8] =
    ["abi", "kernel", "machine/simulator", "programs/hostile", "protocol", "runtime", "tests/hostility", "tests/model"];
/// Packages whose tests are run if nobody says which.
pub const PACKAGES: [&str; 4] = ["kernel", "simulator", "hostility", "model"];

/// In the kernel's copy: the question, and an end of the whole test at the first failure.
const QUESTION: &str = r#"//! Which change is made.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static CHOSEN: LazyLock<usize> = LazyLock::new(|| {
    std::panic::set_hook(Box::new(|_| std::process::abort()));
    std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
});
static REACHED: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];

/// Whether it is this one. With none, each that is asked for is told.
#[inline]
pub fn chosen(number: usize) -> bool {
    let chosen = *CHOSEN;
    if chosen == 0 && !REACHED[number].swap(true, Relaxed) {
        std::eprintln!("reached {number}");
    }
    chosen == number
}
"#;

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder of the tree") {
        let entry = entry.expect("a file of the tree");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "target" {
            continue;
        }
        if from.is_dir() { copy_folder(&from, &to) } else { copy_file(&from, &to) }
    }
}

/// Leave alone what is the same, so that it is not built again.
fn write(path: &Path, content: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(content) {
        fs::write(path, content).expect("a file of the copy");
    }
}

fn copy_file(from: &Path, to: &Path) {
    write(to, &fs::read(from).expect("a file of the tree"));
}

/// Copy what is needed.
pub fn copy(from: &Path, to: &Path) {
    // What is there no more.
    for folder in FOLDERS {
        let _ = fs::remove_dir_all(to.join(folder).join("tests"));
        copy_folder(&from.join(folder), &to.join(folder));
    }
    copy_file(&from.join("Cargo.lock"), &to.join("Cargo.lock"));
    let manifest = fs::read_to_string(from.join("Cargo.toml")).expect("the tree's manifest");
    let rest = manifest.find("[workspace.package]").expect("what packages have in common");
    let head = format!("[workspace]\nresolver = \"2\"\nmembers = {FOLDERS:?}\n\n");
    let rest = manifest[rest..].replace("opt-level = 1", "opt-level = 3");
    write(&to.join("Cargo.toml"), (head + &rest).as_bytes());
    // The model's long test, shorter: it is for what the others have not noticed.
    let model = to.join("tests/model/tests/lockstep.rs");
    let text = fs::read_to_string(&model).expect("the model's test").replace("10_000_000", "400_000");
    write(&model, text.as_bytes());
    let hostility = to.join("tests/hostility/tests/attack.rs");
    let text = fs::read_to_string(&hostility).expect("the hostile test").replace("10_000_000", "200_000");
    write(&hostility, text.as_bytes());
}

/// Write the kernel with all changes but these. Gives those for which there is no place.
fn change(tree: &Path, mutants: &[Mutant], left_out: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut files: BTreeMap<&str, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants.iter().filter(|mutant| !left_out.contains(&mutant.number)) {
        files.entry(&mutant.file).or_default().push(mutant);
    }
    let mut nowhere = BTreeSet::new();
    for (file, mutants) in files {
        let source = fs::read_to_string(Path::new("..").join(file)).expect("a file of the kernel");
        let mut syntax = syn::parse_file(&source).expect("a file of the kernel");
        let mut schemata = Schemata::new(by_place(mutants.iter().copied()));
        syn::visit_mut::visit_file_mut(&mut schemata, &mut syntax);
        let placed: BTreeSet<_> = schemata.placed.into_iter().collect();
        nowhere.extend(mutants.iter().map(|mutant| mutant.number).filter(|number| !placed.contains(number)));
        write(&tree.join(file), prettyplease::unparse(&syntax).as_bytes());
    }
    let library = tree.join("kernel/src/lib.rs");
    let text = fs::read_to_string(Path::new("../kernel/src/lib.rs")).expect("the kernel").replace("#![no_std]", "");
    let modules = text.find("mod alarm;").expect("the first module");
    write(
        &library,
        format!("{}#[macro_use]\nextern crate std;\nmod mutant;\n{}", &text[..modules], &text[modules..]).as_bytes(),
    );
    write(&tree.join("kernel/src/mutant.rs"), QUESTION.as_bytes());
    nowhere
}

/// Build these packages' tests. Changes that do not compile are left out, one round after the other. Gives the tests, and the
/// numbers of what is left out.
pub fn build(tree: &Path, mutants: &[Mutant], packages: &[String]) -> (Vec<PathBuf>, BTreeSet<usize>) {
    let mut left_out = BTreeSet::new();
    loop {
        left_out.extend(change(tree, mutants, &left_out));
        let check = cargo(tree, &["check", "--package", "kernel"]);
        let wrong = wrong(tree, &check);
        if wrong.is_empty() {
            break;
        }
        println!("{} do not compile", wrong.len());
        assert!(!wrong.is_subset(&left_out), "what is left does not compile");
        left_out.extend(wrong);
    }
    let packages = packages.iter().flat_map(|package| ["--package", package.as_str()]);
    let arguments: Vec<&str> = ["test", "--no-run"].into_iter().chain(packages).collect();
    let tests: Vec<PathBuf> = cargo(tree, &arguments).iter().filter_map(test).collect();
    assert!(!tests.is_empty(), "the tests do not compile");
    (tests, left_out)
}

/// A test among what cargo tells.
fn test(message: &Value) -> Option<PathBuf> {
    let path = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
    Some(path.into())
}

/// What cargo tells.
fn cargo(tree: &Path, arguments: &[&str]) -> Vec<Value> {
    let mut command = Command::new("cargo");
    command.current_dir(tree).args(arguments).arg("--message-format=json").env("RUSTFLAGS", "--cap-lints=allow");
    let output = command.stderr(Stdio::null()).output().expect("cargo");
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The changes at which the compiler stumbled: of each error those in the same line, or else the last one before it.
fn wrong(tree: &Path, messages: &[Value]) -> BTreeSet<usize> {
    let mut numbers = BTreeSet::new();
    for message in messages.iter().filter(|message| message["message"]["level"] == "error") {
        for span in message["message"]["spans"].as_array().into_iter().flatten() {
            if span["is_primary"] != true {
                continue;
            }
            let (Some(file), Some(line)) = (span["file_name"].as_str(), span["line_start"].as_u64()) else { continue };
            let text = fs::read_to_string(tree.join(file)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let end = span["line_end"].as_u64().unwrap_or(line) as usize;
            let here: Vec<usize> = lines[line as usize - 1..end].iter().flat_map(|line| asked(line)).collect();
            let before = || lines[..line as usize].iter().rev().flat_map(|line| asked(line)).next();
            numbers.extend(if here.is_empty() { before().into_iter().collect() } else { here });
        }
    }
    numbers
}

/// Numbers that are asked for in a line.
fn asked(line: &str) -> Vec<usize> {
    let questions = line.split("mutant::chosen(").skip(1);
    questions.filter_map(|rest| rest.split("usize").next()?.parse().ok()).collect()
}
