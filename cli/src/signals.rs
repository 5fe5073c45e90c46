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

/// What is to be done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// End, in order.
    End,
    /// End at once: somebody asked twice.
    EndAtOnce,
    /// What is done already.
    Nothing,
}

/// The calls so far. A stdin that closes is the parent's answer to a call that may have reached us, too, before or after: so it counts
/// as the first, and never as the second.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    is_ending: bool,
    was_asked: bool,
}

impl Calls {
    /// Takes one more.
    pub(crate) fn take(&mut self, stop: Stop) -> Answer {
        let is_asked = stop != Stop::Stdin;
        let is_first = !std::mem::replace(&mut self.is_ending, true);
        if is_asked && std::mem::replace(&mut self.was_asked, true) {
            return Answer::EndAtOnce;
        }
        if is_first { Answer::End } else { Answer::Nothing }
    }

    /// Whether there was one.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending
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

/// Tells whoever asks whether SIGHUP came since they asked last. For a process that reads its files again at that.
///
/// # Errors
/// The kernel refuses a signal handler.
pub(crate) fn hangups() -> io::Result<impl FnMut() -> bool> {
    let mut signals = Signals::new([SIGHUP])?;
    Ok(move || signals.pending().count() > 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_twice_wants_it_at_once_and_a_parent_asks_once() {
        let answers = |stops: &[Stop]| {
            let mut calls = Calls::default();
            stops.iter().map(|&stop| calls.take(stop)).collect::<Vec<_>>()
        };
        use Answer::{End, EndAtOnce, Nothing};
        assert_eq!(answers(&[Stop::Key, Stop::Signal]), [End, EndAtOnce]);
        // One Ctrl-C that reached parent and child, in either order.
        assert_eq!(answers(&[Stop::Signal, Stop::Stdin, Stop::Signal]), [End, Nothing, EndAtOnce]);
        assert_eq!(answers(&[Stop::Stdin, Stop::Signal, Stop::Key]), [End, Nothing, EndAtOnce]);
    }
}
