//! The system log: a bounded ring of lines. It asks nobody for anything but the kernel, so that everybody may write to it.
//!
//! All memory is its own from the start. Lines are also written to the emulator's debug port, if init gave it one
//! (handle `debug-port`), where they outlive a system that hangs.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod ring;

use abi::Handle;
use protocol::log::{Request, answer};
use protocol::{Reply, place};
use runtime::object::memory;
use runtime::server::{Delivery, Inbox, Reaction, serve};
use runtime::{clock, start, write_request};

use ring::Ring;

runtime::main!(run);
runtime::heap!(static 160 * 1024);

/// Text kept.
const RING: usize = 128 * 1024;
/// Longest line taken; the rest is cut off.
const LINE: usize = 1024;

fn run() {
    // It fits in the heap above.
    let Ok(mut ring) = Ring::new(RING) else { return };
    let debug_port = start::handle("debug-port");
    let mut bytes = [0; LINE];
    serve(start::handle("gate"), &mut Inbox::new(&mut bytes, 0), |delivery| {
        if delivery.received.is_pulse() {
            return Reaction::None;
        }
        let reply = answer_request(&mut ring, debug_port, delivery);
        Reaction::Reply(runtime::Message::new(reply.label, reply.words))
    })
}

fn answer_request(ring: &mut Ring, debug_port: Handle, delivery: &Delivery<'_>) -> Reply {
    let received = &delivery.received;
    match Request::decode(received.message.label, received.message.words) {
        Some(Request::Append { level }) => {
            let (start, _) = ring.position();
            ring.append(level, clock::monotonic_ns(), delivery.bytes);
            if debug_port != Handle::NONE {
                let (runs, _) = ring.read(start, 2 * LINE);
                for chunk in runs.into_iter().flat_map(|run| run.chunks(16)) {
                    // A machine without this port ignores it.
                    let _ = memory::port_write_bytes(debug_port, 0, chunk);
                }
            }
            Reply::DONE
        }
        Some(Request::Read { from }) => {
            let ([first, second], next) = ring.read(from, received.room as usize);
            let moved = write_request(received.request, 0, first)
                .and_then(|_| write_request(received.request, first.len() as u64, second));
            match moved {
                Ok(_) => {
                    answer::Read { length: (first.len() + second.len()) as u64, next, ..Default::default() }.into()
                }
                Err(_) => Reply::RETRY,
            }
        }
        Some(Request::Clear {}) => {
            ring.clear();
            Reply::DONE
        }
        Some(Request::Position {}) => {
            let (next, bytes) = ring.position();
            answer::Position { next, bytes, ..Default::default() }.into()
        }
        None => place::answer(received, 1),
    }
}
