//! How a container ended, and why.

/// What a runtime says of a container's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// The exit code: 128 and the signal's number where a signal ended it.
    pub code: Option<i32>,
    /// Whether the runtime says that the kernel's OOM killer was there. It says so too where only a
    /// child was killed.
    pub says_oom: bool,
    /// How often it was restarted so far, as the runtime counts.
    pub restart_count: Option<u32>,
    /// The engine that sent it a SIGKILL, by its own word.
    pub killed_by: Option<&'static str>,
}

/// Exit code of a container whose first process got SIGKILL.
const KILLED: i32 = 128 + 9;
/// Exit code of one that SIGTERM ended.
const TERMINATED: i32 = 128 + 15;

/// Why a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCause {
    /// It was done: exit code 0.
    Completed,
    /// It ended itself with an error.
    Error,
    /// The command could not be executed (126, the shells' convention).
    NotExecutable,
    /// The command was not found (127).
    CommandNotFound,
    /// The kernel's OOM killer ended it.
    OomKilled,
    /// SIGTERM ended it: somebody stopped it.
    Stopped,
    /// SIGKILL ended it, and not the kernel's OOM killer.
    Killed,
    /// Another signal ended it: a crash, mostly.
    Signal,
}

impl ExitCause {
    /// The value of the key `container.exit.cause`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Error => "error",
            Self::NotExecutable => "not_executable",
            Self::CommandNotFound => "command_not_found",
            Self::OomKilled => "oom_killed",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Signal => "signal",
        }
    }
}

/// The kernel OOM-killed a process of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OomKilled {
    /// Number of the line that tells of it, if one does.
    pub seq: Option<u64>,
}

/// A process that sent a SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Killer {
    /// Process id.
    pub pid: u32,
    /// Command name of the thread that sent it.
    pub command: String,
}

/// A container's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The exit code.
    pub code: i32,
    /// The signal that ended it, as the code tells.
    pub signal: Option<i32>,
    /// Why it ended.
    pub cause: ExitCause,
    /// Number of the `oom_kill` line that tells of its kill.
    pub oom_kill_seq: Option<u64>,
    /// Who sent the SIGKILL, with [`ExitCause::Killed`] and where an engine says that it did.
    pub killed_by: Option<&'static str>,
    /// The process that sent the SIGKILL, with [`ExitCause::Killed`] and where it was seen.
    pub killer: Option<Killer>,
}

impl Exit {
    /// Judges what the runtime says, and the kernel.
    pub fn judge(
        report: &ExitReport,
        oom: Option<OomKilled>,
        killer: Option<Killer>,
    ) -> Option<Self> {
        let code = report.code?;
        let oom_killed = code == KILLED && (oom.is_some() || report.says_oom);
        let signal = Some(code - 128).filter(|signal| (1..=64).contains(signal));
        Some(Self {
            code,
            signal,
            cause: match code {
                _ if oom_killed => ExitCause::OomKilled,
                0 => ExitCause::Completed,
                126 => ExitCause::NotExecutable,
                127 => ExitCause::CommandNotFound,
                KILLED => ExitCause::Killed,
                TERMINATED => ExitCause::Stopped,
                _ if signal.is_some() => ExitCause::Signal,
                _ => ExitCause::Error,
            },
            oom_kill_seq: oom.filter(|_| oom_killed).and_then(|oom| oom.seq),
            killed_by: report.killed_by.filter(|_| code == KILLED && !oom_killed),
            killer: killer.filter(|_| code == KILLED && !oom_killed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(code: i32, says_oom: bool, oom: Option<OomKilled>) -> Exit {
        let report = ExitReport {
            code: Some(code),
            says_oom,
            restart_count: None,
            killed_by: Some("docker"),
        };
        let killer = Killer {
            pid: 5,
            command: "reaper".to_owned(),
        };
        Exit::judge(&report, oom, Some(killer)).unwrap()
    }

    #[test]
    fn codes_have_their_causes() {
        for (code, signal, cause) in [
            (0, None, "completed"),
            (1, None, "error"),
            (126, None, "not_executable"),
            (127, None, "command_not_found"),
            (128, None, "error"),
            (134, Some(6), "signal"),
            (137, Some(9), "killed"),
            (139, Some(11), "signal"),
            (143, Some(15), "stopped"),
            (255, None, "error"),
            (-1, None, "error"),
        ] {
            let exit = judge(code, false, None);
            assert_eq!((exit.signal, exit.cause.name()), (signal, cause), "{code}");
            // Who sends a SIGKILL need not be whom it ended by.
            let killer = exit.killed_by;
            assert_eq!(killer, (code == 137).then_some("docker"), "{code}");
            assert_eq!(exit.killer.is_some(), code == 137, "{code}");
        }
        assert_eq!(
            Exit::judge(&ExitReport::default(), Some(OomKilled { seq: None }), None),
            None
        );
    }

    #[test]
    fn the_oom_killer_is_believed_where_the_code_agrees() {
        let exit = judge(137, false, Some(OomKilled { seq: Some(7) }));
        assert_eq!(exit.cause, ExitCause::OomKilled);
        assert_eq!((exit.oom_kill_seq, exit.killed_by), (Some(7), None));
        assert_eq!(exit.killer, None);
        assert_eq!(judge(137, true, None).cause, ExitCause::OomKilled);
        // Only a child was killed, and the container ended later, for its own reasons.
        let exit = judge(0, true, Some(OomKilled { seq: Some(7) }));
        assert_eq!(
            (exit.cause, exit.oom_kill_seq),
            (ExitCause::Completed, None)
        );
        assert_eq!(
            judge(1, true, Some(OomKilled { seq: None })).cause,
            ExitCause::Error
        );
    }
}
