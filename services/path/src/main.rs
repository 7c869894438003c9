//! The path service: prefix → the connection of the program that owns it.
//!
//! A connection's badge names a name space (index and generation) and says whether it may be changed through it. Badge 0 is
//! the space that init makes; [`MAY_CHANGE`] alone is init's own connection to it. Derived spaces are copies, and end with
//! the last handle to their connection.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod space;

use alloc::rc::Rc;
use alloc::vec::Vec;

use abi::{Error, Handle, Rights, notice};
use protocol::path::{MAY_CHANGE, PATH_MAXIMUM, Request, answer};
use protocol::{Errno, Reply};
use runtime::object::gate;
use runtime::server::{Delivery, Inbox, Reaction, serve};
use runtime::{Message, OwnedHandle, handle, start, write_request};

use space::{Pair, Space};

runtime::main!(run);
runtime::heap!();

/// A place for a name space.
struct Place {
    generation: u32,
    /// Identity of the process that derived it.
    maker: u64,
    space: Option<Space<Rc<OwnedHandle>>>,
}

/// Generations of a place in one run of this program.
const GENERATIONS: u32 = 1 << 20;
/// Name spaces that one process may have derived: they cost memory of this service.
const DERIVED_MOST: usize = 64;
/// Runs told apart.
const RUNS: u64 = 1 << 12;

/// All name spaces.
struct Spaces {
    places: Vec<Place>,
    /// Generation of places that were never used: each run of this program has its own.
    first: u32,
    next_mount: u64,
}

const fn badge(index: usize, generation: u32) -> u64 {
    index as u64 | (generation as u64) << 16
}

impl Spaces {
    fn new(run: u64) -> Self {
        let first = ((run % RUNS) as u32 * GENERATIONS) | 1;
        Self { first, places: Vec::from([Place { generation: 0, maker: 0, space: Some(Space::new()) }]), next_mount: 1 }
    }

    fn place(&mut self, badge: u64) -> Option<&mut Place> {
        let generation = (badge & !MAY_CHANGE) >> 16;
        self.places.get_mut(badge as usize & 0xffff).filter(|place| u64::from(place.generation) == generation)
    }

    fn find(&mut self, badge: u64) -> Result<&mut Space<Rc<OwnedHandle>>, Errno> {
        self.place(badge).and_then(|place| place.space.as_mut()).ok_or(Errno::EIO)
    }

    /// Keep a space for who derived it. Gives its badge.
    fn add(&mut self, maker: u64, space: Space<Rc<OwnedHandle>>) -> Result<u64, Errno> {
        if self.places.iter().filter(|place| place.space.is_some() && place.maker == maker).count() >= DERIVED_MOST {
            return Err(Errno::EMFILE);
        }
        let usable = |place: &Place| place.space.is_none() && place.generation - self.first < GENERATIONS - 2;
        let index = match self.places.iter().position(usable) {
            Some(index) => index,
            // A place whose generation would be another run's is never used again.
            None if self.places.len() < 1 << 16 => {
                self.places.push(Place { generation: self.first, maker: 0, space: None });
                self.places.len() - 1
            }
            None => return Err(Errno::ENOMEM),
        };
        self.places[index].space = Some(space);
        self.places[index].maker = maker;
        Ok(badge(index, self.places[index].generation))
    }

    fn remove(&mut self, badge: u64) {
        // Init's space stays: init may make connections to it at any time.
        if badge & !MAY_CHANGE != 0
            && let Some(place) = self.place(badge)
        {
            place.space = None;
            place.generation += 1;
        }
    }
}

fn run() {
    let gate = start::handle("gate");
    let mut spaces = Spaces::new(start::number("run"));
    let mut bytes = [0; PATH_MAXIMUM];
    serve(gate, &mut Inbox::new(&mut bytes, 1), |delivery| {
        if delivery.received.is_pulse() {
            if delivery.received.is_notice() && delivery.received.message.label == notice::CLOSED {
                spaces.remove(delivery.received.badge);
            }
            return Reaction::None;
        }
        react(&mut spaces, gate, delivery).unwrap_or_else(|errno| reaction(Reply::error(errno)))
    })
}

fn reaction(reply: impl Into<Reply>) -> Reaction {
    let reply = reply.into();
    Reaction::Reply(Message::new(reply.label, reply.words))
}

fn react(spaces: &mut Spaces, gate: Handle, delivery: &mut Delivery<'_>) -> Result<Reaction, Errno> {
    let received = delivery.received;
    let text = delivery.bytes;
    if received.sent as usize > text.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    let may_change = || if received.badge & MAY_CHANGE != 0 { Ok(()) } else { Err(Errno::EPERM) };
    match Request::decode(received.message.label, received.message.words).ok_or(Errno::ENOSYS)? {
        Request::Resolve { skip } => {
            let skip = usize::try_from(skip).map_err(|_| Errno::ENOENT)?;
            let space = spaces.find(received.badge)?;
            let alone = space.alone(text) as u64;
            let (mount, consumed, more) = space.resolve(text, skip).ok_or(Errno::ENOENT)?;
            let (consumed, more) = (consumed as u64, u64::from(more));
            let reply: Reply =
                answer::Resolve { consumed, mount: mount.number, more, alone, ..Default::default() }.into();
            Ok(Reaction::Give {
                message: Message::new(reply.label, reply.words),
                handle: mount.owner.handle(),
                rights: Rights::SEND.and(Rights::COPY),
                keep: true,
            })
        }
        Request::Mount { after } => {
            may_change()?;
            let owner = Rc::new(delivery.take().ok_or(Errno::EBADF)?);
            let number = spaces.next_mount;
            spaces.find(received.badge)?.mount(text, number, owner, after != 0);
            spaces.next_mount += 1;
            Ok(reaction(answer::Mount { mount: number, ..Default::default() }))
        }
        Request::Unmount { mount } => {
            may_change()?;
            spaces.find(received.badge)?.unmount(mount)?;
            Ok(reaction(Reply::DONE))
        }
        Request::Children {} => {
            let names = spaces.find(received.badge)?.children(text);
            if names.len() > received.room as usize {
                return Err(Errno::ERANGE);
            }
            if write_request(received.request, 0, &names).is_err() {
                return Ok(reaction(Reply::RETRY));
            }
            Ok(reaction(answer::Children { length: names.len() as u64, ..Default::default() }))
        }
        Request::Derive {} => {
            let space = spaces.find(received.badge)?;
            let derived = if text.is_empty() { space.clone() } else { space.derive(&pairs(text)?)? };
            let badge = spaces.add(received.identity, derived)? | MAY_CHANGE;
            let connection = handle::with_room(|| gate::connect(gate, badge, received.request)).map_err(|error| {
                spaces.remove(badge);
                if error == Error::NoRight { Errno::EPERM } else { Errno::ENOMEM }
            })?;
            Ok(Reaction::Give {
                message: Message::new(0, [0; 4]),
                handle: connection,
                rights: Rights::SEND.and(Rights::COPY),
                keep: false,
            })
        }
        Request::Entry { index } => {
            let index = usize::try_from(index).map_err(|_| Errno::ENOENT)?;
            let (prefix, mount) = spaces.find(received.badge)?.entry(index).ok_or(Errno::ENOENT)?;
            let length = prefix.len() as u64;
            if write_request(received.request, 0, prefix).is_err() {
                return Ok(reaction(Reply::RETRY));
            }
            Ok(reaction(answer::Entry { length, mount, ..Default::default() }))
        }
    }
}

/// The pairs of zero-terminated strings that `Derive` takes.
fn pairs(text: &[u8]) -> Result<Vec<Pair<'_>>, Errno> {
    let text = text.strip_suffix(&[0]).ok_or(Errno::EINVAL)?;
    let strings: Vec<&[u8]> = text.split(|&byte| byte == 0).collect();
    let (pairs, rest) = strings.as_chunks::<2>();
    if rest.is_empty() { Ok(pairs.iter().map(|&[prefix, path]| (prefix, path)).collect()) } else { Err(Errno::EINVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_badge_of_a_removed_space_names_nothing() {
        let mut spaces = Spaces::new(4095);
        let first = spaces.add(7, Space::new()).expect("room") | MAY_CHANGE;
        spaces.remove(first);
        let second = spaces.add(7, Space::new()).expect("room");
        assert_ne!(first & !MAY_CHANGE, second);
        assert!(spaces.find(first).is_err() && spaces.find(second).is_ok());
        spaces.remove(0);
        assert!(spaces.find(0).is_ok() && spaces.find(MAY_CHANGE).is_ok());
    }

    #[test]
    fn one_process_cannot_have_them_all() {
        let mut spaces = Spaces::new(1);
        let badges: Vec<u64> = (0..DERIVED_MOST).map(|_| spaces.add(7, Space::new()).expect("room")).collect();
        assert_eq!(spaces.add(7, Space::new()), Err(Errno::EMFILE));
        assert!(spaces.add(8, Space::new()).is_ok());
        spaces.remove(badges[3]);
        assert!(spaces.add(7, Space::new()).is_ok());
    }

    #[test]
    fn pairs_must_be_complete() {
        assert_eq!(pairs(b"/a\0/b\0/c\0/d\0"), Ok(Vec::from([(&b"/a"[..], &b"/b"[..]), (b"/c", b"/d")])));
        assert_eq!(pairs(b"/a\0"), Err(Errno::EINVAL));
        assert_eq!(pairs(b"/a\0/b"), Err(Errno::EINVAL));
    }
}
