//! The house rules that a machine can check. Each failure says what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of one file, at most: what a person can read in one sitting. Whoever needs more has two subjects; split by
/// meaning.
const LINES_MAX: usize = 600;

/// Which crates each crate may use, itself aside. What is missing here is the point: the generator does not know the
/// server (they would share their mistakes), and the report knows nobody (old results must still open).
const EDGES: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("reactor", &[]),
    ("tcp", &["reactor"]),
    ("server", &["reactor", "wire"]),
    ("loadgen", &["reactor", "report", "tcp", "wire"]),
    ("report", &[]),
    ("tune", &["report"]),
    ("cli", &["loadgen", "reactor", "report", "server", "tcp", "tune", "wire"]),
    ("benches", &["cli", "loadgen", "reactor", "report", "server", "tcp", "tune", "wire"]),
];

/// Edges that tests alone may have: generator and server meet in one simulated thread.
const TEST_EDGES: [(&str, &str); 1] = [("loadgen", "server")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("cli lies in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file below the workspace's crates and scripts, without what is built.
fn files() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = EDGES.iter().map(|(name, _)| root().join(name)).collect();
    folders.extend(["scripts", ".ci"].map(|name| root().join(name)));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != "target" => folders.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    assert!(files.len() > 40, "only {} files found below {}", files.len(), root().display());
    files
}

fn sources() -> impl Iterator<Item = (PathBuf, String)> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    rust.map(|path| {
        let text = read(&path);
        (path, text)
    })
}

/// The crate that a file belongs to.
fn crate_of(path: &Path) -> String {
    let inside = path.strip_prefix(root()).expect("files() gives paths of the workspace");
    inside.iter().next().unwrap_or_default().to_string_lossy().into_owned()
}

/// Fails with every complaint at once.
fn nobody_complains(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}\n  {}\n", complaints.join("\n  "));
}

/// The keys of a table of a manifest, inline or dotted (`[dependencies.x]`), whatever the target that it is for.
fn dependencies(manifest: &str, kind: &str) -> BTreeSet<String> {
    let table: toml::Table = manifest.parse().expect("cargo has read it before us");
    let mut found = BTreeSet::new();
    let mut take = |table: &toml::Table| {
        let names = table.get(kind).and_then(toml::Value::as_table);
        found.extend(names.into_iter().flat_map(|names| names.keys().cloned()));
    };
    take(&table);
    for target in table.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|all| all.values())
    {
        target.as_table().into_iter().for_each(&mut take);
    }
    found
}

#[test]
fn crates_use_only_what_the_design_allows() {
    let mut complaints = Vec::new();
    for (name, allowed) in EDGES {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for used in dependencies(&manifest, kind).iter().filter_map(|name| name.strip_prefix("throng-")) {
                let in_tests = kind == "dev-dependencies" && TEST_EDGES.contains(&(name, used));
                if !allowed.contains(&used) && !in_tests {
                    complaints.push(format!("{name}/Cargo.toml: [{kind}] throng-{used}"));
                }
            }
        }
    }
    nobody_complains(
        "a crate must not know another (ARCHITECTURE.md, the workspace): pass values instead",
        &complaints,
    );
}

#[test]
fn every_crate_of_the_workspace_has_its_edges_listed() {
    let manifest: toml::Table =
        read(&root().join("Cargo.toml")).parse().expect("cargo has read it before us");
    let members = manifest["workspace"]["members"].as_array().expect("a list").iter();
    let members: BTreeSet<&str> = members.filter_map(toml::Value::as_str).collect();
    let listed: BTreeSet<&str> = EDGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(members, listed, "list the crate in EDGES of this test, with what it may use");
}

#[test]
fn hdrhistogram_is_known_to_the_report_alone() {
    let users: Vec<String> = EDGES
        .iter()
        .filter(|(name, _)| *name != "report")
        .filter(|(name, _)| {
            dependencies(&read(&root().join(name).join("Cargo.toml")), "dependencies")
                .contains("hdrhistogram")
        })
        .map(|(name, _)| format!("{name}/Cargo.toml"))
        .collect();
    nobody_complains("histograms have one home: use throng_report::Histogram", &users);
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<String> = sources()
        .filter(|(_, text)| !text.trim_start_matches(['\u{feff}', '\n']).starts_with("//!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    nobody_complains("begin each file with a `//!` line that says what changes here", &silent);
}

#[test]
fn unsafe_is_in_the_reactor_alone() {
    // Put together, so that this file does not find itself.
    let words = [concat!("un", "safe "), concat!("allow(un", "safe_code)")];
    let mut complaints = Vec::new();
    for (path, text) in sources().filter(|(path, _)| crate_of(path) != "reactor") {
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if words.iter().any(|word| code.contains(word)) {
                complaints.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    nobody_complains("put it behind a safe function in reactor/src/sys", &complaints);
}

#[test]
fn files_can_be_read_in_one_sitting() {
    let long: Vec<String> = sources()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    nobody_complains(&format!("split by meaning: at most {LINES_MAX} lines"), &long);
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("to", "do!("),
        concat!("db", "g!("),
    ];
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                complaints.push(format!("{}:{}: {word}", path.display(), number + 1));
            }
        }
    }
    nobody_complains("do it, or say in plain words what is true now", &complaints);
}

#[test]
fn every_dependency_of_the_workspace_says_why() {
    let manifest = read(&root().join("Cargo.toml"));
    let begin = manifest.find("[workspace.dependencies]").expect("the workspace has dependencies");
    let silent: Vec<String> = manifest[begin..]
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| {
            line.contains('=') && !line.starts_with("throng-") && !line.trim_start().starts_with('#')
        })
        .filter(|line| line.rsplit_once('#').is_none_or(|(_, reason)| reason.trim().len() < 4))
        .map(ToOwned::to_owned)
        .collect();
    nobody_complains("Cargo.toml: end the line with `# why this crate`", &silent);
}

#[test]
fn the_tree_is_complete_in_itself() {
    let words = [concat!("shared", "/facts"), concat!("/wo", "rk/"), concat!("shared", "/DESIGN")];
    let mut complaints = Vec::new();
    let texts =
        files().into_iter().filter_map(|path| fs::read_to_string(&path).ok().map(|text| (path, text)));
    for (path, text) in texts {
        complaints.extend(
            words
                .iter()
                .filter(|word| text.contains(**word))
                .map(|word| format!("{}: {word}", path.display())),
        );
    }
    nobody_complains("name nothing outside of the repository", &complaints);
}
