//! System V's names: objects by key and by id, who owns them and who may use them; see sysvipc(7).

use alloc::boxed::Box;
use alloc::vec::Vec;

use protocol::Errno;
use protocol::system_v::{CREATE, EXCLUSIVE, Permission, User};

/// Ids are a place and how often it was used: this many places at most.
const PLACES: usize = 512;
/// What an id counts uses by.
const STEP: u32 = 32_768;

/// An object with its name.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Its key, owner, maker and permission bits.
    pub(crate) permission: Permission,
    id: u32,
    /// The object.
    pub(crate) item: T,
}

/// All objects of a kind.
#[derive(Debug)]
pub(crate) struct Keyed<T> {
    places: Vec<Option<Box<Entry<T>>>>,
    uses: u32,
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { places: Vec::new(), uses: 0 }
    }
}

/// Whether a user may do this (4 read, 2 write).
const fn permits(permission: &Permission, user: User, wanted: u32) -> bool {
    let bits = if user.user == 0 {
        0o6
    } else if user.user == permission.user || user.user == permission.maker_user {
        permission.mode >> 6
    } else if user.group == permission.group || user.group == permission.maker_group {
        permission.mode >> 3
    } else {
        permission.mode
    };
    bits & wanted == wanted
}

/// Whether a user may change or remove it.
const fn is_owned(permission: &Permission, user: User) -> bool {
    user.user == 0 || user.user == permission.user || user.user == permission.maker_user
}

impl<T> Keyed<T> {
    /// The `…get` calls: the object with a key, or a new one. Gives its id and whether it is new. `fits`: whether what is there is large enough.
    ///
    /// # Errors
    /// ENOENT, EEXIST, EACCES, ENOSPC, and what `fits` and `make` say.
    pub(crate) fn get(
        &mut self,
        key: u32,
        flags: u32,
        user: User,
        fits: impl Fn(&T) -> Result<(), Errno>,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<(u32, bool), Errno> {
        const ANYBODY: u32 = 0;
        let known = self.places.iter().flatten().find(|entry| key != ANYBODY && entry.permission.key == key);
        if let Some(entry) = known {
            if flags & CREATE != 0 && flags & EXCLUSIVE != 0 {
                return Err(Errno::EEXIST);
            }
            // The bits of the largest class that is asked for.
            let wanted = (flags >> 6 | flags >> 3 | flags) & 0o6;
            if !permits(&entry.permission, user, wanted) {
                return Err(Errno::EACCES);
            }
            fits(&entry.item)?;
            return Ok((entry.id, false));
        }
        if key != ANYBODY && flags & CREATE == 0 {
            return Err(Errno::ENOENT);
        }
        let item = make()?;
        let place = match self.places.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.places.len() < PLACES => {
                self.places.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
                self.places.push(None);
                self.places.len() - 1
            }
            None => return Err(Errno::ENOSPC),
        };
        self.uses = (self.uses + 1) % (i32::MAX as u32 / STEP);
        let id = self.uses * STEP + place as u32;
        let permission = Permission {
            key,
            user: user.user,
            group: user.group,
            maker_user: user.user,
            maker_group: user.group,
            mode: flags & 0o777,
        };
        self.places[place] = Some(Box::new(Entry { permission, id, item }));
        Ok((id, true))
    }

    /// The object with an id.
    ///
    /// # Errors
    /// EINVAL.
    pub(crate) fn find(&mut self, id: u32) -> Result<&mut Entry<T>, Errno> {
        let entry = self.places.get_mut((id % STEP) as usize).and_then(Option::as_deref_mut);
        entry.filter(|entry| entry.id == id).ok_or(Errno::EINVAL)
    }

    /// The object with an id, if a user may do this with it (4 read, 2 write, 0 nothing in particular).
    ///
    /// # Errors
    /// EINVAL, EACCES.
    pub(crate) fn permitted(&mut self, id: u32, user: User, wanted: u32) -> Result<&mut Entry<T>, Errno> {
        let entry = self.find(id)?;
        if permits(&entry.permission, user, wanted) { Ok(entry) } else { Err(Errno::EACCES) }
    }

    /// The object with an id, if it is the user's to change.
    ///
    /// # Errors
    /// EINVAL, EPERM.
    pub(crate) fn owned(&mut self, id: u32, user: User) -> Result<&mut Entry<T>, Errno> {
        let entry = self.find(id)?;
        if is_owned(&entry.permission, user) { Ok(entry) } else { Err(Errno::EPERM) }
    }

    /// Take an object out.
    pub(crate) fn remove(&mut self, id: u32) -> Option<T> {
        self.find(id).ok()?;
        self.places[(id % STEP) as usize].take().map(|entry| entry.item)
    }

    /// All objects and their ids.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        self.places.iter_mut().flatten().map(|entry| (entry.id, &mut entry.item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: User = User { user: 0, group: 0 };
    const OTHER: User = User { user: 7, group: 7 };

    fn get(all: &mut Keyed<u32>, key: u32, flags: u32, user: User) -> Result<(u32, bool), Errno> {
        all.get(key, flags, user, |_| Ok(()), || Ok(1))
    }

    #[test]
    fn keys_name_one_object_and_ids_are_not_used_again() {
        let mut all = Keyed::default();
        assert_eq!(get(&mut all, 5, 0o600, ROOT), Err(Errno::ENOENT));
        let (id, is_new) = get(&mut all, 5, CREATE | 0o600, ROOT).unwrap();
        assert!(is_new);
        assert_eq!(get(&mut all, 5, 0o600, ROOT), Ok((id, false)));
        assert_eq!(get(&mut all, 5, CREATE | EXCLUSIVE | 0o600, ROOT), Err(Errno::EEXIST));
        assert_eq!(get(&mut all, 5, 0o600, OTHER), Err(Errno::EACCES));
        assert_ne!(get(&mut all, 0, 0o600, ROOT), get(&mut all, 0, 0o600, ROOT));
        assert!(all.permitted(id, OTHER, 4).is_err() && all.owned(id, OTHER).is_err() && all.owned(id, ROOT).is_ok());
        assert_eq!(all.remove(id), Some(1));
        assert!(all.find(id).is_err());
        assert_ne!(get(&mut all, 5, CREATE, ROOT).unwrap().0, id);
    }
}
