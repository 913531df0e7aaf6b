//! .NET (CoreCLR). Its settings by environment are hexadecimal but for the number of processors.

use super::{by_default, by_variable, limited_cpus, pool};
use crate::{
    model::runtime::{Basis, Fact, Language, Runtime},
    runtimes::view::View,
};

/// What is told, where it is .NET.
pub fn look(view: &View) -> Option<Runtime> {
    if view.program.as_deref() != Some("dotnet") && !view.has_library("libcoreclr.so") {
        return None;
    }
    let processors = by_variable(view, "DOTNET_PROCESSOR_COUNT")
        .or_else(|| by_variable(view, "COMPlus_PROCESSOR_COUNT"));
    let processors = processors.map_or_else(
        || by_default(limited_cpus(view), "it takes the CPU limit, rounded up"),
        |value| Fact::known(value, Basis::Environment),
    );
    let hexadecimal = |name: &str| {
        let text = view.variable(name)?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let mut pools = vec![pool("DOTNET_PROCESSOR_COUNT", processors, true)];
    if let Some(most) = hexadecimal("DOTNET_ThreadPool_ForceMaxWorkerThreads") {
        let setting = "DOTNET_ThreadPool_ForceMaxWorkerThreads";
        pools.push(pool(setting, Fact::known(most, Basis::Environment), true));
    }
    let limit =
        hexadecimal("DOTNET_GCHeapHardLimit").or_else(|| hexadecimal("COMPlus_GCHeapHardLimit"));
    Some(Runtime {
        language: Language::DotNet,
        version: None,
        pools,
        memory_limit: Some(limit.map_or_else(
            || {
                Fact::Unknown(
                    "no DOTNET_GCHeapHardLimit; 75 % of the memory limit by default".into(),
                )
            },
            |bytes| Fact::known(Some(bytes), Basis::Environment),
        )),
        go: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_hexadecimal() {
        let variables = [
            ("DOTNET_PROCESSOR_COUNT", "3"),
            ("DOTNET_GCHeapHardLimit", "0x10000000"),
            ("DOTNET_ThreadPool_ForceMaxWorkerThreads", "10"),
        ];
        let found = look(&View::sample("dotnet", &["dotnet"], &variables)).unwrap();
        assert_eq!(found.pools[0].threads, Fact::known(3, Basis::Environment));
        assert_eq!(found.pools[1].threads.value(), Some(&16));
        assert_eq!(found.memory_limit.unwrap().value(), Some(&Some(256 << 20)));
    }
}
