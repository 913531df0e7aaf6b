//! Kernel memory of the maps against the bound that `check` tells.

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    referee::fdinfo,
    wait::PATIENCE,
};
use serde_json::Value;

/// The kernel accounts no more to the maps than was said before.
#[test]
fn the_maps_stay_within_their_bound() -> Result<()> {
    for size in ["300", "5000"] {
        let check = agent::output(["check", "--json", "--max-cgroups", size], PATIENCE)?;
        let check: Value = serde_json::from_slice(&check.stdout)?;
        let memory = &check["memory"];
        let bound = memory["total_bytes"].as_u64().context("a bound")?;
        let named = memory["maps"].as_array().context("the maps")?.len();

        let agent = Agent::start(&["--max-cgroups", size])?;
        let maps = fdinfo::maps(agent.pid())?;
        agent.stop()?;
        let accounted: u64 = maps.iter().map(|map| map.memory).sum();
        println!("{size} cgroups: {accounted} bytes accounted, the bound is {bound}; {maps:?}");
        ensure!(
            maps.len() == named,
            "{} maps are open and {named} have a bound",
            maps.len()
        );
        assert!(accounted > 0);
        assert!(
            accounted <= bound,
            "{accounted} bytes are accounted to the maps, and the bound is {bound}"
        );
    }
    Ok(())
}
