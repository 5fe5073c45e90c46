//! The run folder: what a run leaves behind, and how it is opened again.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::schema::{SchemaError, Summary};

/// The file that makes a folder a run's: written last.
pub const SUMMARY: &str = "summary.json";
const TIMESERIES: &str = "timeseries.csv";
const LATENCY: &str = "latency.hlog";
const PLAN: &str = "plan.json";

/// A folder for one run, which exists and holds no other run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder, with those above it.
    ///
    /// # Errors
    /// It holds a run already, or cannot be made; both name the path.
    pub fn create(path: &Path) -> Result<RunFolder, FolderError> {
        if path.join(SUMMARY).exists() {
            return Err(FolderError::Taken(path.to_owned()));
        }
        fs::create_dir_all(path).map_err(|error| FolderError::Io(path.to_owned(), error))?;
        Ok(RunFolder { path: path.to_owned() })
    }

    /// A folder that holds a run already, for what is to be added to it.
    ///
    /// # Errors
    /// It holds none.
    pub fn reopen(path: &Path) -> Result<RunFolder, FolderError> {
        match path.join(SUMMARY).exists() {
            true => Ok(RunFolder { path: path.to_owned() }),
            false => Err(FolderError::NoRun(path.join(SUMMARY))),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes `plan.json`.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn write_plan(&self, plan: &serde_json::Value) -> Result<(), FolderError> {
        self.write(PLAN, format!("{plan:#}\n").as_bytes())
    }

    /// Writes `timeseries.csv`, as [`crate::timeseries::to_csv`] makes it.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn write_timeseries(&self, csv: &str) -> Result<(), FolderError> {
        self.write(TIMESERIES, csv.as_bytes())
    }

    /// Writes `latency.hlog`, as [`crate::hlog::to_log`] makes it.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn write_latency(&self, log: &[u8]) -> Result<(), FolderError> {
        self.write(LATENCY, log)
    }

    /// Writes `summary.json`: the last step, after which the folder is a run.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn write_summary(&self, summary: &Summary) -> Result<(), FolderError> {
        self.write(SUMMARY, summary.to_json().as_bytes())
    }

    /// A file is there whole or not at all: it is written under another name first.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let unfinished = self.path.join(format!(".{name}.tmp"));
        fs::write(&unfinished, bytes)
            .and_then(|()| fs::rename(&unfinished, &path))
            .map_err(|error| FolderError::Io(path, error))
    }
}

/// Opens a run: a run folder, or its `summary.json`.
///
/// # Errors
/// What is wrong with which file, and what to do.
pub fn open(path: &Path) -> Result<Summary, FolderError> {
    let file = if path.is_dir() { path.join(SUMMARY) } else { path.to_owned() };
    let text = fs::read_to_string(&file).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FolderError::NoRun(file.clone()),
        _ => FolderError::Io(file.clone(), error),
    })?;
    Summary::from_json(&text).map_err(|error| FolderError::Schema(file, error))
}

/// Opens the runs at a path: a run, or a folder whose own folders are runs, in the order of their names.
///
/// # Errors
/// There is none; or one of the folders is none or cannot be opened, and then no run is left out in silence.
pub fn open_runs(path: &Path) -> Result<Vec<(PathBuf, Summary)>, FolderError> {
    if !path.is_dir() || path.join(SUMMARY).exists() {
        return Ok(vec![(path.to_owned(), open(path)?)]);
    }
    let failed = |error| FolderError::Io(path.to_owned(), error);
    let entries: Vec<PathBuf> = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(failed)?;
    let mut folders: Vec<PathBuf> = entries.into_iter().filter(|entry| entry.is_dir()).collect();
    folders.sort();
    if folders.is_empty() {
        return Err(FolderError::NoRun(path.join(SUMMARY)));
    }
    folders.into_iter().map(|folder| open(&folder).map(|run| (folder, run))).collect()
}

/// Why a run folder cannot be written or opened.
#[derive(Debug)]
pub enum FolderError {
    /// It holds a run already.
    Taken(PathBuf),
    /// There is no run.
    NoRun(PathBuf),
    /// The disk's error.
    Io(PathBuf, io::Error),
    /// The summary is not one, or a newer one.
    Schema(PathBuf, SchemaError),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FolderError::Taken(path) => {
                write!(f, "{} holds a run already: name another folder with --out", path.display())
            }
            FolderError::NoRun(path) => {
                write!(f, "there is no run at {}: name a run folder that holds a {SUMMARY}", path.display())
            }
            FolderError::Io(path, error) => write!(f, "{}: {error}", path.display()),
            FolderError::Schema(path, error) => write!(f, "{} {error}", path.display()),
        }
    }
}

impl std::error::Error for FolderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FolderError::Taken(_) | FolderError::NoRun(_) => None,
            FolderError::Io(_, error) => error.source(),
            FolderError::Schema(_, error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_opens_again_and_is_not_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/run");
        let folder = RunFolder::create(&path).unwrap();
        let mut summary = Summary::default();
        summary.plan.scenario = "pairs".into();
        folder.write_plan(&serde_json::json!({"seed": 1})).unwrap();
        folder.write_summary(&summary).unwrap();
        assert_eq!(open(&path).unwrap(), summary);
        assert_eq!(open(&path.join(SUMMARY)).unwrap(), summary);
        let error = RunFolder::create(&path).unwrap_err().to_string();
        assert!(error.contains("--out"), "{error}");
        let names = fs::read_dir(&path).unwrap().count();
        assert_eq!(names, 2, "nothing unfinished is left");
    }

    #[test]
    fn a_folder_of_runs_is_all_of_them_or_an_error() {
        let home = tempfile::tempdir().unwrap();
        let error = open_runs(home.path()).unwrap_err().to_string();
        assert!(error.contains("no run"), "{error}");
        for name in ["b", "a"] {
            let mut summary = Summary::default();
            summary.plan.scenario = name.into();
            RunFolder::create(&home.path().join(name)).unwrap().write_summary(&summary).unwrap();
        }
        fs::write(home.path().join("notes.txt"), "no run, and no folder").unwrap();
        let names = |runs: Vec<(PathBuf, Summary)>| -> Vec<String> {
            runs.into_iter().map(|(_, run)| run.plan.scenario).collect()
        };
        assert_eq!(names(open_runs(home.path()).unwrap()), ["a", "b"]);
        assert_eq!(names(open_runs(&home.path().join("b")).unwrap()), ["b"]);
        assert_eq!(names(open_runs(&home.path().join("b").join(SUMMARY)).unwrap()), ["b"]);
        fs::create_dir(home.path().join("c")).unwrap();
        let error = open_runs(home.path()).unwrap_err().to_string();
        assert!(error.contains("no run at") && error.contains("/c/"), "{error}");
    }

    #[test]
    fn what_is_no_run_is_told_with_its_path() {
        let home = tempfile::tempdir().unwrap();
        let error = open(home.path()).unwrap_err().to_string();
        assert!(error.contains("no run") && error.contains(SUMMARY), "{error}");
        fs::write(home.path().join(SUMMARY), r#"{"schema": "throng.run/9", "throng_version": "7.1"}"#)
            .unwrap();
        let error = open(home.path()).unwrap_err().to_string();
        assert!(error.contains("newer Throng (7.1)"), "{error}");
        fs::write(home.path().join(SUMMARY), r#"{"schema": "throng.r"#).unwrap();
        let error = open(home.path()).unwrap_err().to_string();
        assert!(error.contains("complete JSON"), "{error}");
    }
}
