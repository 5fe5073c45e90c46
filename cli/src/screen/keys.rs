//! Reads keys, from the terminal itself: stdin may be a pipe.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::draw::Look;
use super::slot::Slot;
use crate::signals::Stop;

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Stop,
    Nearer,
    Further,
    Help,
    NoHelp,
}

/// Reads keys while the process lasts; once the screen is over they mean nothing. Those that call for an end go to `stops`.
///
/// # Errors
/// The terminal cannot be read, or there is no thread.
pub(super) fn watch(slot: Arc<Slot>, stops: Sender<Stop>) -> io::Result<()> {
    // The first look opens the terminal, so that its failure is known here.
    event::poll(Duration::ZERO)?;
    let read = move || {
        // It waits without end: crossterm spins through the last millisecond of a wait that has one. The process ends it.
        while let Ok(event) = event::read() {
            if slot.is_over() {
                return;
            }
            act(&slot, &stops, &event);
        }
        // A terminal without keys is gone, or nearly: signals still end the run, and the screen says so.
        slot.change(|look| look.keys_are_lost = true);
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read).map(drop)
}

fn act(slot: &Slot, stops: &Sender<Stop>, event: &Event) {
    let meaning = match event {
        Event::Key(key) => meaning(key),
        // Whatever is drawn next has the new size.
        Event::Resize(..) => return slot.change(|_| {}),
        _ => None,
    };
    match meaning {
        // Nobody listens any more when everything has ended.
        Some(Meaning::Stop) => drop(stops.send(Stop::Key)),
        Some(Meaning::Nearer) => slot.change(Look::nearer),
        Some(Meaning::Further) => slot.change(Look::further),
        Some(Meaning::Help) => slot.change(|look| look.help = !look.help),
        Some(Meaning::NoHelp) => slot.change(|look| look.help = false),
        None => {}
    }
}

fn meaning(key: &KeyEvent) -> Option<Meaning> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    // A terminal in raw mode makes no signal of it.
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Meaning::Stop);
    }
    match key.code {
        KeyCode::Char('q' | 'Q') => Some(Meaning::Stop),
        // Both ends of the key, so that nobody needs Shift.
        KeyCode::Char('+' | '=') => Some(Meaning::Nearer),
        KeyCode::Char('-' | '_') => Some(Meaning::Further),
        KeyCode::Char('?' | 'h') | KeyCode::F(1) => Some(Meaning::Help),
        KeyCode::Esc => Some(Meaning::NoHelp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_people_know() {
        let of = |code, modifiers| meaning(&KeyEvent::new(code, modifiers));
        let plain = |key| of(KeyCode::Char(key), KeyModifiers::NONE);
        assert_eq!(
            [plain('q'), plain('+'), plain('-')],
            [Some(Meaning::Stop), Some(Meaning::Nearer), Some(Meaning::Further)]
        );
        assert_eq!((plain('?'), plain('x')), (Some(Meaning::Help), None));
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Meaning::Stop));
        assert_eq!(of(KeyCode::Char('q'), KeyModifiers::CONTROL), None);
        assert_eq!(of(KeyCode::Esc, KeyModifiers::NONE), Some(Meaning::NoHelp));
    }
}
