//! The kernel matrix: the tests of the live kernel in guests with Debian's cloud kernels, one guest
//! for each kernel and cgroup version, on each source that signals can be taken from.

mod agreement;
mod cpio;
mod emulator;
mod go;
mod guest;
mod image;
mod kernels;
mod matrix;
mod passes;
mod results;
pub mod systemd;
mod table;
mod transcript;
mod verifier;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::test::{Context, Tally};
use guest::{Cgroups, Ended, Guest};
use kernels::Kernel;
use passes::Pass;
use results::GuestResults;

/// Options of the kernel matrix.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Boot only this kernel, as in 6.1, `newest`, or `6.` for a row of them; may be repeated
    #[arg(long, value_name = "KERNEL")]
    kernel: Vec<String>,
    /// Run this pass alone; may be repeated
    #[arg(long, value_name = "PASS")]
    pass: Vec<Pass>,
    /// Guests at a time; each takes one CPU, for half of the time (by default two guests a CPU)
    #[arg(long, value_name = "N")]
    guests: Option<usize>,
    /// Write docs/kernel-support.md from this run, which must be of all kernels and passes
    #[arg(long, conflicts_with_all = ["kernel", "pass", "filter"])]
    write_docs: bool,
}

/// CPUs of the guests of [`Pass::Wide`].
const WIDE: [u32; 2] = [4, 8];

/// How long a guest has.
const GUEST: Duration = Duration::from_mins(25);

/// Runs the matrix, and `beside` at the time of its guests: nothing else is built or run then.
pub fn run(context: &Context, options: &Options, tally: &mut Tally, beside: impl FnOnce() + Send) {
    let folder = context.workspace.target.join("vm");
    let Some((shared, guests)) = prepare(context, options, &folder, tally) else {
        beside();
        return;
    };
    println!(
        "\n=== vm: {} guests; their output is in {}",
        guests.len(),
        folder.display()
    );
    let budget = |own| context.steps.budget(own);
    let at_a_time = options.guests.unwrap_or_else(by_cpus);
    let begin = Instant::now();
    let ended = thread::scope(|scope| {
        scope.spawn(beside);
        run_all(&guests, at_a_time, |guest| {
            guest.run(&shared, &folder, budget(GUEST))
        })
    });
    let wall = begin.elapsed();
    let mut all = Vec::new();
    for (guest, ended) in guests.iter().zip(ended) {
        if let Some(ended) = tally.take(&guest.name(), ended) {
            all.push(results::of(guest, &ended, tally));
        }
    }
    all.sort_by_key(|results: &GuestResults| results.slot);
    print!("{}", matrix::text(&all));
    println!(
        "all guests: {:.1} min, {at_a_time} at a time",
        wall.as_secs_f64() / 60.0
    );
    if options.write_docs {
        let file = context.workspace.root.join("docs/kernel-support.md");
        let written = fs::write(&file, matrix::document(&all));
        tally.take("docs/kernel-support.md", written.map_err(Into::into));
    }
}

/// What the guests have in common, and the guests.
fn prepare(
    context: &Context,
    options: &Options,
    folder: &Path,
    tally: &mut Tally,
) -> Option<(PathBuf, Vec<Guest>)> {
    if let Some(filter) = &context.filter
        && let Err(error) = guest::check_filter(filter)
    {
        tally.fail(format!("{error:#}"));
        return None;
    }
    let kernels = kernels(context, folder, &options.kernel, tally)?;
    let mut guests = guests(kernels, options, context.filter.as_ref());
    if guests.iter().any(Guest::is_wide) {
        let title = "vm: programs of Go for the wide guests";
        let built = (context.steps).here(title, || {
            go::programs(&context.workspace, &folder.join("go"))
        });
        match tally.take(title, built) {
            Some(programs) => (guests.iter_mut().filter(|guest| guest.is_wide()))
                .for_each(|guest| guest.go.clone_from(&programs)),
            // The others need none of them.
            None => guests.retain(|guest| !guest.is_wide()),
        }
    }
    if guests.is_empty() {
        tally.fail("vm: there is no guest with these kernels and passes".to_owned());
        return None;
    }
    let shared = file_system(context, folder, tally)?;
    Some((shared, guests))
}

/// How many guests keep this machine busy.
fn by_cpus() -> usize {
    thread::available_parallelism().map_or(1, |cpus| cpus.get() * 2)
}

/// The kernels, fetched if need be; each that cannot be had is a failure.
fn kernels(
    context: &Context,
    folder: &Path,
    patterns: &[String],
    tally: &mut Tally,
) -> Option<Vec<Kernel>> {
    let cache = folder.join("kernels");
    let title = "vm: kernels";
    let prepared = context.steps.here(title, || {
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
        Ok(kernels::prepare(&cache, patterns))
    });
    let (kernels, failures) = tally.take(title, prepared)?;
    for kernel in &kernels {
        println!("vm: kernel {}", kernel.version);
    }
    for failure in failures {
        println!("vm: {failure}");
        tally.fail(failure);
    }
    Some(kernels)
}

/// What all guests have in common.
fn file_system(context: &Context, folder: &Path, tally: &mut Tally) -> Option<PathBuf> {
    let programs = image::build(context, "vm", passes::PROGRAM, &["matrix"], tally)?;
    let file = folder.join("shared.initrd");
    let title = "vm: file system of the guests";
    let packed = context.steps.here(title, || programs.pack(&file));
    tally.take(title, packed)?;
    Some(file)
}

/// The guests of these kernels, the ones with most to do first.
fn guests(kernels: Vec<Kernel>, options: &Options, filter: Option<&String>) -> Vec<Guest> {
    let mut passes = if options.pass.is_empty() {
        Pass::ALL.to_vec()
    } else {
        options.pass.clone()
    };
    let wide = passes.contains(&Pass::Wide);
    passes.retain(|pass| *pass != Pass::Wide);
    let mut guests = Vec::new();
    for kernel in kernels {
        let slot = &kernels::SLOTS[kernel.slot];
        let guest = |cgroups, cpus, passes: &[Pass]| Guest {
            kernel: kernel.clone(),
            cgroups,
            cpus,
            passes: passes.to_vec(),
            rights: slot.rights && cgroups == Cgroups::V2,
            filter: filter.cloned(),
            go: Vec::new(),
        };
        if !passes.is_empty() {
            guests.push(guest(Cgroups::V2, guest::CPUS, &passes));
            if slot.v1 {
                guests.push(guest(Cgroups::V1, guest::CPUS, &passes));
            }
        }
        if wide && slot.series == kernels::WIDE {
            guests.extend(WIDE.map(|cpus| guest(Cgroups::V2, cpus, &[Pass::Wide])));
        }
    }
    guests.sort_by_key(|guest| (!guest.rights, guest.is_wide()));
    guests
}

/// Runs them, so many at a time; the results are in the guests' order.
fn run_all(
    guests: &[Guest],
    at_a_time: usize,
    run: impl Fn(&Guest) -> Result<Ended> + Sync,
) -> Vec<Result<Ended>> {
    let next = Mutex::new(0..guests.len());
    let ended = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_a_time.clamp(1, guests.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let number = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(number) = number else { break };
                    let result = run(&guests[number]);
                    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
                    ended.push((number, result));
                }
            });
        }
    });
    let mut ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.sort_by_key(|(number, _)| *number);
    ended.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPUs and number of passes of each guest.
    fn made(series: &str, pass: &[Pass]) -> Vec<(u32, usize)> {
        let slot = (kernels::SLOTS.iter()).position(|slot| slot.series == series);
        let kernel = Kernel {
            slot: slot.expect("a series of the matrix"),
            version: format!("{series}.1-1"),
            image: PathBuf::new(),
        };
        let options = Options {
            kernel: Vec::new(),
            pass: pass.to_vec(),
            guests: None,
            write_docs: false,
        };
        let guests = guests(vec![kernel], &options, None);
        let of = |guest: &Guest| (guest.cpus, guest.passes.len());
        guests.iter().map(of).collect()
    }

    #[test]
    fn one_kernel_has_wide_guests_besides() {
        let usual = (guest::CPUS, Pass::ALL.len() - 1);
        assert_eq!(made(kernels::WIDE, &[]), [usual, (4, 1), (8, 1)]);
        assert_eq!(made("6.1", &[]), [usual, usual], "cgroup v2 and v1");
        assert_eq!(made(kernels::WIDE, &[Pass::Wide]), [(4, 1), (8, 1)]);
        assert_eq!(made(kernels::WIDE, &[Pass::Auto]), [(guest::CPUS, 1)]);
        assert_eq!(made("6.1", &[Pass::Wide]), []);
    }
}
