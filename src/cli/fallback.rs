//! `portcullis fallback`: shows and throws the switches, and says who knows of it.

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use tokio::runtime::{Builder, Runtime};

use self::{
    report::{Acknowledged, Outcome},
    scene::{Scene, lay_down},
};
use super::{SettingsFile, WRONG_SETTINGS, ops::Target};
use crate::{
    clock::Clock,
    config::Config,
    fallback::{
        switch::{Base, By, Record, Refused, agreement::Kept},
        switches,
    },
    random,
    seal::KeyRing,
    server::Address,
    store::{self, Store, StoredSwitches},
};

mod drill;
mod report;
mod scene;

/// Which switch it is.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show how the switches stand, in the store, in this machine's file and in every process
    #[command(after_help = EXIT_CODES)]
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Let administrators in by certificate while the provider is down; ends by itself
    #[command(after_help = EXIT_CODES)]
    Arm {
        /// How long, such as 4h
        #[arg(long = "for", value_name = "DURATION")]
        lasts: humantime::Duration,
        /// Who does it
        #[arg(long, value_name = "NAME")]
        operator: String,
        #[command(flatten)]
        change: Change,
    },
    /// The kill switch: let nobody in by certificate until it is enabled again
    #[command(after_help = EXIT_CODES)]
    Disable {
        /// Who does it
        #[arg(long, value_name = "NAME", help = "Who does it [default: $SUDO_USER, or else $USER]")]
        operator: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Take the kill switch back; arms nothing
    #[command(after_help = EXIT_CODES)]
    Enable {
        /// Who does it
        #[arg(long, value_name = "NAME")]
        operator: String,
        #[command(flatten)]
        change: Change,
    },
    /// Take a certificate through every check of every process, step by step; opens nothing
    #[command(after_help = EXIT_CODES)]
    Drill {
        /// The certificate, PEM; scripts/admin-cert.sh makes one
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Change {
    /// Why, for the audit log and for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// How long to wait for each process
    #[arg(long, value_name = "DURATION", default_value = "3s")]
    timeout: humantime::Duration,
    #[command(flatten)]
    settings: SettingsFile,
}

/// Whom the command speaks to, and with what.
pub(super) struct Plan {
    processes: Vec<Target>,
    store: store::Config,
    ring: KeyRing,
    enabled: bool,
    switches: switches::Config,
    timeout: Duration,
}

impl Plan {
    /// From the settings of one of the processes.
    fn new(config: Config, timeout: Duration) -> anyhow::Result<Self> {
        let own = Target::of_settings(&config);
        let fallback = config.gateway.fallback;
        let others = fallback.processes.into_iter().map(|process| match process {
            Address::Tcp(address) => Target::of_address(address),
            Address::Unix { path, .. } => Target::Unix(path),
        });
        let mut processes: Vec<_> = others.collect();
        if processes.is_empty() {
            processes.push(own?);
        }
        Ok(Self {
            processes,
            store: config.gateway.store,
            ring: config.gateway.session.keys,
            enabled: fallback.enabled,
            switches: fallback.switches,
            timeout: timeout.max(Duration::from_millis(1)),
        })
    }
}

/// What is to be done with the switches.
#[derive(Clone, Copy, Debug)]
enum Wish {
    Arm(Duration),
    Disable,
    Enable,
}

impl Wish {
    const fn label(self) -> &'static str {
        match self {
            Self::Arm(_) => "arm",
            Self::Disable => "disable",
            Self::Enable => "enable",
        }
    }

    /// Whether every process must have heard of it: one that did not may be open.
    const fn closes(self) -> bool {
        matches!(self, Self::Disable)
    }

    /// The record that fulfils it; none if it is so already.
    fn next(self, scene: &Scene, plan: &Plan, by: &By) -> Result<Option<Record>, Refused> {
        let (base, now) = (scene.base(), Clock::system().now());
        match self {
            Self::Arm(lasts) => base.arm(lasts, plan.switches.longest_arming, by, now).map(Some),
            Self::Disable if scene.store_is_unseen() => base.disable_unseen(by, now),
            Self::Disable => base.disable(by, now),
            Self::Enable => base.enable(by, now),
        }
    }
}

/// Does what the command line asks for.
///
/// # Errors
/// The exit code, where it says more than that it could not be done.
pub(super) fn run(arguments: &Arguments) -> Result<anyhow::Result<()>, ExitCode> {
    match &arguments.command {
        Command::Status { json, common } => {
            let plan = common.plan()?;
            Ok(plan.and_then(|plan| status(&plan, *json))).and_then(coded)
        }
        Command::Arm { lasts, operator, change } => change.make(Wish::Arm((*lasts).into()), operator),
        Command::Disable { operator, change } => {
            change.make(Wish::Disable, operator.as_deref().unwrap_or(&whoever_it_is()))
        }
        Command::Enable { operator, change } => change.make(Wish::Enable, operator),
        Command::Drill { certificate, common } => {
            let plan = common.plan()?;
            coded(plan.and_then(|plan| drill::hold(&plan, certificate)))
        }
    }
}

/// An outcome that is done says so itself; others have exit codes of their own.
fn coded(outcome: anyhow::Result<Outcome>) -> Result<anyhow::Result<()>, ExitCode> {
    match outcome {
        Ok(Outcome::Done) => Ok(Ok(())),
        Ok(outcome) => Err(ExitCode::from(outcome.code())),
        Err(error) => Ok(Err(error)),
    }
}

impl Common {
    fn plan(&self) -> Result<anyhow::Result<Plan>, ExitCode> {
        Ok(Plan::new(self.settings.load()?, *self.timeout))
    }
}

impl Change {
    fn make(&self, wish: Wish, operator: &str) -> Result<anyhow::Result<()>, ExitCode> {
        let by = By::new(operator, &self.reason).map_err(|error| wrong(&error))?;
        let plan = match self.common.plan()? {
            Ok(plan) => plan,
            Err(error) => return Ok(Err(error)),
        };
        if let Wish::Arm(lasts) = wish
            && let Err(refused @ Refused::Time { .. }) =
                Base::Nothing.arm(lasts, plan.switches.longest_arming, &by, Clock::system().now())
        {
            return Err(wrong(&refused));
        }
        coded(self.attempts(&plan, wish, &by))
    }

    /// Somebody else may throw the switches at the same time; then it is looked at anew.
    fn attempts(&self, plan: &Plan, wish: Wish, by: &By) -> anyhow::Result<Outcome> {
        let (runtime, store) = begin(plan)?;
        let mut attempt = 1;
        loop {
            let scene = Scene::look(plan, &runtime, store.as_ref());
            let next = match wish.next(&scene, plan, by) {
                Err(refused @ Refused::Last) if wish.closes() => {
                    report::note(&refused.to_string());
                    scene.disable_whom_it_reaches(by)?
                }
                next => next?,
            };
            if !plan.enabled && matches!(wish, Wish::Arm(_)) {
                bail!("the settings have no fallback: fallback.enabled is false");
            }
            if self.dry_run {
                report::would(wish.label(), next.as_ref(), &scene);
                return Ok(Outcome::Done);
            }
            let kept = match next {
                Some(record) => sealed(record, &plan.ring)?,
                None => scene.held().context("nothing to lay down")?.clone(),
            };
            let is_last = attempt == ATTEMPTS;
            let acknowledged = lay_down(plan, &runtime, store.as_ref(), &kept.sealed, wish.closes() && is_last);
            if acknowledged.is_stale() && !is_last {
                attempt += 1;
                continue;
            }
            let outcome = acknowledged.outcome(wish.closes());
            report::thrown(wish.label(), &kept.record, scene.holds(&kept), &acknowledged, outcome);
            return Ok(outcome);
        }
    }
}

fn status(plan: &Plan, json: bool) -> anyhow::Result<Outcome> {
    let (runtime, store) = begin(plan)?;
    let scene = Scene::look(plan, &runtime, store.as_ref());
    if json {
        report::json(plan, &scene);
    } else {
        report::table(plan, &scene);
    }
    Ok(scene.outcome())
}

/// A store that is in another process's memory cannot be asked from here.
fn begin(plan: &Plan) -> anyhow::Result<(Runtime, Option<Store>)> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let store = match &plan.store {
        store::Config::Memory(_) => None,
        config @ store::Config::Redis(_) => {
            Some(Store::open(config.clone(), &Clock::system(), Box::new(|_, _, _| ()))?)
        }
    };
    Ok((runtime, store))
}

fn sealed(record: Record, ring: &KeyRing) -> anyhow::Result<Kept> {
    let sealed: StoredSwitches = record.seal(ring, random::bytes()?)?;
    Ok(Kept { record, sealed })
}

fn wrong(error: &dyn std::error::Error) -> ExitCode {
    report::note(&error.to_string());
    ExitCode::from(WRONG_SETTINGS)
}

/// Whoever throws the kill switch in a hurry need not say who it is.
fn whoever_it_is() -> String {
    let named = |name| env::var(name).ok().filter(|user| !user.trim().is_empty());
    named("SUDO_USER").or_else(|| named("USER")).unwrap_or_else(|| "unknown".to_owned())
}

/// How often a change is tried when somebody else was quicker.
const ATTEMPTS: u32 = 3;

const EXIT_CODES: &str = "Exit codes:
  0  done, or so already: the store has it, or every process acknowledged; disable: every process acknowledged
  1  could not be done: refused, or neither the store nor any process took it
  2  the settings or the arguments are wrong
  3  some process did not acknowledge or answer, and the store did not take it or could not be asked; disable: some process
     did not acknowledge, whatever the store took; each is named
  4  status: the switches cannot be believed, or the store's record is broken";
