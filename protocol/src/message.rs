//! How a protocol is written down, and what every protocol shares.

use abi::Error;

use crate::Errno;

/// Reply label: one of the caller's buffers was not present. Nothing was consumed: touch the buffers and repeat.
pub const RETRY: u64 = 0x1000;
/// Reply label of path messages: the path goes on elsewhere. Word 0: bytes of the new path, in the receive segments.
/// Word 1: which of two paths (0 or 1). See [`crate::file`].
pub const REDIRECT: u64 = 0x1001;

/// Why a message to a service failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The kernel could not deliver it, or the wait was broken off.
    Kernel(Error),
    /// The service refused.
    Service(Errno),
    /// The service asks for the message again, with all buffers present ([`RETRY`]).
    Retry,
    /// The path goes on elsewhere ([`REDIRECT`]).
    Redirect {
        /// Bytes of the new path, in the receive buffer.
        length: u64,
        /// Which of two paths.
        which: u64,
    },
}

impl Failure {
    /// The nearest POSIX error.
    #[must_use]
    pub const fn errno(self) -> Errno {
        match self {
            Self::Service(errno) => errno,
            Self::Retry => Errno::EFAULT,
            Self::Redirect { .. } => Errno::ELOOP,
            Self::Kernel(error) => match error {
                Error::BadHandle | Error::WrongKind | Error::NoRight => Errno::EBADF,
                Error::BadArgument | Error::Unsupported => Errno::EINVAL,
                Error::BadAddress | Error::LenderFault => Errno::EFAULT,
                Error::QuotaExceeded | Error::Exhausted => Errno::ENOMEM,
                Error::TableFull | Error::NoSlot => Errno::EMFILE,
                Error::Interrupted => Errno::EINTR,
                Error::TimedOut => Errno::ETIMEDOUT,
                Error::Deadlock | Error::ChainTooLong => Errno::EDEADLK,
                Error::Busy => Errno::EBUSY,
                Error::NotFound => Errno::ENOENT,
                Error::Gone | Error::BadGift | Error::More => Errno::EIO,
            },
        }
    }

    /// What a reply's label and words mean.
    ///
    /// # Errors
    /// The failure that the label stands for; `Ok` for label 0.
    pub const fn check(label: u64, words: [u64; 4]) -> Result<(), Self> {
        match label {
            0 => Ok(()),
            RETRY => Err(Self::Retry),
            REDIRECT => Err(Self::Redirect { length: words[0], which: words[1] }),
            other => Err(Self::Service(Errno(other as u16))),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

/// What a service answers: a label and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 0, an errno, or a special answer.
    pub label: u64,
    /// The answer's words.
    pub words: [u64; 4],
}

impl Reply {
    /// Success, with words.
    #[must_use]
    pub const fn ok(words: [u64; 4]) -> Self {
        Self { label: 0, words }
    }

    /// Success, with nothing to say.
    pub const DONE: Self = Self::ok([0; 4]);

    /// Failure.
    #[must_use]
    pub const fn error(errno: Errno) -> Self {
        Self { label: errno.0 as u64, words: [0; 4] }
    }

    /// Please touch your buffers and repeat.
    pub const RETRY: Self = Self { label: RETRY, words: [0; 4] };

    /// The path goes on elsewhere: `length` bytes go with this reply.
    #[must_use]
    pub const fn redirect(length: u64, which: u64) -> Self {
        Self { label: REDIRECT, words: [length, which, 0, 0] }
    }
}

/// Define a protocol: its identity, and every message with its number, words in and words out. From it come
/// `Request` (decoding for servers, names for traces), and for each message a client function and an answer type.
///
/// Client functions take the connection, the words, a [`runtime::Buffers`] for bytes and handles, and
/// [`runtime::Options`]; they return the answer's words by name, with `moved` (bytes that came) and `handles` (how many came).
#[macro_export]
macro_rules! protocol {
    (
        name: $protocol_name:literal, uuid: $uuid:literal, version: $version:literal;
        $(
            $(#[$doc:meta])*
            $number:literal $Variant:ident $function:ident ( $($input:ident),* ) -> ( $($output:ident),* );
        )*
    ) => {
        /// The protocol's name.
        pub const NAME: &str = $protocol_name;
        /// The protocol's identity for the registry.
        pub const UUID: u128 = $uuid;
        /// The protocol's version.
        pub const VERSION: u32 = $version;

        /// A message to the service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Request {
            $($(#[$doc])* $Variant {
                $(#[doc = concat!("Word `", stringify!($input), "`.")] $input: u64,)*
            },)*
        }

        impl Request {
            /// The message with this label, or `None` if the protocol has none.
            #[must_use]
            pub fn decode(label: u64, words: [u64; 4]) -> Option<Self> {
                #[allow(unused_mut, unused_variables)]
                let mut words = words.into_iter();
                match label {
                    $($number => Some(Self::$Variant { $($input: words.next().unwrap_or(0),)* }),)*
                    _ => None,
                }
            }

            /// The label and the words.
            #[must_use]
            pub fn encode(self) -> (u64, [u64; 4]) {
                match self {
                    $(Self::$Variant { $($input,)* } => {
                        #[allow(unused_mut)]
                        let mut words = [0; 4];
                        for (word, value) in words.iter_mut().zip([$($input,)* 0]) {
                            *word = value;
                        }
                        ($number, words)
                    })*
                }
            }

            /// The name of the message, for traces.
            #[must_use]
            pub const fn name(label: u64) -> Option<&'static str> {
                match label {
                    $($number => Some(concat!($protocol_name, ".", stringify!($function))),)*
                    _ => None,
                }
            }
        }

        /// Answers, by message.
        pub mod answer {
            $(
                #[doc = concat!("Answer to [`", stringify!($Variant), "`](super::Request::", stringify!($Variant), ").")]
                #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
                pub struct $Variant {
                    $(#[doc = concat!("Word `", stringify!($output), "`.")] pub $output: u64,)*
                    /// Bytes that came with the answer (client side).
                    pub moved: u64,
                    /// Handles that came with the answer (client side).
                    pub handles: usize,
                }

                impl From<$Variant> for $crate::Reply {
                    #[allow(unused_variables)]
                    fn from(answer: $Variant) -> Self {
                        let mut words = [0; 4];
                        for (word, value) in words.iter_mut().zip([$(answer.$output,)* 0]) {
                            *word = value;
                        }
                        Self::ok(words)
                    }
                }
            )*
        }

        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// What the kernel or the service answered.
            pub fn $function(
                connection: abi::Handle,
                $($input: u64,)*
                buffers: &mut runtime::Buffers<'_>,
                options: runtime::Options,
            ) -> Result<answer::$Variant, $crate::Failure> {
                let (label, words) = Request::$Variant { $($input,)* }.encode();
                let answer = runtime::call(connection, runtime::Message { label, words }, buffers, options)?;
                $crate::Failure::check(answer.message.label, answer.message.words)?;
                #[allow(unused_mut, unused_variables)]
                let mut words = answer.message.words.into_iter();
                Ok(answer::$Variant {
                    $($output: words.next().unwrap_or(0),)*
                    moved: answer.moved,
                    handles: answer.handles,
                })
            }
        )*
    };
}
