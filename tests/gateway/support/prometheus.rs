//! A real Prometheus in a temporary folder that asks one gateway, ended with its journey.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;
use url::Url;

use super::{eventually, free_port};

/// A running Prometheus.
pub(crate) struct Prometheus {
    port: u16,
    process: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// One that asks the ops listener at `target`, and goes by these alerts.
    pub(crate) async fn asking(target: &str, rules: &str) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        fs::write(folder.path().join("rules.yml"), rules).unwrap();
        fs::write(folder.path().join("prometheus.yml"), SETTINGS.replace("{target}", target)).unwrap();
        let process = Command::new("prometheus")
            .args(["--config.file", "prometheus.yml", "--storage.tsdb.path", "data", "--log.level", "error"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("no prometheus ({error}); install it: scripts/install prometheus"));
        let prometheus = Self { port, process, _folder: folder };
        eventually("prometheus starts", async || prometheus.is_ready().await).await;
        prometheus
    }

    async fn is_ready(&self) -> bool {
        let reply = reqwest::get(format!("http://127.0.0.1:{}/-/ready", self.port)).await;
        reply.is_ok_and(|reply| reply.status() == 200)
    }

    /// What its API says under a path.
    pub(crate) async fn api(&self, path: &str) -> Value {
        self.ask(path, &[]).await
    }

    /// What an expression is worth now: its series.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        self.ask("query", &[("query", expression)]).await["result"].as_array().unwrap().clone()
    }

    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = Url::parse_with_params(&format!("http://127.0.0.1:{}/api/v1/{path}", self.port), parameters).unwrap();
        let reply = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&reply).unwrap();
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const SETTINGS: &str = "
global:
  scrape_interval: 200ms
  evaluation_interval: 200ms
rule_files: [rules.yml]
scrape_configs:
  - job_name: portcullis
    static_configs:
      - targets: ['{target}']
";
