//! What `cargo mutants --list --json` tells: the changes.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// A line and a column, both from 1.
pub type Place = (usize, usize);

/// A change.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// What `MUTANT` is to be.
    pub number: usize,
    /// As cargo-mutants names it.
    pub name: String,
    pub file: String,
    /// The file and the function.
    pub function: String,
    pub genre: String,
    pub start: Place,
    /// What stands there instead.
    pub replacement: String,
}

/// The changes of these files, in their order, or of all of the kernel.
pub fn list(tree: &str, files: &[String]) -> Vec<Mutant> {
    let mut command = Command::new("cargo");
    command.current_dir(tree).args(["mutants", "--list", "--json", "--package", "kernel"]);
    command.args(files.iter().flat_map(|file| ["--file", file]));
    let output = command.output().expect("cargo install cargo-mutants");
    assert!(output.status.success(), "cargo mutants: {}", String::from_utf8_lossy(&output.stderr));
    let list: Value = serde_json::from_slice(&output.stdout).expect("its list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let place = |value: &Value| {
        let number = |name: &str| value[name].as_u64().expect("a number") as usize;
        (number("line"), number("column"))
    };
    let order = |file: &Value| files.iter().position(|name| file == name);
    let mut list: Vec<_> = list.as_array().expect("a list").iter().collect();
    list.sort_by_key(|value| order(&value["file"]));
    list.iter()
        .enumerate()
        .map(|(index, value)| Mutant {
            number: index + 1,
            name: text(&value["name"]),
            file: text(&value["file"]),
            function: format!("{} {}", value["file"], value["function"]["function_name"]),
            genre: text(&value["genre"]),
            start: place(&value["span"]["start"]),
            replacement: text(&value["replacement"]),
        })
        .collect()
}

/// By the place at which they begin.
pub fn by_place<'a>(mutants: impl Iterator<Item = &'a Mutant>) -> BTreeMap<Place, Vec<&'a Mutant>> {
    let mut places: BTreeMap<Place, Vec<&Mutant>> = BTreeMap::new();
    for mutant in mutants {
        places.entry(mutant.start).or_default().push(mutant);
    }
    places
}
