//! What `run` did before it started `load`, for the report that `load` writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throng_report::schema::{Host, Lab};

use crate::proc::host;

/// Handed on as JSON by a hidden flag.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    /// The lab, if one was wanted.
    pub(crate) lab: Option<Lab>,
    /// Sysctls of the host that no lab shows.
    pub(crate) host_sysctls: BTreeMap<String, String>,
    /// Memory that was touched beforehand.
    pub(crate) prefaulted_bytes: u64,
    /// What the machine lacks for the plan: it was looked at before the server took its share.
    pub(crate) warnings: Vec<String>,
}

impl Told {
    /// After a lab was opened, or not: `outside` is what [`host::sysctls`] said before.
    pub(crate) fn new(lab: Option<Lab>, outside: BTreeMap<String, String>) -> Told {
        let inside = host::sysctls();
        let hidden = outside.into_iter().filter(|(name, _)| !inside.contains_key(name)).collect();
        Told { lab, host_sysctls: hidden, ..Told::default() }
    }

    /// Whether the run is in a lab.
    pub(crate) fn in_lab(&self) -> bool {
        self.lab.as_ref().is_some_and(|lab| lab.made)
    }

    /// Adds it to the host's part of a report.
    pub(crate) fn fill(&self, host: &mut Host) {
        if self.in_lab() {
            "lab".clone_into(&mut host.network);
        }
        host.lab.clone_from(&self.lab);
        host.prefaulted_bytes = self.prefaulted_bytes;
        for (name, value) in &self.host_sysctls {
            host.sysctls.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }

    /// As a value of the flag.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("maps of strings are JSON")
    }

    /// The value of the flag.
    pub(crate) fn from_json(text: &str) -> Result<Told, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_the_lab_and_the_settings_that_it_does_not_show() {
        let of = |value: &str| BTreeMap::from([("net.core.netdev_max_backlog".to_owned(), value.to_owned())]);
        let lab = Lab { made: true, ..Lab::default() };
        let told = Told { lab: Some(lab.clone()), host_sysctls: of("1000"), ..Told::default() };
        let told = Told::from_json(&told.to_json()).unwrap();
        let mut host = Host { network: "host loopback".to_owned(), ..Host::default() };
        told.fill(&mut host);
        assert_eq!((host.network.as_str(), host.lab.as_ref()), ("lab", Some(&lab)));
        assert_eq!(host.sysctls, of("1000"));
    }

    #[test]
    fn without_a_lab_the_network_is_what_it_was() {
        let mut host = Host { network: "host loopback".to_owned(), ..Host::default() };
        Told { lab: Some(Lab::default()), ..Told::default() }.fill(&mut host);
        assert_eq!(host.network, "host loopback");
        assert_eq!(host.lab, Some(Lab::default()));
    }
}
