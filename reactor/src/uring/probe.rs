//! Whether this machine has an io_uring that does what the backend needs: asked, then tried.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::{Probe, opcode};
use socket2::{Domain, Socket, Type};

use super::request::{Request, Tag};
use super::ring::{Completion, Ring};
use crate::pool::Pool;
use crate::slot::Slots;
use crate::sys::clock;

/// The oldest kernel on which all that the backend uses works: absolute timeouts came with 6.12.
const KERNEL_MIN: (u32, u32) = (6, 12);

/// What the backend asks the kernel to do.
const OPCODES: [(u8, &str); 8] = [
    (opcode::PollAdd::CODE, "POLL_ADD"),
    (opcode::Recv::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::Accept::CODE, "ACCEPT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::Shutdown::CODE, "SHUTDOWN"),
    (opcode::SetSockOpt::CODE, "URING_CMD"),
];

/// How long a step of the check may take.
const STEP_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Checks kernel, permissions and behaviour, in the calling thread, which keeps nothing of it.
///
/// # Errors
/// Why this machine cannot run the backend, and what to change.
pub fn probe() -> Result<(), String> {
    check_version(&kernel_release()?)?;
    let mut ring = Ring::new(&Rc::default()).map_err(|error| explain(&error))?;
    let mut operations = Probe::new();
    let asked = ring.submitter().register_probe(&mut operations);
    asked
        .map_err(|error| format!("io_uring does not tell its operations: {error}; use the epoll backend"))?;
    if let Some((_, name)) = OPCODES.iter().find(|(code, _)| !operations.is_supported(*code)) {
        return Err(format!("io_uring does not know {name}; use a kernel that has not been cut down"));
    }
    check_behaviour(&mut ring).map_err(|why| {
        format!("io_uring does not behave as expected: {why}; use the epoll backend, or another kernel")
    })
}

/// Says what refused a ring, and what to change.
pub(super) fn explain(error: &io::Error) -> String {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    explain_with(error, sysctl.trim())
}

fn explain_with(error: &io::Error, io_uring_disabled: &str) -> String {
    let remedy = match (error.raw_os_error(), io_uring_disabled) {
        (Some(libc::EPERM), "1") => {
            "kernel.io_uring_disabled is 1: set it to 0, or run with CAP_SYS_ADMIN or in kernel.io_uring_group"
        }
        (Some(libc::EPERM), "2") => "kernel.io_uring_disabled is 2: set it to 0",
        (Some(libc::EPERM | libc::EACCES), _) => {
            "a seccomp profile or security module forbids it, as container profiles do: allow io_uring_setup, \
             io_uring_enter and io_uring_register"
        }
        (Some(libc::ENOSYS), _) => "the kernel was built without io_uring, or a seccomp profile hides it",
        (Some(libc::ENOMEM), _) => {
            "the limit on locked memory: raise RLIMIT_MEMLOCK (ulimit -l) to 84 KiB per shard and more, or run with \
             CAP_IPC_LOCK"
        }
        (Some(libc::EMFILE), _) => "the table of descriptors is full: raise RLIMIT_NOFILE (ulimit -n)",
        (Some(libc::ENFILE), _) => "the machine's table of files is full: raise fs.file-max",
        (Some(libc::EINVAL), _) => "the kernel does not know its flags: use Linux 6.12 or newer",
        _ => "use the epoll backend",
    };
    format!("io_uring is not available: {error}; {remedy}")
}

fn kernel_release() -> Result<String, String> {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_err(|error| format!("cannot read the kernel's version: {error}; mount /proc"))
}

fn check_version(release: &str) -> Result<(), String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        return Err(format!("cannot make out the kernel's version `{}`", release.trim()));
    };
    if (major, minor) < KERNEL_MIN {
        let (min_major, min_minor) = KERNEL_MIN;
        return Err(format!(
            "Linux {major}.{minor} is too old for the io-uring backend: use {min_major}.{min_minor} or newer"
        ));
    }
    Ok(())
}

/// What did not come out as it should.
struct Odd(&'static str, Option<Completion>);

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.1 {
            Some(completion) => write!(f, "{} ({completion:?})", self.0),
            None => write!(f, "{} (no completion in {} s)", self.0, STEP_WAIT.as_secs()),
        }
    }
}

/// Goes once through the life of a connection.
fn check_behaviour(ring: &mut Ring) -> Result<(), String> {
    let pool = Pool::new(1, 64);
    let outcome = check_connection(ring, &pool);
    if !ring.quiesce() {
        std::mem::forget(pool); // the kernel may still write to it
        return Err("requests that were cancelled did not end".to_owned());
    }
    outcome
}

fn check_connection(ring: &mut Ring, pool: &Rc<Pool>) -> Result<(), String> {
    let system = |error: io::Error| error.to_string();
    let (here, there) = Socket::pair(Domain::UNIX, Type::STREAM.nonblocking(), None).map_err(system)?;
    ring.submitter().register_files_sparse(2).map_err(system)?;
    ring.submitter().register_files_update(1, &[here.as_raw_fd()]).map_err(system)?;
    drop(here);
    let file = 1;
    let slot = Slots::new(0).insert(());
    let of = |tag| Request::of(tag, slot);
    let buffer = pool.take().ok_or("the pool is empty")?;
    let (to, len) = (pool.address(buffer), pool.size() as u32);

    ring.poll(file, libc::POLLIN as u32, true, of(Tag::Poll));
    for round in 0..2u8 {
        ring.enter(0, None).map_err(system)?;
        there.send(&[round]).map_err(system)?;
        expect(ring, "a multishot poll did not announce bytes", |completion| {
            completion.request == of(Tag::Poll) && completion.result > 0 && completion.more()
        })?;
        // SAFETY: the buffer was taken and is used for this alone; the caller leaks the pool when something is left in
        // flight.
        unsafe { ring.recv(file, to, len, of(Tag::Recv)) };
        expect(ring, "a receive did not bring the bytes", |completion| {
            completion.request == of(Tag::Recv) && completion.result == 1
        })?;
        if !pool.with_buffer(buffer, |bytes| bytes[0] == round) {
            return Err("a buffer holds other bytes than were sent".to_owned());
        }
    }
    // SAFETY: as above.
    unsafe { ring.recv(file, to, len, of(Tag::Recv)) };
    expect(ring, "receiving from an empty socket did not end at once", |completion| {
        completion.request == of(Tag::Recv) && completion.result == -libc::EAGAIN
    })?;
    ring.check(file, of(Tag::Check));
    expect(ring, "sending nothing did not succeed", |completion| {
        completion.request == of(Tag::Check) && completion.result == 0
    })?;
    ring.cancel(of(Tag::Poll));
    expect(ring, "a cancelled poll did not end", |completion| {
        completion.request == of(Tag::Poll) && completion.result == -libc::ECANCELED && !completion.more()
    })?;
    ring.close(file, true, of(Tag::Close));
    expect(ring, "a direct descriptor could not be closed", |completion| {
        completion.request == of(Tag::Close) && completion.result == 0
    })?;
    let mut end = [MaybeUninit::uninit()];
    match there.recv(&mut end) {
        Ok(0) => Ok(()),
        other => Err(format!("a closed socket is still open: {other:?}")),
    }
}

/// Waits for one completion, which must be as `is_right` says.
fn expect(
    ring: &mut Ring,
    otherwise: &'static str,
    is_right: impl Fn(&Completion) -> bool,
) -> Result<Completion, String> {
    let until = clock::now() + STEP_WAIT;
    while !ring.has_completions() && clock::now() < until {
        ring.enter(1, Some(until)).map_err(|error| error.to_string())?;
    }
    match ring.next() {
        Some(completion) if is_right(&completion) => Ok(completion),
        other => Err(Odd(otherwise, other).to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_kernels_are_named_with_what_is_needed() {
        assert_eq!(check_version("6.12.0-rc1\n"), Ok(()));
        assert_eq!(check_version("7.0.3"), Ok(()));
        let why = check_version("6.8.0-45-generic").unwrap_err();
        assert!(why.contains("6.8") && why.contains("6.12"), "{why}");
        assert!(check_version("BSD").is_err());
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let error = |code| io::Error::from_raw_os_error(code);
        assert!(explain_with(&error(libc::EPERM), "0").contains("seccomp"));
        assert!(explain_with(&error(libc::EPERM), "2").contains("kernel.io_uring_disabled is 2"));
        assert!(explain_with(&error(libc::ENOMEM), "0").contains("RLIMIT_MEMLOCK"));
        assert!(explain_with(&error(libc::EMFILE), "0").contains("RLIMIT_NOFILE"));
    }
}
