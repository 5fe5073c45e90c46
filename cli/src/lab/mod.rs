//! The lab: a network namespace in which a run has ports, tables and settings of its own, so that it needs none of the
//! host's and leaves them as they are.
//!
//! ```text
//!   host ──> outer namespace                 ──> inner namespace: serve, load
//!            tcp_child_ehash_entries             a table of connections of that size, loopback, settings
//! ```
//!
//! Nothing in it has a name or a mount, so all of it goes with the last process of the run, however that ends. What belongs to
//! the whole machine (file limits, memory, the backlog of a core) stays the host's, and no lab can change it.

mod told;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use throng_reactor::sys::namespace;
use throng_report::schema::Lab;
use throng_tune::{lab, sysctl_path};

use crate::args::{EngineName, LocalFlags};
use crate::exit::{Exit, Failure, Outcome};

pub(crate) use told::Told;

/// Ports of the server and of its admin socket in a lab, where nobody else can have them: below the ports that
/// connections come from.
pub(crate) const PORTS: [u16; 2] = [7_400, 7_401];

/// Whose rights a lab takes, as the report says it.
const ROOT: &str = "root";
const USER: &str = "user";

/// Settings that forbid an ordinary user a namespace, and the value with which they do.
const FORBIDDING: [(&str, &str); 4] = [
    ("user.max_user_namespaces", "0"),
    ("user.max_net_namespaces", "0"),
    ("kernel.unprivileged_userns_clone", "0"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1"),
];

/// Settings that somebody asked for: names and values.
pub(crate) type Asked = [(String, String)];

/// Moves this process into the lab of a run with so many connections; `None` where it is to be on the host. To be called before
/// the process starts its first thread, since a user namespace is for whole processes and later threads are born into it.
///
/// Where no lab can be made it says why, and the run is on the host; unless somebody insists on one, or asked for a setting.
pub(crate) fn of_run(flags: &LocalFlags, connections: u64) -> Result<Option<Lab>, Failure> {
    let in_user_space = flags.generator.engine == EngineName::Tun;
    if flags.no_lab {
        if in_user_space {
            let why = "--engine tun makes devices and takes addresses: in a lab alone, so not with --no-lab";
            return Err(Failure::usage(why.to_owned()));
        }
        return Ok(None);
    }
    // Both ends of each connection are in it, unless one is no socket.
    let sockets = if in_user_space { connections } else { 2 * connections };
    open(flags.lab || in_user_space, sockets, &flags.sysctl).map(Some)
}

/// Moves this process into a lab for `sockets` sockets, set as `asked` where that says more.
pub(crate) fn open(insists: bool, sockets: u64, asked: &Asked) -> Result<Lab, Failure> {
    match unshare() {
        Ok(kind) => furnish(kind, sockets, asked),
        Err(why) if insists || !asked.is_empty() => {
            Err(Failure::broke(format!("no lab can be made: {why}. --no-lab runs on the host's loopback")))
        }
        Err(why) => Ok(Lab { why, ..Lab::default() }),
    }
}

/// A network namespace by whichever rights there are.
fn unshare() -> Result<&'static str, String> {
    let Err(root) = namespace::unshare_network() else { return Ok(ROOT) };
    // A user namespace that turns out to be good for nothing cannot be left again: let a child find out.
    rehearsal().and_then(|()| namespace::unshare_user_and_network().map_err(|error| error.to_string())).map_err(
        |user| {
            format!(
                "a network namespace, which takes CAP_SYS_ADMIN, was refused ({root}), and so was a user namespace, which \
                 takes nothing ({user}{})",
                forbidden()
            )
        },
    )?;
    Ok(USER)
}

/// The settings that stand in the way of a user namespace, to be put behind a message.
fn forbidden() -> String {
    let stands = |&&(name, value): &&(&str, &str)| get(name).is_ok_and(|now| now == value);
    let found: Vec<String> =
        FORBIDDING.iter().filter(stands).map(|(name, value)| format!("{name} = {value}")).collect();
    match found.is_empty() {
        true => "; no sysctl forbids it, so perhaps a container's seccomp filter does".to_owned(),
        false => format!("; {}", found.join(", ")),
    }
}

/// Lets a child try what `throng lab` tries.
fn rehearsal() -> Result<(), String> {
    let child = std::env::current_exe().and_then(|program| {
        Command::new(program).arg("lab").stdin(Stdio::null()).stdout(Stdio::null()).output()
    });
    match child {
        Ok(child) if child.status.success() => Ok(()),
        Ok(child) => Err(String::from_utf8_lossy(&child.stderr).trim().to_owned()),
        Err(error) => Err(format!("cannot try it in a child process: {error}")),
    }
}

/// `throng lab`: whether a lab can be made without root's rights. Says why not on stderr.
pub(crate) fn rehearse() -> Outcome {
    match namespace::unshare_user_and_network().and_then(|()| namespace::loopback_up()) {
        Ok(()) => Ok(Exit::Pass),
        Err(error) => {
            eprintln!("{error}");
            Ok(Exit::Broke)
        }
    }
}

/// Sets everything up, in the outer namespace and then in the inner one. What is refused is noted, and the run goes on
/// without; but without loopback there is no run, nor with another value than somebody asked for.
fn furnish(kind: &str, sockets: u64, asked: &Asked) -> Result<Lab, Failure> {
    let mut lab = Lab { made: true, kind: kind.to_owned(), ..Lab::default() };
    let is_table = |name: &str| name == lab::CHILD_EHASH || name == lab::EHASH;
    let told = asked.iter().rev().find(|(name, _)| is_table(name)).map(|(_, value)| value.clone());
    let entries = told.unwrap_or_else(|| lab::ehash_entries(sockets).to_string());
    let inner = set(lab::CHILD_EHASH, &entries).and_then(|()| {
        namespace::unshare_network().map_err(|error| format!("a namespace in the namespace: {error}"))?;
        match get("net.ipv4.tcp_ehash_entries")? {
            given if given == entries => Ok(()),
            shared if shared.starts_with('-') => {
                Err(format!("no memory: the host's table of {} is used", &shared[1..]))
            }
            given => Err(format!("the kernel gave {given}")),
        }
    });
    note(&mut lab, lab::CHILD_EHASH, &entries, inner);
    namespace::loopback_up().map_err(|error| {
        Failure::broke(format!(
            "the lab's loopback interface stays down: {error}. --no-lab runs on the host's"
        ))
    })?;
    for (name, value) in lab::settings(sockets) {
        if asked.iter().all(|(other, _)| other != name) {
            let outcome = set(name, &value);
            note(&mut lab, name, &value, outcome);
        }
    }
    for (name, value) in asked.iter().filter(|(name, _)| !is_table(name)) {
        let outcome = set(name, value);
        note(&mut lab, name, value, outcome);
    }
    let refused = lab.refused.iter().find(|(name, _)| {
        asked.iter().any(|(other, _)| other == *name || (is_table(other) && is_table(name)))
    });
    if let Some((name, why)) = refused {
        let why = format!("--sysctl {name}={why}; a lab has net.* of its own alone, and not all of it");
        return Err(Failure::usage(why));
    }
    Ok(lab)
}

fn note(lab: &mut Lab, name: &str, value: &str, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => lab.set.insert(name.to_owned(), value.to_owned()),
        Err(why) => lab.refused.insert(name.to_owned(), format!("{value}: {why}")),
    };
}

fn get(name: &str) -> Result<String, String> {
    let text = fs::read_to_string(sysctl_path(name)).map_err(|error| error.to_string())?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Sets a sysctl, and looks whether it took the value.
fn set(name: &str, value: &str) -> Result<(), String> {
    fs::write(sysctl_path(name), format!("{value}\n")).map_err(|error| error.to_string())?;
    match get(name)? {
        now if now == value => Ok(()),
        now => Err(format!("the kernel made it {now}")),
    }
}

/// The lab in a few words: for whoever looks at a terminal.
pub(crate) fn describe(lab: &Lab) -> String {
    if !lab.made {
        return format!("no lab, the run is on the host's loopback: {}", lab.why);
    }
    let rights = if lab.kind == ROOT { "root's rights" } else { "a user namespace" };
    let list = |of: &BTreeMap<String, String>| {
        of.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    };
    match lab.refused.is_empty() {
        true => format!("a lab by {rights}: {}", list(&lab.set)),
        false => format!("a lab by {rights}: {}; refused: {}", list(&lab.set), list(&lab.refused)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_said() {
        let mut lab = Lab { made: true, kind: USER.to_owned(), ..Lab::default() };
        note(&mut lab, "net.core.somaxconn", "65535", Ok(()));
        note(&mut lab, "net.ipv4.tcp_migrate_req", "1", Err("Read-only file system".to_owned()));
        assert_eq!(
            describe(&lab),
            "a lab by a user namespace: net.core.somaxconn 65535; refused: net.ipv4.tcp_migrate_req 1: Read-only file system"
        );
        let none = describe(&Lab { why: "seccomp".to_owned(), ..Lab::default() });
        assert!(none.contains("host's loopback") && none.contains("seccomp"), "{none}");
    }

    #[test]
    fn a_sysctl_that_is_not_there_cannot_be_set() {
        assert!(set("net.ipv4.nothing", "1").is_err());
        assert!(get("net.core.somaxconn").unwrap().parse::<u64>().is_ok());
    }
}
