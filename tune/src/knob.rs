//! What a knob is: one setting of the kernel's, of a process, of a socket or of the hardware, with everything that Throng knows of it.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::detect::{Found, Seen};
use crate::machine::Machine;
use crate::target::Target;

/// Whose a setting is, and so who else feels it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// One process and its children.
    Process,
    /// One socket: Throng sets it on its own.
    Socket,
    /// One network namespace: a lab has its own.
    Namespace,
    /// The whole machine.
    Host,
    /// The whole machine, from its next start on.
    Boot,
}

impl Scope {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Process => "process",
            Scope::Socket => "socket",
            Scope::Namespace => "namespace",
            Scope::Host => "host",
            Scope::Boot => "boot",
        }
    }
}

/// Where a setting is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Under /proc/sys, by the knob's name.
    Sysctl,
    /// A file elsewhere that holds the value, or lists what may be chosen with the value in brackets.
    File(&'static str),
    /// A file that tells it, and is not written here.
    Read(&'static str),
    /// A limit of setrlimit(2): the name of its line in /proc/self/limits, and how ulimit(1) and systemd call it.
    Limit {
        /// `Max open files`.
        line: &'static str,
        /// `-n`.
        ulimit: &'static str,
        /// `LimitNOFILE`.
        systemd: &'static str,
    },
    /// What Throng does on its own sockets; by a flag where there is one.
    Throng(Option<&'static str>),
    /// The kernel's command line: a parameter of it.
    Boot(&'static str),
    /// Nothing that is written here: told, because results depend on it.
    Told,
}

/// What is to be said of a knob where a target meets a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The target cannot be met with it.
    Blocks,
    /// It can, until something goes wrong.
    Risky,
    /// It costs something, and gives this target nothing.
    Wasteful,
    /// It fits.
    Ok,
    /// It cannot be seen from here, or depends on what cannot be known.
    Unknown,
}

/// One setting.
pub struct Knob {
    /// As its own documentation calls it.
    pub name: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// Where it is read and written.
    pub place: Place,
    /// What it decides.
    pub what: &'static str,
    /// Its rule in words, and why.
    pub why: &'static str,
    /// What may go wrong when it is changed.
    pub risk: &'static str,
    /// Where the rule comes from.
    pub source: &'static str,
    /// What is to be said of it.
    pub(crate) rule: fn(&Target, &Machine) -> Said,
    /// What a run's counters say of it.
    pub(crate) seen: fn(&Seen<'_>) -> Option<Found>,
}

impl Knob {
    /// How to set it, as a command where there is one.
    pub fn set(&self, value: &str) -> String {
        match self.place {
            Place::Sysctl if value.contains(' ') || value.is_empty() => {
                format!("sysctl -w {}='{value}'", self.name)
            }
            Place::Sysctl => format!("sysctl -w {}={value}", self.name),
            Place::File(path) => format!("echo {value} >{path}"),
            Place::Limit { ulimit, systemd, .. } => {
                format!("ulimit -H{} {value} ({systemd}= under systemd)", &ulimit[1..])
            }
            Place::Throng(Some(flag)) => format!("{flag} {value}"),
            Place::Throng(None) => format!("Throng sets it to {value}"),
            Place::Boot(parameter) => format!("boot with {parameter}={value}"),
            Place::Read(_) | Place::Told => value.to_owned(),
        }
    }

    /// How to set it in the lab of a run, where that has its own.
    fn set_in_lab(&self, value: &str) -> Option<String> {
        let is_own = self.scope == Scope::Namespace && matches!(self.place, Place::Sysctl | Place::Boot(_));
        let quote = if value.contains(' ') { "'" } else { "" };
        is_own.then(|| format!("throng run --sysctl {}={quote}{value}{quote}", self.name))
    }

    /// What to do: set it to `value`, or what stands `instead`, or either.
    pub(crate) fn remedy(&self, value: Option<&str>, instead: &str, in_lab: bool) -> String {
        let set = |value| match self.set_in_lab(value) {
            Some(set) if in_lab => set,
            _ => self.set(value),
        };
        let set = value.map(set);
        let ways: Vec<String> =
            set.into_iter().chain(Some(instead.to_owned()).filter(|way| !way.is_empty())).collect();
        ways.join("; or ")
    }

    /// How it is put back.
    pub fn undo(&self) -> &'static str {
        match (self.place, self.scope) {
            (Place::Sysctl, Scope::Namespace) => "write the old value; in a lab it goes with the lab",
            (Place::Sysctl | Place::File(_), _) => "write the old value; a restart forgets it, too",
            (Place::Limit { .. }, _) => "it ends with the process that was given it",
            (Place::Throng(_), _) => "it ends with the socket",
            (Place::Boot(_), _) => "take the parameter away, and start again",
            (Place::Read(_) | Place::Told, _) => "Throng does not change it",
        }
    }
}

impl fmt::Debug for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Knob {
    fn eq(&self, other: &Knob) -> bool {
        self.name == other.name
    }
}

impl Eq for Knob {}

impl Serialize for Knob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("scope", &self.scope)?;
        map.serialize_entry("rule", self.why)?;
        map.serialize_entry("risk", self.risk)?;
        map.serialize_entry("source", self.source)?;
        map.end()
    }
}

/// What a rule says of a target and a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) verdict: Verdict,
    /// What it is, where that is not what stands at its place.
    pub(crate) now: Option<String>,
    /// What the target needs; empty when that is no matter.
    pub(crate) needed: String,
    /// What follows from the figures.
    pub(crate) because: String,
    /// What would be written to its place.
    pub(crate) value: Option<String>,
    /// What to do besides, or instead of, setting it.
    pub(crate) instead: String,
    /// The most connections that fit as it is.
    pub(crate) fits: Option<u64>,
    /// A run is not even begun.
    pub(crate) refuses: bool,
}

impl Said {
    fn new(verdict: Verdict, needed: impl fmt::Display, because: impl Into<String>) -> Said {
        Said {
            verdict,
            now: None,
            needed: needed.to_string(),
            because: because.into(),
            value: None,
            instead: String::new(),
            fits: None,
            refuses: false,
        }
    }

    pub(crate) fn blocks(needed: impl fmt::Display, because: impl Into<String>) -> Said {
        Said::new(Verdict::Blocks, needed, because)
    }

    pub(crate) fn risky(needed: impl fmt::Display, because: impl Into<String>) -> Said {
        Said::new(Verdict::Risky, needed, because)
    }

    pub(crate) fn wasteful(needed: impl fmt::Display, because: impl Into<String>) -> Said {
        Said::new(Verdict::Wasteful, needed, because)
    }

    pub(crate) fn ok(because: impl Into<String>) -> Said {
        Said::new(Verdict::Ok, "", because)
    }

    /// It fits, since this much is needed.
    pub(crate) fn enough(needed: impl fmt::Display) -> Said {
        Said::new(Verdict::Ok, needed, "")
    }

    /// It fits, since no more than this is needed.
    pub(crate) fn at_least(needed: impl fmt::Display) -> Said {
        Said::enough(format!("at least {needed}"))
    }

    pub(crate) fn unknown(because: impl Into<String>) -> Said {
        Said::new(Verdict::Unknown, "", because)
    }

    /// The setting is not there.
    pub(crate) fn absent() -> Said {
        Said::unknown("this kernel does not have it, or does not show it here")
    }

    pub(crate) fn because(self, because: impl Into<String>) -> Said {
        Said { because: because.into(), ..self }
    }

    pub(crate) fn now(self, now: impl fmt::Display) -> Said {
        Said { now: Some(now.to_string()), ..self }
    }

    pub(crate) fn value(self, value: impl fmt::Display) -> Said {
        Said { value: Some(value.to_string()), ..self }
    }

    pub(crate) fn instead(self, instead: impl Into<String>) -> Said {
        Said { instead: instead.into(), ..self }
    }

    pub(crate) fn fits(self, fits: u64) -> Said {
        Said { fits: Some(fits), ..self }
    }

    pub(crate) fn refuses(self) -> Said {
        Said { refuses: true, ..self }
    }
}
