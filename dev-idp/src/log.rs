//! The bounded record of requests, so that a test can say which calls were made and which were not.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use serde::Serialize;

use crate::{endpoint::Endpoint, parameters::Parameters};

/// One request, noted when it arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The endpoint asked.
    pub endpoint: Endpoint,
    /// The HTTP method.
    pub method: String,
    /// The path as sent.
    pub path: String,
    /// Query and form parameters in their order, without client secrets.
    pub parameters: Vec<(String, String)>,
    /// How the caller proved itself.
    pub presented: Presented,
    /// The `client_id`, from the parameters or from the Basic header.
    pub client: Option<String>,
    /// The status answered; `None` while the answer is out, and for good when it was dropped or nobody waited for it.
    pub status: Option<u16>,
}

impl Record {
    /// The first value of this parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What a caller proved itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presented {
    /// Nothing.
    Nothing,
    /// A client secret in an `Authorization: Basic` header.
    SecretBasic,
    /// A client secret in the form.
    SecretPost,
    /// A token in an `Authorization: Bearer` header.
    Bearer,
}

/// The records, oldest first; the oldest make room.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<Record>,
    /// How many records were dropped from the front, so that numbers stay good.
    dropped: usize,
}

impl RequestLog {
    /// Notes a request and returns the number under which its answer is to be noted.
    pub(crate) fn arrived(&self, record: Record) -> usize {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records.push_back(record);
        if kept.records.len() > LIMIT {
            kept.records.pop_front();
            kept.dropped += 1;
        }
        kept.dropped + kept.records.len() - 1
    }

    pub(crate) fn answered(&self, number: usize, status: StatusCode) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = number.checked_sub(kept.dropped);
        if let Some(record) = place.and_then(|place| kept.records.get_mut(place)) {
            record.status = Some(status.as_u16());
        }
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.records.iter().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.dropped += kept.records.len();
        kept.records.clear();
    }
}

/// Puts a record together.
pub(crate) fn record(
    endpoint: Endpoint,
    method: &str,
    path: &str,
    headers: &HeaderMap,
    parameters: &Parameters,
) -> Record {
    let basic = authorization(headers, "Basic ");
    let presented = if basic.is_some() {
        Presented::SecretBasic
    } else if authorization(headers, "Bearer ").is_some() {
        Presented::Bearer
    } else if parameters.value("client_secret").is_some() {
        Presented::SecretPost
    } else {
        Presented::Nothing
    };
    let named = parameters.value("client_id").map(str::to_owned);
    let shown = parameters.pairs().iter().filter(|(name, _)| name != "client_secret");
    Record {
        endpoint,
        method: method.to_owned(),
        path: path.to_owned(),
        parameters: shown.cloned().collect(),
        presented,
        client: named.or_else(|| basic.and_then(basic_user)),
        status: None,
    }
}

/// The credentials after a scheme of the `Authorization` header.
pub(crate) fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (found, credentials) = value.split_at_checked(scheme.len())?;
    found.eq_ignore_ascii_case(scheme).then_some(credentials)
}

fn basic_user(credentials: &str) -> Option<String> {
    let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    decoded.split_once(':').map(|(user, _)| user.to_owned())
}

/// So many requests are remembered.
const LIMIT: usize = 10_000;
