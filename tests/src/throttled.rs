//! A spinner that runs into its quota while the program listens, beside the kernel's account of it.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    agreement, assert_within, cgroup::Cgroup, emulated, events::Events, listener::Listener,
    referee::cpu_stat::CpuStat, wait, workload::Workload,
};

/// What accuracy asks of throttled time on a real CPU, over at least this much of it.
pub const PERCENT: f64 = 1.0;
const ENOUGH_NS: u64 = 5_000_000_000;
/// An emulated CPU, of which less is asked, gets by with a part of it: the kernel matrix runs for long.
const EMULATED_PART: u64 = 2;

fn part() -> u64 {
    if emulated() { EMULATED_PART } else { 1 }
}
/// Up to 6.5 nothing that tracepoints alone show ends throttling where a quota is changed, so that it
/// is told up to the next switch there. A real CPU has one at once, an emulated one after so long at
/// most on average: 2 to 6 ms were seen.
const EMULATED_LATE_NS: u64 = 8_000_000;
/// How often a workload is run again to get there.
const ROUNDS: u32 = 6;

/// One run of a spinner with the program listening from before to after.
#[derive(Debug)]
pub struct Run {
    /// Every line of it.
    pub events: Events,
    /// What cpu.stat counted meanwhile, for each level.
    pub kernel: Vec<CpuStat>,
    /// How long it took.
    pub wall_ns: u64,
}

impl Run {
    /// Spins in the last of `levels` (the outermost comes first), all with this period, for so long on
    /// a real CPU.
    pub fn of(
        levels: &[&Cgroup],
        period: Duration,
        threads: u32,
        millis: u64,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        Self::beside(None, levels, period, threads, millis, meanwhile)
    }

    /// The same with a spinner of one thread in another cgroup at the same time.
    ///
    /// # Panics
    /// When a spinner fails.
    pub fn beside(
        sibling: Option<&Cgroup>,
        levels: &[&Cgroup],
        period: Duration,
        threads: u32,
        millis: u64,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<Self> {
        let listener = Listener::start()?;
        let inner = levels[levels.len() - 1];
        let (threads, ms) = (threads.to_string(), (millis / part()).to_string());
        let args = ["spin", "--threads", &threads, "--ms", &ms];
        let rest = |cgroup: &&Cgroup| CpuStat::at_rest(cgroup, period);
        let before: Vec<CpuStat> = levels.iter().map(rest).collect::<Result<_>>()?;
        let start = wait::monotonic_ns();
        let mut meanwhile = Some(meanwhile);
        let mut after = before.clone();
        // On a busy machine a quota is used up later: again until there is enough to compare.
        for _ in 0..ROUNDS {
            let mut workload = Workload::start_in(inner, &args)?;
            let mut beside = sibling
                .map(|cgroup| Workload::start_in(cgroup, &["spin", "--threads", "1", "--ms", &ms]))
                .transpose()?;
            if let Some(beside) = &mut beside {
                beside.go()?;
            }
            workload.go()?;
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile()?;
            }
            workload.result_within(Duration::from_mins(1))?;
            if let Some(beside) = &mut beside {
                beside.result_within(Duration::from_mins(1))?;
            }
            // To its end before the referee is read: on a slow CPU the end of a process uses up a
            // quota too.
            assert!(workload.exit()?.success());
            if let Some(beside) = beside {
                assert!(beside.exit()?.success());
            }
            after = levels.iter().map(rest).collect::<Result<_>>()?;
            let enough = after.iter().zip(&before).all(|(after, before)| {
                after.periods == before.periods
                    || after.throttled_ns - before.throttled_ns >= ENOUGH_NS / part()
            });
            if enough {
                break;
            }
        }
        let wall_ns = wait::monotonic_ns() - start;
        let kernel = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.since(before))
            .collect();
        println!("kernel: {kernel:?}");
        let events = listener.finish()?;
        Ok(Self {
            events,
            kernel,
            wall_ns,
        })
    }

    /// Compares the intervals of one level with the kernel's throttled time.
    pub fn check_level(&self, cgroup: &Cgroup, kernel: &CpuStat) -> Result<()> {
        self.check_level_within(cgroup, kernel, 0)
    }

    /// The same where an emulated CPU may show an end late that nobody saw: what is told of such an
    /// interval is an upper bound.
    ///
    /// # Panics
    /// When they differ.
    pub fn check_level_with_late_ends(&self, cgroup: &Cgroup, kernel: &CpuStat) -> Result<()> {
        let late = self
            .level(cgroup)
            .with("throttle.source", "tracepoint_late");
        let most = if emulated() { EMULATED_LATE_NS } else { 0 };
        let late_ns = late.0.len() as u64 * most;
        println!("{} ends were seen late", late.0.len());
        self.check_level_within(cgroup, kernel, late_ns)
    }

    /// The intervals of one level.
    fn level(&self, cgroup: &Cgroup) -> Events {
        let events = self.events.kind("cpu_throttle");
        events.with("throttle.cgroup", &cgroup.path())
    }

    /// The intervals may be longer by so much in all.
    fn check_level_within(&self, cgroup: &Cgroup, kernel: &CpuStat, late_ns: u64) -> Result<()> {
        let events = self.level(cgroup);
        ensure!(
            kernel.throttled_ns >= ENOUGH_NS / part(),
            "too little for a comparison: {kernel:?}"
        );
        let ours = events.sum("throttle.duration_ns")?;
        let what = format!("sum of {} throttled intervals", events.0.len());
        agreement(&what, ours as f64, kernel.throttled_ns as f64);
        let noise = (kernel.throttled_ns as f64 * PERCENT / 100.0) as u64;
        let (least, most) = (
            kernel.throttled_ns - noise,
            kernel.throttled_ns + noise + late_ns,
        );
        assert!(
            (least..=most).contains(&ours),
            "{what}: {ours} ns, the kernel's {}; from {least} to {most} are allowed",
            kernel.throttled_ns
        );
        for event in &events.0 {
            assert!(event.number("throttle.cpu")? < thread::available_parallelism()?.get() as u64);
            assert_eq!(event.text("throttle.level")?, "other");
            assert!(!event.text("throttle.source")?.is_empty());
        }
        Ok(())
    }

    /// The interval sums of these cgroups together.
    fn stats(&self, cgroups: &[&Cgroup]) -> Events {
        let stats = self.events.kind("container_stats");
        stats.choose(|line| cgroups.iter().any(|cgroup| line.cgroup() == cgroup.path()))
    }

    /// Compares the interval sums with the kernel's throttled time and periods.
    ///
    /// # Panics
    /// When they differ.
    pub fn check_stats(&self, cgroups: &[&Cgroup]) -> Result<Events> {
        let stats = self.stats(cgroups);
        let sum = |of: fn(&CpuStat) -> u64| self.kernel.iter().map(of).sum::<u64>();
        let summed = stats.sum("throttle.summed_ns")?;
        let kernel = sum(|k| k.throttled_ns);
        assert_within("throttle.summed_ns", summed as f64, kernel as f64, PERCENT);
        let periods = stats.sum("throttle.throttled_periods")?;
        let kernel = sum(|k| k.throttled_periods);
        agreement("throttled periods", periods as f64, kernel as f64);
        assert!(
            periods.abs_diff(kernel) <= 1,
            "throttled periods {periods}, kernel {kernel}"
        );
        let all = stats.sum("throttle.periods")?;
        assert!(all >= periods, "{all} periods of which {periods} throttled");
        let frozen = stats.sum("throttle.frozen_ns")?;
        println!("frozen {frozen} ns of {} ns of wall time", self.wall_ns);
        assert!(
            frozen <= self.wall_ns,
            "frozen {frozen} ns in {} ns",
            self.wall_ns
        );
        assert!(frozen > 0, "never frozen");
        Ok(stats)
    }

    /// Every event of the level names exactly this quota. Where a CPU cannot keep up with the periods
    /// the kernel doubles both, once or more often (`sched_cfs_period_timer`, kernel/sched/fair.c);
    /// emulated ones do not always.
    ///
    /// # Panics
    /// When they differ.
    pub fn check_quota(&self, cgroup: &Cgroup, quota_us: u64, period_us: u64) -> Result<()> {
        let events = self
            .events
            .kind("cpu_throttle")
            .with("throttle.cgroup", &cgroup.path());
        for event in &events.0 {
            let times = event.number("throttle.quota.period_us")? / period_us;
            assert!(
                times == 1 || emulated() && times.is_power_of_two(),
                "{times}"
            );
            assert_eq!(event.number("throttle.quota.quota_us")?, times * quota_us);
            assert_eq!(event.number("throttle.quota.period_us")?, times * period_us);
            let cpus = event.value["throttle.quota.cpus"].as_f64();
            assert_eq!(cpus, Some(quota_us as f64 / period_us as f64));
        }
        Ok(())
    }
}
