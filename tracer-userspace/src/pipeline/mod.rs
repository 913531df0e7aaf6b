//! From records to output: the only place that knows all stages.
//!
//! One task does everything but waiting for others: runtimes are asked for names by tasks of their
//! own, and a thread looks into processes. It sleeps until a ring buffer has a record, a runtime tells a
//! name, a look is done, the interval is over, or somebody wants it to stop.

mod compose;
mod containers;
mod exits;
mod filter;
mod findings;
mod kills;
mod limit_shares;
mod outputs;
mod own_cost;
mod restarts;
mod slots;
mod state;
mod unnamed;
mod waiting;

use findings::Findings;
use restarts::RestartWatch;

pub use filter::ContainerFilter;
pub use outputs::{EventFormat, OutputOptions, Outputs};
pub use state::Pipeline;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until},
};
use tracer_common::maps;
use tracing::info;

use crate::{
    analyse::findings::Thresholds,
    identity::{
        kubernetes::Kubernetes,
        resolvers::{ResolverOptions, Resolvers},
    },
    kernel::{
        host::HostFacts,
        loader::{LoadRequest, Tracer},
        plan::Plan,
        privileges::Later,
        rings::RingReader,
    },
    model::event::EventKind,
    sinks::output::Closed,
};

/// Records that are taken from a ring before anything else gets its turn.
const BATCH: usize = 1024;
/// Batches of each ring that are taken in a row.
const ROUNDS: u32 = 16;
/// Messages of runtimes that may wait.
const NAME_MESSAGES: usize = 4096;

/// How soon a reader that had no room is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// What a run is to do.
pub struct RunOptions {
    /// Length of an interval.
    pub interval: Duration,
    /// Length of the run; until stopped without one.
    pub duration: Option<Duration>,
    /// Who is asked for names.
    pub resolvers: ResolverOptions,
    /// Where Kubernetes is asked for names.
    pub kubernetes: Kubernetes,
    /// The object to load in place of the one in the binary.
    pub object: Option<Vec<u8>>,
    /// Slots, the one of the unknown included.
    pub slots: u32,
    /// Where the rules for findings draw their lines.
    pub thresholds: Thresholds,
    /// Monotonic time at which the process started, in nanoseconds.
    pub started_ns: u64,
}

/// Runs until what `stopped` returns is ready, the duration is over, or nobody reads the output any
/// more. `stopped` is called when everything is attached.
pub async fn run<F: Future<Output = ()>>(
    options: RunOptions,
    host: &HostFacts,
    plan: &Plan,
    mut outputs: Outputs,
    stopped: impl FnOnce() -> Result<F>,
) -> Result<()> {
    let embedded = crate::kernel::object::embedded();
    let object = options.object.as_deref().or(embedded).context(
        "this binary was built without its BPF object; run: cargo xtask build-ebpf, and build again",
    )?;
    let mut tracer = Tracer::load(&LoadRequest {
        object,
        globals: plan.globals.clone(),
        wide_globals: plan.wide_globals.clone(),
        slots: options.slots,
        cpus: host.possible_cpus,
    })?;
    let mut events = RingReader::new(tracer.take_ring(maps::EVENTS)?)?;
    let mut throttles = RingReader::new(tracer.take_ring(maps::THROTTLES)?)?;

    // Cgroups first, so that what the other programs see has a slot.
    let programs = plan.programs();
    let (first, rest): (Vec<_>, Vec<_>) = programs
        .iter()
        .partition(|program| program.starts_with("cgroup_"));
    tracer.attach(&first)?;
    let judges = outputs.wants(EventKind::Finding);
    let findings = Findings::new(options.thresholds, judges, options.interval);
    let restarts = RestartWatch::new(options.thresholds, judges);
    let mut pipeline = Pipeline::new(tracer, host, plan, options.slots, findings, restarts);
    pipeline.walk();
    pipeline.tracer_mut().attach(&rest)?;
    pipeline.tracer_mut().finish_attaching();
    events.drain(usize::MAX, |bytes| pipeline.early_record(bytes));

    // Nothing has made a thread yet.
    pipeline.give_up_capabilities(&Later {
        replaced: outputs.replaced(),
        sockets: options.resolvers.sockets(),
        sockets_may_come: options.resolvers.is_any_named(),
    });

    // Until here a signal ends the process at once, and the kernel takes everything back.
    let stop = stopped()?;
    let (look_sender, mut looks) = mpsc::unbounded_channel();
    pipeline
        .start_looking(look_sender)
        .context("cannot start the thread that looks into processes")?;
    let (sender, mut names) = mpsc::channel(NAME_MESSAGES);
    let mut resolvers = Resolvers::start(options.resolvers, options.kubernetes, sender);

    let mut closed = pipeline.start(&mut outputs, options.started_ns).is_err();
    let begin = Instant::now();
    let mut ticks = interval_at(begin + options.interval, options.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let end = options.duration.map(|duration| begin + duration);
    tokio::pin!(stop);
    let mut more = false;
    while !closed {
        let deadline = pipeline.next_deadline();
        let step: Result<(), Closed> = tokio::select! {
            () = &mut stop => break,
            () = sleep_until(end.unwrap_or(begin)), if end.is_some() => break,
            () = tokio::task::yield_now(), if more => Ok(()),
            ready = events.wait() => {
                ready.context("waiting for records failed")?;
                Ok(())
            }
            ready = throttles.wait() => {
                ready.context("waiting for records failed")?;
                Ok(())
            }
            Some(message) = names.recv() => pipeline.name(message, &mut outputs),
            Some(look) = looks.recv() => pipeline.looked(look, &mut outputs),
            _ = ticks.tick() => {
                resolvers.look_for_users();
                drain(&mut pipeline, &mut events, &mut throttles, &mut outputs, &resolvers)
                    .and_then(|_| pipeline.interval(&mut outputs, &resolvers))
            }
            () = sleep(RETRY), if outputs.is_behind() => Ok(()),
            () = sleep_until(deadline.unwrap_or(begin)), if deadline.is_some() => {
                // A name that came at the last moment counts, on a busy machine too.
                tokio::task::yield_now().await;
                let mut step = Ok(());
                while let Ok(message) = names.try_recv() {
                    step = step.and_then(|()| pipeline.name(message, &mut outputs));
                }
                step.and_then(|()| pipeline.stop_waiting(&mut outputs))
            }
        };
        // Births come before what happens to the born.
        let drained = step.and_then(|()| {
            drain(
                &mut pipeline,
                &mut events,
                &mut throttles,
                &mut outputs,
                &resolvers,
            )
        });
        match drained.and_then(|rest| outputs.flush().map(|()| rest)) {
            Ok(rest) => more = rest,
            Err(Closed) => closed = true,
        }
    }
    if closed {
        info!("nobody reads the output any more");
    } else {
        // What the kernel has sent until now belongs to the run, and so does what was seen.
        while let Ok(look) = looks.try_recv() {
            let _ = pipeline.looked(look, &mut outputs);
        }
        let _ = drain(
            &mut pipeline,
            &mut events,
            &mut throttles,
            &mut outputs,
            &resolvers,
        )
        .and_then(|_| pipeline.stop(&mut outputs));
    }
    outputs.finish()
}

/// Takes what both rings have, births first; not endlessly, where more comes than can be written:
/// the rest is taken after whatever else there is to do.
fn drain(
    pipeline: &mut Pipeline,
    events: &mut RingReader,
    throttles: &mut RingReader,
    outputs: &mut Outputs,
    resolvers: &Resolvers,
) -> Result<bool, Closed> {
    for _ in 0..ROUNDS {
        let mut result = Ok(());
        let mut taken = 0;
        for ring in [&mut *events, &mut *throttles] {
            taken += ring.drain(BATCH, |bytes| {
                if result.is_ok() {
                    result = pipeline.record(bytes, outputs, resolvers);
                }
            });
        }
        result?;
        if taken == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
