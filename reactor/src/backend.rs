//! Which backend runs: what was asked for, what is active, and why.

use std::fmt;
use std::io;
use std::str::FromStr;

/// A backend over the kernel. (The simulator is not for choosing: tests make it by name.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Completion rings, crate `io-uring`.
    IoUring,
    /// Readiness, crate `mio`.
    Epoll,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// io-uring where it passes a check of its behaviour, else epoll.
    Auto,
    /// This one, or an error.
    Named(Backend),
}

/// What runs, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// What was asked for.
    pub requested: Requested,
    /// What runs.
    pub active: Backend,
    /// Why, in words.
    pub reason: String,
}

/// Chooses the backend. A named one never falls back silently.
///
/// # Errors
/// A named backend that cannot run here: why, and what to change.
pub fn select(requested: Requested) -> io::Result<Selected> {
    let (active, reason) = match requested {
        Requested::Named(Backend::Epoll) => (Backend::Epoll, "asked for by name".to_owned()),
        Requested::Named(Backend::IoUring) => match crate::uring::probe() {
            Ok(()) => (Backend::IoUring, "asked for by name; the kernel passes the check".to_owned()),
            Err(why) => return Err(io::Error::new(io::ErrorKind::Unsupported, why)),
        },
        Requested::Auto => match crate::uring::probe() {
            Ok(()) => (Backend::IoUring, "the kernel passes the check of its behaviour".to_owned()),
            Err(why) => (Backend::Epoll, why),
        },
    };
    Ok(Selected { requested, active, reason })
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::IoUring => "io-uring",
            Backend::Epoll => "epoll",
        })
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requested::Auto => f.write_str("auto"),
            Requested::Named(backend) => backend.fmt(f),
        }
    }
}

impl FromStr for Requested {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Requested::Auto),
            "io-uring" => Ok(Requested::Named(Backend::IoUring)),
            "epoll" => Ok(Requested::Named(Backend::Epoll)),
            other => Err(format!("unknown backend `{other}`: use io-uring, epoll or auto")),
        }
    }
}
