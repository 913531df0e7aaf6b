//! `limitscope inspect`: what processes tell of their language runtimes.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::kernel::cgroup_files::ControllerFiles;
use crate::kernel::host::HostFacts;
use crate::model::runtime::ProcessFacts;
use crate::runtimes::Inspector;
use crate::sinks::runtime;

/// Options of `limitscope inspect`.
#[derive(Clone, Debug, clap::Args)]
pub struct InspectArgs {
    /// Processes, by the ids that they have here
    #[arg(required = true, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pub pids: Vec<u32>,
    /// Print one JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
}

/// Prints what is told by each; the exit code is 1 if one of them could not be read.
pub fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let host = HostFacts::read(None)?;
    let cpu = host.cgroups.with_controller("cpu");
    let files = cpu.and_then(ControllerFiles::new);
    let mut inspector = Inspector::default();
    let mut code = ExitCode::SUCCESS;
    let mut out = io::stdout().lock();
    for &pid in &args.pids {
        let path = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .ok()
            .and_then(|text| cgroup_path(&text));
        let limit = files
            .as_ref()
            .zip(path)
            .and_then(|(files, path)| files.cpu_limit(&path));
        match inspector.inspect(pid, limit.as_ref()) {
            Ok(facts) => {
                if args.json {
                    runtime::write_json(&mut out, &facts)?;
                } else {
                    runtime::write_text(&mut out, &facts)?;
                }
                if !could_be_read(&facts) {
                    code = ExitCode::FAILURE;
                }
            }
            Err(error) => {
                eprintln!("limitscope: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    out.flush()?;
    Ok(code)
}

/// Whether there is an answer: nothing that is found is one, unless something could not be read.
const fn could_be_read(facts: &ProcessFacts) -> bool {
    !facts.runtimes.is_empty() || facts.missing.is_empty()
}

/// Path of a process's cgroup where CPU time is limited: in the v1 hierarchy of that controller,
/// else in v2.
fn cgroup_path(text: &str) -> Option<String> {
    let of = |wanted: &dyn Fn(&str) -> bool| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            wanted(controllers).then(|| path.to_owned())
        })
    };
    of(&|controllers| controllers.split(',').any(|name| name == "cpu"))
        .or_else(|| of(&|controllers| controllers.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_no_answer() {
        let mut facts = ProcessFacts {
            pid: 7,
            start_ticks: 9,
            cpu_share: None,
            command: "server".to_owned(),
            threads: 1,
            cpus_allowed: Some(2),
            memory_held_bytes: None,
            runtimes: Vec::new(),
            missing: Vec::new(),
        };
        assert!(could_be_read(&facts), "it has no runtime");
        facts.missing.push("exe of process 7 cannot be read".into());
        assert!(!could_be_read(&facts));
    }

    #[test]
    fn the_path_is_that_of_the_cpu_controller() {
        let hybrid = "5:cpu,cpuacct:/a:b\n1:name=systemd:/x\n0::/c\n";
        assert_eq!(cgroup_path(hybrid).as_deref(), Some("/a:b"));
        assert_eq!(cgroup_path("0::/c\n").as_deref(), Some("/c"));
        assert_eq!(cgroup_path(""), None);
    }
}
