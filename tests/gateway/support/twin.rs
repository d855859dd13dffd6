//! A second gateway with the settings, keys and store of the first, on sockets of its own; asked as nginx asks.

use std::path::PathBuf;

use portcullis::server::Address;
use reqwest::{Client, Method, RequestBuilder};

use super::{
    APP, Stage, eventually,
    in_process::{InProcess, elsewhere},
    visitor::USER_AGENT,
};

/// It ends with its journey.
pub(crate) struct Twin {
    pub(crate) asked: AsNginx,
    _replica: InProcess,
}

impl Twin {
    /// Starts one beside the stage's own.
    pub(crate) async fn of(stage: &Stage) -> Self {
        let socket = stage.folder.path().join("twin.sock");
        let environment = elsewhere(&stage.environment(), &socket);
        let replica = InProcess::start(&stage.settings_file(), &environment, &stage.clock, &stage.telemetry);
        let asked = AsNginx::at(socket);
        asked.answers().await;
        Self { asked, _replica: replica }
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

    /// Asks whoever listens there.
    pub(crate) fn at(socket: impl Into<PathBuf>) -> Self {
        let socket: PathBuf = socket.into();
        Self(
            Client::builder()
                .unix_socket(socket)
                .pool_max_idle_per_host(0)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap(),
        )
    }

    /// Waits until it answers.
    pub(crate) async fn answers(&self) {
        let health = || self.stating(Method::GET, "/auth/health", "public", "127.0.0.1");
        eventually("the gateway answers", async || self.heard(health()).await.is_some_and(|(status, _)| status == 200))
            .await;
    }

    /// Status and reason of verify, for a cookie and a policy.
    pub(crate) async fn verify(&self, policy: &str, cookie: &str) -> (u16, String) {
        self.verify_if_there(policy, cookie).await.unwrap()
    }

    /// The same of a gateway that may be gone, or go half-way.
    pub(crate) async fn verify_if_there(&self, policy: &str, cookie: &str) -> Option<(u16, String)> {
        let asked = self.stating(Method::GET, &format!("/auth/verify?policy={policy}"), "internal", "127.0.0.1");
        self.heard(asked.header("User-Agent", USER_AGENT).header("Cookie", cookie)).await
    }

    /// Status, reason and body of what a script of our own page asks with that cookie, of a gateway that may be gone.
    pub(crate) async fn script_if_there(
        &self,
        method: Method,
        target: &str,
        cookie: &str,
    ) -> Option<(u16, String, String)> {
        let asked = self.stating(method, target, "public", "127.0.0.1").header("Sec-Fetch-Site", "same-origin");
        let reply = asked.header("User-Agent", USER_AGENT).header("Cookie", cookie).send().await.ok()?;
        let (status, reason) = verdict(&reply);
        Some((status, reason, reply.text().await.ok()?))
    }

    /// Status and reason of verify, for somebody whose certificate nginx took.
    pub(crate) async fn verify_shown(&self, policy: &str, escaped: &str) -> (u16, String) {
        let asked = self.stating(Method::GET, &format!("/auth/verify?policy={policy}"), "internal", "127.0.0.1");
        self.said(asked.header("X-SSL-Client-Verify", "SUCCESS").header("X-SSL-Client-Cert", escaped)).await
    }

    /// Status and reason of a person's GET from that address.
    pub(crate) async fn get(&self, target: &str, address: &str) -> (u16, String) {
        self.said(self.stating(Method::GET, target, "public", address).header("Accept", "text/html")).await
    }

    fn stating(&self, method: Method, target: &str, exposure: &str, address: &str) -> RequestBuilder {
        let named = method.to_string();
        self.0
            .request(method, format!("http://gateway{target}"))
            .header("X-Portcullis-Exposure", exposure)
            .header("X-Portcullis-Method", named)
            .header("X-Portcullis-Scheme", "https")
            .header("X-Portcullis-Host", APP)
            .header("X-Portcullis-Uri", target)
            .header("X-Portcullis-Client-Address", address)
    }

    async fn said(&self, request: RequestBuilder) -> (u16, String) {
        self.heard(request).await.unwrap()
    }

    async fn heard(&self, request: RequestBuilder) -> Option<(u16, String)> {
        request.send().await.ok().map(|reply| verdict(&reply))
    }
}

fn verdict(reply: &reqwest::Response) -> (u16, String) {
    let reason = reply.headers().get("x-portcullis-reason").map_or("", |value| value.to_str().unwrap());
    (reply.status().as_u16(), reason.to_owned())
}
