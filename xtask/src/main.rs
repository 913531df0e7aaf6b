//! `cargo xtask`: set-up, builds, tests and benchmarks, one file per command.

mod build_ebpf;
mod process;
mod toolchain;
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
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::BuildEbpf(arguments) => build_ebpf::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:?}");
            ExitCode::FAILURE
        }
    }
}
