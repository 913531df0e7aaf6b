//! The process that tests put into a cgroup: it waits for `go`, does one thing, tells what it saw
//! of itself, and stays until `exit`.
//!
//! `limitscope-workload MODE --key value …`; the first line of output is `{"ready":PID}`, the
//! second the result. End of input ends it, and so does the death of its parent.

mod cpu;
mod disk;
mod memory;
mod own;

use std::{
    collections::HashMap,
    env,
    io::{self, BufRead, Write},
    process::ExitCode,
    str::FromStr,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The `--key value` pairs of the command line.
pub struct Options(HashMap<String, String>);

impl Options {
    fn parse(words: impl Iterator<Item = String>) -> Result<Self> {
        let mut pairs = HashMap::new();
        let mut words = words;
        while let Some(word) = words.next() {
            let key = word
                .strip_prefix("--")
                .with_context(|| format!("not an option: {word}"))?;
            let value = words
                .next()
                .with_context(|| format!("--{key} needs a value"))?;
            pairs.insert(key.to_owned(), value);
        }
        Ok(Self(pairs))
    }

    /// The value of a key, if it was given.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A number, or what it is when not given.
    pub fn number<T: FromStr>(&self, key: &str, otherwise: T) -> Result<T> {
        match self.text(key) {
            None => Ok(otherwise),
            Some(text) => match text.parse() {
                Ok(number) => Ok(number),
                Err(_) => bail!("--{key} {text:?} is not a number"),
            },
        }
    }
}

fn say(value: &Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()?;
    Ok(())
}

/// Whether `word` came; `false` when the input ended.
fn hear(word: &str) -> Result<bool> {
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Ok(false);
    }
    if line.trim_end() != word {
        bail!("expected {word:?}, got {line:?}");
    }
    Ok(true)
}

fn work(mode: &str, options: &Options) -> Result<Value> {
    Ok(match mode {
        "anon" => memory::anon(options)?,
        "shmem" => memory::shmem(options)?,
        "mixed" => memory::mixed(options)?,
        "threads" => memory::threads(options)?,
        "fork" => memory::fork(options)?,
        "saw-tooth" => memory::saw_tooth(options)?,
        "cache" => memory::cache(options)?,
        "sharer" => memory::sharer(options)?,
        "spin" => cpu::spin(options)?,
        "duty" => cpu::duty(options)?,
        "pingpong" => cpu::pingpong(options)?,
        "sleepers" => cpu::sleepers(options)?,
        "record" => cpu::record(options)?,
        "disk" => disk::serve(options)?,
        "nothing" => json!({}),
        other => bail!("there is no mode {other:?}"),
    })
}

fn run() -> Result<()> {
    own::die_with_parent()?;
    let mut words = env::args().skip(1);
    let mode = words.next().context("which mode?")?;
    let options = Options::parse(words)?;
    if let Some(name) = options.text("comm") {
        own::set_comm(name)?;
    }
    if let Some(node) = options.text("memory-node") {
        own::bind_memory(node.parse().context("--memory-node takes a number")?)?;
    }
    say(&json!({ "ready": std::process::id() }))?;
    if !hear("go")? {
        return Ok(());
    }
    let result = work(&mode, &options)?;
    say(&result)?;
    hear("exit")?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("limitscope-workload: {error:#}");
            ExitCode::FAILURE
        }
    }
}
