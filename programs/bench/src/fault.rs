//! A page fault that a pager in another address space handles.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use abi::object::access;
use abi::{Error, Handle, PAGE_SIZE, Rights, notice};
use runtime::Message;
use runtime::object::process;

use crate::row::{Report, Value};
use crate::world::{PRIORITY, WEAKER, World, given};
use crate::{mark, time};

/// What faults, in the one address space, and is mapped there.
const ADDRESS: u64 = 0x3200_0000;
const PAGES: u64 = 100;
/// The first makes the page table.
const WARM_UP: u64 = 4;

static TOTAL: AtomicU64 = AtomicU64::new(0);
static TOUCHED: AtomicU64 = AtomicU64::new(0);
static SECTION: AtomicU64 = AtomicU64::new(0);

extern "C" fn pager(argument: u64) -> ! {
    let [gate, space, memory, ..] = given(argument);
    let mut next = runtime::receive_words(gate);
    while let Ok(received) = next {
        let page = received.message.words[0] & !(PAGE_SIZE - 1);
        let offset = page.wrapping_sub(ADDRESS);
        let writable = access::READ | access::WRITE;
        let mapped = received.message.label == notice::FAULT_PAGE
            && process::map(space, memory, page, writable, offset, PAGE_SIZE).is_ok();
        let answer = Message::new(u64::from(!mapped), [0; 4]);
        next = runtime::reply_and_receive_words(received.request, answer, gate);
    }
    runtime::entry::end()
}

#[cfg(target_os = "none")]
#[allow(unsafe_code)]
#[inline(always)]
fn touch(address: u64) {
    // SAFETY: the pager maps memory there, which nothing else uses.
    unsafe { core::ptr::write_volatile(address as *mut u64, 1) };
}

#[cfg(not(target_os = "none"))]
fn touch(_: u64) {}

extern "C" fn toucher(_: u64) -> ! {
    for page in 0..PAGES + WARM_UP {
        if page == WARM_UP {
            SECTION.store(mark::end_section() + 1, Relaxed);
        }
        let took = time!(touch(ADDRESS + page * PAGE_SIZE));
        if page >= WARM_UP {
            TOTAL.fetch_add(took, Relaxed);
        }
        TOUCHED.fetch_add(1, Relaxed);
    }
    mark::end_section();
    runtime::entry::end()
}

fn to_pager(world: &World) -> Result<Value, Error> {
    let (gate, server) = (world.gate()?, world.other(Handle::NONE)?);
    let client = world.other(gate.connection)?;
    let memory = world.memory((PAGES + WARM_UP) * PAGE_SIZE)?;
    server.give(gate.gate, Rights::RECEIVE)?;
    server.give(client.process, Rights::MANAGE)?;
    server.give(memory, Rights::READ.and(Rights::WRITE))?;
    server.start(pager, PRIORITY, 0)?;
    world.rest(20_000)?;
    client.start(toucher, WEAKER, 0)?;
    world.rest(2_000_000)?;
    if TOUCHED.load(Relaxed) != PAGES + WARM_UP {
        return Err(Error::TimedOut);
    }
    client.end()?;
    server.end()?;
    gate.end()?;
    process::destroy(memory)?;
    Ok(Value::Instructions { total: TOTAL.load(Relaxed), rounds: PAGES, section: SECTION.load(Relaxed) })
}

/// The row.
pub(crate) fn rows(world: &World, report: &Report) {
    let how = "touch a page that is not there: the fault goes by message to a pager in another address space, which maps \
               one page of a Memory and replies, until the touch is done";
    report.row("fault_to_pager", how, to_pager(world));
}
