//! The entries of a directory: by name through a hash table, in order of their cookies for reading.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use protocol::Errno;

use crate::tree::NodeId;

/// No entry.
const NONE: u32 = u32::MAX;
/// Chains of an empty table.
const FIRST_CHAINS: usize = 8;

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    /// The name's length and first bytes: most names are told apart by these alone.
    head: Head,
    hash: u32,
    /// The next in the chain, or in the list of free ones.
    next: u32,
    cookie: u64,
    node: NodeId,
}

/// A name's length, and its first eight bytes.
type Head = (usize, u64);

fn head(name: &[u8]) -> Head {
    let first = name.iter().take(8).fold(0, |word, &byte| word << 8 | u64::from(byte));
    (name.len(), first)
}

/// Names and what they name.
#[derive(Debug)]
pub(crate) struct Names {
    /// Heads of chains, a power of two of them once there is any.
    chains: Vec<u32>,
    entries: Vec<Entry>,
    free: u32,
    count: usize,
    by_cookie: BTreeMap<u64, u32>,
    next_cookie: u64,
    seed: u32,
}

impl Names {
    /// None, with cookies from `first_cookie` on. `seed` makes chains hard to foresee.
    pub(crate) const fn new(first_cookie: u64, seed: u32) -> Self {
        Self {
            chains: Vec::new(),
            entries: Vec::new(),
            free: NONE,
            count: 0,
            by_cookie: BTreeMap::new(),
            next_cookie: first_cookie,
            seed,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// A short name in one step, the rest of a long one by FNV-1a.
    fn hash(&self, name: &[u8], head: Head) -> u32 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let short = (head.1 ^ u64::from(self.seed)).wrapping_add(head.0 as u64).wrapping_mul(GOLDEN);
        let rest = name.get(8..).unwrap_or_default();
        rest.iter().fold((short >> 32) as u32, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    fn chain(&self, hash: u32) -> usize {
        // The upper bits are the better ones.
        (hash ^ hash >> 15) as usize & (self.chains.len() - 1)
    }

    fn position(&self, name: &[u8]) -> Option<u32> {
        if self.chains.is_empty() {
            return None;
        }
        let head = head(name);
        let mut at = self.chains[self.chain(self.hash(name, head))];
        while let Some(entry) = self.entries.get(at as usize) {
            if entry.head == head && (name.len() <= 8 || entry.name == name) {
                return Some(at);
            }
            at = entry.next;
        }
        None
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<NodeId> {
        self.position(name).map(|at| self.entries[at as usize].node)
    }

    /// Add a name that is not there.
    pub(crate) fn insert(&mut self, name: &[u8], node: NodeId) -> Result<(), Errno> {
        if self.count >= self.chains.len() {
            self.grow()?;
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(name.len()).map_err(|_| Errno::ENOSPC)?;
        copy.extend_from_slice(name);
        let head = head(name);
        let hash = self.hash(name, head);
        let chain = self.chain(hash);
        let cookie = self.next_cookie;
        let new = Entry { name: copy, head, hash, next: self.chains[chain], cookie, node };
        let at = match self.entries.get_mut(self.free as usize) {
            Some(place) => {
                let at = self.free;
                self.free = place.next;
                *place = new;
                at
            }
            None => {
                self.entries.try_reserve(1).map_err(|_| Errno::ENOSPC)?;
                self.entries.push(new);
                self.entries.len() as u32 - 1
            }
        };
        self.chains[chain] = at;
        self.by_cookie.insert(cookie, at);
        self.next_cookie += 1;
        self.count += 1;
        Ok(())
    }

    fn grow(&mut self) -> Result<(), Errno> {
        let size = (self.chains.len() * 2).max(FIRST_CHAINS);
        let mut chains = Vec::new();
        chains.try_reserve_exact(size).map_err(|_| Errno::ENOSPC)?;
        chains.resize(size, NONE);
        self.chains = chains;
        for &at in self.by_cookie.values() {
            let chain = self.chain(self.entries[at as usize].hash);
            self.entries[at as usize].next = self.chains[chain];
            self.chains[chain] = at;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<NodeId> {
        let at = self.position(name)?;
        let Entry { hash, next, cookie, node, .. } = self.entries[at as usize];
        let chain = self.chain(hash);
        if self.chains[chain] == at {
            self.chains[chain] = next;
        } else {
            let mut before = self.chains[chain];
            while self.entries[before as usize].next != at {
                before = self.entries[before as usize].next;
            }
            self.entries[before as usize].next = next;
        }
        self.by_cookie.remove(&cookie);
        let entry = &mut self.entries[at as usize];
        entry.name = Vec::new();
        entry.next = self.free;
        self.free = at;
        self.count -= 1;
        Some(node)
    }

    /// Let a name that is there name something else.
    pub(crate) fn replace(&mut self, name: &[u8], node: NodeId) {
        if let Some(at) = self.position(name) {
            self.entries[at as usize].node = node;
        }
    }

    /// Entries whose cookie is at least `from`, in order: cookie, name and node.
    pub(crate) fn entries_from(&self, from: u64) -> impl Iterator<Item = (u64, &[u8], NodeId)> {
        self.by_cookie.range(from..).map(|(&cookie, &at)| {
            let entry = &self.entries[at as usize];
            (cookie, &entry.name[..], entry.node)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        for seed in [0, 7, u32::MAX] {
            let mut names = Names::new(2, seed);
            let mut model = BTreeMap::new();
            let mut dice = 1u64;
            for step in 0..5000u32 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let name = format!("n{}", (dice >> 40) % 300).into_bytes();
                match dice >> 33 & 3 {
                    0 | 1 if !model.contains_key(&name) => {
                        names.insert(&name, NodeId(step)).unwrap();
                        model.insert(name, NodeId(step));
                    }
                    2 => assert_eq!(names.remove(&name), model.remove(&name)),
                    _ => {
                        assert_eq!(names.find(&name), model.get(&name).copied());
                        if let Some(node) = model.get_mut(&name) {
                            *node = NodeId(step + 10_000);
                            names.replace(&name, *node);
                        }
                    }
                }
                assert_eq!(names.len(), model.len());
            }
            let mut listed: Vec<_> = names.entries_from(0).map(|(_, name, node)| (name.to_vec(), node)).collect();
            listed.sort();
            assert!(listed.into_iter().eq(model));
        }
    }

    #[test]
    fn order_is_that_of_making() {
        let mut names = Names::new(2, 0);
        for name in ["c", "a", "b"] {
            names.insert(name.as_bytes(), NodeId(0)).unwrap();
        }
        names.remove(b"a");
        names.insert(b"a", NodeId(1)).unwrap();
        let list: Vec<_> = names.entries_from(0).map(|(cookie, name, _)| (cookie, name.to_vec())).collect();
        assert_eq!(list, [(2, b"c".to_vec()), (4, b"b".to_vec()), (5, b"a".to_vec())]);
        assert_eq!(names.entries_from(5).count(), 1);
    }
}
