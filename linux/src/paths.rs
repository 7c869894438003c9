//! Paths as text: joining, tidying, and following redirects. Links and `..` are the servers' business.

use alloc::vec::Vec;

use protocol::file::anchor::LENGTH as ANCHOR;

/// An absolute path for `path`, seen from directory `base`: no doubled slashes, no `.`; a trailing slash (or `/.`) stays a slash.
pub(crate) fn absolute(base: &[u8], path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(base.len() + path.len() + 2);
    if path.first() != Some(&b'/') {
        append(&mut out, base);
    }
    append(&mut out, path);
    let wants_directory = path.ends_with(b"/") || path.ends_with(b"/.") || path == b".";
    if out.is_empty() || wants_directory {
        out.push(b'/');
    }
    out
}

/// Where in a path the anchor of a directory is, that what follows goes on from ([`protocol::file::anchor`]). What is before it says
/// whose the directory is, and where it once was.
pub(crate) fn anchor(path: &[u8]) -> Option<usize> {
    path.iter().rposition(|byte| *byte == 0)
}

/// Where a path goes on that goes up from a directory that is gone.
pub(crate) fn above(path: &[u8]) -> Option<Vec<u8>> {
    let at = anchor(path)?;
    let rest = path.get(at + ANCHOR..)?.strip_prefix(b"/..")?;
    matches!(rest.first(), None | Some(b'/')).then(|| absolute(parent(&path[..at]), rest.get(1..).unwrap_or_default()))
}

/// A path without its anchor.
pub(crate) fn plain(path: &[u8]) -> Vec<u8> {
    match anchor(path) {
        Some(at) => [&path[..at], path.get(at + ANCHOR..).unwrap_or_default()].concat(),
        None => path.to_vec(),
    }
}

/// The path of a directory, with its anchor.
pub(crate) fn anchored(path: &[u8], anchor: u64) -> Vec<u8> {
    let mut out = plain(trimmed(path));
    if anchor != 0 {
        out.extend_from_slice(&protocol::file::anchor::write(anchor));
    }
    out
}

/// Whether [`absolute`] would leave a path as it is. (A component that begins with a point is looked at closely elsewhere.)
pub(crate) fn is_tidy(path: &[u8]) -> bool {
    const SLASHES: u64 = u64::from_ne_bytes([b'/'; 8]);
    const POINTS: u64 = u64::from_ne_bytes([b'.'; 8]);
    let mut slash_before = 0;
    // Eight bytes at a time: this is done for every path. What is missing at the end counts as zero bytes.
    for part in path.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..part.len()].copy_from_slice(part);
        let word = u64::from_le_bytes(bytes);
        let slashes = zero_bytes(word ^ SLASHES);
        if (slashes << 8 | slash_before) & (slashes | zero_bytes(word ^ POINTS)) != 0 {
            return false;
        }
        slash_before = slashes >> 56;
    }
    path.first() == Some(&b'/')
}

/// The upper bit of every byte that is zero.
const fn zero_bytes(word: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    !(((word & LOW) + LOW) | word | LOW)
}

fn append(out: &mut Vec<u8>, path: &[u8]) {
    for component in path.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b".")) {
        out.push(b'/');
        out.extend_from_slice(component);
    }
}

/// Without a trailing slash; the root stays `/`.
pub(crate) fn trimmed(path: &[u8]) -> &[u8] {
    match path.strip_suffix(b"/") {
        Some(b"") | None => path,
        Some(shorter) => shorter,
    }
}

/// Where a path goes on after a redirect to `target` by the owner of `prefix`.
pub(crate) fn redirected(prefix: &[u8], target: &[u8]) -> Vec<u8> {
    if target.starts_with(b"/") {
        return absolute(b"/", target);
    }
    let mut prefix = trimmed(prefix);
    let mut target = target;
    while let Some(rest) = target.strip_prefix(b"..") {
        if !matches!(rest.first(), None | Some(b'/')) {
            break;
        }
        prefix = parent(prefix);
        target = rest.strip_prefix(b"/").unwrap_or(rest);
    }
    absolute(prefix, target)
}

/// The directory that a path without trailing slash is in; the root's is itself.
pub(crate) fn parent(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}

/// A file of this process itself, by its place under `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    /// `exe`.
    Program,
    /// `cwd`.
    Directory,
    /// `root`.
    Root,
    /// `fd/N`.
    Descriptor(u32),
}

/// What of this process a path names, and what follows it.
pub(crate) fn own(path: &[u8], pid: u32) -> Option<(Own, &[u8])> {
    let rest = match path.strip_prefix(b"/dev/") {
        Some(rest) => return device(rest),
        None => path.strip_prefix(b"/proc/")?,
    };
    let (owner, rest) = split(rest);
    if owner != b"self" && decimal(owner) != Some(pid) {
        return None;
    }
    let (name, rest) = split(rest);
    Some(match name {
        b"exe" => (Own::Program, rest),
        b"cwd" => (Own::Directory, rest),
        b"root" => (Own::Root, rest),
        b"fd" => descriptor(rest)?,
        _ => return None,
    })
}

fn device(rest: &[u8]) -> Option<(Own, &[u8])> {
    Some(match rest {
        b"stdin" => (Own::Descriptor(0), b""),
        b"stdout" => (Own::Descriptor(1), b""),
        b"stderr" => (Own::Descriptor(2), b""),
        _ => descriptor(rest.strip_prefix(b"fd/")?)?,
    })
}

fn descriptor(rest: &[u8]) -> Option<(Own, &[u8])> {
    let (number, rest) = split(rest);
    Some((Own::Descriptor(decimal(number)?), rest))
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (path, b""),
    }
}

/// A number in decimal digits.
pub(crate) fn decimal(text: &[u8]) -> Option<u32> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// Digits of a number.
pub(crate) fn digits(out: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        digits(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_and_tidied() {
        for (base, path, whole) in [
            ("/", "", "/"),
            ("/", "a", "/a"),
            ("/tmp", "a//b/./c", "/tmp/a/b/c"),
            ("/tmp", ".", "/tmp/"),
            ("/tmp", "/x/", "/x/"),
            ("/tmp", "..", "/tmp/.."),
            ("/tmp/", "x/.", "/tmp/x/"),
            ("/tmp", "//", "/"),
        ] {
            assert_eq!(absolute(base.as_bytes(), path.as_bytes()), whole.as_bytes(), "{base} {path}");
        }
    }

    #[test]
    fn anchors_are_found_and_taken_out() {
        let directory = anchored(b"/tmp/a/", 0x12ab);
        assert_eq!(directory, b"/tmp/a\x0000000000000012ab");
        assert_eq!(absolute(&directory, b"x/./y"), b"/tmp/a\x0000000000000012ab/x/y");
        assert_eq!((anchor(&directory), plain(&directory)), (Some(6), b"/tmp/a".to_vec()));
        assert_eq!(plain(&absolute(&directory, b"x")), b"/tmp/a/x");
        assert_eq!(above(&absolute(&directory, b"../x")), Some(b"/tmp/x".to_vec()));
        assert_eq!((above(&absolute(&directory, b"..")), above(&directory)), (Some(b"/tmp".to_vec()), None));
        // One is enough: the nearest.
        assert_eq!(anchored(&absolute(&directory, b"x"), 1), b"/tmp/a/x\x000000000000000001");
        assert_eq!((anchored(b"/", 0), plain(b"/x")), (b"/".to_vec(), b"/x".to_vec()));
    }

    #[test]
    fn tidy_paths_are_known() {
        for path in ["/", "/a", "/tmp/x.y/z", "/a/", "/a/b./c.", "/234567/9"] {
            assert!(is_tidy(path.as_bytes()), "{path}");
            assert_eq!(absolute(b"/", path.as_bytes()), path.as_bytes());
        }
        for path in [
            "",
            "a",
            "//",
            "/a//b",
            "/./a",
            "/a/.",
            "/a/..",
            "/.x",
            "/234567//",
            "/2345678/.",
            "/23456/./x",
            "/23456//",
        ] {
            assert!(!is_tidy(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn redirects_go_on_from_the_mount() {
        for (prefix, target, whole) in [
            ("/proc", "/etc/x", "/etc/x"),
            ("/proc/", "12/stat", "/proc/12/stat"),
            ("/proc", "../etc", "/etc"),
            ("/proc", "..", "/"),
            ("/", "../../a", "/a"),
            ("/", "a/../b", "/a/../b"),
            ("/", "..a", "/..a"),
        ] {
            assert_eq!(redirected(prefix.as_bytes(), target.as_bytes()), whole.as_bytes(), "{prefix} {target}");
        }
    }

    #[test]
    fn own_files_are_found() {
        assert_eq!(own(b"/proc/self/exe", 7), Some((Own::Program, b"".as_slice())));
        assert_eq!(own(b"/proc/7/cwd/x/y", 7), Some((Own::Directory, b"x/y".as_slice())));
        assert_eq!(own(b"/proc/8/cwd", 7), None);
        assert_eq!(own(b"/dev/fd/3", 7), Some((Own::Descriptor(3), b"".as_slice())));
        assert_eq!(own(b"/dev/stdout", 7), Some((Own::Descriptor(1), b"".as_slice())));
        assert_eq!(own(b"/proc/self/fd", 7), None);
        assert_eq!(own(b"/proc/self/fd/-1", 7), None);
    }

    #[test]
    fn a_parent_is_the_part_before_the_last_slash() {
        assert_eq!(
            (parent(b"/a/b"), parent(b"/a"), parent(b"/")),
            (b"/a".as_slice(), b"/".as_slice(), b"/".as_slice())
        );
        let mut out = Vec::new();
        digits(&mut out, 1203);
        assert_eq!(out, b"1203");
    }
}
