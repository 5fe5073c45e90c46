//! `throng run`: a server and its users as two processes, each with its own cores and its own accounts.
//!
//! The report is made by `load` alone, which reads the server's figures as it would read those of a server elsewhere. This
//! command only makes room for the two, sizes, starts, watches and ends them:
//!
//! ```text
//!   plan ──> lab ──> size ──> preflight ──> prefault ──> play: serve, load
//! ```

mod children;
mod dry;
mod prefault;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

use clap::{ArgMatches, CommandFactory};
use throng_loadgen::{Engine, Plan};
use throng_reactor::sys::inherit;
use throng_report::schema::{Reason, Summary, Verdict};
use throng_report::text::bytes;
use throng_report::{RunFolder, Threshold};
use throng_tune::Memory;

use crate::admin;
use crate::args::{Cli, RunArgs, forward};
use crate::exit::{Exit, Failure, Outcome};
use crate::lab::{self, Told};
use crate::load::default_folder;
use crate::page;
use crate::prepare;
use crate::proc::host;
use crate::screen;
use crate::signals::{self, Answer, Calls, Stop};
use crate::size::Sized;
use crate::tls;
use crate::utc;

use children::{Finished, Load, Server};

/// How often to look whether a child ended.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of the server's log that are shown when it died.
const LOG_LINES: usize = 10;
/// Where the server's stderr goes, inside the run folder.
const SERVER_LOG: &str = "server.log";

/// Runs the command; `matches` are its flags as they were given.
pub(crate) fn run(args: &RunArgs, matches: &ArgMatches) -> Outcome {
    let plan = prepare::plan(&args.scenario, &args.plan)?;
    // Outside of the lab, where whoever reads it is.
    let listener =
        args.prometheus.filter(|_| !args.dry_run).map(|address| admin::bind(address, "Prometheus"));
    let listener = listener.transpose().map_err(|error| Failure::usage(error.to_string()))?;
    let outside = prepare::machine()?;
    // First of all: it decides which ports and tables there are, and wants a process without threads.
    let mut told = lab(args, &plan)?;
    let sized = Sized::new(plan, &args.local, &outside, told.in_lab())?;
    if args.dry_run {
        return Ok(dry::show(&sized, &told));
    }
    told.warnings.extend(prepare::preflight(&sized.target, &sized.machine, args.local.generator.force)?);
    let say = |text: String| {
        if !args.report.quiet {
            eprintln!("throng: {text}");
        }
    };
    if let Some(lab) = &told.lab {
        say(lab::describe(lab));
    }
    if sized.split.shares() {
        say(format!("server and users share cores {}: their figures disturb each other", sized.split.serve));
    }
    let started = SystemTime::now();
    let path = args.report.out.clone().unwrap_or_else(|| default_folder(&sized.plan, started));
    let folder = RunFolder::create(&path).map_err(|error| Failure::usage(error.to_string()))?;
    if args.local.prefault {
        let wanted = Memory::of(&sized.target, sized.machine.files_per_table).total();
        let wanted_text = bytes(wanted as f64);
        say(format!("touching {wanted_text} of memory"));
        let touched = prefault::touch(wanted, |now| {
            say(format!("{} of {wanted_text} touched", bytes(now as f64)));
        })?;
        told.prefaulted_bytes = touched.bytes;
        say(format!("{} touched in {:.1?}", bytes(touched.bytes as f64), touched.took));
    }
    play(args, matches, &sized, &told, &folder, listener).inspect_err(|failure| {
        // What broke before `load` could write a report must still leave one.
        if failure.exit == Exit::Broke {
            write_broken(&folder, &sized.plan, started, &told, &failure.message);
        }
    })
}

/// Opens the lab, unless the run is to be on the host.
fn lab(args: &RunArgs, plan: &Plan) -> Result<Told, Failure> {
    let outside = host::sysctls();
    let Some(lab) = lab::of_run(&args.local, plan.connections)? else { return Ok(Told::default()) };
    let warning = (!lab.made || !lab.refused.is_empty()).then(|| lab::describe(&lab));
    Ok(Told { warnings: warning.into_iter().collect(), ..Told::new(Some(lab), outside) })
}

/// Starts both, waits for the users, then ends the server.
fn play(
    args: &RunArgs,
    matches: &ArgMatches,
    sized: &Sized,
    told: &Told,
    folder: &RunFolder,
    listener: Option<TcpListener>,
) -> Outcome {
    let (stops, asked) = channel::<Stop>();
    signals::watch(&stops, args.until_stdin_closes)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let commands = Cli::command();
    let flags = |name: &str, except: &[&str]| {
        let command = commands.find_subcommand(name).expect("a command of this program");
        forward(matches, command, except)
    };
    let log = folder.path().join(SERVER_LOG);
    let mut words =
        flags("serve", &["connections", "shards", "serve_cpus", "until_stdin_closes", "prometheus"]);
    words.push(format!("--connections={}", sized.plan.connections).into());
    words.push(format!("--shards={}", sized.shards).into());
    words.push(format!("--serve-cpus={}", sized.split.serve).into());
    let ports = if told.in_lab() { lab::PORTS } else { [0, 0] };
    // Where users in user space find the server is an address of their device's, which is made later.
    let listen: IpAddr = match sized.engine {
        Engine::Kernel(_) => Ipv4Addr::LOCALHOST.into(),
        Engine::Tun(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    let trial = match args.local.tls.tls && args.local.certificate.cert.is_none() {
        true => Some(tls::Trial::make()?),
        false => None,
    };
    if let Some(trial) = &trial {
        words.extend(trial.server_flags().map(Into::into));
    }
    let mut server = Server::start(listen, ports, &words, &log)
        .map_err(|why| Failure::broke(format!("{why}{}", tail(&log))))?;

    let mut words = flags("load", &["threads", "load_cpus", "out", "until_stdin_closes", "prometheus"]);
    words.push(format!("--threads={}", sized.threads).into());
    words.push(format!("--load-cpus={}", sized.split.load).into());
    words.push(format!("--server-admin={}", server.admin()).into());
    words.push(format!("--told={}", told.to_json()).into());
    if let Some(trial) = &trial {
        words.extend(trial.client_flags(&args.local.trust).into_iter().map(Into::into));
    }
    let mut out = std::ffi::OsString::from("--out=");
    out.push(folder.path());
    words.push(out);
    let address = match sized.engine {
        Engine::Kernel(_) => server.address(),
        Engine::Tun(devices) => SocketAddr::new(devices.server().into(), server.address().port()),
    };
    if let Some(listener) = &listener {
        let fd = inherit::hand_on(listener).map_err(|error| {
            Failure::broke(format!("cannot hand on the listener for Prometheus: {error}"))
        })?;
        words.push(format!("--prometheus-fd={fd}").into());
    }
    let with_screen = screen::is_wanted(&args.report);
    let mut load = Load::start(address, &args.scenario, &words, with_screen).map_err(Failure::broke)?;
    drop(listener);

    let mut server_ended = None::<ExitStatus>;
    let mut calls = Calls::default();
    let exit = loop {
        if let Some(exit) = load.ended().map_err(Failure::broke)? {
            break exit;
        }
        if server_ended.is_none() {
            server_ended = server.ended().map_err(Failure::broke)?;
        }
        if let Ok(stop) = asked.recv_timeout(LOOK) {
            match calls.take(stop) {
                // Dropping the children kills them.
                Answer::EndAtOnce => return Ok(Exit::Interrupted),
                Answer::End => load.stop(),
                Answer::Nothing => {}
            }
        }
    };
    if server_ended.is_none() {
        server_ended = server.ended().map_err(Failure::broke)?;
    }
    let death = match server_ended {
        Some(status) => Some(format!("it ended by itself ({status})")),
        None => match server.finish(sized.plan.connections, &asked, &mut calls).map_err(Failure::broke)? {
            Finished::Drained => None,
            Finished::Died(how) => Some(how),
            Finished::Killed => {
                eprintln!("throng: the server was killed while it drained; the report is as it was before");
                return Ok(Exit::Interrupted);
            }
        },
    };
    if let Some(how) = &death {
        eprintln!("throng: the server: {how}{}", tail(&log));
    }
    let has_report = folder.path().join(throng_report::folder::SUMMARY).exists();
    if !has_report && exit != Exit::Interrupted {
        return Err(Failure {
            exit,
            message: "the generator ended without a report; its message stands above".to_owned(),
        });
    }
    match death {
        Some(how) if has_report && exit == Exit::Pass => judge_again(folder, &how),
        _ => Ok(exit),
    }
}

/// The server died after the generator had made its report: it stays no pass.
fn judge_again(folder: &RunFolder, how: &str) -> Result<Exit, Failure> {
    let mut summary =
        throng_report::folder::open(folder.path()).map_err(|error| Failure::broke(error.to_string()))?;
    summary.incidents.server_died = Some(how.to_owned());
    let thresholds: Vec<Threshold> =
        summary.thresholds.iter().filter_map(|threshold| threshold.text.parse().ok()).collect();
    throng_report::judge(&mut summary, &thresholds);
    page::leave(folder, &summary);
    folder.write_summary(&summary).map_err(|error| Failure::broke(error.to_string()))?;
    for reason in &summary.reasons {
        eprintln!("throng: {}: {}", summary.verdict.word(), reason.text);
    }
    Ok(Exit::from(summary.verdict))
}

/// The end of the server's log, to be put behind a message.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return format!("; {} is empty", log.display());
    }
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("; the end of {}:\n  {}", log.display(), last.join("\n  "))
}

/// A report that says that there is none. Whoever collects run folders then finds why.
fn write_broken(folder: &RunFolder, plan: &Plan, started: SystemTime, told: &Told, why: &str) {
    let mut summary = Summary {
        throng_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_utc: utc::rfc3339(started),
        plan: plan.facts(),
        verdict: Verdict::Invalid,
        ..Summary::default()
    };
    told.fill(&mut summary.host);
    summary.reasons.push(Reason {
        verdict: Verdict::Invalid,
        code: "broke".to_owned(),
        text: why.to_owned(),
    });
    page::leave(folder, &summary);
    match folder.write_summary(&summary) {
        Ok(()) => println!("{}", folder.path().display()),
        Err(error) => eprintln!("throng: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_judged_again_has_its_page_again() {
        let home = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&home.path().join("run")).unwrap();
        let mut summary = Summary::default();
        summary.connections.target = 1;
        summary.connections.established = 1;
        throng_report::judge(&mut summary, &[]);
        assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
        page::leave(&folder, &summary);
        folder.write_summary(&summary).unwrap();
        let page = || fs::read_to_string(folder.path().join("report.html")).unwrap();
        assert!(page().contains("<strong>PASS</strong>"));
        assert_eq!(judge_again(&folder, "killed by <nobody>").unwrap(), Exit::Fail);
        let page = page();
        assert!(
            page.contains("<strong>FAIL</strong>") && page.contains("killed by &lt;nobody&gt;"),
            "{page}"
        );
    }
}
