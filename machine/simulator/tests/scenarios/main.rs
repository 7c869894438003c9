//! What must hold of the kernel (DESIGN §2), scenario by scenario, on the simulated processor.

mod alarm;
mod billing;
mod blocking;
mod copy;
mod deadlock;
mod death;
mod delay;
mod device;
mod exhaustion;
mod fairness;
mod fault;
mod handles;
mod hole;
mod interrupt;
mod interrupt_held;
mod interrupt_shared;
mod length;
mod mapping;
mod mass;
mod memory;
mod message;
mod nesting;
mod own_baton;
mod passing;
mod policy;
mod port;
mod priority;
mod pulse;
mod quota;
mod quota_search;
mod repeated;
mod reply;
mod reserve;
mod retry;
mod second_processor;
mod sporadic;
mod state;
mod stress;
mod successor;
mod teardown;
mod thread;
mod time;
mod trace;

use abi::Handle;
use simulator::scenario::{Process, Root};

/// A server's process, its gate, and a client's process with a connection to it.
struct Pair {
    server: Process,
    client: Process,
    /// In root's table.
    gate: Handle,
    /// In the server's table.
    receiving: Handle,
    /// In the client's table, badge 77.
    sending: Handle,
}

impl Pair {
    async fn new(root: &Root) -> Self {
        Self::with_gate(root, 0, 0).await
    }

    /// With a reserve baton of this priority (0: none) and this grace time.
    async fn with_gate(root: &Root, reserve: u8, grace_ns: u64) -> Self {
        let server = root.process().await;
        let client = root.process().await;
        let baton = if reserve == 0 { Handle::NONE } else { root.baton(&server, reserve).await };
        let gate = root.gate_with(&server, baton, grace_ns).await;
        let receiving = root.give_gate(&server, gate).await;
        let sending = root.give_connection(&client, gate, 77).await;
        Self { server, client, gate, receiving, sending }
    }
}
