//! The thresholds of the rules, and their names on the command line.

/// Where the rules draw their lines. docs/findings.md has the reason for each default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Share of throttled periods, or of frozen time, from which on a limit hurts.
    pub throttled_ratio: f64,
    /// Threads of a pool for each CPU of the limit from which on they are too many.
    pub oversubscription_ratio: f64,
    /// Wait for own threads as a share of CPU time from which on threads contend, without throttling.
    pub contention_ratio: f64,
    /// Share of throttled periods from which on a limit is too low.
    pub limit_too_low_ratio: f64,
    /// Share of the limit that is used from which on it is too low.
    pub limit_used_ratio: f64,
    /// Share of the limit below which throttling is a matter of its period.
    pub limit_unused_ratio: f64,
    /// Share of the time in which its threads ran or wanted to that they waited for others.
    pub neighbour_wait_ratio: f64,
    /// Threads that waited for others at a time, on average.
    pub neighbour_wait_threads: f64,
    /// Restarts in a row from which on they are a loop.
    pub restart_loop_restarts: f64,
    /// How long a container has to be up to be out of it, in seconds.
    pub restart_stable_seconds: f64,
    /// Share of the memory limit from which on memory is near it.
    pub near_limit_ratio: f64,
    /// Shortest time of a steady growth, in seconds.
    pub leak_window_seconds: f64,
    /// Least steadiness of a growth (Kendall's tau).
    pub leak_steadiness: f64,
    /// Least growth as a share of the limit.
    pub leak_growth_ratio: f64,
    /// Longest time to the limit, in hours, that is told.
    pub leak_horizon_hours: f64,
    /// Rise within the spike's window as a share of the limit.
    pub spike_ratio: f64,
    /// Time within which a rise is a spike, in seconds.
    pub spike_window_seconds: f64,
    /// Share of the memory limit from which on a Go program should know it.
    pub gomemlimit_ratio: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            throttled_ratio: 0.05,
            oversubscription_ratio: 1.5,
            contention_ratio: 0.5,
            limit_too_low_ratio: 0.25,
            limit_used_ratio: 0.85,
            limit_unused_ratio: 0.6,
            neighbour_wait_ratio: 0.25,
            neighbour_wait_threads: 0.1,
            restart_loop_restarts: 3.0,
            restart_stable_seconds: 600.0,
            near_limit_ratio: 0.8,
            leak_window_seconds: 40.0,
            leak_steadiness: 0.8,
            leak_growth_ratio: 0.02,
            leak_horizon_hours: 24.0,
            spike_ratio: 0.25,
            spike_window_seconds: 15.0,
            gomemlimit_ratio: 0.5,
        }
    }
}

impl Thresholds {
    /// All of them by name.
    fn named(&mut self) -> [(&'static str, &mut f64); 18] {
        [
            ("throttled-ratio", &mut self.throttled_ratio),
            ("oversubscription-ratio", &mut self.oversubscription_ratio),
            ("contention-ratio", &mut self.contention_ratio),
            ("limit-too-low-ratio", &mut self.limit_too_low_ratio),
            ("limit-used-ratio", &mut self.limit_used_ratio),
            ("limit-unused-ratio", &mut self.limit_unused_ratio),
            ("neighbour-wait-ratio", &mut self.neighbour_wait_ratio),
            ("neighbour-wait-threads", &mut self.neighbour_wait_threads),
            ("restart-loop-restarts", &mut self.restart_loop_restarts),
            ("restart-stable-seconds", &mut self.restart_stable_seconds),
            ("near-limit-ratio", &mut self.near_limit_ratio),
            ("leak-window-seconds", &mut self.leak_window_seconds),
            ("leak-steadiness", &mut self.leak_steadiness),
            ("leak-growth-ratio", &mut self.leak_growth_ratio),
            ("leak-horizon-hours", &mut self.leak_horizon_hours),
            ("spike-ratio", &mut self.spike_ratio),
            ("spike-window-seconds", &mut self.spike_window_seconds),
            ("gomemlimit-ratio", &mut self.gomemlimit_ratio),
        ]
    }

    /// Sets one by its name. The error says what would have been right.
    pub fn set(&mut self, name: &str, value: f64) -> Result<(), String> {
        if !value.is_finite() || value <= 0.0 {
            return Err(format!("{name} must be a number above 0"));
        }
        let is_share = name.ends_with("-ratio") || name == "leak-steadiness";
        if is_share && value > 1.0 && !matches!(name, "oversubscription-ratio" | "contention-ratio")
        {
            return Err(format!("{name} is a share of a whole: 1 at most"));
        }
        let mut named = self.named();
        let names = named.each_ref().map(|(name, _)| *name);
        match named.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => {
                **place = value;
                Ok(())
            }
            None => Err(format!("there are {}", names.join(", "))),
        }
    }

    /// How long a container has to be up to be in no loop, in nanoseconds.
    pub fn restart_stable_ns(&self) -> u64 {
        (self.restart_stable_seconds * 1e9) as u64
    }

    /// The shortest time of a steady growth, in nanoseconds.
    pub fn leak_window_ns(&self) -> u64 {
        (self.leak_window_seconds * 1e9) as u64
    }

    /// The time within which a rise is a spike, in nanoseconds.
    pub fn spike_window_ns(&self) -> u64 {
        (self.spike_window_seconds * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_set_by_its_name() {
        let names = Thresholds::default().named().map(|(name, _)| name);
        for name in names {
            let mut thresholds = Thresholds::default();
            thresholds.set(name, 0.123).unwrap();
            let changed: Vec<_> = thresholds
                .named()
                .into_iter()
                .zip(Thresholds::default().named())
                .filter(|((_, now), (_, before))| now.to_bits() != before.to_bits())
                .map(|((name, _), _)| name)
                .collect();
            assert_eq!(changed, [name]);
        }
        let mut thresholds = Thresholds::default();
        assert!(
            thresholds
                .set("no-such", 1.0)
                .unwrap_err()
                .contains("spike-ratio")
        );
        assert!(thresholds.set("spike-ratio", f64::NAN).is_err());
    }
}
