//! An ordered set threaded through the objects themselves: callers of a gate by priority, alarms by time, mappings by
//! address. A height-balanced (AVL) tree: n members lie at most 1.44 log2(n + 2) deep, in whatever order programs let them
//! come and go, so that every operation has that bound.
//!
//! A member embeds a [`Node`]; ids are whatever the [`Forest`] understands, never 0. Equal keys keep their order of
//! arrival. A node is in one tree at a time; [`Node::linked`] tells whether it is in any.

use core::cell::Cell;

/// The links of a member.
#[derive(Debug, Default)]
pub(crate) struct Node {
    key: Cell<u64>,
    /// What is before it (0) and behind it (1).
    below: [Cell<u32>; 2],
    parent: Cell<u32>,
    /// One more than the members on the longest way down, before it and behind it; 0: in no tree.
    height: [Cell<u16>; 2],
}

impl Node {
    /// Whether it is in a tree.
    pub(crate) fn linked(&self) -> bool {
        self.height(0).get() != 0
    }

    /// What it is ordered by, or was when it was last in a tree.
    pub(crate) fn key(&self) -> u64 {
        self.key.get()
    }

    /// By what a member that is in no tree would be ordered.
    pub(crate) fn set_key(&self, key: u64) {
        self.key.set(key);
    }

    fn child(&self, side: usize) -> &Cell<u32> {
        &self.below[side & 1]
    }

    fn height(&self, side: usize) -> &Cell<u16> {
        &self.height[side & 1]
    }

    fn side_of(&self, child: u32) -> usize {
        usize::from(self.child(1).get() == child)
    }

    /// What its parent has as the height on its side, less one.
    fn highest(&self) -> u16 {
        self.height(0).get().max(self.height(1).get())
    }
}

/// Finds the node of a member. The kernel has one of these (see [`crate::tables::Members`]): one copy of the tree's code serves all
/// its trees.
pub(crate) trait Forest<'a>: Copy {
    /// The node of member `id`; of 0, one that is in no tree.
    fn node(self, id: u32) -> &'a Node;
}

/// One tree of a forest.
struct Tree<'r, F> {
    forest: F,
    root: &'r Cell<u32>,
}

impl<'a, F: Forest<'a>> Tree<'_, F> {
    fn node(&self, id: u32) -> &'a Node {
        self.forest.node(id)
    }

    /// What leads to `id`, whose parent has the node `above`; the root, if its parent is 0.
    fn link<'l>(&'l self, parent: u32, above: &'l Node, side: usize) -> &'l Cell<u32> {
        if parent == 0 { self.root } else { above.child(side) }
    }

    /// Put `child`, or nothing, on this side of `id`.
    fn hang(&self, id: u32, node: &Node, side: usize, child: u32) {
        node.child(side).set(child);
        if child != 0 {
            self.node(child).parent.set(id);
        }
    }

    /// Turn `id` and its child on this side around, keeping the order.
    fn raise(&self, id: u32, node: &Node, side: usize, child: &Node) {
        let (raised, parent) = (node.child(side).get(), node.parent.get());
        let above = self.node(parent);
        self.link(parent, above, above.side_of(id)).set(raised);
        self.hang(id, node, side, child.child(side ^ 1).get());
        node.height(side).set(child.height(side ^ 1).get());
        child.child(side ^ 1).set(id);
        child.height(side ^ 1).set(node.highest() + 1);
        node.parent.set(raised);
        child.parent.set(parent);
    }

    /// On this side of `id`, if that is not 0, it is this high now: balance it, and what is above as far up as heights change.
    fn settle(&self, id: u32, node: &'a Node, side: usize, height: u16) {
        let (mut at, mut node, mut side, mut height) = (id, node, side, height);
        // Bound: the depth of the tree.
        while at != 0 {
            let earlier = node.highest();
            node.height(side).set(height);
            let deep = usize::from(node.height(1).get() > node.height(0).get());
            if node.height(deep).get() - node.height(deep ^ 1).get() > 1 {
                let mut child = self.node(node.child(deep).get());
                if child.height(deep ^ 1).get() > child.height(deep).get() {
                    let inner = self.node(child.child(deep ^ 1).get());
                    self.raise(node.child(deep).get(), child, deep ^ 1, inner);
                    child = inner;
                }
                let raised = node.child(deep).get();
                self.raise(at, node, deep, child);
                (at, node) = (raised, child);
            }
            height = node.highest() + 1;
            if height == earlier + 1 {
                return;
            }
            let below = at;
            at = node.parent.get();
            node = self.node(at);
            side = node.side_of(below);
        }
    }
}

/// Add `id` to an empty tree.
#[inline(always)]
pub(crate) fn begin(node: &Node, root: &Cell<u32>, id: u32, key: u64) {
    debug_assert!(root.get() == 0 && !node.linked());
    node.key.set(key);
    // Bound: both sides.
    for side in 0..2 {
        node.child(side).set(0);
        node.height(side).set(1);
    }
    node.parent.set(0);
    root.set(id);
}

/// Add `id`, behind members with the same key.
#[inline(always)]
pub(crate) fn insert<'a>(forest: impl Forest<'a>, root: &Cell<u32>, id: u32, key: u64) {
    insert_behind(forest, root, 0, id, key);
}

/// Add `id`; `behind`: the last member whose key is at most `key`, or 0 if that is not known.
pub(crate) fn insert_behind<'a>(forest: impl Forest<'a>, root: &Cell<u32>, behind: u32, id: u32, key: u64) {
    let tree = Tree { forest, root };
    let node = tree.node(id);
    debug_assert!(id != 0 && !node.linked());
    node.key.set(key);
    node.child(0).set(0);
    node.child(1).set(0);
    node.height(0).set(1);
    node.height(1).set(1);
    let (mut parent, mut above, mut side, mut link) = (0, node, 0, root);
    if behind != 0 {
        // What is right of the last member before it lies behind it.
        (parent, above, side) = (behind, tree.node(behind), 1);
        link = above.child(side);
    }
    // Bound: the depth of the tree.
    while link.get() != 0 {
        parent = link.get();
        above = tree.node(parent);
        side = usize::from(key >= above.key.get());
        link = above.child(side);
    }
    node.parent.set(parent);
    link.set(id);
    tree.settle(parent, above, side, 2);
}

/// Take `id` out, if it is in.
pub(crate) fn remove<'a>(forest: impl Forest<'a>, root: &Cell<u32>, id: u32) {
    let tree = Tree { forest, root };
    let node = tree.node(id);
    if !node.linked() {
        return;
    }
    let (before, behind) = (node.child(0).get(), node.child(1).get());
    // Who goes from where it is: with two below, the one behind it, which then takes its place.
    let leaves = if before == 0 || behind == 0 { id } else { leftmost(forest, behind) };
    let leaver = tree.node(leaves);
    let mut parent = leaver.parent.get();
    let mut above = tree.node(parent);
    let (side, height) = (above.side_of(leaves), leaver.highest());
    // It has one below at most.
    let child = leaver.child(0).get() | leaver.child(1).get();
    tree.link(parent, above, side).set(child);
    if child != 0 {
        tree.node(child).parent.set(parent);
    }
    if leaves != id {
        if parent == id {
            (parent, above) = (leaves, leaver);
        }
        // Bound: both sides.
        for side in 0..2 {
            tree.hang(leaves, leaver, side, node.child(side).get());
            leaver.height(side).set(node.height(side).get());
        }
        let place = node.parent.get();
        let over = tree.node(place);
        tree.link(place, over, over.side_of(id)).set(leaves);
        leaver.parent.set(place);
    }
    node.height(0).set(0);
    tree.settle(parent, above, side, height);
}

/// The first below `id`, which is not 0.
fn leftmost<'a>(forest: impl Forest<'a>, id: u32) -> u32 {
    let mut at = id;
    // Bound: the depth of the tree.
    loop {
        let before = forest.node(at).child(0).get();
        if before == 0 {
            return at;
        }
        at = before;
    }
}

/// The member with the smallest key, 0 if there is none.
pub(crate) fn first<'a>(forest: impl Forest<'a>, root: &Cell<u32>) -> u32 {
    match root.get() {
        0 => 0,
        at => leftmost(forest, at),
    }
}

/// The member after `id`, 0 if it is the last.
pub(crate) fn next<'a>(forest: impl Forest<'a>, id: u32) -> u32 {
    let behind = forest.node(id).child(1).get();
    if behind != 0 {
        return leftmost(forest, behind);
    }
    let (mut below, mut at) = (id, forest.node(id).parent.get());
    // Bound: the depth of the tree.
    while at != 0 && forest.node(at).child(1).get() == below {
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
            at = here.child(1).get();
        } else {
            at = here.child(0).get();
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

    /// Check heights, balance and links below a member (0: none); how many there are.
    fn checked(forest: Plain<'_>, id: u32, parent: u32) -> u32 {
        let node = forest.node(id);
        if id == 0 {
            assert!(!node.linked(), "the node of nobody");
            return 0;
        }
        assert_eq!(node.parent.get(), parent);
        let [before, behind] = [0, 1].map(|side| node.height(side).get());
        assert!(before.abs_diff(behind) < 2, "{id} is out of balance");
        for side in 0..2 {
            assert_eq!(node.height(side).get(), forest.node(node.child(side).get()).highest() + 1);
        }
        1 + checked(forest, node.child(0).get(), id) + checked(forest, node.child(1).get(), id)
    }

    /// The most members on a way down of a tree that is balanced everywhere: the least tree of each height has a Fibonacci
    /// number of members.
    fn deepest(members: u32) -> u32 {
        let (mut height, mut least, mut lower) = (0, 1, 0);
        while least <= members {
            (least, lower) = (least + lower + 1, least);
            height += 1;
        }
        height
    }

    /// Whoever chooses what comes and goes, by id or by key, cannot make a tree deep: each order of arrival and each of
    /// leaving that would be a list without balancing, and the ids whose public hashes descend, which was enough once.
    #[test]
    fn no_choice_of_members_makes_it_deep() {
        const MEMBERS: u32 = 5_000;
        let hash = |id: u32| {
            let mixed = id.wrapping_mul(0x9e37_79b9);
            (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b)
        };
        let mut by_hash = (1..=MEMBERS).collect::<Vec<_>>();
        by_hash.sort_by_key(|id| hash(*id));
        let nodes = (0..=MEMBERS).map(|_| Node::default()).collect::<Vec<_>>();
        let forest = Plain(&nodes);
        let root = Cell::new(0);
        let orders: [fn(u64) -> u64; 4] =
            [|at| at, |at| u64::MAX - at, |_| 7, |at| if at.is_multiple_of(2) { at } else { u64::MAX - at }];
        for order in orders {
            for leaving in 0..3 {
                for (at, id) in by_hash.iter().enumerate() {
                    insert(forest, &root, *id, order(at as u64));
                }
                assert_eq!(checked(forest, root.get(), 0), MEMBERS);
                assert!(u32::from(forest.node(root.get()).highest()) <= deepest(MEMBERS));
                let mut left = MEMBERS;
                while root.get() != 0 {
                    // From the front, at the root, or the deepest on one side.
                    let id = match leaving {
                        0 => first(forest, &root),
                        1 => root.get(),
                        _ => last_up_to(forest, &root, u64::MAX),
                    };
                    remove(forest, &root, id);
                    left -= 1;
                    if left.is_power_of_two() || left.is_multiple_of(500) {
                        assert_eq!(checked(forest, root.get(), 0), left);
                        assert!(u32::from(forest.node(root.get()).highest()) <= deepest(left));
                    }
                }
            }
        }
        assert_eq!((deepest(0), deepest(1), deepest(2), deepest(4), deepest(65_535)), (0, 1, 2, 3, 22));
    }

    #[test]
    fn keeps_order_under_random_insertions_and_removals() {
        let nodes = (0..300).map(|_| Node::default()).collect::<Vec<_>>();
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
            assert_eq!(checked(forest, root.get(), 0), model.len() as u32);
        }
        assert_eq!(list(forest, &root), model);
    }
}
