//! Hands flags from a command to another `throng` process.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgMatches, Command};

/// The flags that `from` was given by its user and that `to` has too, as `to` takes them.
///
/// Defaults are not handed on: both commands have the same. Names in `except` are left out, because the caller gives
/// those itself. Positional arguments are never handed on.
pub(crate) fn forward(from: &ArgMatches, to: &Command, except: &[&str]) -> Vec<OsString> {
    let mut words = Vec::new();
    for arg in to.get_arguments() {
        let id = arg.get_id().as_str();
        // Asking for a name that `from` does not have panics, so ask whether it has.
        let known = from.try_contains_id(id).is_ok();
        let Some(long) = arg.get_long().filter(|_| known && !except.contains(&id)) else { continue };
        if from.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        if arg.get_action().takes_values() {
            for raw in from.get_raw(id).into_iter().flatten() {
                let mut word = OsString::from(format!("--{long}="));
                word.push(raw);
                words.push(word);
            }
        } else {
            words.push(OsString::from(format!("--{long}")));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::{Cli, Command as Throng};
    use super::*;

    fn forwarded(line: &[&str], to: &str, except: &[&str]) -> Vec<String> {
        let mut cli = Cli::command();
        cli.build();
        let matches = cli.clone().try_get_matches_from(line).unwrap();
        let (_, from) = matches.subcommand().unwrap();
        let words = forward(from, cli.find_subcommand(to).unwrap(), except);
        words.into_iter().map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn what_both_commands_know_is_handed_on_and_nothing_else() {
        let line =
            ["throng", "run", "pairs", "-c", "2k", "--shards=3", "-q", "--threshold", "p99<1ms", "--dry-run"];
        let line = line.into_iter().chain(["--threshold", "p50<1ms", "-t", "2"]).collect::<Vec<_>>();
        assert_eq!(
            forwarded(&line, "load", &[]),
            ["--connections=2k", "--threads=2", "--threshold=p99<1ms", "--threshold=p50<1ms", "--quiet"]
        );
        assert_eq!(forwarded(&line, "serve", &["connections"]), ["--shards=3"]);
    }

    #[test]
    fn what_was_handed_on_parses_to_the_same() {
        let line =
            ["throng", "run", "-r", "0", "--stages", "1s:1k,2s:2k", "--label", "a=b c", "--backend", "epoll"];
        let words = forwarded(&line, "load", &[]);
        let again = ["throng", "load", "127.0.0.1:1"].into_iter().chain(words.iter().map(String::as_str));
        let (Throng::Run(run), Throng::Load(load)) =
            (Cli::parse_from(line).command, Cli::parse_from(again).command)
        else {
            panic!("other commands");
        };
        assert_eq!(format!("{:?}", run.plan), format!("{:?}", load.plan));
        assert_eq!(format!("{:?}", run.report), format!("{:?}", load.report));
        assert_eq!(run.local.backend.backend, load.backend.backend);
    }
}
