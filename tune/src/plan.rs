//! A plan: what an audit would have set, as a file that can be read, cut down and handed on.

use serde::{Deserialize, Serialize};

use crate::audit::Line;
use crate::change::Wanted;
use crate::knob::{Knob, Place, Scope, Verdict};
use crate::knobs::KNOBS;
use crate::machine::sysctl_path;

/// The schema of the file.
const SCHEMA: &str = "throng.tune-plan/1";

/// What is to be set for a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    schema: String,
    /// The target, in words.
    pub target: String,
    /// Its connections: a lab has tables for them.
    #[serde(default)]
    pub connections: u64,
    /// What `throng tune apply` sets.
    #[serde(default)]
    pub set: Vec<Setting>,
    /// What it cannot set: limits of processes, and whatever takes a restart.
    #[serde(default)]
    pub by_hand: Vec<Setting>,
}

/// One setting of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The knob's name.
    pub name: String,
    /// What it is to be.
    pub value: String,
    /// What it was when the plan was made.
    #[serde(default)]
    pub was: String,
    /// Whose it is.
    #[serde(default)]
    pub scope: String,
    /// Why, in words.
    #[serde(default)]
    pub why: String,
    /// How, where it is not `throng tune apply`'s to do.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub how: String,
}

impl Plan {
    fn empty(target: String, connections: u64) -> Plan {
        Plan { schema: SCHEMA.to_owned(), target, connections, set: Vec::new(), by_hand: Vec::new() }
    }

    /// What these lines want: whatever is in the way; with `all` what is risky or wasteful, too.
    pub fn of(lines: &[Line], target: String, connections: u64, all: bool) -> Plan {
        let mut plan = Plan::empty(target, connections);
        let is_wanted = |line: &&Line| match line.verdict {
            Verdict::Blocks => true,
            Verdict::Risky | Verdict::Wasteful => all,
            Verdict::Ok | Verdict::Unknown => false,
        };
        for line in lines.iter().filter(is_wanted) {
            let why = [line.because.as_str(), line.knob.why].join("; ");
            let setting = Setting {
                name: line.knob.name.to_owned(),
                value: line.value.clone().unwrap_or_else(|| line.needed.clone()),
                was: line.now.clone(),
                scope: line.knob.scope.word().to_owned(),
                why: why.trim_start_matches("; ").to_owned(),
                how: String::new(),
            };
            if line.value.is_some() && is_set_by_apply(line.knob) {
                plan.set.push(setting);
            } else {
                plan.by_hand.push(Setting { how: line.remedy.clone(), ..setting });
            }
        }
        plan
    }

    /// Values that were found to help: of settings that `apply` sets; the rest is to be done by hand.
    pub fn of_values(values: &[(String, String)], target: String, connections: u64) -> Plan {
        let mut plan = Plan::empty(target, connections);
        for (name, value) in values {
            let ending = format!(".{name}");
            let knob = KNOBS.iter().find(|knob| knob.name == name || knob.name.ends_with(&ending));
            let setting = Setting {
                name: knob.map_or_else(|| name.clone(), |knob| knob.name.to_owned()),
                value: value.clone(),
                was: String::new(),
                scope: knob.map_or("throng", |knob| knob.scope.word()).to_owned(),
                why: "it was better in a sweep".to_owned(),
                how: String::new(),
            };
            match knob.filter(|knob| is_set_by_apply(knob)) {
                Some(_) => plan.set.push(setting),
                None => {
                    let how = knob.map_or_else(|| format!("--{name} {value}"), |knob| knob.set(value));
                    plan.by_hand.push(Setting { how, ..setting });
                }
            }
        }
        plan
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        let head = "# What `throng tune apply` sets. Take out whatever should stay as it is.\n";
        format!("{head}{}", toml::to_string_pretty(self).expect("strings alone"))
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is no plan, is of a newer version, or names what is no knob or cannot be set; in words.
    pub fn from_toml(text: &str) -> Result<Plan, String> {
        let plan: Plan = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if plan.schema != SCHEMA {
            return Err(format!("its schema is {}, not {SCHEMA}", plan.schema));
        }
        for (at, setting) in plan.set.iter().enumerate() {
            let knob = knob(&setting.name)?;
            if plan.set[..at].iter().any(|other| other.name == setting.name) {
                return Err(format!("{} is set twice", setting.name));
            }
            if !is_set_by_apply(knob) {
                return Err(format!("{} cannot be set here: {}", setting.name, knob.set(&setting.value)));
            }
            if setting.value.contains('\n') || setting.value.contains('\0') {
                return Err(format!("{}: a value is one line", setting.name));
            }
        }
        Ok(plan)
    }

    /// What is to be written where: of a namespace alone, or of the host, too.
    pub fn wanted(&self, of_host: bool) -> Vec<Wanted> {
        let of = |setting: &Setting| {
            let knob = knob(&setting.name).ok().filter(|knob| of_host || knob.scope == Scope::Namespace)?;
            wanted(knob, &setting.value)
        };
        self.set.iter().filter_map(of).collect()
    }

    /// The same for those who manage a machine by files: name and text of each, below /etc.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let head = format!("# Throng, for {}\n", self.target);
        let sysctls = self.set.iter().filter(|setting| setting.name.contains('.'));
        let sysctls: String = sysctls
            .map(|setting| {
                format!("\n# {}\n# was {}\n{} = {}\n", setting.why, setting.was, setting.name, setting.value)
            })
            .collect();
        let limits: Vec<(&str, &str, &Setting)> = self
            .by_hand
            .iter()
            .filter(|setting| setting.value.parse::<u64>().is_ok())
            .filter_map(|setting| match knob(&setting.name).ok()?.place {
                Place::Limit { systemd, .. } => {
                    Some((systemd, systemd.strip_prefix("Limit").unwrap_or(systemd), setting))
                }
                _ => None,
            })
            .collect();
        let mut files = Vec::new();
        if !sysctls.is_empty() {
            files.push(("sysctl.d/90-throng.conf", format!("{head}{sysctls}")));
        }
        // What is no sysctl is written at every start by systemd-tmpfiles(8).
        let written = self.set.iter().filter_map(|setting| match knob(&setting.name).ok()?.place {
            Place::File(path) => Some(format!("w {path} - - - - {}\n", setting.value)),
            _ => None,
        });
        let written: String = written.collect();
        if !written.is_empty() {
            files.push(("tmpfiles.d/90-throng.conf", format!("{head}{written}")));
        }
        if !limits.is_empty() {
            let lines: String = limits
                .iter()
                .map(|(_, name, setting)| {
                    let item = name.to_lowercase();
                    format!("*\tsoft\t{item}\t{0}\n*\thard\t{item}\t{0}\n", setting.value)
                })
                .collect();
            files.push(("security/limits.d/90-throng.conf", format!("{head}{lines}")));
            // systemd counts locked memory in bytes, and limits.d in kilobytes.
            let lines: String = limits
                .iter()
                .map(|(systemd, _, setting)| match *systemd {
                    "LimitMEMLOCK" => format!("{systemd}={}K\n", setting.value),
                    _ => format!("{systemd}={}\n", setting.value),
                })
                .collect();
            files.push((
                "systemd/system/throng.service.d/90-limits.conf",
                format!("{head}[Service]\n{lines}"),
            ));
        }
        files
    }
}

fn is_set_by_apply(knob: &Knob) -> bool {
    wanted(knob, "").is_some()
}

/// What is to be written where so that a knob has this value; `None`: there is no such place.
pub fn wanted(knob: &Knob, value: &str) -> Option<Wanted> {
    let path = match knob.place {
        Place::File(path) => path.into(),
        Place::Sysctl => sysctl_path(knob.name),
        _ => return None,
    };
    Some(Wanted { name: knob.name.to_owned(), path, value: value.to_owned() })
}

fn knob(name: &str) -> Result<&'static Knob, String> {
    let found = KNOBS.iter().find(|knob| knob.name == name);
    found
        .copied()
        .ok_or_else(|| format!("`{name}` is no knob: `throng tune knobs` lists those that there are"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, verdict: Verdict, value: Option<&str>) -> Line {
        Line {
            knob: knob(name).unwrap(),
            now: "1".to_owned(),
            needed: "2".to_owned(),
            verdict,
            because: "so it is".to_owned(),
            remedy: "do it".to_owned(),
            value: value.map(str::to_owned),
            fits: None,
            refuses: false,
        }
    }

    fn plan(all: bool) -> Plan {
        let lines = [
            line("net.core.somaxconn", Verdict::Blocks, Some("2")),
            line("fs.file-max", Verdict::Blocks, Some("3")),
            line("RLIMIT_NOFILE", Verdict::Blocks, Some("4")),
            line("RLIMIT_MEMLOCK", Verdict::Blocks, Some("5")),
            line("memory available", Verdict::Blocks, None),
            line("vm.swappiness", Verdict::Risky, Some("1")),
            line("net.ipv4.tcp_syncookies", Verdict::Ok, None),
        ];
        Plan::of(&lines, "a million".to_owned(), 1_000_000, all)
    }

    fn names(settings: &[Setting]) -> Vec<&str> {
        settings.iter().map(|setting| setting.name.as_str()).collect()
    }

    #[test]
    fn a_plan_has_what_is_in_the_way_and_what_must_be_done_by_hand() {
        let plan = plan(false);
        assert_eq!(names(&plan.set), ["net.core.somaxconn", "fs.file-max"]);
        assert_eq!(names(&plan.by_hand), ["RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "memory available"]);
        assert_eq!(plan.by_hand[0].how, "do it");
        assert_eq!(names(&self::plan(true).set).last(), Some(&"vm.swappiness"));
        let of = |of_host| plan.wanted(of_host).into_iter().map(|wanted| wanted.name).collect::<Vec<_>>();
        assert_eq!(of(false), ["net.core.somaxconn"], "a lab has no more of its own");
        assert_eq!(of(true), ["net.core.somaxconn", "fs.file-max"]);
    }

    #[test]
    fn a_plan_that_was_written_is_read_again() {
        assert_eq!(Plan::from_toml(&plan(true).to_toml()), Ok(plan(true)));
        let cut = "schema = 'throng.tune-plan/1'\ntarget = 'x'\n[[set]]\nname = 'net.core.somaxconn'\nvalue = '9'\n";
        assert_eq!(Plan::from_toml(cut).unwrap().wanted(true)[0].value, "9");
    }

    #[test]
    fn what_is_no_plan_says_why() {
        let of = |text: &str| Plan::from_toml(&plan(false).to_toml().replace("net.core.somaxconn", text));
        assert!(of("net.core.nothing").unwrap_err().contains("is no knob"));
        assert!(of("RLIMIT_NOFILE").unwrap_err().contains("ulimit -Hn 2"));
        let newer = plan(false).to_toml().replace("tune-plan/1", "tune-plan/2");
        assert!(Plan::from_toml(&newer).unwrap_err().contains("schema"));
        assert!(Plan::from_toml("a = ").is_err());
        let misspelt = plan(false).to_toml().replace("\nvalue", "\nvalu");
        assert!(Plan::from_toml(&misspelt).unwrap_err().contains("valu"));
    }

    #[test]
    fn those_who_manage_machines_by_files_get_files() {
        let files = plan(false).files();
        let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "sysctl.d/90-throng.conf",
                "security/limits.d/90-throng.conf",
                "systemd/system/throng.service.d/90-limits.conf"
            ]
        );
        assert!(files[0].1.contains("\nnet.core.somaxconn = 2\n"), "{}", files[0].1);
        assert!(files[1].1.contains("*\thard\tnofile\t4\n"), "{}", files[1].1);
        assert!(files[2].1.ends_with("[Service]\nLimitNOFILE=4\nLimitMEMLOCK=5K\n"), "{}", files[2].1);
        let choice = line("transparent huge pages", Verdict::Wasteful, Some("madvise"));
        let limit = Line { needed: "at least 9".to_owned(), ..line("RLIMIT_NOFILE", Verdict::Blocks, None) };
        let files = Plan::of(&[choice, limit], String::new(), 1, true).files();
        let [(name, text)] = &files[..] else {
            panic!("a limit without a number goes into no file: {files:?}")
        };
        let line = "\nw /sys/kernel/mm/transparent_hugepage/enabled - - - - madvise\n";
        assert!(*name == "tmpfiles.d/90-throng.conf" && text.ends_with(line), "{text}");
    }

    #[test]
    fn no_setting_is_set_twice() {
        let twice = plan(false).to_toml();
        let set = &twice[twice.find("[[set]]").unwrap()..twice.find("[[by_hand]]").unwrap()];
        assert!(Plan::from_toml(&format!("{twice}\n{set}")).unwrap_err().contains("set twice"));
    }
}
