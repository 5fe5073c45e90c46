//! `throng report`: reads what runs left behind.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use throng_report::compare::{self, Comparison, Runs};
use throng_report::schema::Arm;
use throng_report::{Histogram, RunFolder, Summary, Threshold, folder, hlog, merge};

use crate::args::{CompareArgs, Format, ReportCommand};
use crate::exit::{Exit, Failure, Outcome};
use crate::prepare::chain;
use crate::{noise, page, utc};

/// Runs the command.
pub(crate) fn report(command: &ReportCommand) -> Outcome {
    match command {
        ReportCommand::Show { run, json } => show(run, *json),
        ReportCommand::Html { run, out } => page::make(run, out.as_deref()),
        ReportCommand::Compare(args) => compare(args),
        ReportCommand::Merge { run, out, threshold } => merge(run, out, threshold),
        ReportCommand::Schema => {
            println!("{:#}", Summary::json_schema());
            Ok(Exit::Pass)
        }
    }
}

fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn show(run: &[PathBuf], json: bool) -> Outcome {
    for (number, path) in run.iter().enumerate() {
        let summary = folder::open(path).map_err(|error| Failure::usage(chain(&error)))?;
        if json {
            print!("{}", summary.to_json());
            continue;
        }
        if number > 0 {
            println!();
        }
        if run.len() > 1 {
            println!("{}", path.display());
        }
        print!("{}", throng_report::text::render(&summary, wants_colour()));
    }
    Ok(Exit::Pass)
}

fn compare(args: &CompareArgs) -> Outcome {
    let paths = match &args.candidate {
        Some(candidate) => [args.baseline.clone(), candidate.clone()],
        None => [Arm::Baseline, Arm::Candidate].map(|arm| args.baseline.join(arm.name())),
    };
    if args.candidate.is_none() && !paths.iter().all(|path| path.is_dir()) {
        return Err(Failure::usage(format!(
            "{} alone is no comparison: name a second run or folder of runs, or what `throng run --against` left behind",
            args.baseline.display()
        )));
    }
    let [baseline, candidate] = [open(&paths[0])?, open(&paths[1])?];
    refuse_shared_runs(&baseline, &candidate)?;
    let names = paths.each_ref().map(|path| path.display().to_string());
    let [baseline, candidate] =
        [baseline, candidate].map(|runs| -> Vec<Summary> { runs.into_iter().map(|(_, run)| run).collect() });
    let known = baseline.first().map(|run| noise::known().of(run)).unwrap_or_default();
    let comparison = compare::compare(
        Runs { name: &names[0], runs: &baseline },
        Runs { name: &names[1], runs: &candidate },
        &args.judging.metric,
        &known,
        args.force,
    )
    .map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(file) = &args.page {
        page::compared(file, &comparison, [&paths[0], &paths[1]]);
    }
    let format = if args.json { Format::Json } else { args.format };
    print!("{}", formatted(&comparison, format));
    Ok(if args.judging.gate { Exit::from(comparison.judgement) } else { Exit::Pass })
}

fn open(path: &Path) -> Result<Vec<(PathBuf, Summary)>, Failure> {
    folder::open_runs(path).map_err(|error| Failure::usage(chain(&error)))
}

/// A run that stands on both sides would say that there is no difference, whatever there is.
fn refuse_shared_runs(
    baseline: &[(PathBuf, Summary)],
    candidate: &[(PathBuf, Summary)],
) -> Result<(), Failure> {
    for (path, _) in baseline {
        let same =
            |other: &Path| matches!((path.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if candidate.iter().any(|(other, _)| same(other)) {
            let why = format!("{} is on both sides: a run says nothing about itself", path.display());
            return Err(Failure::usage(why));
        }
    }
    Ok(())
}

fn merge(runs: &[PathBuf], out: &Path, thresholds: &[Threshold]) -> Outcome {
    let mut parts = Vec::new();
    for path in runs {
        let run = folder::read(path).map_err(|error| Failure::usage(chain(&error)))?;
        let name = path.display().to_string();
        parts.push(merge::Part { name, summary: run.summary, histograms: run.histograms });
    }
    let thresholds = if thresholds.is_empty() { thresholds_of(&parts)? } else { thresholds.to_vec() };
    let usage = |error: &dyn std::error::Error| Failure::usage(chain(error));
    let (summary, histograms) = merge::merge(&parts, &thresholds).map_err(|error| usage(&error))?;
    let folder = RunFolder::create(out).map_err(|error| usage(&error))?;
    let named: Vec<(&str, &Histogram)> =
        histograms.iter().map(|(name, histogram)| (name.as_str(), histogram)).collect();
    let begins = utc::from_rfc3339(&summary.started_utc).unwrap_or(SystemTime::UNIX_EPOCH);
    let lasted = Duration::from_secs_f64(summary.messages.window.duration_s.max(0.0));
    let broke = |why: String| Failure::broke(why);
    let log = hlog::to_log(&named, begins, lasted).map_err(broke)?;
    folder.write_latency(&log).map_err(|error| broke(chain(&error)))?;
    page::leave(&folder, &summary);
    folder.write_summary(&summary).map_err(|error| broke(chain(&error)))?;
    println!("{}\n{}", throng_report::text::render(&summary, wants_colour()), folder.path().display());
    Ok(Exit::from(summary.verdict))
}

/// What had to hold for the parts: all that any of them was judged by.
fn thresholds_of(parts: &[merge::Part]) -> Result<Vec<Threshold>, Failure> {
    let mut thresholds = Vec::<Threshold>::new();
    for part in parts {
        for judged in &part.summary.thresholds {
            let threshold = judged.text.parse().map_err(|error| {
                let why = format!(
                    "{}: threshold {}: {error}; name what must hold with --threshold",
                    part.name, judged.text
                );
                Failure::usage(why)
            })?;
            if !thresholds.contains(&threshold) {
                thresholds.push(threshold);
            }
        }
    }
    Ok(thresholds)
}

fn formatted(comparison: &Comparison, format: Format) -> String {
    let json = |value: serde_json::Result<String>| value.expect("strings and numbers") + "\n";
    match format {
        Format::Text => compare::render(comparison, wants_colour()),
        Format::Json => json(serde_json::to_string_pretty(comparison)),
        Format::Markdown => compare::to_markdown(comparison),
        Format::Csv => compare::to_csv(comparison),
        Format::Bencher => json(serde_json::to_string_pretty(&compare::to_bencher(comparison))),
    }
}
