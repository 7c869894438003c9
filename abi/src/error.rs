//! What can go wrong in an exchange, and whose fault it is.

/// Which side of an exchange an [`Error`] blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The one who made the call.
    Caller,
    /// The other side of the message.
    Peer,
    /// Nobody: the world changed (time, death, interruption), or more work is left.
    Circumstance,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $blame:ident, $text:literal;)*) => {
        /// The reason an exchange failed: bits 0–15 of the result word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Error { $($(#[$doc])* $name = $number,)* }

        impl Error {
            /// The error with this number; `None` for 0 (success) and for unknown numbers.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Who is to blame.
            #[must_use]
            pub const fn blame(self) -> Blame {
                match self { $(Self::$name => Blame::$blame,)* }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

errors! {
    /// The handle names nothing (never did, or no longer).
    BadHandle = 1, Caller, "no such handle";
    /// The handle names another kind of object than the operation needs.
    WrongKind = 2, Caller, "the handle names another kind of object";
    /// The handle does not carry the right.
    NoRight = 3, Caller, "the handle does not permit this";
    /// A number is out of range, not aligned, or contradicts another.
    BadArgument = 4, Caller, "an argument is out of range or not aligned";
    /// The operation, flag or method does not exist.
    Unsupported = 5, Caller, "no such operation or method";
    /// One of the caller's own buffers is not present or not writable; bytes before it were moved.
    BadAddress = 6, Caller, "a buffer of the caller is not accessible";
    /// One of the other side's buffers is not present or not writable; bytes before it were moved. The request stays open.
    LenderFault = 7, Peer, "a buffer of the other side is not accessible";
    /// The quota to be charged has no room.
    QuotaExceeded = 8, Caller, "the quota is used up";
    /// The handle table is full; grow it.
    TableFull = 9, Caller, "the handle table is full";
    /// The receiver reserved too few slots for the passed handles.
    NoSlot = 10, Peer, "the receiver reserved no slot for a passed handle";
    /// A passed handle was valid at the call, and vanished before it was delivered. (One that is not valid at the call is
    /// refused there: `BadHandle`, `NoRight`.)
    BadGift = 11, Circumstance, "a passed handle vanished before it was delivered";
    /// The thread was interrupted before or while it waited.
    Interrupted = 12, Circumstance, "interrupted";
    /// The deadline passed.
    TimedOut = 13, Circumstance, "timed out";
    /// The other side, the object or the request is no more.
    Gone = 14, Circumstance, "the other side is gone";
    /// The call would close a cycle of waiting. Word 0: the badge of the connection by which it would. Word 1: how many gates
    /// the cycle has. Word 2: identity of the process whose own call waits for the caller.
    Deadlock = 15, Caller, "the call would wait for itself";
    /// The chain of waiting is longer than 16 gates, or calls are nested deeper than 32.
    ChainTooLong = 16, Caller, "the chain of waiting is too long";
    /// Not finished: repeat the same call to go on.
    More = 17, Circumstance, "not finished; repeat the call";
    /// The range is already in use, or the object is already bound.
    Busy = 18, Caller, "already in use";
    /// Nothing is there.
    NotFound = 19, Caller, "nothing is there";
    /// The system itself has no such object left to give, whatever the quota.
    Exhausted = 20, Circumstance, "the system has none left";
}
