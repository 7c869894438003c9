//! The copy of the tree, with the changes that compile.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
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

const KERNEL: &str = "kernel/src";
const QUESTION_FILE: &str = "mutant.rs";
/// In the kernel's copy: the question, and an end of the whole test at the first failure.
const QUESTION: &str = r#"//! Which change is made.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Nobody looked yet.
const UNKNOWN: usize = usize::MAX;
/// None: each that is asked for is told.
const NONE: usize = usize::MAX - 1;

static CHOSEN: AtomicUsize = AtomicUsize::new(UNKNOWN);
static REACHED: [AtomicBool; 8192] = [const { AtomicBool::new(false) }; 8192];

/// Whether it is this one.
#[inline(always)]
pub fn chosen(number: usize) -> bool {
    let chosen = CHOSEN.load(Relaxed);
    if chosen >= NONE { look(number) } else { chosen == number }
}

#[cold]
#[inline(never)]
fn look(number: usize) -> bool {
    if CHOSEN.load(Relaxed) == UNKNOWN {
        std::panic::set_hook(Box::new(|_| std::process::abort()));
        let chosen = std::env::var("MUTANT").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        CHOSEN.store(if chosen == 0 { NONE } else { chosen }, Relaxed);
    }
    if CHOSEN.load(Relaxed) != NONE {
        return CHOSEN.load(Relaxed) == number;
    }
    if !REACHED[number].load(Relaxed) && !REACHED[number].swap(true, Relaxed) {
        std::eprintln!("reached {number}");
    }
    false
}
"#;

/// Copy a folder, but not the kernel's source ([`change`]).
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    remove_stale(from, to);
    for entry in fs::read_dir(from).expect("a folder of the tree") {
        let entry = entry.expect("a file of the tree");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "target" || to.ends_with(KERNEL) {
            continue;
        }
        if from.is_dir() { copy_folder(&from, &to) } else { copy_file(&from, &to) }
    }
}

/// Remove files of a folder's copy that are no more in the folder.
fn remove_stale(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).expect("a folder of the copy") {
        let path = entry.expect("a file of the copy").path();
        let name = path.file_name().unwrap_or_default();
        if path.is_file() && name != QUESTION_FILE && !from.join(name).is_file() {
            fs::remove_file(path).expect("a file of the copy");
        }
    }
}

/// Leave alone what is the same, so that it is not built again.
fn write(path: &Path, content: &[u8]) {
    if fs::read(path).ok().as_deref() != Some(content) {
        fs::create_dir_all(path.parent().expect("a folder of the copy")).expect("a folder");
        fs::write(path, content).expect("a file of the copy");
    }
}

/// What is another text in the copy. The long tests are shorter: they are for what the others have not noticed.
const ADAPTED: [(&str, &str, &str); 4] = [
    // Nothing that holds takes as long; what does not hold is waited for in many trials.
    ("machine/simulator/src/scenario.rs", "PATIENCE_NS: u64 = 2_000_000_000", "PATIENCE_NS: u64 = 200_000_000"),
    (
        "machine/simulator/src/lib.rs",
        "0..SEEDS",
        "0..std::env::var(\"SEEDS\").map_or(SEEDS, |seeds| seeds.parse().expect(\"a number\"))",
    ),
    ("tests/model/tests/lockstep.rs", "10_000_000", "400_000"),
    ("tests/hostility/tests/attack.rs", "10_000_000", "200_000"),
];

fn copy_file(from: &Path, to: &Path) {
    let mut bytes = fs::read(from).expect("a file of the tree");
    for (_, text, other) in ADAPTED.iter().filter(|(file, ..)| to.ends_with(file)) {
        let source = String::from_utf8(bytes).expect("a source file");
        assert!(source.contains(text), "{} is not what it was", to.display());
        bytes = source.replace(text, other).into_bytes();
    }
    write(to, &bytes);
}

/// Copy what is needed.
pub fn copy(from: &Path, to: &Path) {
    for folder in FOLDERS {
        copy_folder(&from.join(folder), &to.join(folder));
    }
    copy_file(&from.join("Cargo.lock"), &to.join("Cargo.lock"));
    let manifest = fs::read_to_string(from.join("Cargo.toml")).expect("the tree's manifest");
    let rest = manifest.find("[workspace.package]").expect("what packages have in common");
    let head = format!("[workspace]\nresolver = \"2\"\nmembers = {FOLDERS:?}\n\n");
    // Built once, and not run for long.
    let rest = manifest[rest..]
        .replace("opt-level = 2", "opt-level = 1")
        .replace("[profile.dev]", "[profile.dev]\ndebug = false");
    write(&to.join("Cargo.toml"), (head + &rest).as_bytes());
}

/// Write a folder of the kernel with all changes but these. Gives those that were put in.
fn change(tree: &Path, folder: &Path, mutants: &[Mutant], left_out: &BTreeSet<usize>) -> BTreeSet<usize> {
    let mut placed = BTreeSet::new();
    fs::create_dir_all(tree.join(folder)).expect("a folder");
    remove_stale(&Path::new("..").join(folder), &tree.join(folder));
    for entry in fs::read_dir(Path::new("..").join(folder)).expect("a folder of the kernel") {
        let name = entry.expect("a file of the kernel").file_name();
        let file = folder.join(&name);
        let path = Path::new("..").join(&file);
        if path.is_dir() {
            placed.append(&mut change(tree, &file, mutants, left_out));
            continue;
        }
        let source = fs::read_to_string(path).expect("a file of the kernel");
        let here =
            mutants.iter().filter(|mutant| Path::new(&mutant.file) == file && !left_out.contains(&mutant.number));
        let mut schemata = Schemata::new(by_place(here));
        let mut text = if schemata.is_empty() {
            source
        } else {
            let mut syntax = syn::parse_file(&source).expect("a file of the kernel");
            syn::visit_mut::visit_file_mut(&mut schemata, &mut syntax);
            placed.extend(schemata.placed);
            prettyplease::unparse(&syntax)
        };
        if name == "lib.rs" {
            text = text.replace("#![no_std]", "");
            let modules = text.find("mod alarm;").expect("the first module");
            text.insert_str(modules, "#[macro_use]\nextern crate std;\nmod mutant;\n");
        }
        write(&tree.join(&file), text.as_bytes());
    }
    placed
}

/// Build these packages' tests. Changes that do not compile are left out, one round after the other. Gives the tests, and the
/// numbers of what is left out.
pub fn build(tree: &Path, mutants: &[Mutant], packages: &[String]) -> (Vec<PathBuf>, BTreeSet<usize>) {
    let known = tree.join("left-out");
    let mut left_out = left_out_before(&known, mutants);
    write(&tree.join(KERNEL).join(QUESTION_FILE), QUESTION.as_bytes());
    loop {
        let placed = change(tree, Path::new(KERNEL), mutants, &left_out);
        left_out.extend(mutants.iter().map(|mutant| mutant.number).filter(|number| !placed.contains(number)));
        let check = cargo(tree, &["check", "--package", "kernel"]);
        let wrong = wrong(tree, &check);
        if wrong.is_empty() {
            break;
        }
        println!("{} do not compile", wrong.len());
        assert!(!wrong.is_subset(&left_out), "what is left does not compile");
        left_out.extend(wrong);
    }
    let numbers: Vec<_> = left_out.iter().map(usize::to_string).collect();
    write(&known, format!("{}\n{}", fingerprint(mutants), numbers.join("\n")).as_bytes());
    let packages = packages.iter().flat_map(|package| ["--package", package.as_str()]);
    let arguments: Vec<&str> = ["test", "--no-run"].into_iter().chain(packages).collect();
    let build = cargo(tree, &arguments);
    let errors: Vec<_> = build.iter().filter(|message| message["message"]["level"] == "error").collect();
    assert!(errors.is_empty(), "the tests do not compile: {errors:?}");
    (build.iter().filter_map(test).collect(), left_out)
}

/// What the last run left out, if the kernel and the changes are the same.
fn left_out_before(known: &Path, mutants: &[Mutant]) -> BTreeSet<usize> {
    let text = fs::read_to_string(known).unwrap_or_default();
    let mut lines = text.lines();
    let same = lines.next().is_some_and(|line| line == fingerprint(mutants));
    if same { lines.filter_map(|line| line.parse().ok()).collect() } else { BTreeSet::new() }
}

fn fingerprint(mutants: &[Mutant]) -> String {
    let mut hasher = DefaultHasher::new();
    let files: BTreeSet<_> = mutants.iter().map(|mutant| &mutant.file).collect();
    files.iter().for_each(|file| fs::read(Path::new("..").join(file)).expect("a file of the kernel").hash(&mut hasher));
    mutants.iter().for_each(|mutant| mutant.name.hash(&mut hasher));
    hasher.finish().to_string()
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
