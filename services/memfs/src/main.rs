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
mod store;
mod tree;
mod waiting;

use abi::Handle;
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
    let now = Time::from_ns(runtime::clock::realtime_ns());
    let mut tree = Tree::new(now);
    let bytes = import(&mut tree, start::handle("archive"), start::number("archive-length"));
    if let Err(errno) = import::directories(&mut tree, now) {
        runtime::log!(Error, "cannot make directories: {}", errno.text());
        return;
    }
    let pages = Pages::new(process, bytes);
    let error = Server::new(gate, Files::new(gate, process, tree, pages)).serve();
    runtime::log!(Error, "cannot receive: {}", error.text());
}

/// Take over the archive's tree, if there is one. Gives the archive's bytes.
fn import(tree: &mut Tree, memory: Handle, length: u64) -> &'static [u8] {
    if memory.is_none() {
        return &[];
    }
    match runtime::mapping::archive(memory, length) {
        Ok(archive) => {
            let failed = import::archive(tree, &archive, memory);
            if failed > 0 {
                runtime::log!(Warning, "{failed} entries of the archive could not be taken over");
            }
            archive.bytes()
        }
        Err(error) => {
            runtime::log!(Error, "cannot use the archive: {}", error.text());
            &[]
        }
    }
}
