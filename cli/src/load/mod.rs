//! `throng load`: plays the users, looks at both sides and at the kernel while they play, judges, and leaves a run folder.
//!
//! ```text
//!  before          hold               measure        measured               after
//!    │  users connect │    warm-up       │   the window   │  roll call, drain   │
//!    memory, slabs,   memory, slabs      CPU of all sides, steal               counters, sysctls
//!    counters, sysctls
//! ```
//!
//! `run` adds nothing to this but the server: whatever a report says is put together here, on one machine or on two.

mod audience;
mod guard;
mod live;
mod memory;
mod progress;
mod record;
mod samples;
mod scout;
mod server;
mod target;
mod viewer;
mod write;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use throng_loadgen::{Engine, Load, Options, Outcome as LoadOutcome, Phase, Plan, Protocol};
use throng_reactor::{Nanos, backend, sys};
use throng_report::RunFolder;
use throng_tcp::Pcap;
use throng_tune::Target;

use crate::args::{GeneratorFlags, LoadArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::prepare;
use crate::signals::{self, Answer, Calls, Stop};
use crate::tls;
use crate::utc;

pub(crate) use live::Now;
#[cfg(test)]
pub(crate) use scout::Seen;

use audience::{Audience, Cores};
use guard::Guard;
use record::Record;
use samples::{Edge, Hold};
use server::Server;
use target::Mine;

/// How often the main thread looks while users connect, at most: the memory of idle connections is read as soon as all are
/// there.
const LOOK: Duration = Duration::from_millis(20);
/// One row of the time series.
const ROW: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) fn load(args: &LoadArgs) -> Outcome {
    let plan = prepare::plan(&args.scenario, &args.plan)?
        .with_part(args.part)
        .map_err(|error| Failure::usage(prepare::chain(&error)))?;
    let selected =
        backend::select(args.backend.backend).map_err(|error| Failure::broke(error.to_string()))?;
    let allowed = prepare::allowed_cores()?;
    let cpus = match &args.generator.load_cpus {
        Some(cores) => {
            sys::affinity::pin(&cores.0).map_err(|error| Failure::usage(error.to_string()))?;
            cores.0.clone()
        }
        None => allowed.clone(),
    };
    let files = prepare::files_per_table()?;
    let users = prepare::generator_holder(&args.generator, &selected);
    let threads = prepare::threads(&plan, args.generator.threads, cpus.len(), files, users)?;
    let engine = prepare::engine(&args.generator, args.backend.backend, &plan, threads)?;
    let mine = Mine::new(&engine);
    let targets = target::resolve(&args.target, &args.allow_target, &mine)?;
    let sources = prepare::sources(&targets, &plan, &engine, args.generator.source_ip)?;
    let tls = tls::client(&args.tls, &args.trust, &args.target, plan.protocol == Protocol::Native)?;
    let server = Server::find(&args.figures, &targets, &mine)?;
    let here = server.shards_here().map(|shards| (shards, prepare::holder(&selected)));
    let wanted = Target { tls: args.tls.tls, ..prepare::target(&plan, here, (threads, users), &sources) };
    let advice = match &args.told {
        // `run` has looked, when its server had not taken its share yet.
        Some(told) => told.warnings.clone(),
        None => prepare::preflight(&wanted, &prepare::machine()?, args.generator.force)?,
    };
    let listener = live::listener(args)?;
    let (stops, asked) = channel::<Stop>();
    signals::watch(&stops, args.until_stdin_closes)
        .map_err(|error| Failure::broke(format!("cannot watch for signals: {error}")))?;
    let named_after = args.start_at.unwrap_or_else(SystemTime::now);
    let folder = folder(args.report.out.clone(), &plan, named_after)?;
    if !wait_for(args.start_at, &asked)? {
        return Ok(Exit::Interrupted);
    }
    let started = SystemTime::now();
    let guard = Guard::new(args.generator.memory_reserve, plan.users());
    write::plan(&folder, &plan)?;

    let sockets = u64::from(server.is_here()) + u64::from(matches!(engine, Engine::Kernel(_)));
    let capture = capture(&args.generator, &engine)?;
    let mut record = Record::begin(server, guard, &targets, sockets);
    record.warnings.extend(advice);
    record.told.clone_from(&args.told);
    let options = Options {
        engine,
        threads,
        cpus: cpus.clone(),
        private_tables: true,
        trace_ids: args.plan.trace_ids,
        capture: capture.clone(),
        tls,
        ..Options::new(sources)
    };
    let load = Load::start(plan.clone(), options).map_err(|error| Failure::broke(prepare::chain(&error)))?;
    let cores = Cores { generator: &cpus, spare: spare(&allowed, &cpus, &record.server) };
    let mut audience = Audience::begin(args, &plan, &record, cores, listener, &stops)?;
    let outcome = watch(load, &plan, &asked, &mut record, &mut audience).inspect_err(|_| audience.end())?;
    if let Some(Err(error)) = capture.map(|capture| capture.finish()) {
        record.warnings.push(format!("the captured packets are not complete: {error}"));
    }
    let measured =
        Measured { resumption: args.tls.resumption, plan: &plan, outcome: &outcome, started, cpus: &cpus };
    finish(args, &folder, &record, &measured, &wanted, &mut audience)
}

/// The cores that neither side has.
fn spare(allowed: &[usize], generator: &[usize], server: &Server) -> Vec<usize> {
    let server = server.first().filter(|_| server.is_here()).map(|figures| figures.cpus.clone());
    let server: Vec<usize> = server.unwrap_or_default().into_iter().map(|core| core as usize).collect();
    let is_spare = |core: &&usize| !generator.contains(core) && !server.contains(core);
    allowed.iter().filter(is_spare).copied().collect()
}

/// Waits for the moment at which all parts of a plan begin. False: somebody wants an end.
fn wait_for(moment: Option<SystemTime>, asked: &Receiver<Stop>) -> Result<bool, Failure> {
    let Some(moment) = moment else { return Ok(true) };
    let Ok(left) = moment.duration_since(SystemTime::now()) else {
        let why = format!("--start-at {} is past", utc::rfc3339(moment));
        return Err(Failure::usage(why));
    };
    eprintln!("throng: beginning in {:.1} s, at {}", left.as_secs_f64(), utc::rfc3339(moment));
    Ok(asked.recv_timeout(left) == Err(RecvTimeoutError::Timeout))
}

/// Where packets are to be written down.
fn capture(flags: &GeneratorFlags, engine: &Engine) -> Result<Option<Arc<Pcap>>, Failure> {
    let Some(path) = &flags.capture else { return Ok(None) };
    if matches!(engine, Engine::Kernel(_)) {
        let why =
            "--capture takes --engine tun: packets of sockets are the kernel's, and tcpdump -i lo shows them";
        return Err(Failure::usage(why.to_owned()));
    }
    let pcap =
        File::create(path).and_then(|file| Pcap::new(Box::new(BufWriter::new(file)), flags.capture_packets));
    pcap.map(Some).map_err(|error| Failure::usage(format!("--capture {}: {error}", path.display())))
}

/// The run folder: as told, else by time and scenario.
fn folder(out: Option<PathBuf>, plan: &Plan, started: SystemTime) -> Result<RunFolder, Failure> {
    let path = out.unwrap_or_else(|| default_folder(plan, started));
    RunFolder::create(&path).map_err(|error| Failure::usage(error.to_string()))
}

/// Where a run goes that was not told.
pub(crate) fn default_folder(plan: &Plan, started: SystemTime) -> PathBuf {
    PathBuf::from("throng-runs").join(format!("{}-{}", utc::file_name(started), plan.scenario))
}

/// How long before the end of an idle hold its memory is looked at: the look takes time, and must not see the roll call.
fn hold_lead(plan: &Plan) -> Duration {
    (plan.duration / 20).clamp(Duration::from_millis(200), Duration::from_secs(5))
}

/// Looks at everything at the right moments, until the load has ended.
fn watch(
    load: Load,
    plan: &Plan,
    asked: &Receiver<Stop>,
    record: &mut Record,
    audience: &mut Audience,
) -> Result<LoadOutcome, Failure> {
    let begun = Instant::now();
    let mut next_row = begun + ROW;
    let mut calls = Calls::default();
    while !load.is_finished() {
        let progress = load.progress();
        record.look(Instant::now());
        if let Some(why) = record.guard.look(&progress) {
            audience.say(&format!("memory is short, everybody leaves: {why}"), "memory is short");
            load.stop_ramp(why);
        }
        let now = sys::clock::now();
        if let Some(times) = progress.times {
            if now >= times.measure && progress.phase < Phase::Draining {
                record.measure.get_or_insert_with(|| Edge::sample(&record.server));
            }
            if now >= times.measured && record.measure.is_some() {
                record.measured.get_or_insert_with(|| Edge::sample(&record.server));
            }
            // Idle users are most themselves towards the end of the hold, all others before they write. After the
            // edges, which cannot wait.
            let hold =
                if plan.kind.has_roll_call() { times.measured - hold_lead(plan) } else { times.begins };
            if now >= hold && record.hold.is_none() {
                record.hold = Some(Hold::sample(&record.server, progress.connected));
                record.guard.held();
            }
        }
        if Instant::now() >= next_row {
            next_row += ROW;
            let interval = load.take_interval();
            record.row(begun.elapsed(), &progress, &interval);
            record.server.look();
            audience.second(&progress, begun.elapsed(), record, &interval);
        }
        audience.look(&progress, begun.elapsed(), record);
        let until = next_row.saturating_duration_since(Instant::now());
        match asked.recv_timeout(wait(&progress, now, until)) {
            Ok(stop) => match calls.take(stop) {
                Answer::EndAtOnce => {
                    audience.end();
                    eprintln!("throng: ended at once; there is no report");
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
                Answer::End => {
                    let text = "interrupted: what is under way is waited for; a second signal ends at once";
                    audience.say(text, "interrupted");
                    load.stop();
                }
                Answer::Nothing => {}
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(LOOK),
        }
    }
    // The last second, which is mostly a part of one.
    record.row(begun.elapsed(), &load.progress(), &load.take_interval());
    let outcome = load.wait().map_err(|error| Failure::broke(prepare::chain(&error)))?;
    record.guard.ended();
    record.server.look_after_the_end(outcome.everybody_lost);
    Ok(outcome)
}

/// How long to sleep: until the next instant of the plan or the next row, and never long.
fn wait(progress: &throng_loadgen::Progress, now: Nanos, row: Duration) -> Duration {
    let instants = progress.times.map(|times| [times.begins, times.measure, times.measured]);
    let next = instants.into_iter().flatten().filter(|&at| at > now).map(|at| at.since(now)).min();
    next.unwrap_or(LOOK).min(LOOK).min(row)
}

/// What a run found out, and how it was run.
struct Measured<'a> {
    /// Users resumed where they could.
    resumption: bool,
    plan: &'a Plan,
    outcome: &'a LoadOutcome,
    started: SystemTime,
    cpus: &'a [usize],
}

impl Measured<'_> {
    /// When the window began, and how long it lasted; `None` when there was none.
    fn window(&self) -> Option<(SystemTime, Duration)> {
        let (begin, end) = self.outcome.measured?;
        Some((SystemTime::now() - sys::clock::now().since(begin), end.since(begin)))
    }
}

fn finish(
    args: &LoadArgs,
    folder: &RunFolder,
    record: &Record,
    measured: &Measured<'_>,
    wanted: &Target,
    audience: &mut Audience,
) -> Outcome {
    let mut summary = record.summary(measured, &args.report);
    record.detect(&mut summary, wanted);
    write::everything(folder, &summary, &record.rows, measured)?;
    // First the folder: a terminal that takes nothing any more must not cost the report.
    audience.end();
    write::show(&summary, &args.report, folder.path());
    Ok(if summary.incidents.interrupted { Exit::Interrupted } else { Exit::from(summary.verdict) })
}
