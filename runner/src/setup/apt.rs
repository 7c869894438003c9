//! Debian packages, downloaded and unpacked into a folder of ours.
//!
//! Nothing is installed: the user's own packages may be newer, conflicting, or not ours to touch. Of what a package needs, only what is
//! not installed is downloaded too. Neither root nor the system's package lists are needed: lists of our own are fetched if those do
//! not serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Cache, make_empty};
use crate::error::{Context, Error, Result, say};
use crate::process;

/// Packages of which another version may be installed that conflicts with the ones we unpack. They are left out of what apt
/// is told about this machine, so that it does not refuse.
const CONFLICTING: [&str; 2] = ["qemu", "busybox"];

/// Whether packages can be fetched on this machine at all.
#[must_use]
pub fn available() -> bool {
    ["apt-get", "dpkg-deb", "dpkg", "tar"].iter().all(|tool| process::find(tool).is_some())
        && process::output(process::command("dpkg").arg("--print-architecture"))
            .is_ok_and(|name| name.trim() == "amd64")
}

/// What is special about a package.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// The package.
    pub package: &'static str,
    /// The oldest version that serves; empty: any.
    pub version: &'static str,
    /// Arguments of `tar` that choose the files; none for all.
    pub choose: &'static [&'static str],
}

/// Unpack `packages`, and all they need that is not installed, into `directory`.
///
/// `wishes` says of which packages only some versions or files are wanted.
///
/// # Errors
/// They cannot be downloaded or unpacked.
pub fn unpack(cache: &Cache, packages: &[&str], wishes: &[Wish], directory: &Path) -> Result<()> {
    let apt = Apt::new(cache, directory)?;
    let files = apt.download(packages, wishes, false).or_else(|first| {
        say(&format!("{first}; fetching new package lists"));
        apt.update()?;
        apt.download(packages, wishes, true)
    })?;
    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let package = name.split('_').next().unwrap_or_default();
        let choose = wishes.iter().find(|wish| wish.package == package).map_or(&[][..], |wish| wish.choose);
        extract(file, choose, directory)?;
    }
    fs::remove_dir_all(&apt.scratch).context(|| format!("cannot remove {}", apt.scratch.display()))
}

fn extract(package: &Path, choose: &[&str], directory: &Path) -> Result<()> {
    let what = || format!("cannot unpack {}", package.display());
    let mut reader =
        process::command("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn().context(what)?;
    let archive = reader.stdout.take().ok_or_else(|| Error::new(what()))?;
    // No owners: a private copy belongs to whoever made it.
    let status = process::command("tar")
        .args(["--extract", "--no-same-owner", "--directory"])
        .arg(directory)
        .args(choose)
        .stdin(archive)
        .status()
        .context(what)?;
    let read = reader.wait().context(what)?;
    if status.success() && read.success() { Ok(()) } else { Err(Error::new(what())) }
}

struct Apt {
    /// The machine's list of installed packages without the conflicting ones.
    installed: PathBuf,
    /// Where our own package lists go.
    lists: PathBuf,
    scratch: PathBuf,
}

impl Apt {
    fn new(cache: &Cache, directory: &Path) -> Result<Self> {
        let scratch = directory.join("download");
        make_empty(&scratch)?;
        let installed = scratch.join("installed");
        let system = Path::new("/var/lib/dpkg/status");
        let status = fs::read_to_string(system).context(|| format!("cannot read {}", system.display()))?;
        fs::write(&installed, without_conflicting(&status))
            .context(|| format!("cannot write {}", installed.display()))?;
        let lists = cache.tool("apt");
        for folder in ["lists/partial", "cache/archives/partial"] {
            let folder = lists.join(folder);
            fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(Self { installed, lists, scratch })
    }

    fn command(&self, own_lists: bool) -> Command {
        let mut command = process::command("apt-get");
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive").current_dir(&self.scratch).args([
            "-q=2",
            // No change of user for the download: the folder is ours alone.
            "-o=APT::Sandbox::User=root",
            "-o=Debug::NoLocking=true",
            "-o=Acquire::Retries=2",
            "-o=Acquire::http::Timeout=30",
        ]);
        let mut place = |option: &str, value: PathBuf| {
            command.arg("-o").arg(format!("{option}={}", value.display()));
        };
        place("Dir::State::status", self.installed.clone());
        place("Dir::Cache", self.lists.join("cache"));
        if own_lists {
            place("Dir::State::lists", self.lists.join("lists"));
        }
        command
    }

    fn update(&self) -> Result<()> {
        process::output(self.command(true).arg("update")).map(drop)
    }

    /// The `.deb` files of `packages` and of all they need that is not installed.
    fn download(&self, packages: &[&str], wishes: &[Wish], own_lists: bool) -> Result<Vec<PathBuf>> {
        let plan = process::output(
            self.command(own_lists).args(["--simulate", "--no-install-recommends", "install"]).args(packages),
        )?;
        let names = planned(&plan);
        for wish in wishes {
            check_version(wish, &names)?;
        }
        // What is installed is not in the plan; of what was asked for we need the files all the same.
        let missing =
            packages.iter().filter(|package| !names.iter().any(|name| name.split('=').next() == Some(**package)));
        process::output(self.command(own_lists).arg("download").args(&names).args(missing))?;
        let entries = fs::read_dir(&self.scratch).context(|| format!("cannot read {}", self.scratch.display()))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        files.sort();
        Ok(files)
    }
}

/// The list of installed packages, `/var/lib/dpkg/status`, without those that conflict.
fn without_conflicting(status: &str) -> String {
    let conflicts = |paragraph: &&str| {
        let name = paragraph.lines().find_map(|line| line.strip_prefix("Package: ")).unwrap_or_default();
        CONFLICTING.iter().any(|conflicting| name.starts_with(conflicting))
    };
    status.split_inclusive("\n\n").filter(|paragraph| !conflicts(paragraph)).collect()
}

/// Fail if what would be downloaded is older than what is wished.
fn check_version(wish: &Wish, planned: &[String]) -> Result<()> {
    let version = planned.iter().find_map(|name| name.strip_prefix(wish.package)?.strip_prefix('='));
    let old = |version: &str| {
        // It says no by failing.
        process::output(process::command("dpkg").args(["--compare-versions", version, "ge", wish.version])).is_err()
    };
    match version {
        Some(version) if !wish.version.is_empty() && old(version) => Err(Error::new(format!(
            "the package {} in this machine's sources is of version {version}; {} or newer is needed",
            wish.package, wish.version
        ))),
        _ => Ok(()),
    }
}

/// `name=version` of every `Inst name (version …` line of a simulated installation.
fn planned(plan: &str) -> Vec<String> {
    plan.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("Inst ")?.split_whitespace();
            let name = words.next()?;
            let version = words.find_map(|word| word.strip_prefix('('))?;
            Some(format!("{name}={version}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_packages_and_versions() {
        let plan = "NOTE: This is only a simulation!\n\
            Inst libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n\
            Inst seabios [1.15] (1.16.2-1 Debian:12.15/oldstable [all]) []\n\
            Conf libfdt1 (1.6.1-4+b1 Debian:12.15/oldstable [amd64])\n";
        assert_eq!(planned(plan), ["libfdt1=1.6.1-4+b1", "seabios=1.16.2-1"]);
    }

    #[test]
    fn a_package_that_is_too_old_is_refused() {
        let wish = Wish { package: "rustc-web", version: "1.88", choose: &[] };
        let refused = |name: &str| check_version(&wish, &[name.to_owned()]).is_err();
        // Where there is no dpkg, there are no packages.
        if available() {
            assert!(refused("rustc-web=1.85.0+dfsg3-1~deb12u3"));
            assert!(!refused("rustc-web=1.96.0+dfsg1-1~deb12u2"));
        }
        assert!(!refused("rustc=1.63"));
    }

    #[test]
    fn conflicting_packages_are_not_mentioned() {
        let status = "Package: bash\nStatus: ok\n\nPackage: qemu-utils\nVersion: 10\n\nPackage: zsh\n\n";
        assert_eq!(without_conflicting(status), "Package: bash\nStatus: ok\n\nPackage: zsh\n\n");
    }
}
