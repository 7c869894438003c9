//! Methods of a gate, and its connections.

use super::{Answer, DONE, Request};
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::tables::Ordered;
use crate::tree;
use crate::waiting::GRACE_MAXIMUM;
use abi::call::flags;
use abi::object::{Kind, gate as method};
use abi::{Error, Rights};

impl<M: Machine> Kernel<M> {
    pub(super) fn create_gate(&self, request: Request<'_, M>) -> Answer {
        let [reserve, grace, ..] = request.words();
        let reserve = self.named_or_none(request, reserve, Kind::Baton, Rights::MANAGE)?;
        self.check_reserve(0, reserve)?;
        let index = self.create(Kind::Gate, request.object())?;
        let gate = self.tables.gate(index);
        gate.word.set(u64::from(gate.header.generation.get()) << 32);
        gate.callers.set(0);
        gate.helper.set(0);
        gate.notices.set(0);
        gate.receivers.set(0);
        gate.only.set(0);
        gate.busy_first.set(0);
        gate.busy_last.set(0);
        gate.count.set(0);
        gate.notice_count.set(0);
        gate.connections.set(0);
        gate.reserve.set(0);
        gate.grace.set(grace.min(GRACE_MAXIMUM));
        self.set_reserve(index, reserve);
        self.hand_out(request, Kind::Gate, index, Rights::ALL)
    }

    /// A baton can be one gate's reserve only.
    fn check_reserve(&self, gate: u32, baton: u32) -> Result<(), Error> {
        let taken = self.tables.baton(baton).reserve_of.get();
        if taken != 0 && taken != gate { Err(Error::Busy) } else { Ok(()) }
    }

    /// Give a gate another reserve baton, or none (0). A receiver may be waiting for just that.
    #[inline(never)]
    pub(crate) fn set_reserve(&self, index: u32, baton: u32) {
        let old = self.tables.gate(index).reserve.replace(baton);
        self.tables.baton(old).reserve_of.set(0);
        if baton != 0 {
            self.tables.baton(baton).reserve_of.set(index);
            self.offer(baton);
        }
    }

    #[inline(never)]
    pub(super) fn gate_method(&self, request: Request<'_, M>) -> Answer {
        let [first, second, ..] = request.words();
        let gate = self.tables.gate(request.object());
        if request.method() != method::REQUEST_INFORMATION {
            request.need(Rights::MANAGE)?;
        }
        match request.method() {
            method::CONNECT => self.connect(request, first, second),
            method::SET_RESERVE => {
                let baton = self.named_or_none(request, first, Kind::Baton, Rights::MANAGE)?;
                self.check_reserve(request.object(), baton)?;
                self.set_reserve(request.object(), baton);
                DONE
            }
            method::NEXT_CONNECTION => {
                let forest = self.tables.members(Ordered::Connections);
                let next = if request.option() & 1 == 1 {
                    tree::first(forest, &gate.connections)
                } else {
                    match tree::last_up_to(forest, &gate.connections, first) {
                        0 => tree::first(forest, &gate.connections),
                        last => tree::next(forest, last),
                    }
                };
                if next == 0 {
                    return Err(Error::NotFound);
                }
                let connection = self.tables.connection(next);
                request.answer(connection.badge.get(), u64::from(connection.count.get()), 0, 0)
            }
            method::INFORMATION => {
                let pulses = u64::from(gate.notice_count.get());
                let callers = u64::from(gate.count.get()) - pulses;
                request.answer(callers, u64::from(gate.parked() != 0), pulses, 0)
            }
            method::REQUEST_INFORMATION => {
                request.need(Rights::RECEIVE)?;
                let (_, caller) = self.requester(request.caller, first)?;
                // A later gate may have the slot.
                if self.tables.gate_of(caller.target.get()).map_or(0, |(index, _)| index) != request.object() {
                    return Err(Error::NotFound);
                }
                let baton = caller.current.get().baton();
                let priority = self.tables.baton(baton).priority.get();
                request.answer(caller.identity.get(), u64::from(priority), self.trace_id(baton), 0)
            }
            _ => Err(Error::Unsupported),
        }
    }

    fn connect(&self, request: Request<'_, M>, badge: u64, serving: u64) -> Answer {
        let gate = self.tables.gate(request.object());
        // Who makes it says who pays, and nobody pays that did not agree.
        let mut payer = request.caller;
        if serving != 0 {
            (_, payer) = self.requester(request.caller, serving)?;
            if !self.flagged(payer, flags::CHARGE_ME) {
                return Err(Error::NoRight);
            }
        }
        let rights = match request.option() {
            0 => Rights::SEND.and(Rights::COPY),
            rights => Rights::ALL.intersect(Rights(rights as u32)),
        };
        let process = self.tables.process(request.caller.process.get());
        if !self.tables.has_room(process) {
            return Err(Error::TableFull);
        }
        let index = self.create(Kind::Connection, payer.process.get())?;
        let connection = self.tables.connection(index);
        connection.gate.set(gate.word.get() >> 32 << 32 | u64::from(request.object()));
        connection.badge.set(badge);
        connection.count.set(0);
        tree::insert(self.tables.members(Ordered::Connections), &gate.connections, index, badge);
        self.hand_out(request, Kind::Connection, index, rights)
    }
}
