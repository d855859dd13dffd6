//! Stub.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use super::{
    chain::{AdminCa, Path},
    revocation::{Good, Rules},
};
use crate::{
    clock::Clock,
    outbound::{self, OutboundError},
    reason::Reason,
    seal::KeyRing,
    telemetry::Telemetry,
};
use std::{path::PathBuf, sync::Arc};
use url::Url;
#[derive(Debug)]
pub struct Config {
    pub urls: Vec<Url>,
    pub folder: Option<PathBuf>,
    pub rules: Rules,
    pub outbound: outbound::Config,
}
#[derive(Debug)]
pub struct Revocations;
impl Revocations {
    pub fn new(_: Config, _: Arc<AdminCa>, _: &KeyRing, _: Clock, _: Telemetry) -> Result<Self, OutboundError> {
        Ok(Self)
    }
    pub async fn keep_fetching(&self) {}
    pub async fn check(&self, _: &Path) -> Result<Good, Reason> {
        Err(Reason::CrlUnavailable)
    }
    pub fn tell(&self) {}
}
