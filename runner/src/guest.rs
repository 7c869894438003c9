//! Building everything that runs in the guest, by cargo, from this workspace.
//!
//! The kernel, the native programs and the personality need different code models, hence different flags, hence a target
//! folder each.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Context, Error, Result, say};
use crate::process;
use crate::setup::rust::{Rust, TARGET, cargo};

/// What was built.
#[derive(Debug)]
pub struct Guest {
    /// The kernel's ELF file.
    pub kernel: PathBuf,
    /// The native programs' ELF files.
    pub programs: Vec<PathBuf>,
    /// The Linux personality's ELF file.
    pub personality: Option<PathBuf>,
}

/// A program of the guest: its package, its own name, and what kind of program it is.
struct Program {
    package: String,
    name: String,
    kind: Kind,
}

/// `kind` in a package's `[package.metadata.baton]`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kernel,
    Program,
    Personality,
}

/// The root of this workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Build it all.
///
/// # Errors
/// Cargo fails; it has said why.
pub fn build(rust: &Rust) -> Result<Guest> {
    let (target, programs) = plan()?;
    let build = |kind: Kind, folder: &str, flags: &[&str], script: Option<&str>| {
        let programs: Vec<&Program> = programs.iter().filter(|program| program.kind == kind).collect();
        build_kind(rust, &programs, &target.join(folder), flags, script)
    };
    // Little is inlined beside what says that it must be: 1 KiB less, and no row of `bench` is slower (tried: 15, 25 and the default).
    // Jump tables of fewer than 7 entries cost more bytes than comparing does: 440 bytes less (tried: 6, 7, 8, 16, 64).
    // The first x86-64 processor: no features besides those that all have, but addresses are computed by one instruction, which the
    // default splits for the sake of some that are slow at it: 300 bytes less, and every row quicker (tried: nocona, x86-64).
    let kernel_flags = [
        "-Crelocation-model=static",
        "-Ccode-model=kernel",
        "-Ctarget-cpu=k8",
        "-Cllvm-args=-inline-threshold=15 -min-jump-table-entries=7",
    ];
    let kernel = build(Kind::Kernel, "kernel", &kernel_flags, None)?;
    let programs = build(
        Kind::Program,
        "programs",
        &["-Crelocation-model=static", "-Ccode-model=small", "-Clink-arg=--no-pie"],
        Some("runtime/link.ld"),
    )?;
    let personality = build(
        Kind::Personality,
        "personality",
        &["-Crelocation-model=pic", "-Ccode-model=small", "-Clink-arg=--no-pie"],
        Some("linux/link.ld"),
    )?;
    let kernel = kernel.into_iter().next().ok_or_else(|| Error::new("this workspace has no kernel"))?;
    Ok(Guest { kernel, programs, personality: personality.into_iter().next() })
}

/// Build the plugin that counts instructions: for this host, hence in a target folder of its own.
///
/// # Errors
/// Cargo fails; it has said why.
pub fn counter() -> Result<PathBuf> {
    let target = target()?.join("counter");
    let mut cargo = cargo();
    cargo.current_dir(workspace()).args(["build", "--quiet", "--release", "--package", "counter", "--target-dir"]);
    let status =
        cargo.arg(&target).stdin(std::process::Stdio::null()).status().context(|| "cannot run cargo".into())?;
    let built = target.join("release/libcounter.so");
    if status.success() { Ok(built) } else { Err(Error::new("the counter could not be built")) }
}

fn build_kind(
    rust: &Rust,
    programs: &[&Program],
    target: &Path,
    flags: &[&str],
    script: Option<&str>,
) -> Result<Vec<PathBuf>> {
    let built: Vec<PathBuf> =
        programs.iter().map(|program| target.join(TARGET).join("release").join(&program.name)).collect();
    if built.is_empty() {
        return Ok(built);
    }
    let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
    if let Some(script) = script {
        let script = workspace().join(script);
        let text = fs::read(&script).context(|| format!("cannot read {}", script.display()))?;
        flags.push(format!("-Clink-arg=-T{}", script.display()));
        // Cargo does not know of the script: make it build anew when the script changes.
        flags.push(format!("-Cmetadata={:x}", fingerprint(&text)));
    }
    let mut cargo = rust.cargo(&flags);
    cargo.current_dir(workspace()).args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(target);
    for program in programs {
        cargo.args(["--package", &program.package, "--bin", &program.name]);
    }
    // The first time takes long enough to be watched; later only what goes wrong matters.
    if built.iter().all(|file| file.exists()) {
        cargo.arg("--quiet");
    } else {
        let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
        say(&format!("building {}", names.join(", ")));
    }
    let status = cargo.stdin(std::process::Stdio::null()).status().context(|| "cannot run cargo".into())?;
    if status.success() {
        Ok(built)
    } else {
        Err(Error::new(format!("the system could not be built (cargo: {status})")))
    }
}

/// FNV-1a, so that the same script gives the same number on every host.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Cargo's target folder.
///
/// # Errors
/// Cargo cannot tell.
pub fn target() -> Result<PathBuf> {
    plan().map(|(target, _)| target)
}

/// Cargo's target folder, and the programs of the workspace.
fn plan() -> Result<(PathBuf, Vec<Program>)> {
    let target_directory = std::env::var_os("CARGO_TARGET_DIR");
    let mut command = cargo();
    if let Some(directory) = target_directory {
        command.env("CARGO_TARGET_DIR", directory);
    }
    command.current_dir(workspace()).args(["metadata", "--format-version", "1", "--no-deps"]);
    let text = process::output(&mut command)?;
    let metadata: Value = serde_json::from_str(&text).context(|| "cargo metadata".into())?;
    let target = metadata["target_directory"].as_str().ok_or_else(|| Error::new("cargo metadata: no target folder"))?;
    let mut programs = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        // By its id: a name may also be a dependency's.
        let (Some(name), Some(id)) = (package["name"].as_str(), package["id"].as_str()) else {
            continue;
        };
        let kind = match package["metadata"]["baton"]["kind"].as_str() {
            Some("kernel") => Kind::Kernel,
            Some("program") => Kind::Program,
            Some("personality") => Kind::Personality,
            None => continue,
            Some(other) => {
                return Err(Error::new(format!("package {name}: unknown kind of program '{other}'")));
            }
        };
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_binary = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"));
            match target["name"].as_str() {
                Some(binary) if is_binary => {
                    programs.push(Program { package: id.into(), name: binary.into(), kind });
                }
                _ => {}
            }
        }
    }
    Ok((PathBuf::from(target), programs))
}
