//! Many things at once in one thread: tasks that wait for pulses, for the time, or for each other.
//!
//! [`Executor::run`] is a server loop: between messages it polls the tasks that were woken. A task waits for
//! * a [`Signal`]: bits raised by a pulse ([`Executor::signal_for_pulse`]), by the message handler or by another task;
//! * the time ([`Executor::sleep_until`]);
//! * whatever else keeps a [`Waker`].
//!
//! Tasks run one at a time and until they wait, so they share state in `Rc<RefCell<…>>` (no borrow across an `await`).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use abi::call::flags::DEADLINE_RECEIVE;
use abi::{Error, Handle};

use crate::clock;
use crate::exchange::{Buffers, Options, reply};
use crate::heap::Yielding;
use crate::server::{Delivery, Inbox, Reaction};

type Task = Pin<Box<dyn Future<Output = ()>>>;
type Ready = lock_api::Mutex<Yielding, VecDeque<usize>>;

/// Wakes one task: puts it into the ready queue.
struct TaskWaker {
    index: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.ready.lock();
        if !ready.contains(&self.index) {
            ready.push_back(self.index);
        }
    }
}

/// A place for a task.
enum Place {
    Free,
    /// Being polled right now.
    Running,
    /// With its waker, made once.
    Waiting(Task, Waker),
}

struct Shared {
    ready: Arc<Ready>,
    places: RefCell<Vec<Place>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    timer_number: Cell<u64>,
    pulses: RefCell<BTreeMap<u64, Signal>>,
}

/// Runs tasks. Clones are the same executor.
#[derive(Clone)]
pub struct Executor(Rc<Shared>);

impl Default for Executor {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// An executor without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self(Rc::new(Shared {
            ready: Arc::new(lock_api::Mutex::new(VecDeque::new())),
            places: RefCell::new(Vec::new()),
            timers: RefCell::new(BTreeMap::new()),
            timer_number: Cell::new(0),
            pulses: RefCell::new(BTreeMap::new()),
        }))
    }

    /// Begin a task; it runs when the current one waits.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut places = self.0.places.borrow_mut();
        let index = places.iter().position(|place| matches!(place, Place::Free)).unwrap_or_else(|| {
            places.push(Place::Free);
            places.len() - 1
        });
        let waker = Waker::from(Arc::new(TaskWaker { index, ready: self.0.ready.clone() }));
        places[index] = Place::Waiting(Box::pin(future), waker);
        self.0.ready.lock().push_back(index);
    }

    /// Wait until the monotonic clock shows this.
    pub async fn sleep_until(&self, deadline_ns: u64) {
        let number = self.0.timer_number.get();
        self.0.timer_number.set(number + 1);
        let _timer = Timer { shared: &self.0, key: (deadline_ns, number) };
        poll_fn(|context| {
            if clock::monotonic_ns() >= deadline_ns {
                return Poll::Ready(());
            }
            self.0.timers.borrow_mut().insert((deadline_ns, number), context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Wait this long.
    pub async fn sleep(&self, nanoseconds: u64) {
        self.sleep_until(clock::monotonic_ns().saturating_add(nanoseconds)).await;
    }

    /// The future's result, or `None` if the time comes first.
    pub async fn until<T>(&self, deadline_ns: u64, future: impl Future<Output = T>) -> Option<T> {
        let mut future = core::pin::pin!(future);
        let mut sleep = core::pin::pin!(self.sleep_until(deadline_ns));
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
        })
        .await
    }

    /// The signal that pulses with this badge raise; they then no longer reach the handler of [`Executor::run`].
    pub fn signal_for_pulse(&self, badge: u64) -> Signal {
        self.0.pulses.borrow_mut().entry(badge).or_default().clone()
    }

    /// Poll what was woken, until nothing is.
    pub fn run_ready(&self) {
        loop {
            let Some(index) = self.0.ready.lock().pop_front() else { return };
            let mut places = self.0.places.borrow_mut();
            // A task that has ended may still be woken.
            let Some(place) = places.get_mut(index) else { continue };
            let (mut task, waker) = match core::mem::replace(place, Place::Running) {
                Place::Waiting(task, waker) => (task, waker),
                other => {
                    *place = other;
                    continue;
                }
            };
            drop(places);
            let ended = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let place = if ended {
                drop(task);
                Place::Free
            } else {
                Place::Waiting(task, waker)
            };
            self.0.places.borrow_mut()[index] = place;
        }
    }

    /// Wake the tasks whose time has come. Gives the next time, if any task waits for one.
    fn run_timers(&self) -> Option<u64> {
        let mut timers = self.0.timers.borrow_mut();
        while let Some(entry) = timers.first_entry() {
            if entry.key().0 > clock::monotonic_ns() {
                return Some(entry.key().0);
            }
            entry.remove().wake();
        }
        None
    }

    /// Hand a message to its signal or to the handler, and carry out the handler's wish.
    fn deliver(
        &self,
        inbox: &mut Inbox<'_>,
        received: crate::Received,
        handler: &mut impl FnMut(&mut Delivery<'_>) -> Reaction,
    ) {
        if received.is_pulse() && !received.is_notice() {
            let signal = self.0.pulses.borrow().get(&received.badge).cloned();
            if let Some(signal) = signal {
                signal.raise(received.message.words[0]);
                return;
            }
        }
        match inbox.deliver(received, handler) {
            Reaction::Reply(message) if received.request != 0 => {
                // If it fails the caller has left.
                let _ = reply(received.request, message, &Buffers::new());
            }
            Reaction::Give { message, handle, rights, keep } => {
                crate::server::give(received.request, message, handle, rights, keep);
            }
            Reaction::Reply(_) | Reaction::None => {}
        }
    }

    /// Serve a gate and run the tasks, for ever. The handler answers at once or spawns a task that will.
    pub fn run(
        &self,
        gate: Handle,
        inbox: &mut Inbox<'_>,
        mut handler: impl FnMut(&mut Delivery<'_>) -> Reaction,
    ) -> ! {
        loop {
            self.run_ready();
            let options = match self.run_timers() {
                Some(deadline) => Options { flags: DEADLINE_RECEIVE, deadline },
                None => Options::NONE,
            };
            if !self.0.ready.lock().is_empty() {
                continue;
            }
            match inbox.receive(gate, options) {
                Ok(received) => self.deliver(inbox, received, &mut handler),
                Err(Error::TimedOut | Error::Interrupted) => {}
                Err(error) => panic!("cannot receive: {}", error.text()),
            }
        }
    }
}

/// Takes a task's timer away when it no longer waits for it.
struct Timer<'a> {
    shared: &'a Shared,
    key: (u64, u64),
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.shared.timers.borrow_mut().remove(&self.key);
    }
}

/// Bits that come together until a task takes them. Clones are the same signal; every raise wakes all who wait, the
/// first to run takes the bits.
#[derive(Clone, Default)]
pub struct Signal(Rc<(Cell<u64>, RefCell<Vec<Waker>>)>);

impl Signal {
    /// A signal with no bits raised.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// OR bits into it; 0 does nothing.
    pub fn raise(&self, bits: u64) {
        let (pending, waiters) = &*self.0;
        pending.set(pending.get() | bits);
        if bits != 0 {
            for waiter in waiters.take() {
                waiter.wake();
            }
        }
    }

    /// The bits raised so far, if any; they are then no longer pending.
    #[must_use]
    pub fn take(&self) -> u64 {
        self.0.0.take()
    }

    /// Wait until a bit is raised; take all.
    pub async fn wait(&self) -> u64 {
        poll_fn(|context| {
            let bits = self.take();
            if bits != 0 {
                return Poll::Ready(bits);
            }
            let mut waiters = self.0.1.borrow_mut();
            if !waiters.iter().any(|waiter| waiter.will_wake(context.waker())) {
                waiters.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_signal_wakes_its_task_with_all_bits() {
        let executor = Executor::new();
        let (signal, seen) = (Signal::new(), Rc::new(RefCell::new(Vec::new())));
        executor.spawn({
            let (signal, seen) = (signal.clone(), seen.clone());
            async move {
                loop {
                    let bits = signal.wait().await;
                    seen.borrow_mut().push(bits);
                }
            }
        });
        executor.run_ready();
        signal.raise(1);
        signal.raise(4);
        executor.run_ready();
        signal.raise(8);
        executor.run_ready();
        assert_eq!(*seen.borrow(), [5, 8]);
    }

    #[test]
    fn places_of_ended_tasks_are_used_again() {
        let executor = Executor::new();
        let count = Rc::new(Cell::new(0));
        for _ in 0..100 {
            let count = count.clone();
            executor.spawn(async move { count.set(count.get() + 1) });
            executor.run_ready();
        }
        assert_eq!((count.get(), executor.0.places.borrow().len()), (100, 1));
    }

    #[test]
    fn a_task_may_begin_another() {
        let executor = Executor::new();
        let done = Rc::new(Cell::new(false));
        executor.spawn({
            let (executor, done) = (executor.clone(), done.clone());
            async move {
                let inner = done.clone();
                executor.spawn(async move { inner.set(true) });
                assert!(!done.get());
            }
        });
        executor.run_ready();
        assert!(done.get());
    }
}
