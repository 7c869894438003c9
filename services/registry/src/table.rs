//! The instances of all services, and who wants to hear of them.

use alloc::vec::Vec;

use protocol::Errno;

/// A running instance of a service. `T` is a connection to it.
#[derive(Debug)]
pub(crate) struct Instance<T> {
    /// The service.
    uuid: u128,
    /// Its number, unique for ever; later ones are larger.
    pub(crate) number: u64,
    /// The version of the protocol that it speaks.
    pub(crate) version: u64,
    /// Badge of the connection through which it was added.
    owner: u64,
    /// How to reach it.
    pub(crate) connection: T,
}

/// Somebody who hears of arrivals and removals. `P` is a pulse.
#[derive(Debug)]
struct Watch<P> {
    uuid: u128,
    owner: u64,
    pulse: P,
}

/// Value of a watcher's pulse: an instance came.
pub(crate) const ARRIVAL: u64 = 1;
/// Value of a watcher's pulse: an instance went.
pub(crate) const REMOVAL: u64 = 2;

/// All instances in order of number, and all watches.
#[derive(Debug)]
pub(crate) struct Table<T, P> {
    instances: Vec<Instance<T>>,
    watches: Vec<Watch<P>>,
    next: u64,
}

impl<T, P> Table<T, P> {
    pub(crate) const fn new() -> Self {
        Self { instances: Vec::new(), watches: Vec::new(), next: 1 }
    }

    /// Add an instance. `raise` is called for every pulse of those who watch. Gives its number.
    pub(crate) fn add(
        &mut self,
        owner: u64,
        uuid: u128,
        version: u64,
        connection: T,
        raise: impl FnMut(&P, u64),
    ) -> Result<u64, Errno> {
        self.instances.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        let number = self.next;
        self.next += 1;
        self.instances.push(Instance { uuid, number, version, owner, connection });
        self.tell(uuid, ARRIVAL, raise);
        Ok(number)
    }

    /// Remove an instance that `owner` added.
    pub(crate) fn remove(&mut self, owner: u64, number: u64, raise: impl FnMut(&P, u64)) -> Result<(), Errno> {
        let place = self
            .instances
            .iter()
            .position(|instance| instance.number == number && instance.owner == owner)
            .ok_or(Errno::ENOENT)?;
        let uuid = self.instances.remove(place).uuid;
        self.tell(uuid, REMOVAL, raise);
        Ok(())
    }

    /// Forget whatever came through a connection that is gone.
    pub(crate) fn forget(&mut self, owner: u64, mut raise: impl FnMut(&P, u64)) {
        self.watches.retain(|watch| watch.owner != owner);
        while let Some(number) =
            self.instances.iter().find(|instance| instance.owner == owner).map(|found| found.number)
        {
            // It was just found.
            let _ = self.remove(owner, number, &mut raise);
        }
    }

    /// The instance of a service with this number; 0: the newest.
    pub(crate) fn find(&self, uuid: u128, number: u64) -> Result<&Instance<T>, Errno> {
        let mut newest_first = self.instances.iter().rev().filter(|instance| instance.uuid == uuid);
        newest_first.find(|instance| number == 0 || instance.number == number).ok_or(Errno::ENOENT)
    }

    /// The oldest instance of a service with a number above `after`.
    pub(crate) fn next(&self, uuid: u128, after: u64) -> Result<&Instance<T>, Errno> {
        self.instances.iter().find(|instance| instance.uuid == uuid && instance.number > after).ok_or(Errno::ENOENT)
    }

    /// Tell `pulse` of what comes and goes.
    pub(crate) fn watch(&mut self, owner: u64, uuid: u128, pulse: P) -> Result<(), Errno> {
        self.watches.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.watches.push(Watch { uuid, owner, pulse });
        Ok(())
    }

    fn tell(&self, uuid: u128, value: u64, mut raise: impl FnMut(&P, u64)) {
        for watch in self.watches.iter().filter(|watch| watch.uuid == uuid) {
            raise(&watch.pulse, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_found_by_number_newest_and_in_order() {
        let mut table: Table<&str, ()> = Table::new();
        let quiet = |(): &(), _| {};
        assert_eq!(table.add(1, 7, 1, "a", quiet), Ok(1));
        assert_eq!(table.add(2, 8, 1, "other", quiet), Ok(2));
        assert_eq!(table.add(1, 7, 2, "b", quiet), Ok(3));
        let find = |number| table.find(7, number).map(|instance| instance.connection);
        assert_eq!((find(0), find(1), find(3), find(2)), (Ok("b"), Ok("a"), Ok("b"), Err(Errno::ENOENT)));
        let next = |after| table.next(7, after).map(|instance| instance.number);
        assert_eq!((next(0), next(1), next(3)), (Ok(1), Ok(3), Err(Errno::ENOENT)));
    }

    #[test]
    fn what_a_connection_brought_goes_with_it_and_watchers_hear_of_it() {
        let mut table: Table<&str, u32> = Table::new();
        let mut heard = Vec::new();
        assert_eq!(table.watch(5, 7, 55), Ok(()));
        assert_eq!(table.watch(6, 8, 66), Ok(()));
        assert_eq!(table.add(1, 7, 1, "a", |&pulse, value| heard.push((pulse, value))), Ok(1));
        assert_eq!(table.remove(2, 1, |_, _| {}), Err(Errno::ENOENT));
        table.forget(1, |&pulse, value| heard.push((pulse, value)));
        assert_eq!(heard, [(55, ARRIVAL), (55, REMOVAL)]);
        assert!(table.find(7, 0).is_err());
    }
}
