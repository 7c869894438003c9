//! Rules of the tree that a reviewer would otherwise have to remember. Each test is named after its rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace holds this package").to_path_buf()
}

/// A package of the workspace: its folder, and the workspace packages that it depends on.
struct Package {
    folder: String,
    dependencies: Vec<String>,
    has_others: bool,
}

fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let root = root().to_string_lossy().into_owned();
    let listed = metadata["packages"].as_array().expect("there are packages");
    let found = listed.iter().map(|package| {
        let manifest = text(&package["manifest_path"]);
        let folder =
            manifest.trim_start_matches(&root).trim_start_matches('/').trim_end_matches("/Cargo.toml").to_owned();
        let (own, others): (Vec<_>, Vec<_>) = package["dependencies"]
            .as_array()
            .expect("a package has dependencies")
            .iter()
            .filter(|dependency| dependency["kind"].is_null())
            .partition(|dependency| dependency["path"].is_string());
        let dependencies = own.into_iter().map(|dependency| text(&dependency["name"])).collect();
        (text(&package["name"]), Package { folder, dependencies, has_others: !others.is_empty() })
    });
    found.collect()
}

/// What a folder's packages may depend on.
fn allowed(folder: &str) -> &'static [&'static str] {
    match folder.split('/').next().unwrap_or_default() {
        "abi" => &[],
        "kernel" | "runtime" => &["abi"],
        "machine" => &["abi", "kernel"],
        "protocol" => &["abi", "runtime"],
        "services" | "drivers" | "linux" | "programs" => &["abi", "runtime", "protocol"],
        _ => &["abi", "kernel", "runtime", "protocol", "runner", "simulator", "hostile", "hostility", "model"],
    }
}

#[test]
fn dependencies_point_one_way() {
    for (name, package) in packages() {
        for dependency in &package.dependencies {
            assert!(
                allowed(&package.folder).contains(&dependency.as_str()),
                "{name} ({}) must not depend on {dependency}: see the arrows in the design",
                package.folder
            );
        }
    }
}

#[test]
fn kernel_and_abi_depend_on_nothing_else() {
    let packages = packages();
    for name in ["abi", "kernel"] {
        assert!(!packages[name].has_others, "{name} has a dependency from outside");
    }
}

#[test]
fn the_portable_crates_forbid_unsafe_code() {
    for name in ["abi", "kernel", "protocol"] {
        let path = root().join(name).join("src/lib.rs");
        let text = fs::read_to_string(&path).expect("a library has a lib.rs");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{} does not forbid unsafe code", path.display());
    }
}

#[test]
fn the_kernel_neither_allocates_nor_takes_strings() {
    for path in sources(&root().join("kernel/src")) {
        let text = fs::read_to_string(&path).expect("a source file is text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in ["extern crate alloc", "&str", "String", "Vec<", "Box<"] {
            // The one sentence for whoever debugs the kernel itself goes through the machine.
            let line = code.lines().find(|line| {
                line.contains(word) && !line.trim_start().starts_with("//") && !line.contains("fn print(")
            });
            assert!(line.is_none(), "{}: {word} in {}", path.display(), line.unwrap_or_default().trim());
        }
    }
}

#[test]
fn every_package_takes_the_workspace_lints() {
    for (name, package) in packages() {
        let manifest = root().join(&package.folder).join("Cargo.toml");
        let text = fs::read_to_string(&manifest).expect("a package has a manifest");
        assert!(text.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    for folder in
        ["abi", "kernel", "machine", "runtime", "protocol", "services", "drivers", "linux", "programs", "runner"]
    {
        for path in sources(&root().join(folder)) {
            let text = fs::read_to_string(&path).expect("a source file is text");
            for word in ["todo!(", "unimplemented!(", "FIXME", "XXX", "#[ignore"] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
}

#[test]
fn no_folder_is_a_drawer() {
    for folder in sources(&root()).iter().filter_map(|path| path.parent()) {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        assert!(!["util", "utils", "common", "misc", "old"].contains(&name.as_ref()), "{}", folder.display());
    }
}

/// Names of the test functions in all files below a folder.
fn tests_below(folder: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources(&root().join(folder)) {
        let text = fs::read_to_string(&path).expect("a source file is text");
        for after in text.split("#[test]").skip(1) {
            let name = after.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            found.extend(name.map(|(name, _)| name.trim().to_owned()));
        }
    }
    found
}

/// Names of the whole-system scenarios, which stand in lists: a name and a function.
fn whole_system_scenarios() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources(&root().join("tests/scenarios")) {
        let text = fs::read_to_string(&path).expect("a source file is text");
        for line in text.lines().map(str::trim_start) {
            let line = line.strip_prefix("&[").unwrap_or(line);
            let name = line.strip_prefix("(\"").and_then(|rest| rest.split_once("\", "));
            found.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    found
}

/// What stands between back quotes, the last part of a path of modules only.
fn quoted(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('`').skip(1).step_by(2).map(|name| name.rsplit("::").next().unwrap_or_default().to_owned())
}

/// `docs/testing.md` says of each rule of the kernel which scenarios hold it: in the second column of its tables.
#[test]
fn the_rules_of_the_kernel_and_its_scenarios_name_each_other() {
    let text = fs::read_to_string(root().join("docs/testing.md")).expect("the book has a chapter on tests");
    let (_, section) = text.split_once("\n## The rules of the kernel\n").expect("it has the rules of the kernel");
    let section = section.split("\n## ").next().unwrap_or_default();
    let (mut named, mut empty) = (BTreeSet::new(), Vec::new());
    for subsection in section.split("\n### ").skip(1) {
        let title = subsection.lines().next().unwrap_or_default();
        let rows = subsection.lines().filter(|line| line.starts_with('|') && !line.starts_with("|-")).skip(1);
        let names: Vec<_> = rows.filter_map(|row| row.split('|').nth(2)).flat_map(quoted).collect();
        if names.is_empty() {
            empty.push(title);
        }
        named.extend(names);
    }
    let mut exists = whole_system_scenarios();
    exists.extend(["abi", "kernel", "machine", "runner", "tests"].into_iter().flat_map(tests_below));
    let missing: Vec<_> = named.difference(&exists).collect();
    assert!(missing.is_empty(), "docs/testing.md names scenarios that do not exist: {missing:#?}");
    let scenarios = tests_below("machine/simulator/tests/scenarios");
    let unnamed: Vec<_> = scenarios.difference(&named).collect();
    assert!(empty.is_empty(), "rules without scenarios: {empty:#?}");
    assert!(unnamed.is_empty(), "scenarios that no rule of docs/testing.md names: {unnamed:#?}");
}

/// All Rust files below a folder, built ones left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&path));
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
    found
}
