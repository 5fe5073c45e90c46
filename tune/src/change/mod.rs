//! Changing settings, and putting them back.
//!
//! ```text
//!   look      everything that stands in the way, before anything is touched
//!   note      the journal, with every old value, on disk
//!   for each: note that it is being written ──> write ──> read back ──> note what it became
//!   restore   the other way round, each only where it still has what we wrote
//! ```
//!
//! Each arrow is one [`step`](Change::step), so a test can end between any two of them.

mod journal;

use std::fs;
use std::io;
use std::path::Path;

pub use journal::{Entry, Journal, Keeper, Lock, Progress};

use crate::machine::chosen;

/// A setting that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name, as the journal and messages call it.
    pub name: String,
    /// Where it stands.
    pub path: std::path::PathBuf,
    /// What is to stand there.
    pub value: String,
}

/// A setting that somebody else has changed since we did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its name.
    pub name: String,
    /// What it is now.
    pub now: String,
    /// What it was before we changed it.
    pub was: String,
}

/// What becomes of a setting when it is to be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is as it was.
    Stays,
    /// It gets its old value.
    PutBack,
    /// Somebody else has changed it since.
    LeftAlone,
}

impl Entry {
    /// What becomes of it, when it is `now` so.
    pub fn fate(&self, now: &str) -> Fate {
        let is_ours = match self.progress {
            Progress::Waiting | Progress::Restored => return Fate::Stays,
            // What the kernel made of it was not noted any more.
            Progress::Writing => true,
            Progress::Written => self.became.as_deref() == Some(now),
        };
        match now == self.old {
            true => Fate::Stays,
            false if is_ours => Fate::PutBack,
            false => Fate::LeftAlone,
        }
    }
}

/// What became of a restore.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Settings that have their old value again.
    pub restored: Vec<String>,
    /// Settings that somebody else has changed since: they are left alone.
    pub left: Vec<Left>,
    /// Settings that could not be put back, and why.
    pub failed: Vec<(String, String)>,
}

impl Restored {
    /// Whether everything is as it was.
    pub fn is_whole(&self) -> bool {
        self.left.is_empty() && self.failed.is_empty()
    }
}

/// What stands there, byte for byte; of a file that lists what may be chosen, the chosen one.
pub fn read(path: &Path) -> io::Result<String> {
    let text = fs::read_to_string(path)?;
    Ok(chosen(&text).map(str::to_owned).unwrap_or(text))
}

/// Whether two texts are the same value: the kernel writes tabs where people write blanks.
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// Everything that stands in the way of changing these settings; empty when nothing does. Opens each for writing, and writes nothing.
pub fn needs(wanted: &[Wanted]) -> Vec<String> {
    let check = |wanted: &Wanted| {
        let opened = fs::OpenOptions::new().write(true).open(&wanted.path);
        let why = match opened.map(|_| ()).and_then(|()| read(&wanted.path).map(|_| ())) {
            Ok(()) => return None,
            Err(error) => error,
        };
        let remedy = match why.kind() {
            io::ErrorKind::NotFound => "this kernel does not have it, or its module is not loaded",
            io::ErrorKind::PermissionDenied => "it takes root: uid 0, or for net.* CAP_NET_ADMIN",
            io::ErrorKind::ReadOnlyFilesystem => {
                "/proc/sys is mounted read-only, as containers have it: do it on the host"
            }
            _ => "the kernel refuses it",
        };
        Some(format!("{}: {why}: {remedy}", wanted.name))
    };
    wanted.iter().filter_map(check).collect()
}

/// A change under way.
#[derive(Debug)]
pub struct Change {
    keeper: Keeper,
    journal: Journal,
    at: usize,
    is_noted: bool,
    _lock: Lock,
}

impl Change {
    /// Looks at everything, and changes nothing.
    ///
    /// # Errors
    /// Somebody else is changing settings, an earlier change was not put back, or a setting cannot be read; in words.
    pub fn new(
        keeper: Keeper,
        wanted: &[Wanted],
        boot_id: String,
        began_utc: String,
    ) -> Result<Change, String> {
        let lock = keeper.lock()?;
        if let Some(earlier) = keeper.read()?.filter(|earlier| earlier.boot_id == boot_id) {
            let state = if earlier.is_done() { "was applied" } else { "was cut off" };
            return Err(format!(
                "an earlier change ({}) {state}: `throng tune rollback` first",
                earlier.began_utc
            ));
        }
        let entry = |wanted: &Wanted| {
            let old = read(&wanted.path).map_err(|error| format!("{}: {error}", wanted.name))?;
            Ok(Entry {
                name: wanted.name.clone(),
                path: wanted.path.clone(),
                old,
                new: wanted.value.clone(),
                became: None,
                progress: Progress::Waiting,
            })
        };
        let entries: Result<Vec<Entry>, String> = wanted.iter().map(entry).collect();
        let mut entries = entries?;
        entries.retain(|entry| !same(&entry.old, &entry.new));
        let journal = Journal::new(boot_id, began_utc, entries);
        Ok(Change { keeper, journal, at: 0, is_noted: false, _lock: lock })
    }

    /// What it changes.
    pub fn entries(&self) -> &[Entry] {
        &self.journal.entries
    }

    /// The next write. False: there is none left.
    ///
    /// # Errors
    /// The kernel refuses; everything up to here is to be put back with [`restore`].
    pub fn step(&mut self) -> Result<bool, String> {
        if !self.is_noted {
            self.keeper.write(&self.journal)?;
            self.is_noted = true;
            return Ok(true);
        }
        let Some(entry) = self.journal.entries.get_mut(self.at) else { return Ok(false) };
        let about = |error: io::Error| format!("{}: {error}", entry.name);
        match entry.progress {
            Progress::Waiting => {
                let now = read(&entry.path).map_err(about)?;
                if now != entry.old {
                    return Err(format!("{}: somebody else made it {} meanwhile", entry.name, now.trim()));
                }
                entry.progress = Progress::Writing;
                self.keeper.write(&self.journal)?;
            }
            Progress::Writing if entry.became.is_none() => {
                // As a line: an empty value would be no write at all.
                fs::write(&entry.path, format!("{}\n", entry.new)).map_err(about)?;
                let now = read(&entry.path).map_err(about)?;
                if now == entry.old {
                    return Err(format!(
                        "{}: the kernel takes {} and keeps {}",
                        entry.name,
                        entry.new,
                        now.trim()
                    ));
                }
                entry.became = Some(now);
            }
            _ => {
                entry.progress = Progress::Written;
                self.keeper.write(&self.journal)?;
                self.at += 1;
            }
        }
        Ok(true)
    }

    /// Gives up the lock, and says what was changed.
    pub fn finish(self) -> Journal {
        self.journal
    }
}

/// Puts everything back that a journal lists, the last first, and removes the journal when that is done.
///
/// `boot_id` is this start's: what a restart has put back is not put back by force.
///
/// # Errors
/// There is no journal, it is damaged, or somebody else is changing settings; in words.
pub fn restore(keeper: &Keeper, boot_id: &str) -> Result<Restored, String> {
    let _lock = keeper.lock()?;
    let Some(mut journal) = keeper.read()? else {
        return Err(format!("nothing is to be put back: there is no journal at {}", keeper.path().display()));
    };
    let mut outcome = Restored::default();
    if journal.boot_id == boot_id {
        journal.is_of_this_network()?;
        for at in (0..journal.entries.len()).rev() {
            put_back(&mut journal.entries[at], &mut outcome);
        }
    }
    if outcome.failed.is_empty() {
        keeper.remove()?;
    } else {
        keeper.write(&journal)?;
    }
    Ok(outcome)
}

fn put_back(entry: &mut Entry, outcome: &mut Restored) {
    let now = match read(&entry.path) {
        Ok(now) => now,
        Err(error) => return outcome.failed.push((entry.name.clone(), error.to_string())),
    };
    match entry.fate(&now) {
        Fate::Stays => return entry.progress = Progress::Restored,
        Fate::LeftAlone => {
            let [now, was] = [&now, &entry.old].map(|text| text.trim().to_owned());
            return outcome.left.push(Left { name: entry.name.clone(), now, was });
        }
        Fate::PutBack => {}
    }
    let written = fs::write(&entry.path, &entry.old).and_then(|()| read(&entry.path));
    match written {
        Ok(now) if now == entry.old => {
            entry.progress = Progress::Restored;
            outcome.restored.push(entry.name.clone());
        }
        Ok(now) => outcome.failed.push((entry.name.clone(), format!("the kernel made it {}", now.trim()))),
        Err(error) => outcome.failed.push((entry.name.clone(), error.to_string())),
    }
}

#[cfg(test)]
mod tests;
