//! What the ops listener answers about the fallback: how it stands, and whether a record of the switches was taken.
//!
//! A record authenticates itself: only who has the master key can have sealed it.

use serde_json::{Value, json};

use super::{
    switch::{Record, agreement::NotTaken},
    switches::Switches,
};
use crate::{answer::Answer, clock::Timestamp, reason::Reason};

/// What the gateway adds to how the switches stand.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Whether the settings have a fallback.
    pub enabled: bool,
    /// Whether certificates are accepted on some site.
    pub door_is_open: bool,
    /// Each provider, and whether it is down.
    pub providers: Vec<(String, bool)>,
}

/// How everything stands.
pub fn status(switches: &Switches, surroundings: &Surroundings, now: Timestamp) -> Answer {
    let status = switches.status(now);
    let record = status.record.as_ref();
    let seconds = |moment: Option<Timestamp>| moment.map(Timestamp::seconds);
    let providers: Vec<Value> =
        surroundings.providers.iter().map(|(name, down)| json!({"name": name, "down": down})).collect();
    Answer::json(json!({
        "enabled": surroundings.enabled,
        "door": if surroundings.door_is_open { "open" } else { "closed" },
        "believed": status.switches.believed,
        "killed": status.switches.killed,
        "auto_closed": status.switches.auto_closed,
        "armed": status.switches.armed,
        "armed_until": seconds(record.and_then(|record| record.armed_until)),
        "epoch": status.epoch,
        "action": record.map(|record| record.action.label()),
        "at": seconds(record.map(|record| record.at)),
        "operator": record.map(|record: &Record| record.operator.as_str()),
        "reason": record.map(|record| record.reason.as_str()),
        "providers": providers,
        "record": status.sealed,
    }))
}

/// Takes a sealed record: 200 with its epoch, 409 with the one that is known when it comes too late (`too_old` when it may
/// open the door and was not made just now), 403 when no key of ours
/// opens it.
pub async fn throw(switches: &Switches, body: &[u8]) -> Answer {
    match switches.take(body).await {
        Ok(taken) => Answer::json(json!({"epoch": taken.epoch, "kept": taken.kept, "stored": taken.stored})),
        Err(NotTaken::Stale { epoch }) => Answer::conflict(json!({"epoch": epoch})),
        Err(NotTaken::Old { epoch }) => Answer::conflict(json!({"epoch": epoch, "too_old": true})),
        Err(NotTaken::Broken) => Answer::json_error(Reason::SwitchesInvalid),
    }
}
