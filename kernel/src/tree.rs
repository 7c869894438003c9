//! An ordered set threaded through the objects themselves: callers of a gate by priority, alarms by time, mappings by
//! address. A treap whose ranks are hashes of the members' ids, so that no rank is stored and every operation takes a
//! logarithmic number of steps (expected; ids are not chosen by programs).
//!
//! A member embeds a [`Node`]; ids are whatever the [`Forest`] understands, never 0. Equal keys keep their order of
//! arrival. A node is in one tree at a time; [`Node::linked`] tells whether it is in any.

use core::cell::Cell;

/// The links of a member.
#[derive(Debug, Default)]
pub(crate) struct Node {
    key: Cell<u64>,
    left: Cell<u32>,
    right: Cell<u32>,
    parent: Cell<u32>,
    linked: Cell<u32>,
}

impl Node {
    /// Whether it is in a tree.
    pub(crate) fn linked(&self) -> bool {
        self.linked.get() != 0
    }

    /// What it is ordered by, or was when it was last in a tree.
    pub(crate) fn key(&self) -> u64 {
        self.key.get()
    }

    /// By what a member that is in no tree would be ordered.
    pub(crate) fn set_key(&self, key: u64) {
        self.key.set(key);
    }
}

/// Finds the node of a member. The kernel has one of these (see [`crate::tables::Members`]): one copy of the tree's code serves all
/// its trees.
pub(crate) trait Forest<'a>: Copy {
    /// The node of member `id`.
    fn node(self, id: u32) -> &'a Node;
}

fn rank(id: u32) -> u32 {
    let mixed = id.wrapping_mul(0x9e37_79b9);
    (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b)
}

/// Put `child` where `old` hangs below `parent` (or at the root); the child does not hear of it.
fn replace<'a>(forest: impl Forest<'a>, root: &Cell<u32>, parent: u32, old: u32, child: u32) {
    if parent == 0 {
        root.set(child);
    } else {
        let above = forest.node(parent);
        if above.left.get() == old { above.left.set(child) } else { above.right.set(child) }
    }
}

/// Turn `id`, whose node is known, and its parent around, keeping the order.
fn rotate_up<'a>(forest: impl Forest<'a>, root: &Cell<u32>, id: u32, node: &Node) {
    let parent = node.parent.get();
    let above = forest.node(parent);
    let (outer, inner) = if above.left.get() == id { (&above.left, &node.right) } else { (&above.right, &node.left) };
    let moved = inner.replace(parent);
    outer.set(moved);
    if moved != 0 {
        forest.node(moved).parent.set(parent);
    }
    let grandparent = above.parent.replace(id);
    node.parent.set(grandparent);
    replace(forest, root, grandparent, parent, id);
}

/// Add `id`, behind members with the same key.
pub(crate) fn insert<'a>(forest: impl Forest<'a>, root: &Cell<u32>, id: u32, key: u64) {
    let node = forest.node(id);
    debug_assert!(id != 0 && !node.linked());
    node.key.set(key);
    node.left.set(0);
    node.right.set(0);
    node.linked.set(1);
    let (mut parent, mut link) = (0, root);
    // Bound: the depth of the tree.
    while link.get() != 0 {
        parent = link.get();
        let here = forest.node(parent);
        link = if key < here.key.get() { &here.left } else { &here.right };
    }
    node.parent.set(parent);
    link.set(id);
    // Bound: the depth of the tree.
    while node.parent.get() != 0 && rank(id) > rank(node.parent.get()) {
        rotate_up(forest, root, id, node);
    }
}

/// Take `id` out, if it is in.
pub(crate) fn remove<'a>(forest: impl Forest<'a>, root: &Cell<u32>, id: u32) {
    let node = forest.node(id);
    if !node.linked() {
        return;
    }
    // Bound: the depth of the tree.
    loop {
        let (left, right) = (node.left.get(), node.right.get());
        if left == 0 || right == 0 {
            let (child, parent) = (left | right, node.parent.get());
            if child != 0 {
                forest.node(child).parent.set(parent);
            }
            replace(forest, root, parent, id, child);
            node.linked.set(0);
            return;
        }
        let child = if rank(left) > rank(right) { left } else { right };
        rotate_up(forest, root, child, forest.node(child));
    }
}

/// The member with the smallest key, 0 if there is none.
pub(crate) fn first<'a>(forest: impl Forest<'a>, root: &Cell<u32>) -> u32 {
    let mut at = root.get();
    if at == 0 {
        return 0;
    }
    // Bound: the depth of the tree.
    loop {
        let left = forest.node(at).left.get();
        if left == 0 {
            return at;
        }
        at = left;
    }
}

/// The member after `id`, 0 if it is the last.
pub(crate) fn next<'a>(forest: impl Forest<'a>, id: u32) -> u32 {
    let mut at = forest.node(id).right.get();
    if at != 0 {
        // Bound: the depth of the tree.
        loop {
            let left = forest.node(at).left.get();
            if left == 0 {
                return at;
            }
            at = left;
        }
    }
    let mut below = id;
    at = forest.node(id).parent.get();
    // Bound: the depth of the tree.
    while at != 0 && forest.node(at).right.get() == below {
        below = at;
        at = forest.node(at).parent.get();
    }
    at
}

/// The last member whose key is at most `key`, 0 if there is none.
pub(crate) fn last_up_to<'a>(forest: impl Forest<'a>, root: &Cell<u32>, key: u64) -> u32 {
    let (mut best, mut at) = (0, root.get());
    // Bound: the depth of the tree.
    while at != 0 {
        let here = forest.node(at);
        if here.key.get() <= key {
            best = at;
            at = here.right.get();
        } else {
            at = here.left.get();
        }
    }
    best
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[derive(Clone, Copy)]
    struct Plain<'a>(&'a [Node]);

    impl<'a> Forest<'a> for Plain<'a> {
        fn node(self, id: u32) -> &'a Node {
            &self.0[id as usize]
        }
    }

    fn list(forest: Plain<'_>, root: &Cell<u32>) -> Vec<(u64, u32)> {
        let mut all = Vec::new();
        let mut at = first(forest, root);
        while at != 0 {
            all.push((forest.node(at).key(), at));
            at = next(forest, at);
        }
        all
    }

    #[test]
    fn keeps_order_under_random_insertions_and_removals() {
        let nodes: Vec<Node> = (0..300).map(|_| Node::default()).collect();
        let forest = Plain(&nodes);
        let root = Cell::new(0);
        let mut model: Vec<(u64, u32)> = Vec::new();
        let mut random = 12345_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = (random >> 33) as u32 % 299 + 1;
            if forest.node(id).linked() {
                remove(forest, &root, id);
                model.retain(|&(_, other)| other != id);
            } else {
                let key = (random >> 40) % 50;
                insert(forest, &root, id, key);
                let at = model.partition_point(|&(other, _)| other <= key);
                model.insert(at, (key, id));
            }
            let key = (random >> 20) % 50;
            let expected = model.iter().rev().find(|&&(other, _)| other <= key).map_or(0, |&(_, id)| id);
            assert_eq!(last_up_to(forest, &root, key), expected);
        }
        assert_eq!(list(forest, &root), model);
    }
}
