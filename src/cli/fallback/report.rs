//! Says how the switches stand, and who took a change.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is where the command speaks to people and scripts"
)]

use cookie::time::OffsetDateTime;
use serde_json::{Value, json};

use super::{Plan, Target, scene::Scene};
use crate::{
    clock::{Clock, Timestamp},
    fallback::switch::{
        Record,
        agreement::{Kept, Said},
    },
    store,
};

/// Whether somebody took a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// Yes; and whether it will know it after a restart.
    Taken { kept: bool },
    /// Somebody else was quicker.
    Stale,
    /// No, and why.
    Not(String),
}

/// Who took a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    /// The store, where there is one that processes share.
    pub(super) store: Option<Took>,
    /// Every process.
    pub(super) processes: Vec<(Target, Result<Took, String>)>,
}

/// What comes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What was asked for.
    Done,
    /// Some do not know of it.
    Some,
    /// Nobody does.
    Nobody,
    /// Everybody was asked, and what they say cannot be believed.
    Doubtful,
}

impl Outcome {
    /// The exit code.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Nobody => 1,
            Self::Some => 3,
            Self::Doubtful => 4,
        }
    }
}

impl Acknowledged {
    /// Whether somebody knows a record that is as high or higher, so that all is to be looked at anew.
    pub(super) fn is_stale(&self) -> bool {
        let processes = self.processes.iter().filter_map(|(_, took)| took.as_ref().ok());
        self.store.iter().chain(processes).any(|took| *took == Took::Stale)
    }

    /// The store's word is enough where the door may open: every process that lives asks it within a second. Not where it must
    /// close: a process that is cut off from the store would stay open.
    pub(super) fn outcome(&self, closes: bool) -> Outcome {
        let in_store = matches!(self.store, Some(Took::Taken { .. }));
        let taken = self.processes.iter().filter(|(_, took)| matches!(took, Ok(Took::Taken { .. }))).count();
        let by_all = taken > 0 && taken == self.processes.len() && self.store != Some(Took::Stale);
        if by_all || (in_store && !closes) {
            return Outcome::Done;
        }
        if taken == 0 && !in_store { Outcome::Nobody } else { Outcome::Some }
    }
}

/// Something beside the matter.
pub(super) fn note(text: &str) {
    eprintln!("portcullis: {text}");
}

/// What a change would be.
pub(super) fn would(wish: &str, next: Option<&Record>, scene: &Scene) {
    match next {
        Some(record) => println!("would {wish}: {}", line(record)),
        None => println!("would do nothing new: it is so already ({wish})"),
    }
    for (place, how) in places(scene) {
        println!("  {place:<28} {how}");
    }
}

/// What a change came to.
pub(super) fn thrown(wish: &str, record: &Record, before: bool, acknowledged: &Acknowledged, outcome: Outcome) {
    let already = if before { " already" } else { "" };
    println!("{wish}{already}: {}", line(record));
    if let Some(took) = &acknowledged.store {
        println!("  {:<28} {}", "store", told(took));
    }
    for (target, took) in &acknowledged.processes {
        let how = match took {
            Ok(took) => told(took),
            Err(cause) => format!("DID NOT ACKNOWLEDGE: {cause}"),
        };
        println!("  {:<28} {how}", target.to_string());
    }
    let in_store = matches!(acknowledged.store, Some(Took::Taken { .. }));
    match outcome {
        Outcome::Done | Outcome::Doubtful => {}
        Outcome::Some if in_store => {
            note("some processes did not acknowledge: one that the store does not reach goes on as before");
        }
        Outcome::Some => note("some processes do not know of it, or the store did not take it"),
        Outcome::Nobody => note("neither the store nor any process took it"),
    }
}

fn told(took: &Took) -> String {
    match took {
        Took::Taken { kept: true } => "acknowledged".to_owned(),
        Took::Taken { kept: false } => "acknowledged, but its file does not have it".to_owned(),
        Took::Stale => "DID NOT ACKNOWLEDGE: it knows a newer record".to_owned(),
        Took::Not(cause) => format!("DID NOT ACKNOWLEDGE: {cause}"),
    }
}

/// How everything stands, for people.
pub(super) fn table(plan: &Plan, scene: &Scene) {
    println!("{:<30} {}", "fallback", if plan.enabled { "enabled in the settings" } else { "not in the settings" });
    println!("{:<30} {}", "switches", stand(plan, scene));
    if let Some(Kept { record, .. }) = scene.held() {
        println!("{:<30} {}", "last change", line(record));
    }
    for (place, how) in places(scene) {
        println!("{place:<30} {how}");
    }
}

/// The same, for scripts.
pub(super) fn json(plan: &Plan, scene: &Scene) {
    let now = Clock::system().now();
    let switches = scene.standing(now, plan.switches.arming());
    let record = scene.held().map(|kept| &kept.record);
    let processes: Vec<Value> = scene.processes.iter().map(|(target, status)| process(target, status)).collect();
    let store = match &plan.store {
        store::Config::Memory(_) => "none".to_owned(),
        store::Config::Redis(_) => scene.store.as_ref().map_or_else(String::new, place),
    };
    let status = json!({
        "enabled": plan.enabled,
        "believed": switches.believed,
        "killed": switches.killed,
        "auto_closed": switches.auto_closed,
        "armed": switches.armed,
        "armed_until": record.and_then(|record| record.armed_until).map(Timestamp::seconds),
        "epoch": scene.base().epoch(),
        "action": record.map(|record| record.action.label()),
        "at": record.map(|record| record.at.seconds()),
        "operator": record.map(|record| record.operator.as_str()),
        "reason": record.map(|record| record.reason.as_str()),
        "store": store,
        "file": scene.file.as_ref().map(|(_, said)| place(said)),
        "processes": processes,
    });
    println!("{status:#}");
}

fn process(target: &Target, status: &Result<Value, String>) -> Value {
    match status {
        Ok(status) => json!({"process": target.to_string(), "status": status}),
        Err(cause) => json!({"process": target.to_string(), "error": cause}),
    }
}

fn stand(plan: &Plan, scene: &Scene) -> String {
    let switches = scene.standing(Clock::system().now(), plan.switches.arming());
    let until = scene.held().and_then(|kept| kept.record.armed_until);
    if !switches.believed {
        return "CANNOT BE BELIEVED: the door is closed until they are thrown anew".to_owned();
    }
    match (switches.killed, switches.auto_closed, switches.armed, until) {
        (true, ..) => "disabled".to_owned(),
        (_, true, ..) => "closed by itself".to_owned(),
        (_, _, true, Some(until)) => format!("armed until {}", moment(until)),
        (_, _, true, None) => "ready: it need not be armed".to_owned(),
        (_, _, false, _) => "not armed".to_owned(),
    }
}

fn places(scene: &Scene) -> Vec<(String, String)> {
    let store = scene.store.iter().map(|said| ("store".to_owned(), place(said)));
    let file = scene.file.iter().map(|(path, said)| (path.display().to_string(), place(said)));
    let processes = scene.processes.iter().map(|(target, status)| {
        let how = status.as_ref().map_or_else(|cause| format!("NOT REACHED: {cause}"), of_process);
        (target.to_string(), how)
    });
    store.chain(file).chain(processes).collect()
}

fn place(said: &Said) -> String {
    match said {
        Said::Unknown => "NOT REACHED".to_owned(),
        Said::Absent => "no record".to_owned(),
        Said::Record(kept) => format!("epoch {}", kept.record.epoch),
        Said::Broken { cause, .. } => format!("BROKEN: {cause}"),
    }
}

/// A process's own words are shown cut down to what they should be.
fn of_process(status: &Value) -> String {
    let flag = |name: &str| status.get(name).and_then(Value::as_bool) == Some(true);
    let epoch = status.get("epoch").and_then(Value::as_u64).unwrap_or_default();
    let door = if status.get("door").and_then(Value::as_str) == Some("open") { "open" } else { "closed" };
    let marks: Vec<&str> = ["armed", "killed", "auto_closed"].into_iter().filter(|name| flag(name)).collect();
    let believed = if flag("believed") { "" } else { ", CANNOT BE BELIEVED" };
    let marks = if marks.is_empty() { "not armed".to_owned() } else { marks.join(", ") };
    format!("epoch {epoch}, {marks}{believed}, door {door}")
}

fn line(record: &Record) -> String {
    let Record { epoch, action, at, operator, reason, armed_until, .. } = record;
    let until = armed_until.map_or_else(String::new, |until| format!(" until {}", moment(until)));
    format!("epoch {epoch}: {}{until} at {} by {operator}: {reason}", action.label(), moment(*at))
}

fn moment(moment: Timestamp) -> String {
    let seconds = i64::try_from(moment.seconds()).unwrap_or(i64::MAX);
    let Ok(time) = OffsetDateTime::from_unix_timestamp(seconds) else {
        return seconds.to_string();
    };
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: Took = Took::Taken { kept: true };

    #[test]
    fn the_store_or_everybody_must_have_taken_it() {
        let check = |store: Option<Took>, processes: &[bool], expected| {
            let refused = || Err("is not there".to_owned());
            let process = |taken: &bool| if *taken { Ok(TAKEN) } else { refused() };
            let processes = processes.iter().map(|taken| (Target::Tcp("a:1".into()), process(taken)));
            let acknowledged = Acknowledged { store, processes: processes.collect() };
            assert_eq!(acknowledged.outcome(false).code(), expected, "{acknowledged:?}");
        };
        let down = || Some(Took::Not("down".into()));
        check(Some(TAKEN), &[true, true], 0);
        check(Some(TAKEN), &[false, false], 0);
        check(down(), &[true, true], 0);
        check(down(), &[true, false], 3);
        check(down(), &[false, false], 1);
        check(None, &[true], 0);
        check(None, &[true, false], 3);
        check(None, &[false], 1);
        check(Some(Took::Stale), &[], 1);
    }

    #[test]
    fn a_kill_switch_is_thrown_only_where_every_process_says_so() {
        let check = |store: Option<Took>, processes: &[bool], expected| {
            let process = |taken: &bool| if *taken { Ok(TAKEN) } else { Err("is not there".to_owned()) };
            let processes = processes.iter().map(|taken| (Target::Tcp("a:1".into()), process(taken)));
            let acknowledged = Acknowledged { store, processes: processes.collect() };
            assert_eq!(acknowledged.outcome(true).code(), expected, "{acknowledged:?}");
        };
        let down = || Some(Took::Not("down".into()));
        check(Some(TAKEN), &[true, true], 0);
        check(Some(TAKEN), &[true, false], 3);
        check(Some(TAKEN), &[false, false], 3);
        check(down(), &[true, true], 0);
        check(down(), &[true, false], 3);
        check(down(), &[false, false], 1);
        check(Some(Took::Stale), &[true, true], 3);
        check(Some(Took::Stale), &[false], 1);
    }

    #[test]
    fn whoever_is_quicker_makes_it_stale() {
        let acknowledged = |store, process| Acknowledged {
            store: Some(store),
            processes: vec![(Target::Tcp("a:1".into()), Ok(process))],
        };
        assert!(acknowledged(Took::Stale, TAKEN).is_stale());
        assert!(acknowledged(TAKEN, Took::Stale).is_stale());
        assert!(!acknowledged(TAKEN, TAKEN).is_stale());
    }

    #[test]
    fn moments_are_read_by_people() {
        assert_eq!(moment(Timestamp::from_seconds(1_764_000_000)), "2025-11-24T16:00:00Z");
    }
}
