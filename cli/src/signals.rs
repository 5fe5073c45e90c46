//! When somebody wants this process to end: SIGINT, SIGTERM, or a stdin that closes.
//!
//! A child of `throng run` gets a pipe as its stdin and ends when that closes. The kernel closes it whenever the parent
//! ends, by SIGKILL too, so a parent leaves no child behind; and closing it is how the parent asks for an end. The
//! children stand in process groups of their own, so that Ctrl-C in a terminal reaches the parent alone, which then ends
//! them in order. A child that shows the screen stands in the parent's group, since a terminal obeys no other; what reaches both
//! is one call for an end all the same.

use std::io::{self, Read};
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A signal came.
    Signal,
    /// The parent closed our stdin, or is gone.
    Stdin,
    /// Somebody pressed the key for it.
    Key,
}

impl Stop {
    /// Whether it comes from somebody who asks, and asks for more hurry by asking again. A stdin that closes after a first call
    /// is the parent's own end.
    pub(crate) fn is_asked(self) -> bool {
        self != Stop::Stdin
    }
}

/// Sends every call for an end to `stops`, for as long as the process lives. From here on the signals do nothing else.
///
/// # Errors
/// The kernel refuses a signal handler or a thread.
pub(crate) fn watch<M: From<Stop> + Send + 'static>(
    stops: &Sender<M>,
    until_stdin_closes: bool,
) -> io::Result<()> {
    forward("signals", Signals::new([SIGINT, SIGTERM])?, stops)?;
    if until_stdin_closes {
        let closed = stops.clone();
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut byte = [0; 64];
            // What is written there means nothing; an error is as final as the end.
            while io::stdin().read(&mut byte).is_ok_and(|got| got > 0) {}
            let _ = closed.send(Stop::Stdin.into());
        })?;
    }
    Ok(())
}

/// Sends a call for an end when the terminal hangs up, too. For whoever has taken the terminal: everybody else ends by that
/// signal, or was started to ignore it.
///
/// # Errors
/// The kernel refuses a signal handler or a thread.
pub(crate) fn watch_hangup(stops: &Sender<Stop>) -> io::Result<()> {
    forward("hangup", Signals::new([SIGHUP])?, stops)
}

fn forward<M: From<Stop> + Send + 'static>(
    name: &str,
    mut signals: Signals,
    stops: &Sender<M>,
) -> io::Result<()> {
    let signalled = stops.clone();
    let forward = move || {
        for _ in signals.forever() {
            if signalled.send(Stop::Signal.into()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(forward).map(drop)
}
