//! Where a new image begins: the blob becomes the first task.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32};

use abi::Handle;
use protocol::image::{Start, TASK_ADDRESS};
use protocol::process::CONNECTION;
use runtime::OwnedHandle;

use crate::descriptor::{Files, OpenFile};
use crate::directory::Directory;
use crate::file_limit::FileLimit;
use crate::frame::{AlternateStack, Frame, NO_CALL};
use crate::heap::FIRST_TASK_LENGTH;
use crate::locks::Lock;
use crate::numbered::Numbered;
use crate::signal::Actions;
use crate::system_v::SystemV;
use crate::task::{self, FIRST_BLOCK, Process, Task};

/// Limit of descriptors, if nobody said.
const DESCRIPTORS: usize = 1024;

/// Entry: a new image; the blob lies at the address.
pub(crate) unsafe extern "C" fn start(blob: u64) {
    // SAFETY: the process service put the blob there, whose head is always there.
    let head = unsafe { core::slice::from_raw_parts(blob as *const u8, 16) };
    let length = Start::length(head).unwrap_or(0) as usize;
    // SAFETY: the head says how long it is; whoever wrote one wrote the other.
    let bytes = unsafe { core::slice::from_raw_parts(blob as *const u8, length) };
    match Start::decode(bytes) {
        Some(start) => begin(start),
        None => crate::dispatch::give_up(),
    }
}

fn begin(start: Start) {
    let pid = task::own_pid();
    let process = Process {
        pid,
        connection: CONNECTION,
        user: Lock::new(start.user),
        program: start.program,
        file_limit: FileLimit::new(start.file_limit),
        system_v: SystemV::new(Vec::new()),
        program_break: Lock::new((start.program_break, start.program_break)),
        mounts: Default::default(),
        reported_numbers: Default::default(),
        reported: Default::default(),
        record_locks: AtomicBool::new(false),
        personality: AtomicU32::new(0),
    };
    let mut files = Numbered::new(if start.descriptor_limit == 0 { DESCRIPTORS } else { start.descriptor_limit as usize });
    open(&mut files, start.descriptors);
    // SAFETY: the first task's room is there (`protocol::image`), and nobody else's.
    let block = unsafe { &mut *FIRST_BLOCK };
    block.stack = TASK_ADDRESS + FIRST_TASK_LENGTH;
    block.frame = Frame { rip: start.entry, rsp: start.stack, rflags: 0x202, call: NO_CALL, ..Frame::default() };
    task::settle(Task {
        block: FIRST_BLOCK,
        tid: pid,
        process: Arc::new(process),
        files: Arc::new(Lock::new(files)),
        directory: Arc::new(Lock::new(Directory { path: start.directory, umask: start.umask })),
        actions: Arc::new(Lock::new(Actions::new(start.ignored))),
        thread_pointer: 0,
        clear_tid: 0,
        mask: start.mask,
        saved_mask: None,
        alternate_stack: AlternateStack::NONE,
        taken: None,
        restart: None,
        gate: None,
        child_tid: 0,
        room: Default::default(),
        vectors: core::ptr::null_mut(),
        keeps_capabilities: false,
        last_words: alloc::vec::Vec::new(),
    });
}

/// Descriptors with the same `share` are one open file.
fn open(files: &mut Files, descriptors: Vec<protocol::image::Descriptor>) {
    let mut shared: Vec<(u32, Arc<OpenFile>)> = Vec::new();
    for descriptor in descriptors {
        let known = shared.iter().find(|(share, _)| *share == descriptor.share);
        let file = match known {
            Some((_, file)) => Arc::clone(file),
            None => {
                let handle = OwnedHandle::new(Handle(descriptor.handle));
                let (mode, features) = (descriptor.mode, descriptor.features);
                let file = if descriptor.writer == 0 {
                    OpenFile::new(handle, descriptor.path, mode, features, descriptor.open_flags)
                } else {
                    OpenFile::socket(handle, OwnedHandle::new(Handle(descriptor.writer)), descriptor.open_flags)
                };
                let file = Arc::new(file);
                shared.push((descriptor.share, Arc::clone(&file)));
                file
            }
        };
        // Numbers are within the limit that they were made under.
        let _ = files.replace(descriptor.number, file, descriptor.flags & 1 != 0);
    }
}
