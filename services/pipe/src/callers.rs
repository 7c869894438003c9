//! What a pipe needs of those who wait at it; apart, so that pipes can be tested without a kernel.

use abi::{Error, Handle};
use protocol::Reply;
use protocol::resource_manager::{Data, complete, handles};

/// Callers of kept requests.
pub(crate) trait Callers {
    /// Answer with bytes. True if the caller got it all; if not, it was told to try again or has left.
    fn answer(&mut self, request: u64, reply: Reply, parts: [&[u8]; 2]) -> bool;
    /// Copy what the caller sent, from `offset` on: how much, and whether that is all there will be: `Err`: the
    /// caller is gone, or its memory is.
    fn fetch(&mut self, request: u64, offset: usize, into: &mut [u8]) -> Result<usize, Lost>;
    /// Whether the caller still waits.
    fn is_waiting(&mut self, request: u64) -> bool;
}

/// Why bytes of a caller cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It left.
    Gone,
    /// A page of it is missing: it has to touch it.
    Missing,
}

/// The kernel's.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) gate: Handle,
}

impl Callers for Kernel {
    fn answer(&mut self, request: u64, reply: Reply, parts: [&[u8]; 2]) -> bool {
        let mut data = Data::new();
        for part in parts {
            if !part.is_empty() {
                data.add(part);
            }
        }
        complete(request, reply, &data)
    }

    fn fetch(&mut self, request: u64, offset: usize, into: &mut [u8]) -> Result<usize, Lost> {
        match runtime::read_request(request, offset as u64, into) {
            Ok(moved) => Ok(moved as usize),
            Err((_, moved)) if moved > 0 => Ok(moved as usize),
            Err((Error::LenderFault, _)) => Err(Lost::Missing),
            Err(_) => Err(Lost::Gone),
        }
    }

    fn is_waiting(&mut self, request: u64) -> bool {
        handles::is_waiting(self.gate, request)
    }
}

/// For tests: callers that take every answer, which is kept, and send bytes of their own number without end.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Willing(pub(crate) Vec<(u64, Vec<u8>)>);

#[cfg(test)]
impl Callers for Willing {
    fn answer(&mut self, request: u64, _: Reply, parts: [&[u8]; 2]) -> bool {
        self.0.push((request, parts.concat()));
        true
    }
    fn fetch(&mut self, request: u64, _: usize, into: &mut [u8]) -> Result<usize, Lost> {
        into.fill(request as u8);
        Ok(into.len())
    }
    fn is_waiting(&mut self, _: u64) -> bool {
        true
    }
}
