//! Journeys: what people, scripts, nginx and providers do, through real nginx with the shipped files, a real provider
//! over TLS, real Redis and a real browser. Each test starts what it needs and ends it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod support;
mod verify;
mod by_rule;
mod targets;
mod locations;
mod conditions;
mod sign_in;
mod provider_misbehaves;
mod refresh;
mod sign_out;
mod several;
mod application;
mod cross_site;
mod csp;
mod hostile_text;
mod peculiar;
mod kept;
mod limits;
mod storm;
mod store_trouble;
mod redis_bad_day;
mod fleet_revocation;
mod fleet_refresh;
mod fleet_bounds;
mod server;
mod mutual_tls;
mod greedy;
mod smuggling;
mod gateway_down;
mod reload;
mod rolling;
mod activation;
mod rotation;
mod outage;
mod administrators;
mod alerting;
mod runbooks;
mod door;
mod revocation;
mod browser;
mod npm_provider;
mod cli;
mod switches;
mod secrets;
