//! `portcullis check`: what the settings come to, in a few lines, without any secret.

use std::fmt::Write as _;

use humantime::format_duration;

use crate::{
    config::{Config, Mode},
    fallback, gateway,
    inbound::Listener,
    oidc::choice,
    seal::KeyRing,
    server::Address,
    store,
};

/// `ok`, and what the gateway would be.
pub(super) fn summary(config: &Config) -> String {
    let mut text = String::from("ok\n");
    let mode = match config.mode {
        Mode::Production => "production",
        Mode::Development => "development",
    };
    let policies: Vec<&str> = config.gateway.policies.names().collect();
    let lifetimes = &config.gateway.session.lifetimes;
    let lines = [
        ("mode", mode.to_owned()),
        (
            "sessions",
            format!("{} at most, {} idle", format_duration(lifetimes.absolute), format_duration(lifetimes.idle)),
        ),
        ("keys", keys(&config.gateway.session.keys)),
        ("store", store(&config.gateway.store)),
        ("policies", policies.join(", ")),
        ("matching", matching(config.gateway.matching.len())),
    ];
    let all = lines.into_iter().chain(sites(&config.gateway)).chain(fallback(&config.gateway.fallback));
    for (name, value) in all {
        let _ = writeln!(text, "{name:<10}{value}");
    }
    for listener in &config.server.listeners {
        let address = address(&listener.address);
        let tls = if listener.tls.is_some() { " with TLS" } else { "" };
        let kind = kind(listener.kind);
        let certificates = if listener.certificates { ", reads client certificates" } else { "" };
        let _ = writeln!(text, "{:<10}{}, {kind} at {address}{tls}{certificates}", "listener", listener.name);
    }
    text
}

/// By what each key of a session is known, so that two gateways' can be compared.
fn keys(ring: &KeyRing) -> String {
    let seals = ring.sealing().id();
    let others = ring.all().skip(1).map(|key| {
        let which = if ring.is_old(key.id()) { "old" } else { "new" };
        format!(", {} ({which}) opens", key.id())
    });
    format!("{seals} seals and opens{}", others.collect::<String>())
}

/// Each site, its providers, and the redirect URI to register at each.
fn sites(gateway: &gateway::Config) -> Vec<(&'static str, String)> {
    let providers = gateway.providers.iter().map(|config| &config.provider);
    let mut lines: Vec<_> =
        providers.map(|provider| ("provider", format!("{} at {}", provider.name, provider.issuer.as_str()))).collect();
    for site in gateway.sites.iter() {
        lines.push(("site", format!("{} at {}", site.name(), site.page("/"))));
        for provider in site.providers() {
            let callback = choice::callback(site, &gateway.sign_in.prefix, provider);
            lines.push(("callback", format!("{callback} at {provider}")));
        }
    }
    lines
}

/// Who comes in by certificate, and by whose word.
fn fallback(config: &fallback::Config) -> Vec<(&'static str, String)> {
    let arming = if config.switches.require_arming { "once it is armed" } else { "without being armed" };
    let state = if config.enabled { format!("enabled, {arming}") } else { "disabled".to_owned() };
    let mut lines = vec![("fallback", state)];
    let Some(certificates) = &config.certificates else {
        return lines;
    };
    lines.extend(certificates.ca.authorities().map(|authority| ("admin CA", authority.subject().to_owned())));
    lines.extend(certificates.revocations.urls.iter().map(|url| ("CRL", url.to_string())));
    lines.extend(certificates.administrators.entries().iter().map(|entry| {
        ("admin", format!("{} is {}, in the groups [{}]", entry.label(), entry.user, entry.groups.join(", ")))
    }));
    lines
}

fn matching(rules: usize) -> String {
    match rules {
        0 => "no rules: each nginx location names its policy".to_owned(),
        rules => format!("{rules} by host, path and method, where an nginx location names no policy"),
    }
}

fn store(config: &store::Config) -> String {
    match config {
        store::Config::Memory(memory) => {
            format!("memory, {} sessions at most", memory.max_sessions)
        }
        store::Config::Redis(redis) => {
            format!("Redis at {}, keys {}:…", redis.address, redis.prefix)
        }
    }
}

const fn kind(listener: Listener) -> &'static str {
    match listener {
        Listener::Nginx => "nginx",
        Listener::Application => "application",
        Listener::Ops => "ops",
    }
}

fn address(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix { path, .. } => format!("unix:{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{KEY, Settings};

    #[test]
    fn a_summary_tells_what_is_where_and_no_secret() {
        let config = Settings::valid()
            .with("[store]\nkind = 'redis'\n[store.redis]\nurl = 'rediss://u:m4rk3r@cache/1'")
            .with("[provider.main]\nclient_secret = 'm4rk3r'")
            .config();
        let summary = summary(&config);
        assert_eq!(
            summary,
            "ok\n\
             mode      production\n\
             sessions  4h at most, 30m idle\n\
             keys      a890b7d4 seals and opens\n\
             store     Redis at cache:6379, keys portcullis:…\n\
             policies  staff\n\
             matching  no rules: each nginx location names its policy\n\
             provider  main at https://op.example.com\n\
             site      main at https://app.example.com/\n\
             callback  https://app.example.com/auth/callback at main\n\
             fallback  disabled\n\
             listener  nginx, nginx at unix:/run/portcullis/nginx.sock\n\
             listener  ops, ops at 127.0.0.1:4182\n"
        );
        assert!(!summary.contains("m4rk3r") && !summary.contains(KEY));
    }
}
