//! One `throng run` in processes of its own, for those who make many.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use throng_report::schema::Series;
use throng_report::{RunFolder, Summary, folder};

use crate::child::{Group, Held, this_program};
use crate::exit::{Exit, Failure};
use crate::signals::{Answer, Calls, Stop};

/// How often to look whether a run ended.
const LOOK: Duration = Duration::from_millis(50);

/// A run to be made.
pub(crate) struct Fresh<'a> {
    /// Another build of Throng; `None` for this one.
    pub(crate) program: Option<&'a Path>,
    /// The scenario, or its file.
    pub(crate) scenario: &'a str,
    /// Flags of `run`.
    pub(crate) flags: &'a [OsString],
    /// What the live screen says above its figures; without, there is none.
    pub(crate) heading: Option<String>,
}

impl Fresh<'_> {
    fn command(&self) -> Result<Command, Failure> {
        let mut command = match self.program {
            Some(program) => Command::new(program),
            None => this_program().map_err(Failure::broke)?,
        };
        command.args(["run", "--until-stdin-closes"]).args(self.flags).arg(self.scenario);
        Ok(command)
    }

    /// Makes it, quietly, with its report at `out`. `None`: somebody asked for an end meanwhile, and it ended.
    ///
    /// # Errors
    /// It cannot be started or watched.
    pub(crate) fn play(&self, out: &Path, asked: &Receiver<Stop>) -> Result<Option<Exit>, Failure> {
        let ended = wait([self.start(out)?], asked)?;
        Ok(ended.map(|[exit]| exit))
    }

    /// Begins it, quietly, with its report at `out`. Dropped, it is killed.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(&self, out: &Path) -> Result<Held, Failure> {
        let mut folder = OsString::from("--out=");
        folder.push(out);
        let mut command = self.command()?;
        // What a quiet run prints is its folder's name.
        command.arg("--quiet").arg(folder).stdout(Stdio::null());
        let mut group = Group::Own;
        if let Some(heading) = &self.heading {
            command.arg(format!("--heading={heading}"));
            group = Group::Ours;
        }
        Held::start(&mut command, group).map_err(Failure::broke)
    }

    /// Lets it begin, and end before its first connection: whether its flags can be had here. Why not stands on stderr.
    ///
    /// # Errors
    /// It cannot be started or watched.
    pub(crate) fn rehearse(&self, asked: &Receiver<Stop>) -> Result<Option<Exit>, Failure> {
        let mut command = self.command()?;
        command.arg("--dry-run").stdout(Stdio::null());
        let ended = wait([Held::start(&mut command, Group::Own).map_err(Failure::broke)?], asked)?;
        Ok(ended.map(|[exit]| exit))
    }

    /// What stands in its way on this machine, as `--dry-run` tells; `None` when nothing does.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn obstacle(&self) -> Result<Option<String>, Failure> {
        let mut command = self.command()?;
        command.arg("--dry-run").stdout(Stdio::piped());
        let mut held = Held::start(&mut command, Group::Own).map_err(Failure::broke)?;
        let mut text = String::new();
        if let Some(mut stdout) = held.stdout() {
            let failed = |error| Failure::broke(format!("cannot read what a dry run says: {error}"));
            stdout.read_to_string(&mut text).map_err(failed)?;
        }
        Ok(in_the_way(&text))
    }
}

/// Waits until all of these runs ended. `None`: somebody asked for an end meanwhile, and they ended.
///
/// # Errors
/// One of them cannot be watched.
pub(crate) fn wait<const N: usize>(
    mut runs: [Held; N],
    asked: &Receiver<Stop>,
) -> Result<Option<[Exit; N]>, Failure> {
    let mut calls = Calls::default();
    let mut exits = [None; N];
    loop {
        for (run, exit) in runs.iter_mut().zip(&mut exits) {
            if exit.is_none() {
                *exit = run.ended().map_err(Failure::broke)?.map(|status| Exit::from_code(status.code()));
            }
        }
        if exits.iter().all(Option::is_some) {
            return Ok((!calls.is_ending()).then(|| exits.map(|exit| exit.expect("all have ended"))));
        }
        let Ok(stop) = asked.recv_timeout(LOOK) else { continue };
        match calls.take(stop) {
            Answer::EndAtOnce => return Ok(None), // dropped, they are killed
            Answer::End => runs.iter_mut().for_each(Held::ask_to_end),
            Answer::Nothing => {}
        }
    }
}

/// Writes a run's place among others into its report.
///
/// # Errors
/// The report is not there, or cannot be written.
pub(crate) fn mark(path: &Path, place: Series) -> Result<Summary, Failure> {
    let broke = |error: &dyn std::fmt::Display| Failure::broke(error.to_string());
    let mut summary = folder::open(path).map_err(|error| broke(&error))?;
    summary.series = Some(place);
    let folder = RunFolder::reopen(path).map_err(|error| broke(&error))?;
    folder.write_summary(&summary).map_err(|error| broke(&error))?;
    Ok(summary)
}

/// The runs below a folder that were marked, those that there are.
pub(crate) fn made(path: &Path) -> Vec<Summary> {
    let Ok(entries) = path.read_dir() else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let opened = paths.iter().filter_map(|path| folder::open(path).ok());
    opened.filter(|run| run.series.is_some()).collect()
}

/// The lines of a dry run that say what is in the way.
fn in_the_way(text: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("in the way"));
    let first = lines.next()?.trim_start_matches("in the way").trim();
    if first == "nothing" {
        return None;
    }
    let more = lines.take_while(|line| line.starts_with(' ')).map(str::trim);
    Some(std::iter::once(first).chain(more).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_way_is_read_from_a_dry_run() {
        let text = "time         3 s\nin the way   memory: 9 GB\n             ports\nadvice       nothing\n";
        assert_eq!(in_the_way(text).as_deref(), Some("memory: 9 GB; ports"));
        assert_eq!(in_the_way("in the way   nothing\nadvice       a\n"), None);
        assert_eq!(in_the_way(""), None);
    }
}
