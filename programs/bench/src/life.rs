//! Making and unmaking threads and processes.

use abi::object::access;
use abi::thread::Policy;
use abi::{Error, Handle, PAGE_SIZE, Quota};
use runtime::object::{process, thread};

use crate::row::{Report, Value, measure};
use crate::world::{STRONGER, World};

const ROUNDS: u64 = 100;
/// Where those who come and go have their stack, here and in the process that comes and goes.
const STACK_ADDRESS: u64 = 0x3300_0000;

/// A thread that ends itself at once: its argument is its handle.
extern "C" fn end_thread(argument: u64) -> ! {
    // It does not come back.
    let _ = process::destroy(Handle(argument));
    runtime::entry::end()
}

/// A process that ends itself at once.
extern "C" fn end_process(_: u64) -> ! {
    runtime::entry::end()
}

/// What ended itself is gone; its creator's handle may have gone with it.
fn destroy(ended: Handle) -> Result<(), Error> {
    match process::destroy(ended) {
        Ok(()) | Err(Error::BadHandle) => Ok(()),
        Err(error) => Err(error),
    }
}

fn thread_cycle(world: &World) -> Result<Value, Error> {
    let own = Handle::SELF_PROCESS;
    world.map_new(own, STACK_ADDRESS, PAGE_SIZE)?;
    let baton = process::create_baton(own, STRONGER, Policy::RoundRobin, 0)?;
    let value = measure(ROUNDS, |_| {
        let thread = process::create_thread(own, Handle::NONE)?;
        let stack = STACK_ADDRESS + PAGE_SIZE - 8;
        thread::start(thread, end_thread as *const () as u64, stack, thread.0, baton)?;
        // It is stronger: here it has run.
        destroy(thread)
    });
    process::destroy(baton)?;
    process::unmap(own, STACK_ADDRESS, PAGE_SIZE)?;
    value
}

fn process_cycle(world: &World) -> Result<Value, Error> {
    let own = Handle::SELF_PROCESS;
    let text = end_process as *const () as u64 & !(PAGE_SIZE - 1);
    let memory = world.memory(PAGE_SIZE)?;
    let quota = Quota { threads: 1, batons: 1, mappings: 8, pages: 16, priority: 255, ..Quota::default() };
    let value = measure(ROUNDS, |_| {
        let space = process::create_process(own, 0xbe7c, &quota)?;
        // Two pages of text, as a function may begin at the end of the first; and a stack.
        process::share_range(space, own, text, 2 * PAGE_SIZE, true)?;
        process::map(space, memory, STACK_ADDRESS, access::READ | access::WRITE, 0, PAGE_SIZE)?;
        let thread = process::create_thread(space, Handle::NONE)?;
        let baton = process::create_baton(space, STRONGER, Policy::RoundRobin, 0)?;
        let stack = STACK_ADDRESS + PAGE_SIZE - 8;
        thread::start(thread, end_process as *const () as u64, stack, 0, baton)?;
        destroy(space)?;
        runtime::handle::close(thread);
        runtime::handle::close(baton);
        Ok(())
    });
    process::destroy(memory)?;
    value
}

/// The rows.
pub(crate) fn rows(world: &World, report: &Report) {
    let how = "create a thread, start it (it is stronger, and ends itself at once), destroy what is left";
    report.row("thread_cycle", how, thread_cycle(world));
    let how = "create a process with text, a stack, a thread and a baton, start it (it ends itself at once), destroy \
               what is left, close the three handles";
    report.row("process_cycle", how, process_cycle(world));
}
