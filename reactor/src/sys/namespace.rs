//! Network namespaces of this process's own: interfaces, ports, tables and settings that nobody else sees.
//!
//! A namespace has no name and is mounted nowhere, so it goes with the last process in it, however that process ends. Each
//! function acts on the calling thread; threads and processes that it starts later are born into the same namespaces.

use std::fs;
use std::io;

use super::{check, network_control};

/// Moves the calling thread into a new network namespace, whose loopback is down and whose settings are the kernel's
/// defaults.
///
/// # Errors
/// EPERM without CAP_SYS_ADMIN; ENOSPC beyond user.max_net_namespaces.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: unshare takes flags alone and touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }).map(drop)
}

/// Moves the process into a new user namespace, in which it stays the same user and group and has all capabilities, and
/// into a new network namespace that belongs to it. There is no way back.
///
/// The capabilities end with the next exec, unless the user is root; what was set up with them stays. One is handed on to
/// programs that are started here: CAP_NET_ADMIN, by which they may make devices in this namespace.
///
/// # Errors
/// EINVAL when the process has more than one thread; EPERM or ENOSPC where user namespaces are not for everybody. An error
/// that names a file came after the move: the process is then nobody, and should end.
pub fn unshare_user_and_network() -> io::Result<()> {
    // SAFETY: these two take nothing, never fail, and touch no memory of ours.
    let (user, group) = unsafe { (libc::geteuid(), libc::getegid()) };
    // SAFETY: unshare takes flags alone and touches no memory of ours.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET) })?;
    // Whoever could call setgroups could drop a group that denies it something: the kernel wants that given up first.
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", &format!("{group} {group} 1"))?;
    // Where this is refused, a device will be, too, and that says why.
    let _ = hand_on_network_admin();
    Ok(())
}

const CAP_NET_ADMIN: u32 = 12;

/// Makes CAP_NET_ADMIN ambient, which wants it to be inheritable first.
fn hand_on_network_admin() -> io::Result<()> {
    /// _LINUX_CAPABILITY_VERSION_3: sets of 64 bits, in two halves.
    const VERSION: u32 = 0x2008_0522;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Half {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let header = Header { version: VERSION, pid: 0 };
    let mut halves = [Half::default(); 2];
    // SAFETY: header and halves have the layout of version 3, and outlive the call, which fills the halves.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw const header, halves.as_mut_ptr()) } as libc::c_int)?;
    halves[0].inheritable |= 1 << CAP_NET_ADMIN;
    // SAFETY: as above; the call reads both.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, halves.as_ptr()) } as libc::c_int)?;
    let (raise, capability) = (libc::PR_CAP_AMBIENT_RAISE, libc::c_ulong::from(CAP_NET_ADMIN));
    // SAFETY: prctl takes integers here, and touches no memory of ours.
    check(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) }).map(drop)
}

fn write(path: &str, text: &str) -> io::Result<()> {
    fs::write(path, text).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

/// Brings up the loopback interface of the calling thread's network namespace.
///
/// # Errors
/// EPERM without CAP_NET_ADMIN over the namespace.
pub fn loopback_up() -> io::Result<()> {
    network_control::up("lo")
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::path::PathBuf;

    use super::*;

    fn this_one() -> PathBuf {
        fs::read_link("/proc/thread-self/ns/net").unwrap()
    }

    #[test]
    fn a_thread_in_a_namespace_of_its_own_changes_nothing_for_the_others() {
        let setting = "/proc/sys/net/core/somaxconn";
        let (outside, before) = (this_one(), fs::read_to_string(setting).unwrap());
        let unreachable = |error: &io::Error| error.raw_os_error() == Some(libc::ENETUNREACH);
        let inside = std::thread::spawn(move || {
            unshare_network()?;
            assert!(TcpStream::connect("127.0.0.1:7").is_err_and(|error| unreachable(&error)));
            loopback_up().unwrap();
            let listener = TcpListener::bind("127.0.0.1:7").unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            fs::write(setting, "4321").unwrap();
            assert_eq!(fs::read_to_string(setting).unwrap().trim(), "4321");
            Ok::<_, io::Error>(this_one())
        });
        match inside.join().unwrap() {
            Ok(inside) => assert_ne!(inside, outside),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "CI must not skip this: {error}");
                return eprintln!("SKIPPED: no network namespace for this user: {error}");
            }
        }
        assert_eq!((this_one(), fs::read_to_string(setting).unwrap()), (outside, before));
    }

    #[test]
    fn a_process_with_threads_is_told_that_it_is_too_late_for_a_user_namespace() {
        std::thread::spawn(|| {
            let error = unshare_user_and_network().unwrap_err();
            // EINVAL for the threads; where user namespaces are forbidden, that comes first.
            assert!(
                matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EPERM | libc::ENOSPC)),
                "{error}"
            );
        })
        .join()
        .unwrap();
    }
}
