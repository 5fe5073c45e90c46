//! The run folder: what a run leaves behind, and how it is opened again.

use std::error::Error;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::schema::{SchemaError, Summary};
use crate::timeseries::{self, Row};
use crate::{Histogram, hlog};

/// The file that makes a folder a run's: written last.
pub const SUMMARY: &str = "summary.json";
const TIMESERIES: &str = "timeseries.csv";
const LATENCY: &str = "latency.hlog";
const PLAN: &str = "plan.json";
const PAGE: &str = "report.html";

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

    /// Writes `report.html`, as [`crate::html::run_page`] makes it.
    ///
    /// # Errors
    /// The disk's, with the file's name.
    pub fn write_page(&self, page: &str) -> Result<(), FolderError> {
        self.write(PAGE, page.as_bytes())
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

/// Everything that a run left behind.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// `summary.json`.
    pub summary: Summary,
    /// `timeseries.csv`: a row for each second; empty where there is no such file.
    pub rows: Vec<Row>,
    /// `latency.hlog`: each distribution under its name, in nanoseconds; empty where there is no such file.
    pub histograms: Vec<(String, Histogram)>,
    /// `plan.json`; `None` where there is no such file.
    pub plan: Option<serde_json::Value>,
}

/// Reads everything of a run: of a run folder, or of the folder of its `summary.json`. Files that are missing, as of runs of
/// earlier versions, are missing in the [`Run`].
///
/// # Errors
/// As [`open`]; and what is wrong with a file that is there.
pub fn read(path: &Path) -> Result<Run, FolderError> {
    let summary = open(path)?;
    read_around(if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) }, summary)
}

/// Reads what lies in a run's folder beside its summary, which need not be written yet.
///
/// # Errors
/// What is wrong with a file that is there.
pub fn read_around(folder: &Path, summary: Summary) -> Result<Run, FolderError> {
    let rows = part(folder, TIMESERIES, |bytes| Ok(timeseries::from_csv(std::str::from_utf8(bytes)?)?))?;
    let histograms = part(folder, LATENCY, |bytes| Ok(hlog::from_log(bytes)?))?;
    let plan = part(folder, PLAN, |bytes| Ok(serde_json::from_slice(bytes)?))?;
    Ok(Run { summary, rows: rows.unwrap_or_default(), histograms: histograms.unwrap_or_default(), plan })
}

/// Where the page of a run goes that was not told: into the run folder; beside a file of another name than `summary.json`, under
/// its name.
pub fn page_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(PAGE)
    } else if path.ends_with(SUMMARY) {
        path.with_file_name(PAGE)
    } else {
        path.with_extension("html")
    }
}

/// One file of a run, if it is there.
fn part<T>(
    folder: &Path,
    name: &str,
    read: impl FnOnce(&[u8]) -> Result<T, Box<dyn Error + Send + Sync>>,
) -> Result<Option<T>, FolderError> {
    let path = folder.join(name);
    match fs::read(&path) {
        Ok(bytes) => read(&bytes).map(Some).map_err(|why| FolderError::Damaged(path, why)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FolderError::Io(path, error)),
    }
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
    /// Another file of the run is not what it should be.
    Damaged(PathBuf, Box<dyn Error + Send + Sync>),
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
            FolderError::Damaged(path, why) => write!(f, "{} is damaged: {why}", path.display()),
        }
    }
}

impl Error for FolderError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            FolderError::Taken(_) | FolderError::NoRun(_) => None,
            FolderError::Damaged(_, why) => why.source(),
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

    #[test]
    fn a_run_reads_back_with_everything_that_it_left() {
        let home = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(home.path()).unwrap();
        folder.write_summary(&Summary::default()).unwrap();
        let old = read(home.path()).unwrap();
        assert_eq!(
            (old.rows.len(), old.histograms.len(), old.plan),
            (0, 0, None),
            "an old run has a summary alone"
        );

        let rows = [Row { time_s: 1.0, phase: "measure".into(), ..Row::default() }];
        let mut login = Histogram::new();
        login.record(1000);
        let begin = std::time::SystemTime::now();
        folder.write_plan(&serde_json::json!({"seed": 1})).unwrap();
        folder.write_timeseries(&timeseries::to_csv(&rows)).unwrap();
        folder
            .write_latency(&hlog::to_log(&[("login", &login)], begin, std::time::Duration::ZERO).unwrap())
            .unwrap();
        for path in [home.path().to_owned(), home.path().join(SUMMARY)] {
            let run = read(&path).unwrap();
            assert_eq!(
                (run.rows.as_slice(), run.plan),
                (rows.as_slice(), Some(serde_json::json!({"seed": 1})))
            );
            assert_eq!((run.histograms[0].0.as_str(), run.histograms[0].1.count()), ("login", 1));
        }
    }

    #[test]
    fn a_damaged_file_is_told_by_its_name_and_line() {
        let home = tempfile::tempdir().unwrap();
        RunFolder::create(home.path()).unwrap().write_summary(&Summary::default()).unwrap();
        for (name, text, what) in [
            (TIMESERIES, "time_s", "line 1: it has no end"),
            (LATENCY, "Tag=login,0,1,", "line 1: it has no end"),
            (PLAN, "{", "EOF"),
        ] {
            let file = home.path().join(name);
            fs::write(&file, text).unwrap();
            let error = read(home.path()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} is damaged", file.display())), "{error}");
            assert!(error.contains(what), "{error}");
            fs::remove_file(&file).unwrap();
        }
    }

    #[test]
    fn a_page_goes_where_its_run_is() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(page_of(home.path()), home.path().join("report.html"));
        assert_eq!(page_of(Path::new("a/summary.json")), Path::new("a/report.html"));
        assert_eq!(page_of(Path::new("a/02-idle.json")), Path::new("a/02-idle.html"));
    }
}
