//! Methods of a baton.

use super::{Answer, DONE, Request};
use crate::kernel::Kernel;
use crate::machine::Machine;
use abi::object::baton as method;
use abi::thread::Policy;
use abi::{Error, Rights};

impl<M: Machine> Kernel<M> {
    /// Fill in a new baton.
    pub(crate) fn set_baton(&self, index: u32, priority: u8, policy: Policy, slice: u64, period: u64, sporadic: u16) {
        let baton = self.tables.baton(index);
        baton.holder.set(0);
        baton.root.set(0);
        baton.owned.set(false);
        baton.reserve_of.set(0);
        baton.waits.set(0);
        baton.billed.set(0);
        baton.trace.set(0);
        baton.place.set(crate::baton::Place::Resting);
        self.shape(baton, priority, policy, slice, period, sporadic);
        baton.fill();
    }

    fn shape(&self, baton: &crate::baton::Baton, priority: u8, policy: Policy, slice: u64, period: u64, sporadic: u16) {
        baton.priority.set(priority);
        baton.policy.set(policy as u8);
        // Half the end of time is long enough, and can be added to any time.
        baton.slice.set(slice.min(u64::MAX / 2));
        baton.period.set(period);
        let [low_priority, refills] = sporadic.to_le_bytes();
        baton.low_priority.set(low_priority);
        baton.refill_limit.set(if refills == 0 { abi::thread::REFILLS } else { refills });
    }

    #[inline(never)]
    pub(super) fn baton_method(&self, request: Request<'_, M>) -> Answer {
        let baton = self.tables.baton(request.object());
        match request.method() {
            method::SET => {
                request.need(Rights::MANAGE)?;
                let owner = self.tables.process(baton.header.owner.get());
                let (priority, policy, slice, period, sporadic) = self.baton_parameters(request, owner)?;
                self.change_baton(request.object(), |baton| {
                    self.shape(baton, priority, policy, slice, period, sporadic)
                });
                DONE
            }
            method::INFORMATION => {
                let billed = self.billed(request.object());
                request.answer(
                    billed,
                    u64::from(baton.priority.get()),
                    u64::from(baton.policy.get()),
                    baton.slice.get(),
                )
            }
            _ => Err(Error::Unsupported),
        }
    }
}
