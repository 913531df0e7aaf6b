//! `cargo xtask`: set-up, builds, tests and benchmarks, one file per command.

mod bench;
mod build;
mod build_ebpf;
mod demo;
mod process;
mod step;
mod test;
mod tidy;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, builds, tests and benchmarks of limitscope.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the BPF object that the binary embeds, setting up its tools first where they are missing
    BuildEbpf(build_ebpf::Arguments),
    /// Make the object and the binary
    Build(build::Arguments),
    /// Set up, build and run `limitscope demo`
    Demo(demo::Arguments),
    /// Set up and run every test that this machine can run
    Test(test::Arguments),
    /// Set up, build and run the benchmark
    Bench(bench::Arguments),
    /// Check the project's conventions
    Tidy,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::BuildEbpf(arguments) => build_ebpf::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Tidy => tidy::run(),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
