//! A name space: prefixes in order of preference, each with what is mounted there.

use alloc::vec::Vec;

use protocol::Errno;

/// Something mounted at a prefix. `T` is the owner's connection.
#[derive(Clone, Debug)]
pub(crate) struct Mount<T> {
    /// Components joined by `/`, without a leading or trailing slash; empty for the root.
    prefix: Vec<u8>,
    /// The mount's number, unique for ever.
    pub(crate) number: u64,
    /// Its owner.
    pub(crate) owner: T,
}

/// Mounts, longest prefix first; equal prefixes in the order in which they are asked.
#[derive(Clone, Debug)]
pub(crate) struct Space<T>(Vec<Mount<T>>);

/// Of a derivation: prefix in the new space, path in the old one.
pub(crate) type Pair<'a> = (&'a [u8], &'a [u8]);

/// The components of a path with the offset behind each; empty ones and `.` are passed over.
fn components(path: &[u8]) -> impl Iterator<Item = (&[u8], usize)> {
    let mut end = 0;
    path.split(|&byte| byte == b'/').filter_map(move |component| {
        let start = end;
        end = start + component.len() + 1;
        (!component.is_empty() && component != b".").then_some((component, start + component.len()))
    })
}

/// A path as a [`Mount`]'s prefix.
fn normalized(path: &[u8]) -> Vec<u8> {
    components(path).map(|(component, _)| component).collect::<Vec<_>>().join(&b'/')
}

/// How many bytes of `path` are `prefix` and the slashes behind it, if it begins with it.
fn consumed(prefix: &[u8], path: &[u8]) -> Option<usize> {
    let mut end = 0;
    let mut found = components(path);
    for (component, _) in components(prefix) {
        let (candidate, after) = found.next()?;
        if candidate != component {
            return None;
        }
        end = after;
    }
    Some(end + path[end..].iter().take_while(|&&byte| byte == b'/').count())
}

/// What of `prefix` lies below `above`, or `None` if it is elsewhere.
fn below<'a>(prefix: &'a [u8], above: &[u8]) -> Option<&'a [u8]> {
    if above.is_empty() {
        return Some(prefix);
    }
    match prefix.strip_prefix(above)? {
        [] => Some(&[]),
        [b'/', rest @ ..] => Some(rest),
        _ => None,
    }
}

impl<T: Clone> Space<T> {
    /// A space with nothing in it.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Add a mount, in front of those with an equal prefix or behind them.
    pub(crate) fn mount(&mut self, prefix: &[u8], number: u64, owner: T, behind: bool) {
        let prefix = normalized(prefix);
        let length = prefix.len();
        let place =
            self.0.partition_point(|mount| mount.prefix.len() > length || (behind && mount.prefix.len() == length));
        self.0.insert(place, Mount { prefix, number, owner });
    }

    /// Remove a mount.
    pub(crate) fn unmount(&mut self, number: u64) -> Result<(), Errno> {
        let place = self.0.iter().position(|mount| mount.number == number).ok_or(Errno::ENOENT)?;
        self.0.remove(place);
        Ok(())
    }

    /// The candidate for `path` after `skip` better ones: the mount, the bytes consumed, whether more follow.
    pub(crate) fn resolve(&self, path: &[u8], skip: usize) -> Option<(&Mount<T>, usize, bool)> {
        let mut candidates = self.0.iter().filter_map(|mount| Some((mount, consumed(&mount.prefix, path)?))).skip(skip);
        let (mount, length) = candidates.next()?;
        Some((mount, length, candidates.next().is_some()))
    }

    /// Bytes of the shortest part of `path`, in whole components, strictly below which nothing is mounted; 0 if there is none.
    pub(crate) fn alone(&self, path: &[u8]) -> usize {
        let names = |path| components(path).map(|(component, _)| component);
        // Of each mount: the components that it has in common with the path, and one more if it goes on differently.
        let least = self.0.iter().map(|mount| {
            let common = names(&mount.prefix).zip(names(path)).take_while(|(one, other)| one == other).count();
            common + usize::from(names(&mount.prefix).nth(common).is_some())
        });
        let least = least.max().unwrap_or(0).max(1);
        components(path).nth(least - 1).map_or(0, |(_, end)| end)
    }

    /// Names of what is mounted directly below a path, each once, each with a zero byte behind it.
    pub(crate) fn children(&self, path: &[u8]) -> Vec<u8> {
        let above = normalized(path);
        let mut names: Vec<&[u8]> = self
            .0
            .iter()
            .filter_map(|mount| below(&mount.prefix, &above)?.split(|&byte| byte == b'/').next())
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().flat_map(|name| name.iter().copied().chain([0])).collect()
    }

    /// The space in which each `(prefix, path)` shows what this one has mounted at `path` and below it.
    pub(crate) fn derive(&self, pairs: &[Pair<'_>]) -> Result<Self, Errno> {
        let mut derived = Self::new();
        for &(prefix, path) in pairs {
            let (prefix, path) = (normalized(prefix), normalized(path));
            let mut found = false;
            let mut root = false;
            for mount in &self.0 {
                let Some(rest) = below(&mount.prefix, &path) else { continue };
                let joined = [&prefix[..], rest].join(&b'/');
                derived.mount(&joined, mount.number, mount.owner.clone(), true);
                found = true;
                root |= rest.is_empty();
            }
            let inside =
                !root && self.0.iter().any(|mount| mount.prefix != path && below(&path, &mount.prefix).is_some());
            if inside {
                return Err(Errno::EXDEV);
            }
            if !found {
                return Err(Errno::ENOENT);
            }
        }
        Ok(derived)
    }

    /// Mount number `index` in the order of numbers: its prefix and number.
    pub(crate) fn entry(&self, index: usize) -> Option<(&[u8], u64)> {
        let mut mounts: Vec<&Mount<T>> = self.0.iter().collect();
        mounts.sort_unstable_by_key(|mount| mount.number);
        mounts.get(index).map(|mount| (&mount.prefix[..], mount.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(mounts: &[(&str, &'static str)]) -> Space<&'static str> {
        let mut space = Space::new();
        for (number, (prefix, owner)) in mounts.iter().enumerate() {
            space.mount(prefix.as_bytes(), number as u64 + 1, *owner, false);
        }
        space
    }

    fn resolve(space: &Space<&'static str>, path: &str, skip: usize) -> Option<(&'static str, usize, bool)> {
        space.resolve(path.as_bytes(), skip).map(|(mount, consumed, more)| (mount.owner, consumed, more))
    }

    #[test]
    fn the_longest_prefix_wins_by_whole_components() {
        let space = space(&[("/", "root"), ("/dev", "device"), ("/dev/tty", "console")]);
        assert_eq!(resolve(&space, "/dev/tty", 0), Some(("console", 8, true)));
        assert_eq!(resolve(&space, "/dev/tty1", 0), Some(("device", 5, true)));
        assert_eq!(resolve(&space, "/dev", 0), Some(("device", 4, true)));
        assert_eq!(resolve(&space, "/device", 0), Some(("root", 1, false)));
        assert_eq!(resolve(&space, "/", 0), Some(("root", 1, false)));
        assert_eq!(resolve(&space, "//dev/.//null", 0), Some(("device", 6, true)));
        assert_eq!(resolve(&space, "/dev/tty/x", 1), Some(("device", 5, true)));
        assert_eq!(resolve(&space, "/dev/tty/x", 3), None);
    }

    #[test]
    fn the_part_below_which_nothing_is_mounted_is_told() {
        let space = space(&[("/", "root"), ("/dev", "device"), ("/dev/tty", "console"), ("/a/b/c", "deep")]);
        let alone = |path: &'static str| &path[..space.alone(path.as_bytes())];
        assert_eq!(alone("/tmp/x/y"), "/tmp");
        assert_eq!(alone("/tmp"), "/tmp");
        assert_eq!(alone("/"), "");
        assert_eq!(alone("/dev"), "");
        assert_eq!(alone("/dev/null"), "/dev/null");
        assert_eq!(alone("/dev/tty/x"), "/dev/tty");
        assert_eq!(alone("/device/x"), "/device");
        assert_eq!(alone("/a/b"), "");
        assert_eq!(alone("/a/b/c/d"), "/a/b/c");
        assert_eq!(alone("/a/x/y"), "/a/x");
    }

    #[test]
    fn equal_prefixes_are_asked_newest_first_unless_mounted_behind() {
        let mut space = space(&[("/bin", "old"), ("/bin", "new")]);
        space.mount(b"/bin/", 9, "last", true);
        let order: Vec<_> = (0..3).filter_map(|skip| resolve(&space, "/bin/sh", skip)).map(|found| found.0).collect();
        assert_eq!(order, ["new", "old", "last"]);
        assert_eq!(space.unmount(2), Ok(()));
        assert_eq!(space.unmount(2), Err(Errno::ENOENT));
        assert_eq!(resolve(&space, "/bin/sh", 0), Some(("old", 5, true)));
    }

    #[test]
    fn children_are_the_names_directly_below() {
        let space = space(&[("/", "a"), ("/dev", "b"), ("/dev/pts", "c"), ("/proc", "d"), ("/devices/x", "e")]);
        assert_eq!(space.children(b"/"), b"dev\0devices\0proc\0");
        assert_eq!(space.children(b"/dev/"), b"pts\0");
        assert_eq!(space.children(b"/tmp"), b"");
    }

    #[test]
    fn a_derived_space_shows_what_it_was_given_and_nothing_else() {
        let whole = space(&[("/", "root"), ("/dev", "device"), ("/dev/tty", "console"), ("/proc", "proc")]);
        let derived = whole.derive(&[(b"/d", b"/dev")]).expect("a mount point");
        assert_eq!(resolve(&derived, "/d/null", 0), Some(("device", 3, false)));
        assert_eq!(resolve(&derived, "/d/tty", 0), Some(("console", 6, true)));
        assert_eq!(resolve(&derived, "/proc/1", 0), None);
        assert_eq!(whole.derive(&[(b"/", b"/tmp")]).map(drop), Err(Errno::EXDEV));
        let same = whole.derive(&[(b"/", b"/")]).expect("the root");
        assert_eq!(resolve(&same, "/dev/tty", 2), Some(("root", 1, false)));
        assert_eq!(space(&[("/dev", "x")]).derive(&[(b"/", b"/tmp")]).map(drop), Err(Errno::ENOENT));
    }

    #[test]
    fn entries_come_in_the_order_of_mounting() {
        let space = space(&[("/dev/tty", "a"), ("/", "b")]);
        assert_eq!(
            (space.entry(0), space.entry(1), space.entry(2)),
            (Some((&b"dev/tty"[..], 1)), Some((&b""[..], 2)), None)
        );
    }
}
