//! A compiler with a core library for the bare machine.
//!
//! In this order: the user's toolchain if it has the target; the one set up before; the user's toolchain after `rustup target add`;
//! Debian's compiler, unpacked privately, with a core library built once from Debian's sources (no other compiler can build
//! them: compiler and sources must be of one version). `BATON_RUST=debian` goes for the last at once; the tests use it, since
//! rustup may be refused anywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Cache, apt};
use crate::error::{Context, Error, Result, say};
use crate::process;

/// The target of everything that runs in the guest.
pub const TARGET: &str = "x86_64-unknown-none";

/// How long rustup may take: enough for a slow line, and for an unreachable server not forever.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// Cargo, a compiler and a linker for [`TARGET`].
#[derive(Clone, Debug)]
pub struct Rust {
    /// Our own compiler; `None` for the user's.
    compiler: Option<PathBuf>,
    linker: Linker,
}

#[derive(Clone, Debug)]
enum Linker {
    /// LLVM's, which the target expects.
    Lld(PathBuf),
    /// GNU's.
    Gnu(PathBuf),
}

/// Find or set up the compiler.
///
/// # Errors
/// There is none with a core library for the target, and none can be had.
pub fn prepare(cache: &Cache) -> Result<Rust> {
    let sysroot = PathBuf::from(process::output(users_compiler().args(["--print", "sysroot"]))?.trim());
    let linker = find_linker(&sysroot)?;
    let debian_only = std::env::var_os("BATON_RUST").is_some_and(|value| value == "debian");
    if !debian_only && has_target(&sysroot) {
        return Ok(Rust { compiler: None, linker });
    }
    let unpacked = || cache.tool("rust").exists();
    if !debian_only && !unpacked() && add_target() && has_target(&sysroot) {
        return Ok(Rust { compiler: None, linker });
    }
    if !unpacked() && !apt::available() {
        return Err(Error::new(format!(
            "the Rust toolchain in {} has no core library for {TARGET}: run `rustup target add {TARGET}`",
            sysroot.display()
        )));
    }
    let directory = cache.set_up("rust", |directory| {
        unpack_debian(cache, directory)
            .map_err(|error| Error::new(format!("{error} (or run `rustup target add {TARGET}`)")))
    })?;
    Ok(Rust { compiler: Some(directory.join("rustc")), linker })
}

/// The compiler that cargo uses for us.
fn users_compiler() -> Command {
    process::command(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

fn has_target(sysroot: &Path) -> bool {
    let entries = fs::read_dir(sysroot.join("lib/rustlib").join(TARGET).join("lib"));
    entries.into_iter().flatten().flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
}

fn find_linker(sysroot: &Path) -> Result<Linker> {
    // By its real path: it finds its libraries relative to itself.
    let bundled = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
    if process::is_executable(&bundled) {
        return Ok(Linker::Lld(bundled));
    }
    let lld = ["rust-lld", "ld.lld"].iter().find_map(|name| process::find(name)).map(Linker::Lld);
    lld.or_else(|| process::find("ld").map(Linker::Gnu))
        .ok_or_else(|| Error::new("no linker: install binutils (ld) or lld (ld.lld)"))
}

/// Ask rustup for the target; false if it cannot or takes too long.
fn add_target() -> bool {
    let Some(rustup) = process::find("rustup") else {
        return false;
    };
    say(&format!("adding the target {TARGET} with rustup"));
    let mut command = process::command(rustup);
    command.args(["target", "add", TARGET]).stdin(Stdio::null());
    // The toolchain that runs us is the one that builds; rustup's proxy names it here.
    if let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") {
        command.arg("--toolchain").arg(toolchain);
    }
    let added = run_for(&mut command, RUSTUP_LIMIT);
    if !added {
        say("rustup could not add it");
    }
    added
}

/// Whether `command` ends well within `limit`; it is killed if it does not end.
fn run_for(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                // Nothing is left to do about a child that can neither be killed nor waited for.
                let _ = child.kill();
                let _ = child.wait();
                return false;
            }
        }
    }
}

fn unpack_debian(cache: &Cache, directory: &Path) -> Result<()> {
    say("setting up Debian's Rust compiler (downloading about 140 MB of packages)");
    let version = env!("CARGO_PKG_RUST_VERSION");
    let wishes = [
        apt::Wish { package: "rustc-web", version, choose: &[] },
        apt::Wish {
            package: "rust-web-src",
            version,
            choose: &["--wildcards", "./usr/src/rustc-*/library/*", "./usr/lib/rustlib/src*"],
        },
    ];
    apt::unpack(cache, &["rustc-web", "rust-web-src"], &wishes, directory)?;
    let documents = directory.join("usr/share");
    if documents.exists() {
        fs::remove_dir_all(&documents).context(|| format!("cannot remove {}", documents.display()))?;
    }
    // Relative to itself: the folder is renamed when it is complete.
    let compiler = directory.join("rustc");
    let script = "#!/bin/sh\nhere=$(dirname \"$0\")\n\
        LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu exec \"$here/usr/bin/rustc\" \"$@\"\n";
    fs::write(&compiler, script).context(|| format!("cannot write {}", compiler.display()))?;
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))
        .context(|| format!("cannot make {} executable", compiler.display()))?;
    say(&format!("building a core library for {TARGET} (about half a minute, once)"));
    build_core(directory, &compiler)
}

/// Build core, alloc and compiler_builtins from `directory`'s sources, and make them part of its toolchain.
///
/// They are built as ordinary path dependencies, not by `-Zbuild-std`: that would fetch the dependencies of std from the
/// network, of which these three crates need none.
fn build_core(directory: &Path, compiler: &Path) -> Result<()> {
    let library = directory.join("usr/lib/rustlib/src/rust/library");
    let scratch = directory.join("core");
    let write = |name: &str, text: String| {
        let file = scratch.join(name);
        let folder = file.parent().unwrap_or(&scratch);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, text))
            .context(|| format!("cannot write {}", file.display()))
    };
    let manifest = format!(
        "[workspace]\n\
         [package]\nname = \"bare\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\
         [lib]\npath = \"bare.rs\"\n\
         [dependencies]\nalloc = {{ path = '{}', features = [\"compiler-builtins-mem\"] }}\n\
         [patch.crates-io]\ncc = {{ path = \"cc\" }}\n\
         [profile.release]\npanic = \"abort\"\ndebug = 0\n\
         [profile.release.package.compiler_builtins]\n\
         codegen-units = 10000\ndebug-assertions = false\noverflow-checks = false\n",
        library.join("alloc").display()
    );
    write("Cargo.toml", manifest)?;
    write("bare.rs", "#![no_std]\n".into())?;
    // An optional dependency of compiler_builtins, unused here, that cargo would otherwise look up.
    write("cc/Cargo.toml", "[package]\nname = \"cc\"\nversion = \"1.2.99\"\nedition = \"2021\"\n".into())?;
    write("cc/src/lib.rs", String::new())?;

    let flags = ["-Zforce-unstable-if-unmarked", "-Cembed-bitcode=yes", "-Cforce-frame-pointers=yes"];
    let mut cargo = cargo();
    cargo
        .current_dir(&scratch)
        .env("RUSTC", compiler)
        // core and alloc use unstable language features; nothing of ours is built like this.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .args(["build", "--quiet", "--offline", "--release", "--package", "alloc", "--target", TARGET])
        .arg("--target-dir")
        .arg(scratch.join("target"));
    process::output(&mut cargo)?;

    let built = scratch.join("target").join(TARGET).join("release/deps");
    let place = directory.join("usr/lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&place).context(|| format!("cannot make {}", place.display()))?;
    let entries = fs::read_dir(&built).context(|| format!("cannot read {}", built.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "rlib") {
            fs::copy(entry.path(), place.join(&name)).context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    fs::remove_dir_all(&scratch).context(|| format!("cannot remove {}", scratch.display()))?;
    if has_target(&directory.join("usr")) {
        Ok(())
    } else {
        Err(Error::new("the core library was built, but is not where it should be"))
    }
}

/// Cargo, without what the cargo that runs us left in the environment.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = process::command(program);
    for (name, _) in std::env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let ours = matches!(name, "RUSTFLAGS" | "RUSTC" | "RUSTC_WRAPPER" | "RUSTC_WORKSPACE_WRAPPER" | "RUSTDOCFLAGS")
            || (name.starts_with("CARGO_")
                && !matches!(name, "CARGO_HOME")
                && !name.starts_with("CARGO_NET_")
                && !name.starts_with("CARGO_HTTP_")
                && !name.starts_with("CARGO_REGISTR"));
        if ours {
            command.env_remove(name);
        }
    }
    command
}

impl Rust {
    /// What the compiler calls itself.
    ///
    /// # Errors
    /// It does not run.
    pub fn version(&self) -> Result<String> {
        let mut compiler = self.compiler.as_ref().map_or_else(users_compiler, process::command);
        Ok(process::output(compiler.arg("--version"))?.trim().into())
    }

    /// A cargo that compiles for [`TARGET`] with these flags.
    #[must_use]
    pub fn cargo(&self, flags: &[String]) -> Command {
        let mut command = cargo();
        if let Some(compiler) = &self.compiler {
            command.env("RUSTC", compiler);
        } else if let Some(compiler) = std::env::var_os("RUSTC") {
            command.env("RUSTC", compiler);
        }
        let mut flags = flags.to_vec();
        let linker = match &self.linker {
            Linker::Lld(linker) => linker,
            Linker::Gnu(linker) => {
                flags.push("-Clinker-flavor=ld".into());
                linker
            }
        };
        command.env("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", linker);
        // Encoded, since the paths of linker scripts may contain spaces.
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
        command
    }
}
