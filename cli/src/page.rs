//! `report.html`: made at the end of every run, and of runs that are there already by `throng report html`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use throng_report::capacity::Capacity;
use throng_report::compare::Comparison;
use throng_report::schema::{Summary, Verdict};
use throng_report::{RunFolder, folder, html};

use crate::exit::{Exit, Failure, Outcome};
use crate::prepare::chain;

/// Runs `throng report html`.
pub(crate) fn make(runs: &[PathBuf], out: Option<&Path>) -> Outcome {
    if out.is_some() && runs.len() > 1 {
        return Err(Failure::usage(
            "--out names one page, and these are several runs: leave it away, or name one run",
        ));
    }
    for path in runs {
        let run = folder::read(path).map_err(|error| Failure::usage(chain(&error)))?;
        let page = html::run_page(&run);
        let file = out.map_or_else(|| folder::page_of(path), Path::to_owned);
        std::fs::write(&file, page)
            .map_err(|error| Failure::broke(format!("{}: {error}", file.display())))?;
        println!("{}", file.display());
    }
    Ok(Exit::Pass)
}

/// Leaves the page in the folder of a run that has just ended, of everything that is written there and of its summary, which is written
/// last.
pub(crate) fn leave(folder: &RunFolder, summary: &Summary) {
    or_tell("the run", || {
        let run = folder::read_around(folder.path(), summary.clone()).map_err(|error| chain(&error))?;
        folder.write_page(&html::run_page(&run)).map_err(|error| chain(&error))
    });
}

/// Writes the page of a comparison, whose arms' runs stand below these two paths.
pub(crate) fn compared(file: &Path, comparison: &Comparison, arms: [&Path; 2]) {
    or_tell("the comparison", || {
        let mut runs = [Vec::new(), Vec::new()];
        for (runs, path) in runs.iter_mut().zip(arms) {
            let all = folder::open_runs(path).map_err(|error| chain(&error))?;
            // What measured something else is in none of the figures, and in no curve.
            for (folder, _) in all.into_iter().filter(|(_, run)| run.verdict != Verdict::Invalid) {
                runs.push(folder::read(&folder).map_err(|error| chain(&error))?);
            }
        }
        write(file, &html::comparison_page(comparison, [&runs[0], &runs[1]]))
    });
}

/// Writes the page of a search.
pub(crate) fn searched(file: &Path, capacity: &Capacity) {
    or_tell("the search", || write(file, &html::capacity_page(capacity)));
}

fn write(file: &Path, page: &str) -> Result<(), String> {
    std::fs::write(file, page).map_err(|error| format!("{}: {error}", file.display()))
}

/// What was measured is worth more than how it looks: when there can be no page, stderr is told, and the command goes on.
fn or_tell(what: &str, make: impl FnOnce() -> Result<(), String>) {
    let made = catch_unwind(AssertUnwindSafe(make));
    if let Err(why) = made.unwrap_or_else(|_| Err("a mistake in Throng, told above".to_owned())) {
        eprintln!("throng: the page of {what} could not be made: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_be_written_breaks_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&home.path().join("run")).unwrap();
        leave(&folder, &Summary::default());
        let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page.contains("INVALID"), "{page}");
        std::fs::remove_dir_all(folder.path()).unwrap();
        leave(&folder, &Summary::default());
    }
}
