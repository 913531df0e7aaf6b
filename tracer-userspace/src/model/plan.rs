//! Which source each signal is taken from, and why not a better one.

/// The plan, as `check` prints it and `agent` events carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanSummary {
    /// One line per signal.
    pub signals: Vec<SignalPlan>,
    /// Where the slots' cgroups live: `v2`, or `v1:cpu`.
    pub cgroup_hierarchy: String,
}

/// How one signal is measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignalPlan {
    /// Its name, e.g. `oom_kill`.
    pub signal: String,
    /// Source in use, e.g. `tracepoint`; `none` where it cannot be measured.
    pub source: String,
    /// Programs of that source.
    pub programs: Vec<String>,
    /// Why better sources are not used, or what is missing; empty where nothing is.
    pub notes: Vec<String>,
}
