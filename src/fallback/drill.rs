//! Pure. A drill: what would become of a certificate, step by step, and nobody is let in.
//!
//! What it says of the certificate is the very verdict that an attempt would get. The order to hold a drill comes sealed,
//! as only who has the master key can seal it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    admission::Verdict,
    certificate::{Leaf, Shown},
    door::Conditions,
};
use crate::{
    clock::Timestamp,
    reason::Reason,
    seal::{KEY_ID_BYTES, KeyId, KeyRing, NONCE_BYTES, Purpose, Unsealable},
};

/// The order to hold a drill.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// When it was given.
    pub at: Timestamp,
    /// The certificate, as nginx would pass it on.
    pub escaped: String,
}

impl Order {
    /// The order for a certificate in a PEM file.
    pub fn of_pem(pem: &[u8], at: Timestamp) -> Self {
        Self { at, escaped: percent_encoding::percent_encode(pem, percent_encoding::NON_ALPHANUMERIC).to_string() }
    }

    /// Seals it.
    ///
    /// # Errors
    /// [`Unsealable`] if it cannot be encoded.
    pub fn seal(&self, ring: &KeyRing, nonce: [u8; NONCE_BYTES]) -> Result<Vec<u8>, Unsealable> {
        let plain = postcard::to_stdvec(self).map_err(|_| Unsealable)?;
        let key = ring.sealing();
        let sealed = key.purpose(Purpose::Command).seal(nonce, DRILL, &plain)?;
        Ok([key.id().0.as_slice(), &sealed].concat())
    }

    /// Opens one.
    ///
    /// # Errors
    /// [`Unsealable`] for anything that nobody with a master key of ours has sealed.
    pub fn open(ring: &KeyRing, sealed: &[u8]) -> Result<Self, Unsealable> {
        let (id, rest) = sealed.split_first_chunk::<KEY_ID_BYTES>().ok_or(Unsealable)?;
        let key = ring.by_id(KeyId(*id)).ok_or(Unsealable)?;
        let plain = key.purpose(Purpose::Command).open(DRILL, rest)?;
        postcard::from_bytes(&plain).map_err(|_| Unsealable)
    }

    /// Whether it was given just now: one that somebody kept is no order.
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.at.minus(ORDER_TIME) <= now && now <= self.at.plus(ORDER_TIME)
    }

    /// The certificate as nginx would show it, having verified it: nginx itself is not asked in a drill.
    pub fn shown(&self) -> Shown<'_> {
        Shown { verify: "SUCCESS", escaped: &self.escaped }
    }
}

/// Tells the outcome of every step; the door's is no failure, because it is closed on most days.
pub fn report(door: Conditions, verdict: &Verdict, accepting: &[String]) -> Value {
    let steps = [vec![door_step(door)], certificate_steps(verdict), vec![policy_step(verdict, accepting)]].concat();
    let held = verdict.refused().is_none() && !accepting.is_empty();
    json!({"ok": held, "steps": steps})
}

fn door_step(door: Conditions) -> Value {
    match door.open() {
        Ok(_) => step("door", true, "open: this certificate would be looked at now"),
        Err(reason) => step("door", true, &format!("closed now ({}): {}", reason.code(), reason.meaning())),
    }
}

/// Every step up to the one that fails; what comes after it was not looked at.
fn certificate_steps(verdict: &Verdict) -> Vec<Value> {
    let mut steps = Vec::new();
    for (name, failures) in STEPS {
        let failed = verdict.refused().filter(|reason| failures.contains(reason));
        let says = match failed {
            Some(reason) => {
                let cause = verdict.cause().map(|cause| format!(" ({cause})")).unwrap_or_default();
                format!("{}: {}{cause}", reason.code(), reason.meaning())
            }
            None => passed(name, verdict),
        };
        steps.push(step(name, failed.is_none(), &says));
        if failed.is_some() {
            break;
        }
    }
    steps
}

fn passed(name: &str, verdict: &Verdict) -> String {
    let (leaf, entry) = (verdict.leaf(), verdict.entry());
    match name {
        "certificate" => leaf.map_or_else(String::new, Leaf::describe),
        "names" => entry.map_or_else(String::new, |entry| {
            format!("{} is {}, in the groups [{}]", entry.label(), entry.user, entry.groups.join(", "))
        }),
        _ => "as it must be".to_owned(),
    }
}

fn policy_step(verdict: &Verdict, accepting: &[String]) -> Value {
    match verdict.entry() {
        _ if verdict.refused().is_some() => step("policies", false, "not looked at"),
        Some(_) if !accepting.is_empty() => step("policies", true, &format!("let in by {}", accepting.join(", "))),
        _ => step("policies", false, "policy_denied: no policy lets them in by certificate"),
    }
}

fn step(name: &str, ok: bool, says: &str) -> Value {
    json!({"step": name, "ok": ok, "says": says})
}

/// The steps, and the reasons by which each fails.
const STEPS: [(&str, &[Reason]); 6] = [
    ("certificate", &[Reason::NoCertificate, Reason::MalformedCertificate]),
    ("dates", &[Reason::NotYetValid, Reason::Expired]),
    ("chain", &[Reason::UntrustedChain, Reason::NginxVerifyFailed]),
    ("lifetime", &[Reason::LifetimeTooLong]),
    ("revocation", &[Reason::CrlUnavailable, Reason::CrlInvalid, Reason::CrlStale, Reason::Revoked]),
    ("names", &[Reason::NameNotAllowed]),
];
const DRILL: &[u8] = b"drill";

/// How far from now an order may have been given, by clocks that differ a little.
const ORDER_TIME: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use super::*;
    use crate::{
        fallback::{admission::tests::verdicts, door::tests::OPEN},
        seal::MasterKey,
    };

    #[test]
    fn an_order_that_was_kept_is_no_order() {
        let given = Timestamp::from_seconds(1_000_000);
        let order = Order::of_pem(b"a certificate", given);
        let check = |now: Timestamp, expected| assert_eq!(order.is_fresh(now), expected, "{now:?}");
        let more = ORDER_TIME + Duration::from_millis(1);
        check(given, true);
        check(given.plus(ORDER_TIME), true);
        check(given.minus(ORDER_TIME), true);
        check(given.plus(more), false);
        check(given.minus(more), false);
    }

    #[test]
    fn an_order_opens_under_the_key_that_sealed_it_alone() {
        let ring = |byte| KeyRing::new(&MasterKey::from_bytes([byte; 32]), &[]);
        let order = Order::of_pem(b"-----BEGIN CERTIFICATE-----\n+/=", Timestamp::from_seconds(1));
        let sealed = order.seal(&ring(1), [7; NONCE_BYTES]).unwrap();
        let opened = Order::open(&ring(1), &sealed).unwrap();
        assert_eq!(opened.at, order.at);
        let shown = opened.shown();
        assert_eq!((shown.verify, shown.escaped.contains("%2B%2F%3D")), ("SUCCESS", true));
        assert!(Order::open(&ring(2), &sealed).is_err());
        assert!(Order::open(&ring(1), &sealed[1..]).is_err());
    }

    /// Whether a drill holds, and each step with its mark.
    fn told(door: Conditions, verdict: &Verdict, accepting: &[&str]) -> (bool, Vec<String>) {
        let accepting: Vec<String> = accepting.iter().map(|name| (*name).to_owned()).collect();
        let report = report(door, verdict, &accepting);
        let line = |step: &Value| {
            let mark = if step["ok"].as_bool().unwrap() { '+' } else { '-' };
            format!("{mark}{} {}", step["step"].as_str().unwrap(), step["says"].as_str().unwrap())
        };
        (report["ok"].as_bool().unwrap(), report["steps"].as_array().unwrap().iter().map(line).collect())
    }

    #[test]
    fn a_drill_tells_each_step_up_to_the_one_that_fails() {
        let check = |(held, steps): (bool, Vec<String>), expected: bool, marks: &[&str]| {
            assert_eq!(held, expected, "{steps:?}");
            assert_eq!(steps.len(), marks.len(), "{steps:?}");
            for (step, mark) in steps.iter().zip(marks) {
                assert!(step.starts_with(mark), "{mark}: {steps:?}");
            }
        };
        let (alice, nobody) = verdicts(Ok(()));
        let in_order =
            ["+certificate CN=Alice Admin, serial", "+dates as", "+chain as", "+lifetime as", "+revocation as"];
        let with = |first: &'static str, last: &[&'static str]| [&[first], &in_order[..], last].concat();
        let named = "+names Alice Admin is alice@example.com, in the groups [admins]";
        let open = "+door open: this";
        check(told(OPEN, &alice, &["consoles"]), true, &with(open, &[named, "+policies let in by consoles"]));
        check(told(OPEN, &alice, &[]), false, &with(open, &[named, "-policies policy_denied"]));
        let closed = Conditions { providers_down: false, ..OPEN };
        let shut = "+door closed now (idp_healthy)";
        check(told(closed, &alice, &["consoles"]), true, &with(shut, &[named, "+policies let in by"]));
        let unknown = [
            "+certificate",
            "+dates",
            "+chain",
            "+lifetime",
            "+revocation",
            "-names name_not_allowed",
            "-policies not",
        ];
        check(told(OPEN, &nobody, &[]), false, &[&[open], &unknown[..]].concat());
        let (revoked, _) = verdicts(Err(Reason::Revoked));
        let stops = ["+certificate", "+dates", "+chain", "+lifetime", "-revocation revoked", "-policies not"];
        check(told(OPEN, &revoked, &["consoles"]), false, &[&[open], &stops[..]].concat());
    }
}
