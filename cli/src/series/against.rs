//! What is compared with: `--against 'FLAGS|BINARY [FLAGS]'`.

use std::ffi::OsString;
use std::path::PathBuf;

/// The program and the flags that make the other arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Against {
    /// Another build of Throng; `None` for this one.
    pub(super) program: Option<PathBuf>,
    /// Flags of `run` that come on top.
    pub(super) flags: Vec<OsString>,
}

impl Against {
    /// Reads it as a shell would: a first word that is no flag is a program.
    ///
    /// # Errors
    /// Quotes that do not close, nothing at all, or a program that is not there; with the remedy.
    pub(super) fn parse(text: &str) -> Result<Against, String> {
        let words =
            shlex::split(text).ok_or_else(|| format!("--against: quotes do not close in `{text}`"))?;
        let Some(first) = words.first() else {
            return Err(
                "--against wants flags ('--backend epoll') or another build (./old/throng)".to_owned()
            );
        };
        if first.starts_with('-') {
            return Ok(Against { program: None, flags: words.into_iter().map(OsString::from).collect() });
        }
        let program = PathBuf::from(first);
        if !program.is_file() {
            return Err(format!(
                "--against: {first} is no file: give flags ('--backend epoll'), or the path of another build of throng"
            ));
        }
        Ok(Against { program: Some(program), flags: words.into_iter().skip(1).map(OsString::from).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_or_a_program_are_told_apart() {
        let parsed = Against::parse("--backend epoll --label 'a=b c'").unwrap();
        assert_eq!(
            (parsed.program, parsed.flags),
            (None, ["--backend", "epoll", "--label", "a=b c"].map(OsString::from).into())
        );
        let program = std::env::current_exe().unwrap();
        let parsed = Against::parse(&format!("{} --shards 2", program.display())).unwrap();
        assert_eq!(
            (parsed.program, parsed.flags),
            (Some(program), ["--shards", "2"].map(OsString::from).into())
        );
        for (text, part) in [
            ("", "wants flags"),
            ("'--x", "quotes"),
            ("/nowhere/throng", "is no file"),
            ("epoll", "is no file"),
        ] {
            let error = Against::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
