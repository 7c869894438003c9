//! The memory file system: the root.
//!
//! Metadata is on the heap, file data in pages that programs can map too. It starts with the usual directories and what the boot archive
//! has under `root/`, without copying it. When it is killed, init starts it again, empty but for that.
#![cfg_attr(target_os = "none", no_std, no_main)]

extern crate alloc;

mod content;
mod files;
mod import;
mod locks;
mod names;
mod store;
mod tree;
mod waiting;

use abi::Handle;
use abi::archive::Archive;
use protocol::resource_manager::Server;
use runtime::start;

use files::Files;
use store::Pages;
use tree::{Time, Tree};

runtime::main!(run);
runtime::heap!();

/// Size of a page.
pub(crate) const PAGE: u64 = abi::PAGE_SIZE;

fn run() {
    let process = start::handle("process");
    let gate = start::handle("gate");
    let archive = archive(start::handle("archive"), start::number("archive-length"));
    // The clock may not be set yet: nothing here is older than the archive.
    let now = Time::from_ns(runtime::clock::realtime_ns())
        .max(Time { seconds: archive.map_or(0, |archive| archive.built_seconds()), nanoseconds: 0 });
    // Nobody should know how names are spread.
    let seed = runtime::clock::monotonic_ns() as u32 ^ runtime::clock::realtime_ns() as u32;
    let mut tree = Tree::new(now, seed, start::number("run") as u16);
    if let Some(archive) = &archive {
        let failed = import::archive(&mut tree, archive, start::handle("archive"));
        if failed > 0 {
            runtime::log!(Warning, "{failed} entries of the archive could not be taken over");
        }
    }
    import::directories(&mut tree, now);
    let pages = Pages::new(process, archive.map_or(&[], |archive| archive.bytes()));
    let error = Server::new(gate, Files::new(gate, process, tree, pages)).serve();
    runtime::log!(Error, "cannot receive: {}", error.text());
}

/// The boot archive, if there is one.
fn archive(memory: Handle, length: u64) -> Option<Archive<'static>> {
    if memory.is_none() {
        return None;
    }
    match runtime::mapping::archive(memory, length) {
        Ok(archive) => Some(archive),
        Err(error) => {
            runtime::log!(Error, "cannot use the archive: {}", error.text());
            None
        }
    }
}
