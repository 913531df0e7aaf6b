//! What processes tell of their runtimes, as JSON and as text.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::json::Escaping;
use super::text::{Bounded, Bytes, Visible};
use crate::model::runtime::{Basis, Fact, ProcessFacts, Runtime};

/// Writes one JSON object and a line break.
pub fn write_json(out: &mut dyn Write, facts: &ProcessFacts) -> io::Result<()> {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Escaping);
    value(facts).serialize(&mut serializer)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

fn value(facts: &ProcessFacts) -> Value {
    let mut object = Map::new();
    object.insert("process.pid".into(), facts.pid.into());
    object.insert("process.command".into(), text(&facts.command));
    object.insert("process.threads".into(), facts.threads.into());
    if let Some(bytes) = facts.memory_held_bytes {
        object.insert("process.memory_held_bytes".into(), bytes.into());
    }
    if let Some(cpus) = facts.cpus_allowed {
        object.insert("process.cpus_allowed".into(), cpus.into());
    }
    let runtimes = facts.runtimes.iter().map(runtime).collect::<Vec<_>>();
    object.insert("runtimes".into(), runtimes.into());
    let missing = facts.missing.iter().map(|reason| text(reason));
    object.insert("missing".into(), missing.collect());
    object.into()
}

fn text(text: &str) -> Value {
    Bounded(text).to_string().into()
}

fn runtime(runtime: &Runtime) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), runtime.language.name().into());
    if let Some(version) = &runtime.version {
        object.insert("version".into(), text(version));
    }
    let pools = runtime.pools.iter().map(|pool| {
        let mut object = fact(&pool.threads, "threads", |threads| (*threads).into());
        object.insert("setting".into(), pool.setting.into());
        Value::from(object)
    });
    object.insert("pools".into(), pools.collect());
    if let Some(limit) = &runtime.memory_limit {
        let limit = fact(limit, "bytes", |bytes| {
            bytes.map_or("none".into(), Value::from)
        });
        object.insert("memory_limit".into(), limit.into());
    }
    if let Some(go) = &runtime.go {
        let pairs = |pairs: &[(String, String)]| -> Value {
            let pairs = pairs.iter().map(|(key, value)| (key.clone(), text(value)));
            Value::Object(pairs.collect())
        };
        let go = json!({
            "path": go.path.as_deref().map(text),
            "dependencies": pairs(&go.dependencies),
            "settings": pairs(&go.settings),
            "automaxprocs": go.automaxprocs,
            "container_aware": go.container_aware,
        });
        object.insert("go".into(), go);
    }
    object.into()
}

fn fact<T>(fact: &Fact<T>, key: &str, show: impl Fn(&T) -> Value) -> Map<String, Value> {
    let mut object = Map::new();
    match fact {
        Fact::Known { value, basis, note } => {
            object.insert(key.to_owned(), show(value));
            object.insert("basis".into(), basis.name().into());
            object.insert("estimate".into(), (!basis.is_exact()).into());
            if !note.is_empty() {
                object.insert("note".into(), text(note));
            }
        }
        Fact::Unknown(why) => {
            object.insert("unknown".into(), text(why));
        }
    }
    object
}

/// Writes it for people.
pub fn write_text(out: &mut dyn Write, facts: &ProcessFacts) -> io::Result<()> {
    write!(
        out,
        "process {} `{}`, {} threads",
        facts.pid,
        Visible(&facts.command),
        facts.threads
    )?;
    match facts.cpus_allowed {
        Some(1) => writeln!(out, ", may run on 1 CPU")?,
        Some(cpus) => writeln!(out, ", may run on {cpus} CPUs")?,
        None => writeln!(out)?,
    }
    if facts.runtimes.is_empty() {
        writeln!(out, "  no runtime that is known")?;
    }
    for runtime in &facts.runtimes {
        write_runtime(out, runtime)?;
    }
    for reason in &facts.missing {
        writeln!(out, "  missing: {}", Visible(reason))?;
    }
    Ok(())
}

/// Writes one runtime for people, indented.
pub fn write_runtime(out: &mut dyn Write, runtime: &Runtime) -> io::Result<()> {
    let version = runtime.version.as_deref().unwrap_or_default();
    writeln!(out, "  {} {}", runtime.language.name(), Visible(version))?;
    for pool in &runtime.pools {
        let shown = shown(&pool.threads, ToString::to_string);
        writeln!(out, "    {:<24}  {shown}", pool.setting)?;
    }
    if let Some(limit) = &runtime.memory_limit {
        let shown = shown(limit, |bytes| {
            bytes.map_or_else(|| "none".to_owned(), |bytes| Bytes(bytes).to_string())
        });
        writeln!(out, "    {:<24}  {shown}", "memory limit")?;
    }
    if let Some(go) = &runtime.go {
        let yes = |flag| if flag { "yes" } else { "no" };
        let (aware, auto) = (yes(go.container_aware), yes(go.automaxprocs));
        writeln!(out, "    {:<24}  {aware}", "heeds the CPU limit")?;
        writeln!(out, "    {:<24}  {auto}", "automaxprocs built in")?;
        writeln!(out, "    {:<24}  {}", "modules", go.dependencies.len())?;
    }
    Ok(())
}

fn shown<T>(fact: &Fact<T>, show: impl Fn(&T) -> String) -> String {
    match fact {
        Fact::Known { value, basis, note } => {
            let mut text = format!("{}  ({}", show(value), words(*basis));
            if !note.is_empty() {
                text.push_str("; ");
                text.push_str(&Visible(note).to_string());
            }
            text + ")"
        }
        Fact::Unknown(why) => format!("unknown: {}", Visible(why)),
    }
}

const fn words(basis: Basis) -> &'static str {
    match basis {
        Basis::RuntimeVariable => "in force, from the runtime's variable",
        Basis::ThreadNames => "by the names of threads",
        Basis::CommandLine => "by the command line",
        Basis::Environment => "by the environment",
        Basis::Defaults => "by default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::runtime::{Language, Parallelism};

    fn sample() -> ProcessFacts {
        ProcessFacts {
            pid: 7,
            start_ticks: 9,
            cpu_share: None,
            command: "ser\u{1b}ver".into(),
            threads: 3,
            cpus_allowed: Some(16),
            memory_held_bytes: Some(40 << 20),
            runtimes: vec![Runtime {
                language: Language::Go,
                version: Some("go1.22.3".into()),
                pools: vec![Parallelism {
                    setting: "GOMAXPROCS",
                    threads: Fact::known(16, Basis::RuntimeVariable),
                    computes: true,
                }],
                memory_limit: Some(Fact::Unknown("no\nreason".into())),
                go: Some(std::sync::Arc::default()),
            }],
            missing: vec!["environ".into()],
        }
    }

    #[test]
    fn both_forms_tell_the_same() {
        let mut out = Vec::new();
        write_text(&mut out, &sample()).unwrap();
        let expected = "\
process 7 `ser\\x1bver`, 3 threads, may run on 16 CPUs
  go go1.22.3
    GOMAXPROCS                16  (in force, from the runtime's variable)
    memory limit              unknown: no\\nreason
    heeds the CPU limit       no
    automaxprocs built in     no
    modules                   0
  missing: environ
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        write_json(&mut out, &sample()).unwrap();
        let parsed: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(parsed["runtimes"][0]["pools"][0]["threads"], 16);
        assert_eq!(parsed["runtimes"][0]["pools"][0]["estimate"], false);
        assert_eq!(
            parsed["runtimes"][0]["memory_limit"]["unknown"],
            "no\nreason"
        );
    }
}
