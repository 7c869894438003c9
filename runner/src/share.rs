//! Work in numbered parts that threads share, as many as wanted, with a sign of life now and then.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::Result;

/// How often long work says that it goes on.
const PROGRESS: Duration = Duration::from_secs(2);

/// How many threads there are if nobody says: one a processor.
#[must_use]
pub fn all_processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Do `work` with each number that `next` gives, until it gives none, on so many threads; `done` looks at each result as it
/// comes, and ends it all by an error. `progress` says how far it is.
///
/// # Errors
/// What `done` says.
pub fn run<T: Send>(
    threads: usize,
    next: impl Fn() -> Option<u64> + Sync,
    work: impl Fn(u64) -> T + Sync,
    mut done: impl FnMut(T) -> Result<()>,
    progress: impl Fn() -> String,
) -> Result<()> {
    let (next, work) = (&next, &work);
    let start = Instant::now();
    thread::scope(|scope| {
        // Gone when this ends, so that the workers end too.
        let (sender, results) = channel();
        for _ in 0..threads {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(number) = next() {
                    if sender.send(work(number)).is_err() {
                        // Another one's result has ended it.
                        return;
                    }
                }
            });
        }
        drop(sender);
        loop {
            match results.recv_timeout(PROGRESS) {
                Ok(result) => done(result)?,
                Err(RecvTimeoutError::Timeout) => {
                    // Progress that cannot be shown is not shown.
                    let _ = writeln!(std::io::stderr(), "{} in {} s", progress(), start.elapsed().as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::error::Error;

    #[test]
    fn each_part_is_done_once_and_an_error_ends_it() {
        let next = AtomicU64::new(0);
        let more = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < 100);
        let mut sum = 0;
        let add = |number: u64| {
            sum += number;
            Ok(())
        };
        run(3, more, |number| number, add, String::new).expect("no part fails");
        assert_eq!(sum, 4950);
        let endless = || Some(next.fetch_add(1, Ordering::Relaxed));
        assert!(run(3, endless, |_| (), |()| Err(Error::new("enough")), String::new).is_err());
    }
}
