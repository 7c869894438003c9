//! The one list of system calls: number, name, handler. Dispatch, the list of what is supported (`linux/supported.txt`), and
//! the test that compares them come from it.

/// Numbers are below this.
pub(crate) const LENGTH: usize = 512;

/// Hand the list to a macro: `number name module::function;` for each.
macro_rules! system_calls {
    ($callback:ident) => {
        $callback! {
            0 read files::read;
            1 write files::write;
            2 open files::open;
            3 close descriptor::close;
            4 stat status::stat;
            5 fstat status::fstat;
            6 lstat status::lstat;
            7 poll poll::poll;
            8 lseek files::lseek;
            9 mmap memory::mmap;
            10 mprotect memory::mprotect;
            11 munmap memory::munmap;
            12 brk memory::brk;
            13 rt_sigaction signal::rt_sigaction;
            14 rt_sigprocmask signal::rt_sigprocmask;
            15 rt_sigreturn signal::rt_sigreturn;
            16 ioctl files::ioctl;
            17 pread64 files::pread64;
            18 pwrite64 files::pwrite64;
            19 readv files::readv;
            20 writev files::writev;
            21 access status::access;
            22 pipe pipe::pipe;
            23 select poll::select;
            24 sched_yield scheduling::sched_yield;
            25 mremap memory::mremap;
            26 msync memory::msync;
            27 mincore memory::mincore;
            28 madvise memory::madvise;
            29 shmget system_v::shmget;
            30 shmat system_v::shmat;
            31 shmctl system_v::shmctl;
            32 dup descriptor::dup;
            33 dup2 descriptor::dup2;
            34 pause signal::pause;
            35 nanosleep time::nanosleep;
            36 getitimer timer::getitimer;
            37 alarm timer::alarm;
            38 setitimer timer::setitimer;
            39 getpid process::getpid;
            40 sendfile files::sendfile;
            41 socket system::no_family;
            42 connect socket::unsuitable;
            43 accept socket::unsuitable;
            44 sendto socket::sendto;
            45 recvfrom socket::recvfrom;
            46 sendmsg socket::sendmsg;
            47 recvmsg socket::recvmsg;
            48 shutdown socket::unsuitable;
            49 bind socket::unsuitable;
            50 listen socket::unsuitable;
            51 getsockname socket::name;
            52 getpeername socket::name;
            53 socketpair socket::socketpair;
            54 setsockopt socket::setsockopt;
            55 getsockopt socket::getsockopt;
            56 clone thread::clone;
            57 fork process::fork;
            58 vfork thread::vfork;
            59 execve exec::execve;
            60 exit thread::exit;
            61 wait4 process::wait4;
            62 kill signal::kill;
            63 uname system::uname;
            64 semget system_v::semget;
            65 semop system_v::semop;
            66 semctl system_v::semctl;
            67 shmdt system_v::shmdt;
            68 msgget system_v::msgget;
            69 msgsnd system_v::msgsnd;
            70 msgrcv system_v::msgrcv;
            71 msgctl system_v::msgctl;
            72 fcntl descriptor::fcntl;
            73 flock record_locks::flock;
            74 fsync files::fsync;
            75 fdatasync files::fdatasync;
            76 truncate files::truncate;
            77 ftruncate files::ftruncate;
            79 getcwd directory::getcwd;
            80 chdir directory::chdir;
            81 fchdir directory::fchdir;
            82 rename files::rename;
            83 mkdir files::mkdir;
            84 rmdir files::rmdir;
            85 creat files::creat;
            86 link files::link;
            87 unlink files::unlink;
            88 symlink files::symlink;
            89 readlink files::readlink;
            90 chmod status::chmod;
            91 fchmod status::fchmod;
            92 chown status::chown;
            93 fchown status::fchown;
            94 lchown status::lchown;
            95 umask directory::umask;
            96 gettimeofday time::gettimeofday;
            97 getrlimit process::getrlimit;
            98 getrusage process::getrusage;
            99 sysinfo system::sysinfo;
            100 times process::times;
            101 ptrace system::not_permitted;
            102 getuid identity::getuid;
            103 syslog system::syslog;
            104 getgid identity::getgid;
            105 setuid identity::setuid;
            106 setgid identity::setgid;
            107 geteuid identity::geteuid;
            108 getegid identity::getegid;
            109 setpgid process::setpgid;
            110 getppid process::getppid;
            111 getpgrp process::getpgrp;
            112 setsid process::setsid;
            113 setreuid identity::setreuid;
            114 setregid identity::setregid;
            115 getgroups identity::getgroups;
            116 setgroups identity::setgroups;
            117 setresuid identity::setresuid;
            118 getresuid identity::getresuid;
            119 setresgid identity::setresgid;
            120 getresgid identity::getresgid;
            121 getpgid process::getpgid;
            122 setfsuid identity::setfsid;
            123 setfsgid identity::setfsid;
            124 getsid process::getsid;
            125 capget identity::capget;
            126 capset identity::capset;
            127 rt_sigpending signal::rt_sigpending;
            128 rt_sigtimedwait signal::rt_sigtimedwait;
            129 rt_sigqueueinfo signal::rt_sigqueueinfo;
            130 rt_sigsuspend signal::rt_sigsuspend;
            131 sigaltstack signal::sigaltstack;
            132 utime status::utime;
            133 mknod files::mknod;
            135 personality system::personality;
            137 statfs status::statfs;
            138 fstatfs status::fstatfs;
            140 getpriority scheduling::getpriority;
            141 setpriority scheduling::setpriority;
            142 sched_setparam scheduling::sched_setparam;
            143 sched_getparam scheduling::sched_getparam;
            144 sched_setscheduler scheduling::sched_setscheduler;
            145 sched_getscheduler scheduling::sched_getscheduler;
            146 sched_get_priority_max scheduling::sched_get_priority_max;
            147 sched_get_priority_min scheduling::sched_get_priority_min;
            148 sched_rr_get_interval scheduling::sched_rr_get_interval;
            149 mlock memory::lock;
            150 munlock memory::lock;
            151 mlockall memory::lock_all;
            152 munlockall memory::unlock_all;
            155 pivot_root system::not_permitted;
            157 prctl system::prctl;
            158 arch_prctl thread::arch_prctl;
            159 adjtimex time::adjtimex;
            160 setrlimit process::setrlimit;
            161 chroot system::not_permitted;
            162 sync files::sync;
            164 settimeofday time::settimeofday;
            165 mount system::not_permitted;
            166 umount2 system::not_permitted;
            169 reboot system::reboot;
            170 sethostname system::not_permitted;
            171 setdomainname system::not_permitted;
            186 gettid process::gettid;
            187 readahead files::advice;
            188 setxattr system::no_attributes;
            189 lsetxattr system::no_attributes;
            190 fsetxattr system::no_attributes;
            191 getxattr system::no_attributes;
            192 lgetxattr system::no_attributes;
            193 fgetxattr system::no_attributes;
            194 listxattr system::no_attributes;
            195 llistxattr system::no_attributes;
            196 flistxattr system::no_attributes;
            197 removexattr system::no_attributes;
            198 lremovexattr system::no_attributes;
            199 fremovexattr system::no_attributes;
            200 tkill signal::tkill;
            201 time time::time;
            202 futex futex::futex;
            203 sched_setaffinity scheduling::sched_setaffinity;
            204 sched_getaffinity scheduling::sched_getaffinity;
            213 epoll_create epoll::epoll_create;
            217 getdents64 files::getdents64;
            218 set_tid_address thread::set_tid_address;
            219 restart_syscall system::restart_syscall;
            220 semtimedop system_v::semtimedop;
            221 fadvise64 files::advice;
            222 timer_create timer::timer_create;
            223 timer_settime timer::timer_settime;
            224 timer_gettime timer::timer_gettime;
            225 timer_getoverrun timer::timer_getoverrun;
            226 timer_delete timer::timer_delete;
            227 clock_settime time::clock_settime;
            228 clock_gettime time::clock_gettime;
            229 clock_getres time::clock_getres;
            230 clock_nanosleep time::clock_nanosleep;
            231 exit_group process::exit_group;
            232 epoll_wait epoll::epoll_wait;
            233 epoll_ctl epoll::epoll_ctl;
            234 tgkill signal::tgkill;
            235 utimes status::utimes;
            240 mq_open message_queue::mq_open;
            241 mq_unlink message_queue::mq_unlink;
            242 mq_timedsend message_queue::mq_timedsend;
            243 mq_timedreceive message_queue::mq_timedreceive;
            244 mq_notify message_queue::mq_notify;
            245 mq_getsetattr message_queue::mq_getsetattr;
            247 waitid process::waitid;
            257 openat files::openat;
            258 mkdirat files::mkdirat;
            259 mknodat files::mknodat;
            260 fchownat status::fchownat;
            261 futimesat status::futimesat;
            262 newfstatat status::newfstatat;
            263 unlinkat files::unlinkat;
            264 renameat files::renameat;
            265 linkat files::linkat;
            266 symlinkat files::symlinkat;
            267 readlinkat files::readlinkat;
            268 fchmodat status::fchmodat;
            269 faccessat status::faccessat;
            270 pselect6 poll::pselect6;
            271 ppoll poll::ppoll;
            272 unshare system::not_permitted;
            273 set_robust_list thread::set_robust_list;
            274 get_robust_list thread::get_robust_list;
            275 splice splice::splice;
            276 tee splice::tee;
            277 sync_file_range files::advice;
            278 vmsplice splice::vmsplice;
            280 utimensat status::utimensat;
            281 epoll_pwait epoll::epoll_pwait;
            282 signalfd special_files::signalfd;
            283 timerfd_create special_files::timerfd_create;
            284 eventfd pipe::eventfd;
            285 fallocate files::fallocate;
            286 timerfd_settime special_files::timerfd_settime;
            287 timerfd_gettime special_files::timerfd_gettime;
            288 accept4 socket::unsuitable;
            289 signalfd4 special_files::signalfd4;
            290 eventfd2 pipe::eventfd2;
            291 epoll_create1 epoll::epoll_create1;
            292 dup3 descriptor::dup3;
            293 pipe2 pipe::pipe2;
            295 preadv files::preadv;
            296 pwritev files::pwritev;
            297 rt_tgsigqueueinfo signal::rt_tgsigqueueinfo;
            299 recvmmsg socket::unsuitable;
            302 prlimit64 process::prlimit64;
            306 syncfs files::sync;
            307 sendmmsg socket::unsuitable;
            308 setns system::not_permitted;
            309 getcpu system::getcpu;
            314 sched_setattr scheduling::sched_setattr;
            315 sched_getattr scheduling::sched_getattr;
            316 renameat2 files::renameat2;
            318 getrandom system::getrandom;
            319 memfd_create files::memfd_create;
            322 execveat exec::execveat;
            324 membarrier system::membarrier;
            325 mlock2 memory::lock;
            326 copy_file_range files::copy_file_range;
            327 preadv2 files::preadv2;
            328 pwritev2 files::pwritev2;
            332 statx status::statx;
            334 rseq system::silent;
            424 pidfd_send_signal special_files::pidfd_send_signal;
            434 pidfd_open special_files::pidfd_open;
            435 clone3 thread::clone3;
            436 close_range descriptor::close_range;
            439 faccessat2 status::faccessat2;
            452 fchmodat2 status::fchmodat2;
        }
    };
}
#[cfg(target_os = "none")]
pub(crate) use system_calls;

#[cfg(test)]
mod tests {
    macro_rules! names {
        ($($number:literal $name:ident $module:ident :: $function:ident;)*) => {
            const NAMES: &[(usize, &str)] = &[$(($number, stringify!($name)),)*];
        };
    }
    system_calls!(names);

    #[test]
    fn numbers_rise_and_fit() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(NAMES.iter().all(|(number, _)| *number < super::LENGTH));
    }

    #[test]
    fn what_is_missing_is_not_there() {
        let there = |number: u16| NAMES.iter().any(|(other, _)| *other == usize::from(number));
        assert!(crate::names::MISSING.iter().all(|(number, _)| !there(*number)));
    }

    #[test]
    fn the_list_of_what_is_supported_is_this_one() {
        let listed: Vec<(usize, &str)> = include_str!("../supported.txt")
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_once(' ').expect("a number and a name"))
            .map(|(number, name)| (number.parse().expect("a number"), name.split(' ').next().expect("a name")))
            .collect();
        assert_eq!(listed, NAMES);
    }
}
