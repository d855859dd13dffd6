//! A stage on which administrators may come in by certificate: their authority, its lists, nginx that asks for
//! certificates, and the command line.

use std::process::{Command, Output};

use super::{
    Plan, Reply, Stage, Visitor,
    admin_ca::{AdminCa, Asked, Identity, Lists},
    binary, eventually, free_port,
};
use crate::outage;

pub(crate) struct Emergency {
    pub(crate) stage: Stage,
    pub(crate) ca: AdminCa,
    pub(crate) lists: Lists,
}

impl Emergency {
    /// Everything works; nobody has armed anything.
    pub(crate) async fn usual() -> Self {
        Self::with(|plan| plan).await
    }

    pub(crate) async fn with(change: impl FnOnce(Plan) -> Plan) -> Self {
        Self::at(free_port(), change).await
    }

    /// With the application at a port that was chosen before.
    pub(crate) async fn at(https: u16, change: impl FnOnce(Plan) -> Plan) -> Self {
        let ca = AdminCa::make();
        let lists = Lists::of(&ca).await;
        let stage = change(prepared(&ca, &lists)).start_at(https).await;
        eventually("the first probe ends", || async { outage::probes(&stage).await >= 1 }).await;
        Self { stage, ca, lists }
    }

    /// The provider is down, and the door armed.
    pub(crate) async fn open() -> Self {
        let emergency = Self::usual().await;
        emergency.arm();
        outage::provider_dies(&emergency.stage).await;
        emergency
    }

    /// `portcullis fallback …`, which must do it.
    pub(crate) fn fallback(&self, arguments: &[&str]) -> String {
        let output = self.try_fallback(arguments);
        let said = said(&output);
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    }

    pub(crate) fn try_fallback(&self, arguments: &[&str]) -> Output {
        self.command().arg("fallback").args(arguments).arg("--config").arg(self.stage.settings_file()).output().unwrap()
    }

    /// The program, with the gateway's own settings in its environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = binary::command();
        command.envs(self.stage.environment());
        command
    }

    pub(crate) fn arm(&self) {
        self.fallback(&["arm", "--for", "4h", "--reason", "the provider is down", "--operator", "on-duty"]);
    }

    /// Alice, who is on the list.
    pub(crate) fn alice(&self) -> Identity {
        self.ca.issue("alice", &Asked::named("alice"))
    }

    /// Asks for an administrators' page as a script, with that certificate.
    pub(crate) async fn ask(&self, identity: &Identity) -> Reply {
        Visitor::showing(&self.stage, identity).fetch(http::Method::GET, "/admin").await
    }
}

/// The settings that all of it takes.
pub(crate) fn prepared(ca: &AdminCa, lists: &Lists) -> Plan {
    let urls = format!("[\"{}\", \"{}\"]", lists.url("/root.crl"), lists.url("/intermediate.crl"));
    Plan::new()
        .rendering(&["--admin-ca".to_owned(), ca.for_nginx().display().to_string()])
        .set("LISTENER__NGINX__CERTIFICATES", "true")
        .set("FALLBACK__ENABLED", "true")
        .set("FALLBACK__STATE_FILE", ca.path("switches").display().to_string())
        .set("FALLBACK__CA_FILE", ca.path("root/certificate.pem").display().to_string())
        .set("FALLBACK__INTERMEDIATES_FILE", ca.path("intermediate/certificate.pem").display().to_string())
        .set("FALLBACK__CRL_URLS", urls)
        .set("FALLBACK__CRL_FOLDER", ca.path("lists").display().to_string())
        .set("FALLBACK__ADMINISTRATORS__ALICE__COMMON_NAME", "alice")
        .set("FALLBACK__ADMINISTRATORS__ALICE__USER", "alice-by-certificate")
        .set("FALLBACK__ADMINISTRATORS__ALICE__GROUPS", "[\"admins\"]")
        .set("FALLBACK__ADMINISTRATORS__MAIL__EMAIL", "mail@example.com")
        .set("FALLBACK__ADMINISTRATORS__MAIL__USER", "by-mail")
        .set("FALLBACK__ADMINISTRATORS__MAIL__GROUPS", "[\"admins\"]")
        .set("FALLBACK__ADMINISTRATORS__URI__URI", "spiffe://example.com/admins/carol")
        .set("FALLBACK__ADMINISTRATORS__URI__USER", "by-uri")
        .set("FALLBACK__ADMINISTRATORS__URI__GROUPS", "[\"nobody\"]")
}

/// What a program said, to both outputs.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}
