//! Where the noise of this machine is remembered: `throng/noise.json` under XDG_STATE_HOME, or under ~/.local/state.

use std::fs;
use std::path::{Path, PathBuf};

use throng_report::Summary;
use throng_report::compare::KnownNoise;

fn path() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    // The specification has relative paths ignored.
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    state.or_else(home).map(|state| state.join("throng/noise.json"))
}

/// What the file holds; nothing where there is none.
fn read(path: &Path) -> Result<KnownNoise, String> {
    if !path.exists() {
        return Ok(KnownNoise::default());
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string());
    text.and_then(|text| KnownNoise::from_json(&text)).map_err(|why| format!("{}: {why}", path.display()))
}

/// What is known. A file that cannot be read is told on stderr, and taken for an empty one.
pub(crate) fn known() -> KnownNoise {
    let Some(path) = path() else { return KnownNoise::default() };
    read(&path).unwrap_or_else(|why| {
        eprintln!("throng: {why}; going on without what is known of this machine's noise");
        KnownNoise::default()
    })
}

/// Adds what these arms, each of one configuration, show of it. Not to be able to is told on stderr, and no more: the figures
/// at hand do not change by it. A file that cannot be read stays as it is: a newer version may have written it.
pub(crate) fn learn(arms: &[&[Summary]]) {
    let Some(path) = path() else { return };
    let mut known = match read(&path) {
        Ok(known) => known,
        Err(why) => return eprintln!("throng: {why}; nothing is added to it"),
    };
    arms.iter().for_each(|runs| known.learn(runs));
    let written = || -> std::io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&unfinished, known.to_json())?;
        fs::rename(&unfinished, &path)
    };
    if let Err(error) = written() {
        eprintln!("throng: what was learned of this machine's noise is lost: {}: {error}", path.display());
    }
}
