//! The command line: the only place that prints, and that knows exit codes.
//!
//! 0 means done, 1 that it could not be done, 2 that the settings or the arguments are wrong; `fallback` has one more.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the program speaks to people and scripts"
)]

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};

use crate::config::{
    Config,
    environment::{Environment, SETTINGS_FILE},
    load::load,
};

mod check;
mod fallback;
mod healthcheck;
mod keygen;
mod ops;
mod reload;
mod serve;

/// A forward-auth gateway for nginx.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or SIGINT
    Serve(SettingsFile),
    /// Tell everything that is wrong with the settings, at once, and start nothing
    Check(SettingsFile),
    /// Print 32 fresh random bytes in base64: a key for sessions
    Keygen,
    /// Ask a running gateway's ops listener whether it lives
    Healthcheck(healthcheck::Arguments),
    /// Let administrators in by certificate while the provider is down, or keep them out
    Fallback(fallback::Arguments),
}

/// Which settings file it is.
#[derive(Clone, Debug, Args)]
struct SettingsFile {
    /// The settings
    #[arg(
        long,
        value_name = "FILE",
        help = "The settings [default: $PORTCULLIS_CONFIG, or else /etc/portcullis/portcullis.toml]"
    )]
    config: Option<PathBuf>,
}

impl SettingsFile {
    fn path(&self) -> PathBuf {
        let named = || env::var_os(SETTINGS_FILE).filter(|path| !path.is_empty());
        let named = self.config.clone().or_else(|| named().map(PathBuf::from));
        named.unwrap_or_else(|| Path::new(DEFAULT_SETTINGS).to_owned())
    }

    /// The settings; or exit code 2, when all that is wrong with them has been told.
    fn load(&self) -> Result<Config, ExitCode> {
        let path = self.path();
        load(&path, &Environment::of_process()).map_err(|problems| {
            eprintln!("{problems}");
            let plural = if problems.iter().len() == 1 { "" } else { "s" };
            let count = problems.iter().len();
            eprintln!("portcullis: {count} problem{plural} in {}", path.display());
            ExitCode::from(WRONG_SETTINGS)
        })
    }
}

/// Does what the command line asks for.
pub fn run(cli: &Cli) -> ExitCode {
    let done = match &cli.command {
        Command::Serve(settings) => settings.load().map(|config| serve::serve(config, settings.path())),
        Command::Check(settings) => settings.load().map(|config| {
            print!("{}", check::summary(&config));
            Ok(())
        }),
        Command::Keygen => Ok(keygen::keygen().map(|key| println!("{}", *key))),
        Command::Healthcheck(arguments) => match arguments.question() {
            Ok(question) => Ok(question.and_then(|question| question.ask(arguments.timeout()))),
            Err(code) => Err(code),
        },
        Command::Fallback(arguments) => fallback::run(arguments),
    };
    match done {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("portcullis: {error:#}");
            ExitCode::FAILURE
        }
        Err(code) => code,
    }
}

const DEFAULT_SETTINGS: &str = "/etc/portcullis/portcullis.toml";
const WRONG_SETTINGS: u8 = 2;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_line_goes_before_the_default() {
        let given = SettingsFile { config: Some("/x.toml".into()) };
        assert_eq!(given.path(), Path::new("/x.toml"));
    }
}
