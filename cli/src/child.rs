//! A process that we start. It holds the reading end of a pipe as its stdin and ends when we close the other, or when we are gone,
//! however we went.

use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

/// The process group of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Its own: Ctrl-C in a terminal is for us, and we end the children in order.
    Own,
    /// Ours: the terminal obeys the group in its foreground alone, and the child shows a screen.
    Ours,
}

/// A child that cannot outlive this value: it is killed, and waited for, when dropped.
pub(crate) struct Held {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Held {
    /// Starts it.
    pub(crate) fn start(command: &mut Command, group: Group) -> Result<Held, String> {
        if group == Group::Own {
            command.process_group(0);
        }
        let child = command.stdin(Stdio::piped()).spawn();
        let mut child =
            child.map_err(|error| format!("cannot start {}: {error}", command.get_program().display()))?;
        Ok(Held { stdin: child.stdin.take(), child })
    }

    /// What it prints, once, if its stdout is a pipe.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Closes its stdin.
    pub(crate) fn ask_to_end(&mut self) {
        self.stdin = None;
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, String> {
        self.child.try_wait().map_err(|error| format!("cannot look after a child process: {error}"))
    }

    /// Kills it, if it is not gone.
    pub(crate) fn end(&mut self) {
        // Both fail for a child that has ended and was waited for, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.end();
    }
}

/// The file that this process runs.
pub(crate) fn this_program() -> Result<Command, String> {
    std::env::current_exe()
        .map(Command::new)
        .map_err(|error| format!("cannot find this program's own file: {error}"))
}
