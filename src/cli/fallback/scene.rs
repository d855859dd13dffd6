//! Looks at store, file and processes, and lays a record down in them.

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::{Acknowledged, Outcome, Plan, Target, report::Took};
use crate::{
    clock::{Clock, Timestamp},
    fallback::{
        door::Switches,
        switch::{
            Base, By, Record, Refused,
            agreement::{Agreement, Arming, Kept, Said, Source},
            to_text,
        },
        switches,
    },
    reason::Reason,
    seal::KeyRing,
    store::{Store, StoreError, StoredSwitches, Thrown},
};

/// How the switches stand everywhere.
pub(super) struct Scene {
    agreement: Agreement,
    pub(super) store: Option<Said>,
    pub(super) file: Option<(PathBuf, Said)>,
    pub(super) processes: Vec<(Target, Result<Value, String>)>,
}

impl Scene {
    /// Asks everybody at once. The kill switch must not wait long for a process that hangs.
    pub(super) fn look(plan: &Plan, runtime: &Runtime, store: Option<&Store>) -> Self {
        let patience = plan.timeout.min(LOOK_TIMEOUT);
        let reading = plan.switches.file.clone().map(|path| (path.clone(), read_aside(path)));
        let (store, processes) = thread::scope(|scope| {
            let asking = scope.spawn(move || each(&plan.processes, |target| ask(target, patience)));
            let store = store.map(|store| runtime.block_on(ask_store(store, &plan.ring)));
            (store, asking.join().unwrap_or_else(|_| each(&plan.processes, |_| Err(NOT_ASKED.to_owned()))))
        });
        let file = reading.map(|(path, told)| (path, of_file(&told, patience, &plan.ring)));
        let mut agreement = Agreement::default();
        agreement.meet(&Said::Absent, false, Duration::ZERO);
        let mut scene = Self { agreement, store, file, processes };
        scene.hear(&plan.ring);
        scene
    }

    fn hear(&mut self, ring: &KeyRing) {
        let records = self.processes.iter().filter_map(|(_, status)| status.as_ref().ok());
        let records = records.filter_map(|status| status.get("record").and_then(Value::as_str));
        let of_processes = records.map(|record| (Source::Sent, Said::of_text(ring, record.as_bytes())));
        let of_store = self.store.iter().map(|said| (Source::Stored, said.clone()));
        let of_file = self.file.iter().map(|(_, said)| (Source::Filed, said.clone()));
        let doubted = self.processes.iter().filter_map(|(_, status)| doubted(status.as_ref().ok()?));
        let doubted =
            doubted.map(|epoch| (Source::Sent, Said::Broken { epoch: Some(epoch), cause: "a process's doubt" }));
        let said = of_store.chain(of_file).chain(of_processes).chain(doubted).collect();
        self.agreement.hear(said, 0);
    }

    /// What a change begins with.
    pub(super) fn base(&self) -> Base<'_> {
        self.agreement.base()
    }

    /// The record with the highest epoch.
    pub(super) fn held(&self) -> Option<&Kept> {
        self.agreement.held()
    }

    /// How the switches stand, as far as can be seen from here.
    pub(super) fn standing(&self, now: Timestamp, arming: Arming) -> Switches {
        self.agreement.standing(now, arming)
    }

    /// Whether it was there before.
    pub(super) fn holds(&self, kept: &Kept) -> bool {
        self.held() == Some(kept)
    }

    /// Whether there is a store, and nobody knows what it holds.
    pub(super) fn store_is_unseen(&self) -> bool {
        self.store == Some(Said::Unknown)
    }

    /// The kill switch where nothing can be above what somebody holds: for the processes that have not heard of that.
    pub(super) fn disable_whom_it_reaches(&self, by: &By) -> Result<Option<Record>, Refused> {
        let base = self.held().map_or(Base::Nothing, |kept| Base::Known(&kept.record));
        base.disable_unseen(by, Clock::system().now())
    }

    /// Whether everybody could be asked, and can be believed.
    pub(super) fn outcome(&self) -> Outcome {
        if self.agreement.base() == Base::Doubtful(self.agreement.epoch())
            || matches!(self.store, Some(Said::Broken { .. }))
        {
            return Outcome::Doubtful;
        }
        let silent = self.processes.iter().filter(|(_, status)| status.is_err()).count();
        match (silent, self.store.as_ref().is_some_and(|said| *said != Said::Unknown)) {
            (0, _) => Outcome::Done,
            (silent, false) if silent == self.processes.len() => Outcome::Nobody,
            _ => Outcome::Some,
        }
    }
}

/// Gives a record to the store, then to every process; who insists, to them even if the store holds a higher one.
pub(super) fn lay_down(
    plan: &Plan,
    runtime: &Runtime,
    store: Option<&Store>,
    record: &StoredSwitches,
    insist: bool,
) -> Acknowledged {
    let in_store = store.map(|store| match runtime.block_on(store.throw_switches(record)) {
        Ok(Thrown::Done) => Took::Taken { kept: true },
        Ok(Thrown::Stale) => Took::Stale,
        Err(error) => Took::Not(error.to_string()),
    });
    // Who was quicker in the store has made a record that the processes shall not hear against.
    if in_store == Some(Took::Stale) && !insist {
        return Acknowledged { store: in_store, processes: Vec::new() };
    }
    let text = to_text(record);
    let timeout = plan.timeout;
    let processes = each(&plan.processes, |target| push(target, text.as_bytes(), timeout));
    Acknowledged { store: in_store, processes }
}

/// Asks all of them at once, each in a thread of its own; gives the answers in their order.
fn each<T: Send>(
    targets: &[Target],
    ask: impl Fn(&Target) -> Result<T, String> + Sync,
) -> Vec<(Target, Result<T, String>)> {
    thread::scope(|scope| {
        let asking: Vec<_> = targets.iter().map(|target| (target, scope.spawn(|| ask(target)))).collect();
        let answered = asking
            .into_iter()
            .map(|(target, asking)| (target.clone(), asking.join().unwrap_or_else(|_| Err(NOT_ASKED.to_owned()))));
        answered.collect()
    })
}

async fn ask_store(store: &Store, ring: &KeyRing) -> Said {
    match store.switches().await {
        Ok(stored) => Said::of_stored(ring, stored),
        Err(StoreError::Garbage(_)) => Said::Broken { epoch: None, cause: "something that is no record" },
        Err(_) => Said::Unknown,
    }
}

/// Reads this machine's file in a thread of its own, which is left alone when its disk hangs.
fn read_aside(path: PathBuf) -> Receiver<io::Result<Vec<u8>>> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = tell.send(switches::read(&path));
    });
    told
}

fn of_file(told: &Receiver<io::Result<Vec<u8>>>, patience: Duration, ring: &KeyRing) -> Said {
    match told.recv_timeout(patience) {
        Ok(Ok(text)) => Said::of_text(ring, &text),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Said::Absent,
        Ok(Err(_)) | Err(_) => Said::Unknown,
    }
}

/// What a process says of itself.
fn ask(target: &Target, timeout: Duration) -> Result<Value, String> {
    let reply = target.ask(PATH, None, timeout).map_err(|error| format!("{error:#}"))?;
    if reply.status != 200 {
        return Err(format!("answered {}", reply.status));
    }
    serde_json::from_slice(&reply.body).map_err(|_| "answered something that is no JSON".to_owned())
}

/// Gives a process a record.
fn push(target: &Target, record: &[u8], timeout: Duration) -> Result<Took, String> {
    let reply = target.ask(PATH, Some(record), timeout).map_err(|error| format!("{error:#}"))?;
    let answer = || serde_json::from_slice::<Value>(&reply.body).unwrap_or_default();
    match reply.status {
        200 => Ok(Took::Taken { kept: answer()["kept"] == true }),
        409 if answer()["too_old"] == true => Err(TOO_OLD.to_owned()),
        409 => Ok(Took::Stale),
        status => Err(match reply.reason.as_deref() {
            Some(reason) if reason == Reason::SwitchesInvalid.code() => {
                format!("{reason}: its session key does not open the record")
            }
            Some(reason) => reason.to_owned(),
            None => format!("answered {status}"),
        }),
    }
}

/// The highest epoch that a process has seen, if it believes nothing up to that.
fn doubted(status: &Value) -> Option<u64> {
    let doubts = status.get("believed").and_then(Value::as_bool) == Some(false);
    status.get("epoch").and_then(Value::as_u64).filter(|_| doubts)
}

/// Where ops listeners answer about the fallback.
const PATH: &str = "/fallback";

/// How long a process may take to say how its switches stand, before a change is made without it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

const TOO_OLD: &str =
    "it takes a record that may open the door only in the two minutes after it was made; is its clock right?";

const NOT_ASKED: &str = "could not be asked";
