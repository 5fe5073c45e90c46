//! What the command ends with: one exit code for each kind of outcome, and nothing else.

use std::process::ExitCode;

use throng_report::Verdict;
use throng_report::compare::Judgement;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked; for a run: PASS.
    Pass,
    /// It broke, and there is no verdict.
    Broke,
    /// It was asked for something that does not exist or is not allowed. clap ends with the same code.
    Usage,
    /// INVALID: something other than the server was measured.
    Invalid,
    /// FAIL: the server did not do what was asked of it.
    Fail,
    /// Somebody interrupted it.
    Interrupted,
}

impl Exit {
    /// The code that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Pass => 0,
            Exit::Broke => 1,
            Exit::Usage => 2,
            Exit::Invalid => 98,
            Exit::Fail => 99,
            Exit::Interrupted => 130,
        }
    }

    /// The outcome of another `throng` process by its code; anything unknown (a signal, a panic) is [`Exit::Broke`].
    pub(crate) fn from_code(code: Option<i32>) -> Exit {
        let all = [Exit::Pass, Exit::Usage, Exit::Invalid, Exit::Fail, Exit::Interrupted];
        all.into_iter().find(|exit| code == Some(i32::from(exit.code()))).unwrap_or(Exit::Broke)
    }
}

impl From<Verdict> for Exit {
    fn from(verdict: Verdict) -> Exit {
        match verdict {
            Verdict::Pass => Exit::Pass,
            Verdict::Fail => Exit::Fail,
            Verdict::Invalid => Exit::Invalid,
        }
    }
}

/// Of a gate.
impl From<Judgement> for Exit {
    fn from(judgement: Judgement) -> Exit {
        match judgement {
            Judgement::Better | Judgement::NoDifference => Exit::Pass,
            Judgement::Worse => Exit::Fail,
            Judgement::CannotTell => Exit::Invalid,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command stops before its end: a sentence for stderr, and the code.
#[derive(Debug)]
pub(crate) struct Failure {
    /// How to end.
    pub(crate) exit: Exit,
    /// Cause and remedy.
    pub(crate) message: String,
}

impl Failure {
    /// The user asked for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }

    /// Something broke on the way.
    pub(crate) fn broke(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Broke, message: message.into() }
    }
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_and_exit_codes_agree() {
        for verdict in [Verdict::Pass, Verdict::Fail, Verdict::Invalid] {
            assert_eq!(Exit::from(verdict).code(), verdict.exit_code());
        }
    }

    #[test]
    fn a_child_that_was_killed_broke() {
        assert_eq!(Exit::from_code(None), Exit::Broke);
        assert_eq!(Exit::from_code(Some(101)), Exit::Broke);
        assert_eq!(Exit::from_code(Some(98)), Exit::Invalid);
    }
}
