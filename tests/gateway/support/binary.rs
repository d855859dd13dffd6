//! The program itself, as a process that is told everything by file and environment.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use super::eventually;

/// A running `portcullis serve`, ended with its journey.
pub(crate) struct Binary {
    process: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Binary {
    /// Starts the gateway; what it says goes to files of this name.
    pub(crate) fn serve(settings: &Path, environment: &[(String, String)], name: &str) -> Self {
        Self::launch(command(), settings, environment, name)
    }

    /// The same by a command that runs the program in the end, and in the same process.
    pub(crate) fn launch(mut command: Command, settings: &Path, environment: &[(String, String)], name: &str) -> Self {
        let folder = settings.parent().unwrap();
        let (stdout, stderr) = (folder.join(format!("{name}.stdout")), folder.join(format!("{name}.stderr")));
        let process = command
            .args(["serve", "--config"])
            .arg(settings)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { process, stdout, stderr }
    }

    /// Everything it has said so far, to both outputs.
    pub(crate) fn said(&self) -> String {
        [&self.stdout, &self.stderr].map(|file| String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned()).concat()
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, name: &str) {
        super::redis::send(name, self.process.id());
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Sends it SIGTERM and waits for its end.
    pub(crate) async fn end(mut self) -> (ExitStatus, String) {
        terminate(&self.process);
        let process = &mut self.process;
        let ended = std::cell::RefCell::new((process, None));
        eventually("the program ends", || {
            let (process, status) = &mut *ended.borrow_mut();
            *status = process.try_wait().unwrap();
            std::future::ready(status.is_some())
        })
        .await;
        let status = ended.into_inner().1.unwrap();
        (status, self.said())
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        if self.runs() {
            terminate(&self.process);
            let _ = self.process.wait();
        }
    }
}

/// Runs the program to its end.
pub(crate) fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command().args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).output().unwrap()
}

/// What a run said, to both outputs.
pub(crate) fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The environment of whoever runs the tests must not matter.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command.env_clear();
    command
}

/// One that was stopped hears nothing before it goes on.
fn terminate(process: &Child) {
    for signal in ["TERM", "CONT"] {
        let _ = Command::new("kill").args(["-s", signal, &process.id().to_string()]).status();
    }
}
