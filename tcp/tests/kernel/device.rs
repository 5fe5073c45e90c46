//! A TUN device in a network namespace of a test's own.

use std::net::Ipv4Addr;

use throng_reactor::sys::namespace;
use throng_reactor::tun::Setup;
use throng_reactor::{Tun, Waker};

/// Runs a test on a thread in a network namespace of its own. Where that cannot be made, or has no TUN device, the test is
/// skipped and says so; in CI that is a failure.
pub(crate) fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) =
            namespace::unshare_network().and_then(|()| namespace::loopback_up()).and_then(|()| device())
        {
            assert!(std::env::var_os("CI").is_none(), "CI must not skip this: {error}");
            eprintln!("SKIPPED: no TUN device in a namespace for this user: {error}");
            return;
        }
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Whether a device can be made.
fn device() -> std::io::Result<()> {
    tun().map(drop)
}

/// The device: the kernel is 198.18.0.1, and what it has for the rest of 198.18.0.0/16 is ours.
pub(crate) fn tun() -> std::io::Result<Tun> {
    let setup = Setup { address: Ipv4Addr::new(198, 18, 0, 1), prefix: 16, mtu: 1500, queue: 1000 };
    Tun::new(&setup, Waker::new()?)
}
