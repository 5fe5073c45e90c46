//! What was changed and how it was before: written before anything is, so that it can be put back whoever dies.
//!
//! One file, replaced as a whole and forced to disk, so it is there whole or not at all. Whoever changes settings holds a lock on a
//! file beside it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The schema of the file.
const SCHEMA: &str = "throng.tune-journal/1";

/// How far a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It was not touched.
    Waiting,
    /// It is being written: it has its old value, its new one, or what the kernel made of that.
    Writing,
    /// It has its new value.
    Written,
    /// It has its old value again.
    Restored,
}

/// A setting that is changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
    /// What stood there, byte for byte.
    pub old: String,
    /// What was written.
    pub new: String,
    /// What then stood there: the kernel may have rounded it.
    pub became: Option<String>,
    /// How far it is.
    pub progress: Progress,
}

/// Everything that one `apply` changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    schema: String,
    /// /proc/sys/kernel/random/boot_id: after a restart the kernel has its own values again.
    pub boot_id: String,
    /// When it began, RFC 3339 in UTC.
    pub began_utc: String,
    /// The network namespace whose net.* it is about, as /proc/self/ns/net names it.
    #[serde(default)]
    pub network: String,
    /// The process that did it.
    pub pid: u32,
    /// The settings, in the order in which they are written.
    pub entries: Vec<Entry>,
}

impl Journal {
    /// One in which nothing was touched yet.
    pub fn new(boot_id: String, began_utc: String, entries: Vec<Entry>) -> Journal {
        let (schema, pid) = (SCHEMA.to_owned(), std::process::id());
        Journal { schema, boot_id, began_utc, network: this_network(), pid, entries }
    }

    /// Whether its net.* settings are those that are seen from here.
    ///
    /// # Errors
    /// They are another namespace's; in words.
    pub fn is_of_this_network(&self) -> Result<(), String> {
        let here = this_network();
        let is_about_networks = self.entries.iter().any(|entry| entry.path.starts_with("/proc/sys/net"));
        if self.network == here || self.network.is_empty() || !is_about_networks {
            return Ok(());
        }
        let made = &self.network;
        Err(format!(
            "it was made in another network namespace ({made}; this is {here}): put it back there, with nsenter(1)"
        ))
    }

    /// Whether every setting has its new value.
    pub fn is_done(&self) -> bool {
        self.entries.iter().all(|entry| entry.progress == Progress::Written)
    }
}

/// Names the network namespace of this process.
fn this_network() -> String {
    fs::read_link("/proc/self/ns/net").map(|path| path.display().to_string()).unwrap_or_default()
}

/// Where a journal is kept.
#[derive(Clone, Debug)]
pub struct Keeper {
    path: PathBuf,
}

/// While it lives, nobody else changes settings by this journal.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock ends with the file")] File);

impl Keeper {
    /// The journal at this path; its folder is made when it is needed.
    pub fn new(path: PathBuf) -> Keeper {
        Keeper { path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// Somebody else holds it, or the folder cannot be made or written; in words.
    pub fn lock(&self) -> Result<Lock, String> {
        let about = |error: io::Error| format!("{}: {error}", self.path.display());
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).map_err(about)?;
        }
        let path = self.path.with_extension("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(format!(
                "somebody else is changing settings now ({} is locked): wait for them",
                path.display()
            )),
            Err(TryLockError::Error(error)) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// What it holds; `None` without a journal.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is of a newer version; in words, with what to do.
    pub fn read(&self) -> Result<Option<Journal>, String> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", self.path.display())),
        };
        let damaged = |why: String| {
            format!(
                "the journal {} is damaged ({why}), so nothing is touched: what it says can still be read, and put back by hand; \
                 then remove it",
                self.path.display()
            )
        };
        let journal: Journal = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if journal.schema != SCHEMA {
            return Err(damaged(format!("its schema is {}, not {SCHEMA}", journal.schema)));
        }
        Ok(Some(journal))
    }

    /// Replaces it, and waits until the disk has it.
    ///
    /// # Errors
    /// The kernel's, with the path.
    pub fn write(&self, journal: &Journal) -> Result<(), String> {
        let about = |error: io::Error| format!("{}: {error}", self.path.display());
        let unfinished = self.path.with_extension("tmp");
        let mut file = File::create(&unfinished).map_err(about)?;
        let text = serde_json::to_string_pretty(journal).expect("strings and numbers");
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(about)?;
        fs::rename(&unfinished, &self.path).map_err(about)?;
        self.sync_folder().map_err(about)
    }

    /// Removes it: everything is as it was.
    ///
    /// # Errors
    /// The kernel's, with the path.
    pub fn remove(&self) -> Result<(), String> {
        let removed = fs::remove_file(&self.path).and_then(|()| self.sync_folder());
        removed.map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}
