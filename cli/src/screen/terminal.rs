//! The terminal: taken, written to, and given back.
//!
//! A frame is put together first and written in one go, and only while the terminal is ours; whoever gives it back takes the
//! same lock. So nothing of a frame comes after the end, whichever thread ended it: main, a panic, or a signal's.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crossterm::cursor::{Hide, Show};
use crossterm::queue;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// Whether the terminal is ours.
static IS_OURS: AtomicBool = AtomicBool::new(false);

/// How it was before that. Set and put back through stderr: /dev/tty, which crossterm would take, is gone when the session's
/// leader is.
static BEFORE: Mutex<Option<Keeper>> = Mutex::new(None);

/// Whether this process may change the terminal: whoever does so from the background is stopped.
pub(super) fn is_in_foreground() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Takes the terminal: no echo, no lines, no signals by keys, the alternate screen, no cursor. A panic gives it back before
/// it is told.
///
/// # Errors
/// There is no terminal, or it refuses.
pub(super) fn enter() -> io::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            told(panic);
        }));
    });
    let before = tcgetattr(io::stderr())?;
    let mut raw = before.clone();
    raw.make_raw();
    tcsetattr(io::stderr(), OptionalActions::Now, &raw)?;
    *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Keeper(before));
    IS_OURS.store(true, Ordering::Release);
    let mut bytes = Vec::new();
    // Into memory, which takes everything.
    let _ = queue!(bytes, EnterAlternateScreen, Hide);
    io::stderr().write_all(&bytes).inspect_err(|_| restore())
}

/// Gives the terminal back as it was. Does nothing when it is not ours.
pub(super) fn restore() {
    let _after_the_frame = io::stderr().lock();
    if IS_OURS.swap(false, Ordering::AcqRel)
        && let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take()
    {
        before.put_back();
    }
}

/// A line on stderr; one that cannot be written is nobody's loss.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "throng: {text}");
}

/// What is drawn on.
pub(super) struct Canvas(ratatui::Terminal<CrosstermBackend<Frames>>);

impl Canvas {
    /// The whole terminal.
    ///
    /// # Errors
    /// Its size cannot be read.
    pub(super) fn new() -> io::Result<Canvas> {
        ratatui::Terminal::new(CrosstermBackend::new(Frames::default())).map(Canvas)
    }

    /// Draws once, in the size that the terminal has now.
    ///
    /// # Errors
    /// The terminal takes nothing any more. While it is not ours nothing is written, and that is no error.
    pub(super) fn draw(&mut self, frame: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(frame).map(drop)
    }
}

/// Collects a frame's bytes and writes them in one go, while the terminal is ours.
#[derive(Default)]
struct Frames {
    frame: Vec<u8>,
    /// A frame could not be written.
    is_gone: bool,
}

impl Write for Frames {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let frame = std::mem::take(&mut self.frame);
        let mut stderr = io::stderr().lock();
        // Who asked once and was refused is not refused again: ratatui shows the cursor when it is dropped, and complains on
        // stderr when it cannot.
        if self.is_gone || !IS_OURS.load(Ordering::Acquire) {
            return Ok(());
        }
        stderr.write_all(&frame).inspect_err(|_| self.is_gone = true)
    }
}

/// Remembers how the terminal was, for whoever starts a process that shows a screen and may have to kill it.
pub(crate) struct Keeper(Termios);

impl Keeper {
    /// Of the terminal on stderr; `None` when there is none.
    pub(crate) fn new() -> Option<Keeper> {
        tcgetattr(io::stderr()).ok().map(Keeper)
    }

    /// Puts it back: settings, the normal screen, the cursor.
    pub(crate) fn put_back(&self) {
        let mut bytes = Vec::new();
        // Into memory, which takes everything; and a terminal that is gone needs nothing back.
        let _ = queue!(bytes, LeaveAlternateScreen, Show);
        let _ = tcsetattr(io::stderr(), OptionalActions::Now, &self.0);
        let _ = io::stderr().write_all(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use portable_pty::{CommandBuilder, PtySize, native_pty_system};

    use super::*;

    /// Set for the process that panics.
    const PANICS: &str = "THRONG_TEST_PANICS";

    /// The test starts itself in a terminal, where it takes it and panics.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if std::env::var_os(PANICS).is_some() {
            enter().unwrap();
            std::thread::spawn(|| panic!("on purpose")).join().unwrap_err();
            // What is drawn afterwards goes nowhere.
            let mut canvas = Canvas::new().unwrap();
            return canvas.draw(|frame| frame.render_widget("too late", frame.area())).unwrap();
        }
        let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let termios = || format!("{:?}", pair.master.get_termios().unwrap());
        let before = termios();
        let mut command = CommandBuilder::new(std::env::current_exe().unwrap());
        command.args(["--exact", "screen::terminal::tests::a_panic_gives_the_terminal_back", "--nocapture"]);
        command.env(PANICS, "1");
        command.env("RUST_BACKTRACE", "0");
        let mut reader = pair.master.try_clone_reader().unwrap();
        let mut child = pair.slave.spawn_command(command).unwrap();
        assert_eq!(child.wait().unwrap().exit_code(), 0);
        assert_eq!(termios(), before);
        drop(pair.slave);
        let mut written = Vec::new();
        // The end of a terminal without a program is an error.
        let _ = reader.read_to_end(&mut written);
        let mut parser = vt100::Parser::new(24, 80, 0);
        parser.process(&written);
        let screen = parser.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor());
        let contents = screen.contents();
        assert!(contents.contains("on purpose") && !contents.contains("too late"), "{contents}");
        assert!(String::from_utf8_lossy(&written).contains("\x1b[?1049h"), "it was taken");
    }
}
