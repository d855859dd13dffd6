//! The program as one of several gateways behind one nginx, with settings that a journey changes while it runs.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::{Plan, SETTINGS, Stage, binary::Binary, certificates::Certificates, eventually, free_port, nginx::Way};

/// One of them; its settings are a file of its own, and its session keys are files too.
pub(crate) struct Replica {
    pub(crate) folder: PathBuf,
    name: &'static str,
    environment: Vec<(String, String)>,
    ops: String,
    settings: String,
    program: Option<Binary>,
    starts: usize,
}

impl Replica {
    /// One that shares the stage's store, and has not begun.
    pub(crate) fn prepared(stage: &Stage, name: &'static str) -> Self {
        let folder = stage.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let ops = format!("127.0.0.1:{}", free_port());
        let file = |name: &str| folder.join(name).display().to_string();
        let own = [
            ("LISTENER__NGINX__ADDRESS", format!("unix:{}", file("nginx.sock"))),
            ("LISTENER__APPLICATION__ADDRESS", format!("unix:{}", file("application.sock"))),
            ("LISTENER__OPS__ADDRESS", ops.clone()),
            ("FALLBACK__STATE_FILE", file("switches")),
            // What is lost is counted here, and not how crowded the machine is.
            ("STORE__REDIS__DEADLINE", "8s".to_owned()),
        ];
        let own = own.map(|(key, value)| (format!("PORTCULLIS_{key}"), value));
        let mut environment = stage.environment();
        environment.retain(|(key, _)| key != "PORTCULLIS_SESSION__KEY" && own.iter().all(|(name, _)| name != key));
        environment.extend(own);
        let replica = Self {
            settings: format!("{SETTINGS}[session]\nkey_file = {:?}\n", file("key")),
            folder,
            name,
            environment,
            ops,
            program: None,
            starts: 0,
        };
        let shared = stage.environment().into_iter().find(|(key, _)| key == "PORTCULLIS_SESSION__KEY").unwrap().1;
        replica.write("key", &shared);
        replica
    }

    /// Where nginx asks it.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("nginx.sock")
    }

    /// Writes a file of its own.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    /// Changes the text of its settings, for the next start or reload.
    pub(crate) fn change(&mut self, change: impl FnOnce(&str) -> String) {
        self.settings = change(&self.settings);
        fs::write(self.settings_file(), &self.settings).unwrap();
    }

    pub(crate) fn settings_file(&self) -> PathBuf {
        self.folder.join("portcullis.toml")
    }

    /// Everything in its environment.
    pub(crate) fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Where its ops listener is.
    pub(crate) fn ops(&self) -> &str {
        &self.ops
    }

    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.start_by(super::binary::command()).await;
    }

    /// The same by a command that becomes the program.
    pub(crate) async fn start_by(&mut self, command: std::process::Command) {
        self.change(str::to_owned);
        self.starts += 1;
        let name = format!("{}-{}", self.name, self.starts);
        self.program = Some(Binary::launch(command, &self.settings_file(), &self.environment, &name));
        self.is_up().await;
    }

    /// Waits until it is ready, whoever has started it.
    pub(crate) async fn is_up(&self) {
        eventually("the replica is ready", || self.is_ready()).await;
    }

    async fn is_ready(&self) -> bool {
        let asked = reqwest::get(format!("http://{}/readyz", self.ops)).await;
        asked.is_ok_and(|reply| reply.status() == 200)
    }

    /// Ends it as systemd does; it must end well.
    pub(crate) async fn stop(&mut self) -> String {
        let (status, said) = self.program.take().unwrap().end().await;
        assert!(status.success(), "{status}: {said}");
        said
    }

    /// Has it read its settings again, and waits for what comes of it.
    pub(crate) async fn reload(&self, result: &str) {
        let series = format!("portcullis_reloads_total{{result=\"{result}\"}}");
        let before = self.metric(&series).await;
        self.program.as_ref().unwrap().signal("HUP");
        eventually(&format!("{} reloads: {result}: {}", self.name, self.said()), async || {
            self.metric(&series).await > before
        })
        .await;
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.program.as_ref().unwrap().pid()
    }

    /// What it has said since its last start.
    pub(crate) fn said(&self) -> String {
        self.program.as_ref().unwrap().said()
    }

    /// The value of one series, zero where there is none.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        let text = reqwest::get(format!("http://{}/metrics", self.ops)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        line.unwrap_or_default()
    }
}

/// A stage whose nginx asks the replicas of these names, one or two of them; its Redis is theirs.
pub(crate) async fn stage_for(names: &[&str]) -> Stage {
    let folder = TempDir::new().unwrap();
    let certificates = Certificates::make(folder.path());
    let socket = |name: &str| format!("unix:{}/{name}/nginx.sock", folder.path().display());
    let second: Vec<_> = names.iter().skip(1).flat_map(|name| ["--second-gateway".to_owned(), socket(name)]).collect();
    let way = Way::to(&socket(names[0]));
    let plan = Plan::new().with_redis().without_gateway().asking_by(way).rendering(&second);
    let stage = plan.standing_on(folder, certificates).start().await;
    stage.nginx.reread("portcullis/snippets/portcullis-question.conf", |text| {
        text.replace("proxy_read_timeout 1500ms;", "proxy_read_timeout 20s;")
    });
    stage
}

/// Two replicas, running, and nginx asks both.
pub(crate) async fn two() -> (Stage, Replica, Replica) {
    let stage = stage_for(&["one", "other"]).await;
    let (mut one, mut other) = (Replica::prepared(&stage, "one"), Replica::prepared(&stage, "other"));
    tokio::join!(one.start(), other.start());
    (stage, one, other)
}
