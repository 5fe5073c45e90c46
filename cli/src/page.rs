//! `report.html`: made at the end of every run, and of runs that are there already by `throng report html`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use throng_report::schema::Summary;
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
/// last. What was measured is worth more than how it looks: when there can be no page, stderr is told, and the run goes on.
pub(crate) fn leave(folder: &RunFolder, summary: &Summary) {
    let page = || folder::read_around(folder.path(), summary.clone()).map(|run| html::run_page(&run));
    let why = match catch_unwind(AssertUnwindSafe(page)) {
        Ok(page) => page.and_then(|page| folder.write_page(&page)).err().map(|error| chain(&error)),
        Err(_) => Some("a mistake in Throng, told above".to_owned()),
    };
    if let Some(why) = why {
        eprintln!("throng: the page of the run could not be made: {why}");
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
