//! A second gateway with the settings, keys and store of the first, on sockets of its own; asked as nginx asks.

use std::path::PathBuf;

use portcullis::{
    config::{environment::Environment, load::load},
    drain::Drain,
    gateway::Gateway,
    server::{Address, Server, front::Front},
};
use reqwest::{Client, RequestBuilder};

use super::{APP, Stage, eventually, free_port, visitor::USER_AGENT};

/// It ends with its journey.
pub(crate) struct Twin {
    pub(crate) asked: AsNginx,
    drain: Drain,
    serving: tokio::task::JoinHandle<()>,
}

impl Twin {
    /// Starts one beside the stage's own.
    pub(crate) async fn of(stage: &Stage) -> Self {
        let socket = stage.folder.path().join("twin.sock");
        let elsewhere = [
            ("PORTCULLIS_LISTENER__NGINX__ADDRESS", format!("unix:{}", socket.display())),
            ("PORTCULLIS_LISTENER__APPLICATION__ADDRESS", format!("unix:{}-application", socket.display())),
            ("PORTCULLIS_LISTENER__OPS__ADDRESS", format!("127.0.0.1:{}", free_port())),
            ("PORTCULLIS_FALLBACK__STATE_FILE", format!("{}-switches", socket.display())),
            ("PORTCULLIS_FALLBACK__CRL_FOLDER", format!("{}-lists", socket.display())),
        ];
        let mut environment = Environment::default();
        for (key, value) in stage.environment() {
            let other = elsewhere.iter().find(|(name, _)| *name == key).map(|(_, value)| value.clone());
            environment.add(key, Some(other.unwrap_or(value)));
        }
        let config = load(&stage.settings_file(), &environment).unwrap_or_else(|problems| panic!("{problems}"));
        let drain = Drain::default();
        let server = Server::bind(config.server).unwrap();
        let gateway = Gateway::new(config.gateway, &stage.clock, stage.telemetry.clone(), drain.clone()).unwrap();
        gateway.begin();
        let serving = tokio::spawn(server.serve(Front::of(gateway), drain.clone()));
        let asked = AsNginx::at(socket);
        eventually("the twin answers", async || asked.get("/auth/health", "127.0.0.1").await.0 == 200).await;
        Self { asked, drain, serving }
    }
}

/// Asks a gateway's own listener, and states what nginx would of any client.
pub(crate) struct AsNginx(Client);

impl AsNginx {
    /// Asks the stage's own gateway.
    pub(crate) fn of(stage: &Stage) -> Self {
        let Address::Unix { path, .. } = stage.listener("nginx") else { panic!("a Unix socket") };
        Self::at(path)
    }

    pub(crate) fn at(socket: PathBuf) -> Self {
        Self(Client::builder().unix_socket(socket).redirect(reqwest::redirect::Policy::none()).build().unwrap())
    }

    /// Status and reason of verify, for a cookie and a policy.
    pub(crate) async fn verify(&self, policy: &str, cookie: &str) -> (u16, String) {
        let target = format!("/auth/verify?policy={policy}");
        self.said(
            self.stating(&target, "internal", "127.0.0.1").header("User-Agent", USER_AGENT).header("Cookie", cookie),
        )
        .await
    }

    /// Status and reason of verify, for somebody whose certificate nginx took.
    pub(crate) async fn verify_shown(&self, policy: &str, escaped: &str) -> (u16, String) {
        let asked = self.stating(&format!("/auth/verify?policy={policy}"), "internal", "127.0.0.1");
        self.said(asked.header("X-SSL-Client-Verify", "SUCCESS").header("X-SSL-Client-Cert", escaped)).await
    }

    /// Status and reason of a person's GET from that address.
    pub(crate) async fn get(&self, target: &str, address: &str) -> (u16, String) {
        self.said(self.stating(target, "public", address).header("Accept", "text/html")).await
    }

    fn stating(&self, target: &str, exposure: &str, address: &str) -> RequestBuilder {
        let request = self.0.get(format!("http://gateway{target}"));
        request
            .header("X-Portcullis-Exposure", exposure)
            .header("X-Portcullis-Method", "GET")
            .header("X-Portcullis-Scheme", "https")
            .header("X-Portcullis-Host", APP)
            .header("X-Portcullis-Uri", target)
            .header("X-Portcullis-Client-Address", address)
    }

    async fn said(&self, request: RequestBuilder) -> (u16, String) {
        let reply = request.send().await.unwrap();
        let reason = reply.headers().get("x-portcullis-reason").map_or("", |value| value.to_str().unwrap());
        (reply.status().as_u16(), reason.to_owned())
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        self.drain.stop();
        self.serving.abort();
    }
}
