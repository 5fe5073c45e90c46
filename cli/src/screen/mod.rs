//! The live screen of `run`, `load` and `serve`, for a terminal with somebody in front of it.
//!
//! ```text
//!   main thread ──> slot: the latest view ──> thread "screen": view + settings ──> widgets ──> terminal
//!                        ▲                                         ▲
//!                        └────────── thread "keys": scale, help, redraw; q ──> stops, as a signal does
//! ```
//!
//! - Whoever measures puts a view into the slot and goes on: it waits for nobody, whatever the terminal does.
//! - What is drawn is a function of a view ([`draw`]); [`terminal`] alone writes to the terminal, at most four times a second,
//!   and gives it back however the process ends, but for SIGKILL.
//! - The drawing thread stands back (SCHED_IDLE), and where the process leaves cores to nobody else it is bound to them.

mod charts;
mod draw;
mod keys;
mod load;
mod serve;
mod slot;
mod terminal;
pub(crate) mod view;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::{Duration, Instant};

use throng_reactor::sys::affinity;

use crate::args::ReportFlags;
use crate::signals::{self, Stop};

use slot::{Order, Slot};
use view::View;

pub(crate) use terminal::Keeper;

/// From one drawing to the next, at least.
const EVERY: Duration = Duration::from_millis(250);

/// How long a terminal that takes nothing any more is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether there is to be a screen. Whoever gives its runs a heading has looked whether there can be one.
pub(crate) fn is_wanted(flags: &ReportFlags) -> bool {
    let is_silent = flags.quiet || flags.json || flags.no_tui;
    flags.heading.is_some() || !is_silent && is_possible()
}

/// Whether a screen can be shown here: somebody sits at a terminal, and this process may use it.
pub(crate) fn is_possible() -> bool {
    io::stdout().is_terminal()
        && io::stderr().is_terminal()
        && std::env::var_os("TERM").is_some_and(|kind| !kind.is_empty() && kind != "dumb")
        && terminal::is_in_foreground()
}

/// A screen that is shown. Dropping it gives the terminal back.
pub(crate) struct Screen {
    slot: Arc<Slot>,
    /// What was said meanwhile, to be said again where it stays.
    said: Vec<String>,
    is_over: bool,
}

impl Screen {
    /// Takes the terminal. Keys that call for an end go to `stops`, and so does a terminal that hangs up; `cores` are those that
    /// nobody measures on, or none.
    ///
    /// # Errors
    /// The terminal, its keys or a thread cannot be had; nothing is changed then.
    pub(crate) fn begin(stops: &Sender<Stop>, cores: Vec<usize>) -> io::Result<Screen> {
        let slot = Arc::new(Slot::default());
        terminal::enter()?;
        // From here on dropping it gives the terminal back.
        let screen = Screen { slot: Arc::clone(&slot), said: Vec::new(), is_over: false };
        keys::watch(Arc::clone(&slot), stops.clone())?;
        signals::watch_hangup(stops)?;
        thread::Builder::new().name("screen".to_owned()).spawn(move || {
            // Where a sandbox forbids it, it costs what it costs.
            let _ = affinity::stand_back();
            if !cores.is_empty() {
                let _ = affinity::pin(&cores);
            }
            draw_all(&slot);
        })?;
        Ok(screen)
    }

    /// Shows this from now on. Never waits: what comes while the last view is being taken is left out.
    pub(crate) fn show(&self, view: View) {
        self.slot.put(view);
    }

    /// Keeps a sentence for the end, when it is printed on stderr; until then it is the view's to show it.
    pub(crate) fn say(&mut self, text: &str) {
        self.said.push(text.to_owned());
    }

    /// Gives the terminal back, and says what was said meanwhile. A terminal that takes nothing any more is left to itself after
    /// a second. The first call counts.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.slot.end();
        let said = std::mem::take(&mut self.said);
        let (done, is_done) = std::sync::mpsc::channel();
        let restore = move || {
            terminal::restore();
            for text in said {
                terminal::say(&text);
            }
            let _ = done.send(());
        };
        match thread::Builder::new().name("restore".to_owned()).spawn(restore) {
            // Whether it is done or takes too long: there is nothing else to be done.
            Ok(_) => drop(is_done.recv_timeout(PATIENCE)),
            Err(_) => terminal::restore(),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end();
    }
}

/// Draws whenever there is something new, until the end.
fn draw_all(slot: &Slot) {
    let colour = std::env::var_os("NO_COLOR").is_none();
    let Ok(mut terminal) = terminal::Canvas::new() else { return };
    let mut next = Instant::now();
    while let Order::Draw(view, settings) = slot.wait(next) {
        let drawn = terminal.draw(|frame| draw::draw(frame, &view, &draw::Look { colour, ..settings }));
        // A terminal that cannot be written to is gone; the run goes on without it.
        if drawn.is_err() {
            return;
        }
        next = Instant::now() + EVERY;
    }
}
