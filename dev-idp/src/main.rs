//! The provider as a program: reads its arguments, says where it listens and whom it knows, serves until a signal.
//! Other programs script it over `/dev/`, which is for loopback only.

#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use dev_idp::{Authentication, Client, Issuer, Person, Settings, Switch, Tls};
use tokio::signal::unix::{SignalKind, signal};

/// An OpenID provider for tests and demos. Nobody it signs in is real.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The loopback address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9400")]
    listen: SocketAddr,
    /// The issuer URL, when it is not the address.
    #[arg(long)]
    issuer: Option<String>,
    /// The id of the one client.
    #[arg(long, default_value = "portcullis-demo")]
    client_id: String,
    /// Its secret; without one it is a public client.
    #[arg(long)]
    client_secret: Option<String>,
    /// Where codes may go. May be given several times.
    #[arg(long = "redirect-uri", default_value = "https://localhost:8443/auth/callback")]
    redirect_uris: Vec<String>,
    /// Where browsers may go after sign-out. May be given several times.
    #[arg(long = "post-logout-redirect-uri")]
    post_logout_redirect_uris: Vec<String>,
    /// A PEM file with the certificate chain, to serve TLS.
    #[arg(long, requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// A PEM file with its key.
    #[arg(long, requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// A misbehaviour to begin with. May be given several times.
    #[arg(long = "switch", value_parser = switch)]
    switches: Vec<Switch>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = settings(&arguments)?;
    let people = settings.people.clone();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let idp = dev_idp::start(settings).await.context("the provider does not start")?;
    for switch in &arguments.switches {
        idp.set(*switch);
    }
    announce(idp.issuer(), &people);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    idp.stop().await;
    Ok(())
}

fn settings(arguments: &Arguments) -> Result<Settings> {
    let client = Client {
        id: arguments.client_id.clone(),
        authentication: arguments.client_secret.clone().map_or(Authentication::Public, Authentication::SecretBasic),
        redirect_uris: arguments.redirect_uris.clone(),
        post_logout_redirect_uris: arguments.post_logout_redirect_uris.clone(),
        algorithm: None,
    };
    Ok(Settings {
        listen: arguments.listen,
        issuer: arguments.issuer.clone().map_or(Issuer::Address, Issuer::Url),
        tls: tls(arguments)?,
        clients: vec![client],
        ..Settings::default()
    })
}

fn tls(arguments: &Arguments) -> Result<Option<Tls>> {
    let (Some(certificate), Some(key)) = (&arguments.tls_certificate, &arguments.tls_key) else {
        return Ok(None);
    };
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Some(Tls { certificates_pem: read(certificate)?, key_pem: read(key)? }))
}

fn switch(name: &str) -> Result<Switch, String> {
    let names = || Switch::ALL.iter().map(|switch| switch.name()).collect::<Vec<_>>().join(", ");
    Switch::named(name).ok_or_else(|| format!("there is no such switch; these are: {}", names()))
}

fn announce(issuer: &str, people: &[Person]) {
    println!("issuer {issuer}");
    for person in people {
        println!("person {} <{}> groups: {}", person.login, person.email, person.groups.join(", "));
    }
}
