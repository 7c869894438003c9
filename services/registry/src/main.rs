//! The registry: services by UUID, several instances, versions, notice of arrival and death.
//!
//! A connection's badge tells its holders apart: what was added or watched through it goes when its last handle is closed.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod table;

use abi::{Rights, notice};
use protocol::registry::{Request, answer};
use protocol::{Errno, Reply};
use runtime::server::{Delivery, Inbox, Reaction, serve};
use runtime::{Message, OwnedHandle, raise, start};

use table::Table;

runtime::main!(run);
runtime::heap!();

type Services = Table<OwnedHandle, OwnedHandle>;

fn run() {
    let mut services = Services::new();
    serve(start::handle("gate"), &mut Inbox::new(&mut [], 1), |delivery| {
        if delivery.received.is_pulse() {
            if delivery.received.is_notice() && delivery.received.message.label == notice::CLOSED {
                services.forget(delivery.received.badge, tell);
            }
            return Reaction::None;
        }
        react(&mut services, delivery).unwrap_or_else(|errno| reaction(Reply::error(errno)))
    })
}

fn tell(pulse: &OwnedHandle, value: u64) {
    // A watcher that is gone hears nothing; its watch goes with its connection.
    let _ = raise(pulse.handle(), value);
}

fn reaction(reply: impl Into<Reply>) -> Reaction {
    let reply = reply.into();
    Reaction::Reply(Message::new(reply.label, reply.words))
}

const fn uuid(low: u64, high: u64) -> u128 {
    low as u128 | (high as u128) << 64
}

fn react(services: &mut Services, delivery: &mut Delivery<'_>) -> Result<Reaction, Errno> {
    let received = delivery.received;
    Ok(match Request::decode(received.message.label, received.message.words).ok_or(Errno::ENOSYS)? {
        Request::Add { uuid_low, uuid_high, version } => {
            let connection = delivery.take().ok_or(Errno::EBADF)?;
            let instance = services.add(received.badge, uuid(uuid_low, uuid_high), version, connection, tell)?;
            reaction(answer::Add { instance, ..Default::default() })
        }
        Request::Remove { instance } => {
            services.remove(received.badge, instance, tell)?;
            reaction(Reply::DONE)
        }
        Request::Find { uuid_low, uuid_high, instance } => {
            let found = services.find(uuid(uuid_low, uuid_high), instance)?;
            let reply: Reply =
                answer::Find { instance: found.number, version: found.version, ..Default::default() }.into();
            Reaction::Give {
                message: Message::new(reply.label, reply.words),
                handle: found.connection.handle(),
                rights: Rights::SEND.and(Rights::COPY),
                keep: true,
            }
        }
        Request::Next { uuid_low, uuid_high, after } => {
            let found = services.next(uuid(uuid_low, uuid_high), after)?;
            reaction(answer::Next { instance: found.number, version: found.version, ..Default::default() })
        }
        Request::Watch { uuid_low, uuid_high } => {
            let pulse = delivery.take().ok_or(Errno::EBADF)?;
            services.watch(received.badge, uuid(uuid_low, uuid_high), pulse)?;
            reaction(Reply::DONE)
        }
    })
}
