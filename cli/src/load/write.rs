//! What a run leaves behind, and what it says at its end.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use throng_loadgen::Plan;
use throng_report::schema::Summary;
use throng_report::timeseries::{self, Row};
use throng_report::{RunFolder, hlog};

use super::Measured;
use crate::args::ReportFlags;
use crate::exit::Failure;
use crate::page;

fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::broke(format!("the report could not be written: {error}"))
}

/// Writes `plan.json`, before anything runs: a run that breaks can be repeated.
pub(super) fn plan(folder: &RunFolder, plan: &Plan) -> Result<(), Failure> {
    let value = serde_json::to_value(plan).map_err(failed)?;
    folder.write_plan(&value).map_err(failed)
}

/// Writes everything else, the summary last.
pub(super) fn everything(
    folder: &RunFolder,
    summary: &Summary,
    rows: &[Row],
    measured: &Measured<'_>,
) -> Result<(), Failure> {
    folder.write_timeseries(&timeseries::to_csv(rows)).map_err(failed)?;
    let (begins, lasted) = measured.window().unwrap_or((measured.started, Duration::ZERO));
    let log = hlog::to_log(&measured.outcome.times.named(), begins, lasted).map_err(failed)?;
    folder.write_latency(&log).map_err(failed)?;
    if !measured.outcome.missing.is_empty() {
        let mut text = String::new();
        for missing in &measured.outcome.missing {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{missing:?}");
        }
        std::fs::write(folder.path().join("missing.txt"), text).map_err(failed)?;
    }
    page::leave(folder, summary);
    folder.write_summary(summary).map_err(failed)
}

/// Prints the summary, and the folder's path as the last line.
pub(super) fn show(summary: &Summary, flags: &ReportFlags, folder: &Path) {
    let mut stdout = std::io::stdout().lock();
    // A closed stdout wants no summary; the folder has it, and the exit code the verdict.
    let _ = if flags.json {
        eprintln!("{}", folder.display());
        write!(stdout, "{}", summary.to_json())
    } else if flags.quiet {
        writeln!(stdout, "{}", folder.display())
    } else {
        let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let text = throng_report::text::render(summary, colour);
        writeln!(stdout, "{}\n\n{}", text.trim_end(), folder.display())
    };
}
