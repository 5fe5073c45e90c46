//! Rule 10 when the whole machine lacks something: system calls of one thread fail as long as the test wants them to.
//!
//! ```text
//!   the test's thread ── accept4, epoll_ctl(ADD) ──> seccomp filter ──> the supervisor: the error, or "go on"
//! ```

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;

use throng_reactor::{AcceptPause, Reactor};

use crate::harness::{Backend, Pair, Seen};
use crate::network::skip;

/// The error that the calls give; 0 lets them through.
type Errno = Arc<AtomicI32>;

/// A system call by its number and the lower half of its second argument.
type Call = (libc::c_long, u32);

/// accept4(listener, NULL, ..).
const ACCEPT: Call = (libc::SYS_accept4, 0);
/// epoll_ctl(epoll, EPOLL_CTL_ADD, ..).
const WATCH: Call = (libc::SYS_epoll_ctl, libc::EPOLL_CTL_ADD as u32);

/// Runs `test` in a thread whose calls of that kind fail with what `Errno` holds.
fn where_calls_fail(call: Call, test: fn(&AtomicI32)) {
    let errno = Errno::default();
    let (sender, receiver) = mpsc::channel();
    let errno_of_test = Arc::clone(&errno);
    let thread = std::thread::spawn(move || match filter(call) {
        Ok(listener) => {
            sender.send(listener).expect("the supervisor waits");
            test(&errno_of_test);
        }
        Err(why) => skip(&format!("no seccomp filter: {why}")),
    });
    if let Ok(listener) = receiver.recv() {
        supervise(&listener, &errno).expect("a supervisor's calls work");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Puts the calling thread, and nobody else, under a filter that asks its supervisor about `call`.
fn filter((number, argument): Call) -> io::Result<OwnedFd> {
    let instruction = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let unless_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let (args, answer) = (std::mem::offset_of!(libc::seccomp_data, args) as u32, libc::BPF_RET | libc::BPF_K);
    let mut program = [
        instruction(load, std::mem::offset_of!(libc::seccomp_data, nr) as u32, 0),
        instruction(unless_equal, number as u32, 3),
        instruction(load, args + 8 + if cfg!(target_endian = "big") { 4 } else { 0 }, 0),
        instruction(unless_equal, argument, 1),
        instruction(answer, libc::SECCOMP_RET_USER_NOTIF, 0),
        instruction(answer, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: prctl with five integers; it touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    // SAFETY: `program` and the instructions that it points to outlive the call, which copies them.
    let listener = check(unsafe {
        let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
        libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program)
    })?;
    // SAFETY: the kernel just made the descriptor for us, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener as i32) })
}

/// Answers the filter until its thread is gone.
fn supervise(listener: &OwnedFd, errno: &AtomicI32) -> io::Result<()> {
    let fd = listener.as_raw_fd();
    loop {
        let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, which outlives the call.
        check(unsafe { libc::poll(&raw mut ready, 1, -1) }.into())?;
        if ready.revents & libc::POLLIN == 0 {
            return Ok(()); // POLLHUP
        }
        // SAFETY: the structure is plain data, and the kernel wants zeros.
        let mut question: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: `question` is what the request fills, and outlives the call.
        check(unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut question) }.into())?;
        let error = -errno.load(Ordering::SeqCst);
        let flags = if error == 0 { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
        let mut answer = libc::seccomp_notif_resp { id: question.id, val: 0, error, flags };
        // SAFETY: `answer` is what the request reads, and outlives the call.
        check(unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut answer) }.into())?;
    }
}

/// Steps for long enough for several attempts of a paused reactor, which neither spins nor repeats itself.
fn stays_paused<B: Backend>(pair: &mut Pair<B>) {
    let before = pair.server.reactor.gauges();
    for _ in 0..200 {
        pair.step();
    }
    let after = pair.server.reactor.gauges();
    assert!(after.syscalls - before.syscalls < 4 * 200, "rule 10: nothing spins, {before:?} {after:?}");
    assert_eq!(pair.server.count(|seen| matches!(seen, Seen::Paused(_))), 1, "rule 10: said once");
    assert!(!pair.server.has(&Seen::Resumed), "rule 10: there is no room");
}

pub(crate) fn what_the_machine_lacks_pauses_accepting_and_clients_wait<B: Backend>() {
    where_calls_fail(ACCEPT, |errno| {
        for lack in [libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
            let mut pair = Pair::<B>::new();
            let _ = pair.connect();
            errno.store(lack, Ordering::SeqCst);
            let first = pair.client.connect(pair.address).expect("a connect begins");
            pair.until("the pause", |pair| pair.server.has(&Seen::Paused(AcceptPause::SystemFiles)));
            stays_paused(&mut pair);
            let second = pair.client.connect(pair.address).expect("a connect begins");
            pair.until("the backlog", |pair| {
                pair.client.has(&Seen::Connected(first)) && pair.client.has(&Seen::Connected(second))
            });
            errno.store(0, Ordering::SeqCst);
            pair.until("both", |pair| pair.accepted()[0] == 3);
            assert!(pair.server.has(&Seen::Resumed), "rule 10: AcceptResumed");
            pair.close_all();
        }
    });
}

pub(crate) fn no_watch_left_pauses_accepting_and_the_client_waits<B: Backend>() {
    where_calls_fail(WATCH, |errno| {
        let mut pair = Pair::<B>::new();
        let client = pair.client.connect(pair.address).expect("a connect begins");
        errno.store(libc::ENOSPC, Ordering::SeqCst);
        pair.until("the pause", |pair| pair.server.has(&Seen::Paused(AcceptPause::SystemFiles)));
        stays_paused(&mut pair);
        pair.client.send(client, b"patient".to_vec());
        errno.store(0, Ordering::SeqCst);
        let patient = |seen: &Seen| matches!(seen, Seen::Data(_, bytes) if bytes == b"patient");
        pair.until("the client", |pair| pair.server.log.iter().any(patient));
        assert!(pair.server.has(&Seen::Resumed), "rule 10: AcceptResumed");
        pair.close_all();
    });
}

pub(crate) fn a_connect_without_a_watch_left_names_the_setting<B: Backend>() {
    where_calls_fail(WATCH, |errno| {
        let mut pair = Pair::<B>::new();
        errno.store(libc::ENOSPC, Ordering::SeqCst);
        let error = pair.client.connect(pair.address).expect_err("epoll may not watch it");
        assert!(error.to_string().contains("fs.epoll.max_user_watches"), "{error}");
        errno.store(0, Ordering::SeqCst);
        let gone = pair.client.reactor.gauges().connections;
        assert_eq!(gone, 0, "what was not made is not counted");
        let _ = pair.connect();
        pair.close_all();
    });
}
