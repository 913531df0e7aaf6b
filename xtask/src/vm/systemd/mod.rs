//! The guest whose first process is systemd, with cgroup v2 alone and the engines as Debian has them:
//! Docker and containerd with the systemd driver, Podman with crun, systemd-oomd, and a kubelet where
//! one has been built.

mod root;

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    cpio::Archive,
    emulator::{self, CPU, Files, Heard, Machine},
    guest, image,
    image::Programs,
    results,
};
use crate::{
    step,
    test::{Context, Tally},
    toolchain::kubelet,
};
use root::{MODULES, Root};

/// Options of the guest with systemd.
#[derive(Clone, Debug, clap::Args)]
pub struct GuestOptions {
    /// CPUs of the guest with systemd
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    systemd_cpus: u32,
    /// Build a kubelet for the guest with systemd if there is none yet, which takes some minutes
    #[arg(long)]
    systemd_kubelet: bool,
}

/// The program of the tests package.
pub const PROGRAM: &str = "systemd_engines";

/// How the tests with a kubelet begin.
const KUBELET_TESTS: &str = "kubelet";

/// Room for fewer cgroups than usual, since making the maps takes seconds under emulation; a machine
/// with systemd has some fifty by itself.
const ROOM: u32 = 512;

const GUEST: Duration = Duration::from_mins(20);

/// It boots for a minute or so, and more where this machine has other things to do.
const SILENCE: Duration = Duration::from_mins(5);

/// The guest's time is counted in instructions while it does something, so that it does not see what
/// else this machine does: as long as an instruction takes a nanosecond there, however long it takes
/// here, nobody in the guest waits in vain for an engine that only had no CPU.
const CLOCK: [&str; 2] = ["-icount", "shift=0"];

/// Nothing here is known to the kernel as AppArmor would have it, for which Docker would look for
/// programs that are not there. The units are those that a machine needs which is more than this one.
const COMMAND_LINE: &str = "rdinit=/init random.trust_cpu=on apparmor=0 psi=1 \
                            systemd.unit=guest.target systemd.show_status=0 \
                            systemd.mask=ldconfig.service systemd.mask=systemd-random-seed.service \
                            systemd.mask=systemd-modules-load.service \
                            systemd.mask=systemd-journal-flush.service \
                            systemd.mask=systemd-firstboot.service \
                            systemd.mask=systemd-remount-fs.service";

/// Files that the guest has besides its packages: their places, and what is in them.
const FILES: [(&str, &str); 13] = [
    ("limitscope/sections.sh", image::SECTIONS),
    (
        "etc/systemd/system/guest.target",
        include_str!("guest/guest.target"),
    ),
    (
        "etc/systemd/system/guest.service",
        include_str!("guest/guest.service"),
    ),
    ("etc/docker/daemon.json", include_str!("guest/docker.json")),
    (
        "etc/containerd/config.toml",
        include_str!("guest/containerd.toml"),
    ),
    (
        "etc/systemd/oomd.conf.d/guest.conf",
        include_str!("guest/oomd.conf"),
    ),
    // The group of Docker's socket, which its package would have made.
    ("etc/sysusers.d/docker.conf", "g docker - -\n"),
    // One that is there already is no first boot, at which everything that is unpacked would be started.
    ("etc/machine-id", "0f1e2d3c4b5a69788796a5b4c3d2e1f0\n"),
    ("etc/hostname", "guest\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n"),
    ("etc/fstab", ""),
    ("etc/resolv.conf", ""),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

const INIT: &str = include_str!("guest/init.sh");
const RUN: &str = include_str!("guest/run.sh");

/// The guest, ready to be booted.
pub struct Prepared {
    guest: Guest,
    root: Root,
    initrd: PathBuf,
    folder: PathBuf,
}

/// Fetches and builds what the guest takes.
pub fn prepare(context: &Context, options: &GuestOptions, tally: &mut Tally) -> Option<Prepared> {
    if let Some(filter) = &context.filter
        && let Err(error) = guest::check_filter(filter)
    {
        tally.fail(format!("{error:#}"));
        return None;
    }
    let folder = context.workspace.target.join("vm");
    let title = "systemd: file system of the guest";
    let prepared = context
        .steps
        .here(title, || root::prepare(&folder.join("systemd")));
    let root = tally.take(title, prepared)?;
    let kubelet = kubelet(context, options, tally)?;
    let programs = image::build(context, "systemd", PROGRAM, &[], tally)?;
    let guest = Guest {
        cpus: options.systemd_cpus,
        kubelet,
        filter: context.filter.clone(),
    };
    let initrd = folder.join("systemd.initrd");
    let kubelet = kubelet::built(&context.workspace);
    let packed = guest.pack(&root, &programs, &kubelet, &initrd);
    tally.take("systemd: programs of the guest", packed)?;
    Some(Prepared {
        guest,
        root,
        initrd,
        folder,
    })
}

impl Prepared {
    /// Boots it, and counts its tests.
    pub fn run(&self, budget: Duration, tally: &mut Tally) {
        println!(
            "\n=== systemd: a guest with {} CPUs; its output is in {}",
            self.guest.cpus,
            self.folder.display()
        );
        let started = Instant::now();
        let booted = self.guest.run(self, budget.min(GUEST), tally);
        if let Some(cpu) = tally.take("systemd: guest", booted) {
            println!(
                "systemd: the guest took {}, {} of CPU time",
                step::shown(started.elapsed()),
                step::shown(cpu)
            );
        }
    }
}

/// Whether there is a kubelet, which is built only where that is asked for; none after a failure.
fn kubelet(context: &Context, options: &GuestOptions, tally: &mut Tally) -> Option<bool> {
    let there = kubelet::built(&context.workspace).is_file();
    if there || !options.systemd_kubelet {
        return Some(there);
    }
    let title = "systemd: kubelet";
    let prepared = context.steps.here(title, || {
        kubelet::prepare(&context.workspace, kubelet::Extent::Kubelet)
    });
    tally.take(title, prepared).map(|_| true)
}

struct Guest {
    cpus: u32,
    kubelet: bool,
    filter: Option<String>,
}

impl Guest {
    fn machine(&self, root: &Root) -> Machine {
        let disk = format!(
            "file={},format=raw,if=virtio,cache=unsafe,snapshot=on",
            root.disk.display()
        );
        let cpus = self.cpus.to_string();
        // A first process that needs randomness would wait for it.
        let cpu = format!("{CPU},+rdrand");
        let own = ["-cpu", &cpu, "-smp", &cpus, "-m", "2G", "-drive", &disk];
        Machine {
            arguments: CLOCK
                .iter()
                .chain(&own)
                .map(|&word| word.to_owned())
                .collect(),
            command_line: COMMAND_LINE,
            silence: SILENCE,
        }
    }

    /// What the guest's service runs.
    fn plan(&self) -> String {
        let mut choice = self.filter.clone().unwrap_or_default();
        if !self.kubelet {
            choice.push_str(" --skip ");
            choice.push_str(KUBELET_TESTS);
        }
        format!(
            "export LIMITSCOPE_BIN=/limitscope/bin/limitscope LIMITSCOPE_EMULATED=1 \
             LIMITSCOPE_KUBELET=/limitscope/bin/kubelet \
             LIMITSCOPE_TEST_ARGS='--max-cgroups {ROOM}'\n\
             section systemd tests /limitscope/tests/{PROGRAM} --test-threads=1 --nocapture {choice}\n"
        )
    }

    /// Writes what is unpacked before the disk is there.
    fn pack(&self, root: &Root, programs: &Programs, kubelet: &Path, to: &Path) -> Result<()> {
        let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        archive.folder("proc")?;
        archive.folder("disk")?;
        archive.device("dev/console", 5, 1)?;
        let busybox = image::find("busybox", "busybox-static")?;
        archive.program("bin/busybox", &fs::read(busybox)?)?;
        archive.program("init", INIT.as_bytes())?;
        archive.file("order", format!("{}\n", MODULES.join("\n")).as_bytes())?;
        for module in MODULES {
            let name = format!("{module}.ko");
            archive.file(
                &format!("modules/{name}"),
                &fs::read(root.modules.join(name))?,
            )?;
        }
        for (name, content) in FILES {
            archive.file(&format!("files/{name}"), content.as_bytes())?;
        }
        archive.program("files/limitscope/run", RUN.as_bytes())?;
        archive.file("files/limitscope/plan", self.plan().as_bytes())?;
        programs.add(&mut archive, "files/limitscope")?;
        if self.kubelet {
            let content = fs::read(kubelet)?;
            archive.program("files/limitscope/bin/kubelet", &content)?;
        }
        archive.finish()?.flush()?;
        Ok(())
    }

    /// Boots it, counts what its tests said, and tells the emulator's CPU time.
    fn run(&self, from: &Prepared, budget: Duration, tally: &mut Tally) -> Result<Duration> {
        let console = from.folder.join("systemd.console");
        let machine = self.machine(&from.root);
        let files = Files {
            machine: &machine,
            kernel: &from.root.kernel,
            initrd: &from.initrd,
            log: &from.folder.join("systemd.log"),
            console: &console,
        };
        let Heard {
            transcript,
            overran,
            cpu,
        } = emulator::boot(&files, budget, |_| ())?;
        if let Some(why) = guest::failure(&transcript, overran) {
            tally.fail(format!(
                "systemd: guest: {why}; {}",
                emulator::console(&console)
            ));
        }
        if let Some((up, release)) = &transcript.booted {
            println!("systemd: {release} was up after {up:.1} s");
        }
        match transcript.sections.first() {
            Some(section) => {
                let place = format!("{} CPUs", self.cpus);
                results::count(section, PROGRAM, &place, tally, |_, _| ());
            }
            None => tally.fail("systemd: guest: its tests were not run".to_owned()),
        }
        if !self.kubelet {
            tally.skip(format!(
                "{KUBELET_TESTS}: none has been built; --systemd-kubelet or --only kubelet does"
            ));
        }
        Ok(cpu)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_kubelet_its_tests_are_left_out() {
        let guest = |kubelet| Guest {
            cpus: 4,
            kubelet,
            filter: None,
        };
        assert!(guest(false).plan().contains(" --skip kubelet\n"));
        assert!(!guest(true).plan().contains("--skip"));
    }
}
