//! What must be equal for two runs to be comparable, and what differs.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::schema::{Backend, Summary};

/// Something in which runs differ that should be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is, as `host.kernel`.
    pub what: String,
    /// How it was in runs of the baseline: each value that occurred.
    pub baseline: Vec<String>,
    /// How it was in runs of the candidate.
    pub candidate: Vec<String>,
}

/// Everything of a run that must be equal, by name. The commit is not in it: to compare two of them is what comparing is for.
fn fingerprint(summary: &Summary) -> BTreeMap<String, String> {
    let (host, plan, generator) = (&summary.host, &summary.plan, &summary.generator);
    let mut print = BTreeMap::new();
    let mut put = |name: &str, value: String| {
        print.insert(name.to_owned(), value);
    };
    put("host.kernel", host.kernel.clone());
    put("host.cmdline", host.cmdline.clone());
    put("host.cpu_model", host.cpu_model.clone());
    put("host.cores", host.cores.to_string());
    put("host.memory_bytes", host.memory_bytes.to_string());
    put("host.network", host.network.clone());
    put("host.prefault", if host.prefaulted_bytes > 0 { "touched" } else { "untouched" }.to_owned());
    put("build.profile", host.build.profile.clone());
    put("build.target", host.build.target.clone());
    put("build.rustc", host.build.rustc.clone());
    put("plan.scenario", plan.scenario.clone());
    put("plan.hash", plan.hash.clone());
    put("generator.engine", generator.engine.clone());
    put("generator.threads", generator.threads.to_string());
    put("generator.cpus", cores(&generator.cpus));
    put("generator.backend", active(generator.backend.as_ref()));
    if let Some(server) = &summary.server {
        put("server.backend", active(server.backend.as_ref()));
        put("server.shards", server.shards.map_or_else(String::new, |shards| shards.to_string()));
        put("server.cpus", cores(&server.cpus));
        for (name, value) in &server.socket_options {
            put(&format!("server.{name}"), value.clone());
        }
    }
    if let Some(tls) = &summary.tls {
        put("tls.version", tls.version.clone());
        put("tls.suite", tls.suite.clone());
        put("tls.resumption", if tls.resumption { "on" } else { "off" }.to_owned());
    }
    for (name, value) in &host.mitigations {
        put(&format!("mitigation {name}"), value.clone());
    }
    for (name, value) in &host.limits {
        put(&format!("limit {name}"), value.clone());
    }
    for (name, value) in &host.sysctls {
        put(&format!("sysctl {name}"), value.clone());
    }
    for (name, value) in host.lab.iter().flat_map(|lab| &lab.set) {
        put(&format!("lab {name}"), value.clone());
    }
    print
}

fn active(backend: Option<&Backend>) -> String {
    backend.map_or_else(String::new, |backend| backend.active.clone())
}

fn cores(cores: &[u32]) -> String {
    cores.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// A hash that is equal for runs on one machine of one plan in one configuration, and for no others.
pub(super) fn key(summary: &Summary) -> String {
    let mut hash = Sha256::new();
    for (name, value) in fingerprint(summary) {
        hash.update(format!("{name}={value}\n"));
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// What differs among all these runs, by name. What only one of two versions writes is a difference, too.
pub(crate) fn differences(baseline: &[&Summary], candidate: &[&Summary]) -> Vec<Difference> {
    let mut names = BTreeMap::<String, [Vec<String>; 2]>::new();
    let prints = |runs: &[&Summary]| runs.iter().map(|run| fingerprint(run)).collect::<Vec<_>>();
    let prints = [prints(baseline), prints(candidate)];
    for name in prints.iter().flatten().flat_map(BTreeMap::keys) {
        names.entry(name.clone()).or_default();
    }
    for (name, values) in &mut names {
        for (arm, values) in prints.iter().zip(values) {
            for print in arm {
                let value = print.get(name).cloned().unwrap_or_else(|| "(not there)".to_owned());
                if !values.contains(&value) {
                    values.push(value);
                }
            }
        }
    }
    let differs = |values: &[Vec<String>; 2]| values[0] != values[1] || values[0].len() > 1;
    names
        .into_iter()
        .filter(|(_, values)| differs(values))
        .map(|(what, [baseline, candidate])| Difference { what, baseline, candidate })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_with_every_value() {
        let mut a = Summary::default();
        a.host.kernel = "6.18".into();
        a.host.sysctls.insert("net.core.somaxconn".into(), "4096".into());
        let mut b = a.clone();
        assert!(differences(&[&a], &[&b]).is_empty());
        b.host.kernel = "6.12".into();
        b.host.sysctls.clear();
        b.host.build.commit = "abc".into();
        b.host.lab = Some(crate::schema::Lab::default());
        let named = |what: &str, baseline: &str, candidate: &str| Difference {
            what: what.into(),
            baseline: vec![baseline.into()],
            candidate: vec![candidate.into()],
        };
        let wanted =
            [named("host.kernel", "6.18", "6.12"), named("sysctl net.core.somaxconn", "4096", "(not there)")];
        assert_eq!(differences(&[&a], &[&b]), wanted, "and not the commit");
        let within = differences(&[&a, &b], &[&a, &b]);
        assert_eq!(within[0].baseline, ["6.18", "6.12"], "runs of one arm must agree, too");
        assert_ne!(key(&a), key(&b));
    }
}
