//! An ordinary Rust program: threads, channels, files, child processes with pipes, time. With `panic` it panics.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, RwLock, mpsc};
use std::time::{Duration, Instant, SystemTime};
use std::{env, fs, io, thread};

fn threads() {
    let (sender, receiver) = mpsc::channel();
    let total = Arc::new(Mutex::new(0u64));
    let workers: Vec<_> = (0..8u64)
        .map(|number| {
            let (sender, total) = (sender.clone(), Arc::clone(&total));
            thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
                for value in 0..1000 {
                    *total.lock().unwrap() += value;
                    if value % 100 == 0 {
                        sender.send((number, value)).unwrap();
                    }
                }
                thread::current().name().map(str::to_owned)
            }).unwrap()
        })
        .collect();
    drop(sender);
    let mut seen = HashMap::new();
    for (number, _) in receiver {
        *seen.entry(number).or_insert(0) += 1;
    }
    for (number, worker) in workers.into_iter().enumerate() {
        assert_eq!(worker.join().unwrap(), Some(format!("worker-{number}")));
    }
    assert_eq!(*total.lock().unwrap(), 8 * 499_500);
    assert!(seen.len() == 8 && seen.values().all(|count| *count == 10));
    let scoped = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| scoped.fetch_add(1, Ordering::SeqCst));
        }
    });
    assert_eq!(scoped.into_inner(), 4);
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let other = Arc::clone(&pair);
    let waiter = thread::spawn(move || {
        let (flag, changed) = &*other;
        let guard = changed.wait_while(flag.lock().unwrap(), |set| !*set).unwrap();
        *guard
    });
    thread::sleep(Duration::from_millis(20));
    *pair.0.lock().unwrap() = true;
    pair.1.notify_all();
    assert!(waiter.join().unwrap());
    let (_sender, receiver) = mpsc::channel::<()>();
    assert!(receiver.recv_timeout(Duration::from_millis(20)).is_err());
    let lock = RwLock::new(5);
    assert_eq!(*lock.read().unwrap() + *lock.read().unwrap(), 10);
    assert!(thread::spawn(|| panic!("of a thread")).join().is_err());
    thread::park_timeout(Duration::from_millis(5));
}

fn files() -> io::Result<()> {
    let root = env::temp_dir().join(format!("standard-{}", std::process::id()));
    fs::create_dir_all(root.join("a/b/c"))?;
    fs::write(root.join("a/file"), "first\nsecond\n")?;
    let lines: Vec<String> = BufReader::new(fs::File::open(root.join("a/file"))?).lines().collect::<Result<_, _>>()?;
    assert_eq!(lines, ["first", "second"]);
    let mut file = fs::OpenOptions::new().read(true).append(true).open(root.join("a/file"))?;
    writeln!(file, "third")?;
    file.seek(SeekFrom::Start(6))?;
    let mut rest = String::new();
    file.read_to_string(&mut rest)?;
    assert_eq!(rest, "second\nthird\n");
    assert_eq!(file.metadata()?.len(), 19);
    fs::copy(root.join("a/file"), root.join("copy"))?;
    fs::rename(root.join("copy"), root.join("a/b/moved"))?;
    std::os::unix::fs::symlink("b/moved", root.join("a/link"))?;
    assert_eq!(fs::read_to_string(root.join("a/link"))?.len(), 19);
    assert_eq!(fs::read_link(root.join("a/link"))?.to_str(), Some("b/moved"));
    assert_eq!(fs::canonicalize(root.join("a/link"))?, fs::canonicalize(&root)?.join("a/b/moved"));
    let mut names: Vec<_> = fs::read_dir(root.join("a"))?.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["b", "file", "link"]);
    assert_eq!(fs::File::open(root.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    let modified = fs::metadata(root.join("a/file"))?.modified()?;
    assert!(modified.elapsed().unwrap_or_default() < Duration::from_secs(3600));
    env::set_current_dir(root.join("a"))?;
    assert!(env::current_dir()?.ends_with("a") && fs::exists("file")?);
    env::set_current_dir("/")?;
    fs::remove_dir_all(root)
}

fn children() -> io::Result<()> {
    let output = Command::new("echo").arg("from echo").output()?;
    assert!(output.status.success() && output.stdout == b"from echo\n");
    let mut child = Command::new("tr").args(["a-z", "A-Z"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    child.stdin.take().unwrap().write_all(b"shout\n")?;
    let output = child.wait_with_output()?;
    assert_eq!(output.stdout, b"SHOUT\n");
    let status = Command::new("sh").args(["-c", "exit $CODE"]).env("CODE", "9").status()?;
    assert_eq!(status.code(), Some(9));
    assert_eq!(Command::new("/there/is/none").spawn().unwrap_err().kind(), io::ErrorKind::NotFound);
    let output = Command::new("sh").args(["-c", "pwd; echo wrong >&2; exit 1"]).current_dir("/tmp").output()?;
    assert!(output.stdout == b"/tmp\n" && output.stderr == b"wrong\n" && !output.status.success());
    let mut child = Command::new("sleep").arg("1000").spawn()?;
    assert!(child.try_wait()?.is_none());
    child.kill()?;
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(child.wait()?.signal(), Some(9));
    // Much on two pipes at once.
    let output = Command::new("sh").args(["-c", "seq 1 20000; seq 1 20000 >&2"]).output()?;
    assert!(output.stdout.len() == 108_894 && output.stdout == output.stderr);
    let panicked = Command::new(env::current_exe()?).arg("panic").stderr(Stdio::piped()).output()?;
    assert_eq!(panicked.status.code(), Some(101));
    assert!(String::from_utf8_lossy(&panicked.stderr).contains("on purpose"));
    Ok(())
}

fn time() {
    let start = Instant::now();
    thread::sleep(Duration::from_millis(30));
    let slept = start.elapsed();
    assert!(slept >= Duration::from_millis(30), "{slept:?}");
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() > 1_700_000_000);
}

fn main() -> io::Result<()> {
    if env::args().nth(1).as_deref() == Some("panic") {
        panic!("on purpose");
    }
    threads();
    println!("threads");
    files()?;
    println!("files");
    children()?;
    println!("children");
    time();
    println!("time");
    Ok(())
}
