//! oauth2-proxy, as it is asked by nginx: `/oauth2/auth` with a session in the cookie itself, or in Redis.

use std::{net::SocketAddr, process::Command};

use url::Url;

use crate::{
    load::{Answers, Load},
    others::Others,
    process::Watched,
    row::{Row, header},
    servers::{CLIENT, PAGE, Redis, Starter, Store, free_address, secret},
    stage,
    visitor::{self, USER_AGENT},
};

/// Whether it is there.
pub(crate) fn is_installed() -> bool {
    stage::is_installed(PROGRAM)
}

/// Starts one with each session store, and signs in.
pub(crate) fn set(starter: &Starter<'_>, redis: &Redis) -> anyhow::Result<Others> {
    let (sites, secret) = ([free_address()?, free_address()?], secret()?);
    let callbacks = sites.map(callback);
    let issuer = starter.provider("dev-idp-oauth2-proxy", &callbacks, Some(&secret))?;
    let start = |store, site, more: &[String]| start(starter, (store, site), &issuer, &secret, more);
    let (in_cookie, cookie_server) = start(Store::Cookie, sites[0], &[])?;
    let (mut in_redis, redis_server) = start(
        Store::Redis,
        sites[1],
        &["--session-store-type=redis".to_owned(), format!("--redis-connection-url=redis://{}", redis.address)],
    )?;
    in_redis.watched.push(redis.watched.clone());
    Ok(Others { rows: vec![in_cookie, in_redis], servers: vec![cookie_server, redis_server] })
}

fn start(
    starter: &Starter<'_>,
    (store, site): (Store, SocketAddr),
    issuer: &str,
    secret: &str,
    more: &[String],
) -> anyhow::Result<(Row, (String, Watched))> {
    let (stage, name) = (starter.stage, format!("oauth2-proxy-{}", store.label()));
    let mut command = Command::new(PROGRAM);
    command.args(options(issuer, site)).args(more);
    command.env("OAUTH2_PROXY_CLIENT_SECRET", secret).env("OAUTH2_PROXY_COOKIE_SECRET", secret);
    let watched = Watched::new("oauth2-proxy", stage.start(&name, &mut command)?)?;
    let ping = Url::parse(&format!("http://{site}/ping"))?;
    stage.wait_until(&name, || visitor::get::<&str>(&ping, &[]).ok().filter(|reply| reply.status == 200))?;
    let cookie = visitor::signed_in(stage, &format!("http://{site}/").parse()?)?;
    let headers = vec![
        header("X-Real-IP", "127.0.0.1"),
        header("X-Forwarded-Uri", &format!("/{PAGE}")),
        header("User-Agent", USER_AGENT),
        header("Cookie", &cookie),
    ];
    let load = Load::new(format!("http://{site}/oauth2/auth"), headers, Answers::Allowed);
    let row = Row::new("k", "oauth2-proxy, /oauth2/auth", store, load, vec![watched.clone()]);
    Ok((row, (name, watched)))
}

/// What its guide asks for behind nginx, plain http on loopback, and nothing logged for a request that is allowed, as
/// with ours. Secrets go by the environment.
fn options(issuer: &str, site: SocketAddr) -> Vec<String> {
    let mut options = vec![
        format!("--http-address={site}"),
        format!("--oidc-issuer-url={issuer}"),
        format!("--redirect-url={}", callback(site)),
        format!("--client-id={CLIENT}"),
    ];
    options.extend(OPTIONS.map(str::to_owned));
    options
}

fn callback(site: SocketAddr) -> String {
    format!("http://{site}/oauth2/callback")
}

const PROGRAM: &str = "oauth2-proxy";
const OPTIONS: [&str; 10] = [
    "--provider=oidc",
    "--code-challenge-method=S256",
    "--email-domain=*",
    "--cookie-secure=false",
    "--skip-provider-button=true",
    "--upstream=static://200",
    "--reverse-proxy=true",
    "--set-xauthrequest=true",
    "--request-logging=false",
    "--auth-logging=false",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_told_names_the_provider_and_the_way_back() {
        let site = SocketAddr::from(([127, 0, 0, 1], 4180));
        let options = options("http://127.0.0.1:9400", site);
        let has = |option: &str| assert!(options.iter().any(|found| found == option), "{option} is not in {options:?}");
        has("--http-address=127.0.0.1:4180");
        has("--oidc-issuer-url=http://127.0.0.1:9400");
        has("--redirect-url=http://127.0.0.1:4180/oauth2/callback");
        has("--provider=oidc");
        assert!(!options.iter().any(|option| option.contains("secret=")), "{options:?}");
    }
}
