//! When somebody wants this process to end: SIGINT, SIGTERM, or a stdin that closes.
//!
//! A child of `throng run` gets a pipe as its stdin and ends when that closes. The kernel closes it whenever the parent
//! ends, by SIGKILL too, so a parent leaves no child behind; and closing it is how the parent asks for an end. The
//! children stand in process groups of their own, so that Ctrl-C in a terminal reaches the parent alone, which then ends
//! them in order.

use std::io::{self, Read};
use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls for an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A signal came.
    Signal,
    /// The parent closed our stdin, or is gone.
    Stdin,
}

/// Sends every call for an end to `stops`, for as long as the process lives. From here on the signals do nothing else.
///
/// # Errors
/// The kernel refuses a signal handler or a thread.
pub(crate) fn watch<M: From<Stop> + Send + 'static>(
    stops: &Sender<M>,
    until_stdin_closes: bool,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let signalled = stops.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if signalled.send(Stop::Signal.into()).is_err() {
                return;
            }
        }
    })?;
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
