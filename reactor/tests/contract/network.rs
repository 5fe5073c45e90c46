//! A network of a test's own: a namespace with loopback alone, in which the clients of a listener that leaves its group
//! go to another one.

use std::io;

use throng_reactor::sys::namespace;

/// Runs `test` in a thread that has such a network; without the privilege it is skipped, which is a failure in CI.
pub(crate) fn in_own_network(test: fn()) {
    let thread = std::thread::spawn(move || match own_network() {
        Ok(()) => test(),
        Err(why) => skip(&format!("no network of its own: {why}")),
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Says that a test is skipped.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "CI must not skip this: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Moves the calling thread.
fn own_network() -> io::Result<()> {
    namespace::unshare_network()?;
    namespace::loopback_up()?;
    // The calling thread's namespace decides which file this is.
    std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1")
}
