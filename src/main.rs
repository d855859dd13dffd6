//! The program: parses the command line and hands it to the library.

use std::process::ExitCode;

use clap::Parser;
use portcullis::cli::{self, Cli};

/// With musl's own a request costs twice as much; docs/deployment.md has the figures.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Whoever was first has installed the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::run(&Cli::parse())
}
