//! Walking a path downwards, as far as one server owns it; see [`crate::file`] on redirection.

use alloc::vec::Vec;

use super::Refusal;
use crate::Errno;
use crate::file::PATH_MAXIMUM;

/// Longest name of a directory entry, in bytes.
pub const NAME_MAXIMUM: usize = 255;

/// What a node of a tree is, as far as walking is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(Vec<u8>),
    /// Anything else.
    Leaf,
}

/// A tree that paths can be walked in.
pub trait Walk {
    /// A name for a node.
    type Node: Copy;
    /// The root.
    fn root(&self) -> Self::Node;
    /// The child of a directory with this name.
    ///
    /// # Errors
    /// The tree cannot tell.
    fn child(&self, directory: Self::Node, name: &[u8]) -> Result<Option<Self::Node>, Errno>;
    /// What a node is. A link's target is asked for only where it is followed or might be.
    fn step(&self, node: Self::Node) -> Step;
    /// Whether a node is a directory.
    fn is_directory(&self, node: Self::Node) -> bool {
        matches!(self.step(node), Step::Directory)
    }
}

/// Where a path ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a, N> {
    /// The directory of the last component (the root, for the root).
    pub directory: N,
    /// The last component; empty for the root, or for a path that ends in `.`.
    pub name: &'a [u8],
    /// What is there.
    pub node: Option<N>,
    /// The path ended in a slash or in `.`: only a directory will do.
    pub slash: bool,
}

impl<N: Copy> Place<'_, N> {
    /// What is there.
    ///
    /// # Errors
    /// ENOENT.
    pub fn existing(&self) -> Result<N, Errno> {
        self.node.ok_or(Errno::ENOENT)
    }
}

/// Walk `path` to what is there. A final symbolic link is followed if `follow` is set or the path goes on with a slash; with a slash it
/// must be a directory.
///
/// # Errors
/// ENOENT, ENOTDIR, ENAMETOOLONG, or a redirection.
pub fn resolve<'a, T: Walk>(tree: &T, path: &'a [u8], follow: bool) -> Result<Place<'a, T::Node>, Refusal> {
    resolve_from(tree, tree.root(), path, if follow { Last::Follow } else { Last::Keep })
}

/// Walk `path` to a directory entry that is to be made, removed or renamed: nothing is asked of what is there, which is never followed.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_entry<'a, T: Walk>(tree: &T, path: &'a [u8]) -> Result<Place<'a, T::Node>, Refusal> {
    resolve_from(tree, tree.root(), path, Last::Entry)
}

/// What to do at the path's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// Follow a link.
    Follow,
    /// Look at a link itself.
    Keep,
    /// As [`resolve_entry`].
    Entry,
}

/// Walk `path` from the directory `base`. A redirection is relative to it.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_from<'a, T: Walk>(
    tree: &T,
    base: T::Node,
    path: &'a [u8],
    end_with: Last,
) -> Result<Place<'a, T::Node>, Refusal> {
    // A directory, always.
    let mut directory = base;
    let mut place = Place { directory, name: &path[..0], node: Some(directory), slash: true };
    let mut start = 0;
    while start < path.len() {
        let end = path[start..].iter().position(|&byte| byte == b'/').map_or(path.len(), |at| start + at);
        let name = &path[start..end];
        let rest = path.get(end + 1..).unwrap_or(&[]);
        if name.is_empty() || name == b"." {
            start = end + 1;
            // `a/.`: the place is the directory itself.
            if name == b"." {
                place.name = &path[..0];
            }
            continue;
        }
        // Nothing but slashes and dots follows: seldom worth a close look.
        let last = match rest.first() {
            None => true,
            Some(b'/' | b'.') => rest.split(|&byte| byte == b'/').all(|part| part.is_empty() || part == b"."),
            Some(_) => false,
        };
        if name == b".." {
            if last && end_with == Last::Entry {
                // No entry that could be made, removed or renamed: the caller looks at the name.
                return Ok(Place { directory, name, node: Some(directory), slash: true });
            }
            return Err(redirect(&path[..start], &path[start..], &[]));
        }
        if name.len() > NAME_MAXIMUM {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let slash = end < path.len();
        let node = tree.child(directory, name)?;
        // A slash behind a link means what it leads to; but an entry is an entry.
        let through = !last || slash && end_with != Last::Entry;
        let is_directory = node.is_some_and(|found| tree.is_directory(found));
        if let Some(found) = node
            && !is_directory
            && (through || end_with == Last::Follow)
            && let Step::Link(target) = tree.step(found)
        {
            return Err(redirect(&path[..start], &target, &path[end..]));
        }
        place = Place { directory, name, node, slash };
        match node {
            Some(found) if through => {
                if !is_directory {
                    return Err(Errno::ENOTDIR.into());
                }
                directory = found;
            }
            None if !last => return Err(Errno::ENOENT.into()),
            // Nothing more but slashes and dots.
            _ => return Ok(place),
        }
        start = end + 1;
    }
    Ok(place)
}

/// The redirection for a walk that got as far as `resolved` (without links) and goes on with `target`, then `rest`.
#[must_use]
pub fn redirect(resolved: &[u8], target: &[u8], rest: &[u8]) -> Refusal {
    let mut path = Vec::new();
    let room = resolved.len() + target.len() + rest.len() + 4;
    if path.try_reserve(room).is_err() {
        return Errno::ENOMEM.into();
    }
    let mut tail = Vec::new();
    if tail.try_reserve(room).is_err() {
        return Errno::ENOMEM.into();
    }
    tail.extend_from_slice(target);
    if !rest.is_empty() {
        if !rest.starts_with(b"/") {
            tail.push(b'/');
        }
        let rest = if tail.ends_with(b"/") { rest.strip_prefix(b"/").unwrap_or(rest) } else { rest };
        tail.extend_from_slice(rest);
    }
    if target.starts_with(b"/") {
        return checked(tail);
    }
    for part in resolved.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        path.extend_from_slice(part);
        path.push(b'/');
    }
    // What was resolved has no links, so `..` removes its last part.
    let mut tail = &tail[..];
    loop {
        let end = tail.iter().position(|&byte| byte == b'/').unwrap_or(tail.len());
        let next = tail.get(end + 1..);
        match &tail[..end] {
            b"" | b"." if next.is_some() => tail = next.unwrap_or(&[]),
            b"." => {
                tail = &[];
                break;
            }
            b".." if !path.is_empty() => {
                path.pop();
                let parent = path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
                path.truncate(parent);
                match next {
                    Some(next) => tail = next,
                    None => {
                        tail = &[];
                        break;
                    }
                }
            }
            // At the root: the client goes on above the mount.
            b".." => {
                path.extend_from_slice(b"../");
                tail = next.unwrap_or(&[]);
                break;
            }
            _ => break,
        }
    }
    path.extend_from_slice(tail);
    checked(path)
}

fn checked(path: Vec<u8>) -> Refusal {
    if path.len() >= PATH_MAXIMUM {
        return Errno::ENAMETOOLONG.into();
    }
    Refusal::redirect(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// dir/{file,sub/x,up -> ../other,abs -> /etc/x,loop -> file}
    struct Small;

    impl Walk for Small {
        type Node = &'static str;
        fn root(&self) -> &'static str {
            "/"
        }
        fn child(&self, directory: &'static str, name: &[u8]) -> Result<Option<&'static str>, Errno> {
            Ok(match (directory, name) {
                ("/", b"dir") => Some("dir"),
                ("dir", b"file") => Some("file"),
                ("dir", b"sub") => Some("sub"),
                ("sub", b"x") => Some("x"),
                ("dir", b"up") => Some("up"),
                ("dir", b"abs") => Some("abs"),
                ("dir", b"loop") => Some("loop"),
                _ => None,
            })
        }
        fn step(&self, node: &'static str) -> Step {
            match node {
                "/" | "dir" | "sub" => Step::Directory,
                "up" => Step::Link(b"../other".to_vec()),
                "abs" => Step::Link(b"/etc/x".to_vec()),
                "loop" => Step::Link(b"file".to_vec()),
                _ => Step::Leaf,
            }
        }
    }

    fn walk(path: &str, follow: bool) -> Result<Option<&'static str>, Refusal> {
        resolve(&Small, path.as_bytes(), follow).map(|place| place.node)
    }

    fn to(path: &str) -> Result<Option<&'static str>, Refusal> {
        Err(Refusal::redirect(path.as_bytes().to_vec()))
    }

    #[test]
    fn plain_walks() {
        assert_eq!(walk("", true), Ok(Some("/")));
        assert_eq!(walk("dir", true), Ok(Some("dir")));
        assert_eq!(walk("dir//sub/./x", true), Ok(Some("x")));
        assert_eq!(walk("dir/nothing", true), Ok(None));
        assert_eq!(walk("dir/", true), Ok(Some("dir")));
        assert_eq!(walk("dir/.", true), Ok(Some("dir")));
        assert_eq!(walk("dir/file/", true), Err(Errno::ENOTDIR.into()));
        assert_eq!(walk("dir/file/x", true), Err(Errno::ENOTDIR.into()));
        assert_eq!(walk("none/x", true), Err(Errno::ENOENT.into()));
        assert_eq!(walk(&"n".repeat(256), true), Err(Errno::ENAMETOOLONG.into()));
    }

    #[test]
    fn the_place_names_what_may_be_made() {
        let place = resolve(&Small, b"dir/new/", false).unwrap();
        assert_eq!((place.directory, place.name, place.node, place.slash), ("dir", &b"new"[..], None, true));
        let place = resolve(&Small, b"dir/.", false).unwrap();
        assert_eq!((place.name, place.node), (&b""[..], Some("dir")));
    }

    #[test]
    fn entries_are_not_followed() {
        let entry = |path: &'static str| {
            resolve_entry(&Small, path.as_bytes()).map(|place| (place.directory, place.name, place.node, place.slash))
        };
        assert_eq!(entry("dir/up/"), Ok(("dir", &b"up"[..], Some("up"), true)));
        assert_eq!(entry("dir/file/"), Ok(("dir", &b"file"[..], Some("file"), true)));
        assert_eq!(entry("dir/new"), Ok(("dir", &b"new"[..], None, false)));
        assert_eq!(entry("dir/up/x"), Err(Refusal::redirect(b"other/x".to_vec())));
        assert_eq!(entry("dir/file/x"), Err(Errno::ENOTDIR.into()));
        assert_eq!(entry("dir/sub/.."), Ok(("sub", &b".."[..], Some("sub"), true)));
        assert_eq!(entry("dir/../x"), Err(Refusal::redirect(b"x".to_vec())));
    }

    #[test]
    fn links_redirect() {
        assert_eq!(walk("dir/up", false), Ok(Some("up")));
        assert_eq!(walk("dir/up", true), to("other"));
        assert_eq!(walk("dir/up/", false), to("other/"));
        assert_eq!(walk("dir/./up/a/b", false), to("other/a/b"));
        assert_eq!(walk("dir/abs/a", false), to("/etc/x/a"));
        assert_eq!(walk("dir/loop", true), to("dir/file"));
    }

    #[test]
    fn dots_redirect() {
        assert_eq!(walk("dir/sub/..", true), to("dir/"));
        assert_eq!(walk("dir/sub/../file", true), to("dir/file"));
        assert_eq!(walk("dir/sub/../../dir/x", true), to("dir/x"));
        assert_eq!(walk("../x", true), to("../x"));
        assert_eq!(walk("dir/../../x", true), to("../x"));
        assert_eq!(walk("..", true), to("../"));
        assert_eq!(walk("none/../x", true), Err(Errno::ENOENT.into()));
        assert_eq!(walk("dir/file/..", true), Err(Errno::ENOTDIR.into()));
    }

    #[test]
    fn a_redirection_can_be_too_long() {
        assert_eq!(redirect(b"", &[b'/'; 4000], &[b'a'; 200]), Errno::ENAMETOOLONG.into());
    }
}
