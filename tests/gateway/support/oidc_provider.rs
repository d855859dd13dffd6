//! The certified npm `oidc-provider`, as a process of its own: a peer that nobody here wrote.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::LazyLock,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::{APP, PATIENCE, certificates::Certificates};

/// A running provider, ended with its journey.
pub(crate) struct OidcProvider {
    pub(crate) issuer: String,
    _process: Child,
}

/// Where it tells the claims of the scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claims {
    /// As the standard has it.
    InUserinfo,
    /// In the ID token as well.
    InIdToken,
}

impl OidcProvider {
    /// Starts one for the application at a port; access tokens live [`ACCESS_TOKEN_SECONDS`].
    ///
    /// Node sometimes stands still while it starts, before it has said anything; then another one is started.
    pub(crate) async fn start(claims: Claims, https: u16, certificates: &Certificates) -> Self {
        for _ in 0..STARTS {
            if let Some(started) = Self::started(claims, https, certificates).await {
                return started;
            }
        }
        panic!("oidc-provider stood still {STARTS} times");
    }

    async fn started(claims: Claims, https: u16, certificates: &Certificates) -> Option<Self> {
        let app = format!("https://{APP}:{https}");
        let mut process = Command::new(NODE.as_path())
            .arg("server.mjs")
            .current_dir(home())
            .args(["--redirect-uri", &format!("{app}/auth/callback")])
            .args(["--post-logout-redirect-uri", &format!("{app}/auth/signed-out")])
            .args(["--conform-id-token-claims", if claims == Claims::InUserinfo { "true" } else { "false" }])
            .args(["--access-token-seconds", &ACCESS_TOKEN_SECONDS.to_string()])
            .arg("--tls-certificate")
            .arg(&certificates.certificate)
            .arg("--tls-key")
            .arg(&certificates.key)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.ok()?.unwrap();
        let issuer = line.unwrap_or_else(|| panic!("oidc-provider does not start; install it: {INSTALL}"));
        // It goes on talking, and ends when nobody listens.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Some(Self { issuer, _process: process })
    }
}

pub(crate) const ACCESS_TOKEN_SECONDS: u64 = 300;
const STARTS: usize = 5;

fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oidc-provider")
}

/// The system's node where it is recent enough, else the one that `scripts/install` brings.
static NODE: LazyLock<PathBuf> = LazyLock::new(|| {
    let installed = std::process::Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install"))
        .arg("--path")
        .output()
        .unwrap();
    let folders = String::from_utf8(installed.stdout).unwrap();
    let ours = folders.trim().split(':').map(|folder| Path::new(folder).join("node"));
    let node = std::iter::once(PathBuf::from("node")).chain(ours).find(|node| is_recent(node));
    let node = node.unwrap_or_else(|| panic!("there is no node of 20.20 or newer; install it: scripts/install node"));
    assert!(home().join("node_modules/oidc-provider").is_dir(), "oidc-provider is missing; install it: {INSTALL}");
    node
});

fn is_recent(node: &Path) -> bool {
    let Ok(said) = std::process::Command::new(node).arg("--version").output() else {
        return false;
    };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut numbers = said.trim().trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(20), Some(20))
}

const INSTALL: &str = "scripts/install node && npm ci --prefix tests/oidc-provider";
