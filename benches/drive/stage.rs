//! The processes of a run: each with a log in the folder, none left behind.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

/// Where processes run. Clones share them.
#[derive(Clone)]
pub(crate) struct Stage {
    folder: PathBuf,
    cast: Arc<Mutex<Cast>>,
}

#[derive(Default)]
struct Cast {
    over: bool,
    running: Vec<(String, Child)>,
}

impl Cast {
    fn end_since(&mut self, mark: usize) {
        while self.running.len() > mark {
            if let Some((_, mut child)) = self.running.pop() {
                end(&mut child);
            }
        }
    }
}

impl Stage {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, cast: Arc::default() }
    }

    /// A path in the run's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What a program has written to standard output so far.
    pub(crate) fn output(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.out"))).unwrap_or_default()
    }

    /// Starts a program whose output is kept, and gives its process id.
    pub(crate) fn start(&self, name: &str, command: &mut Command) -> anyhow::Result<u32> {
        let output = File::create(self.path(&format!("{name}.out")))?;
        self.spawn(name, command.stdout(output))
    }

    /// Starts a program that says too much to keep it.
    pub(crate) fn start_unheard(&self, name: &str, command: &mut Command) -> anyhow::Result<u32> {
        self.spawn(name, command.stdout(Stdio::null()))
    }

    fn spawn(&self, name: &str, command: &mut Command) -> anyhow::Result<u32> {
        let mut cast = self.cast();
        ensure!(!cast.over, "interrupted");
        let errors = File::create(self.path(&format!("{name}.err")))?;
        let child = command.stdin(Stdio::null()).stderr(errors).spawn();
        let child = child.with_context(|| format!("{name} does not start"))?;
        let id = child.id();
        cast.running.push((name.to_owned(), child));
        Ok(id)
    }

    /// Runs a program to its end, and gives its output.
    pub(crate) fn run(&self, name: &str, command: &mut Command) -> anyhow::Result<String> {
        let id = self.start(name, command)?;
        let status = loop {
            if let Some(status) = self.ended(id)? {
                break status;
            }
            sleep(GLANCE);
        };
        ensure!(status.success(), "{name} failed ({status}): {}", self.complaint(name));
        Ok(self.output(name))
    }

    fn ended(&self, id: u32) -> anyhow::Result<Option<ExitStatus>> {
        let mut cast = self.cast();
        let Some(at) = cast.running.iter().position(|(_, child)| child.id() == id) else {
            bail!("interrupted");
        };
        let (_, child) = &mut cast.running[at];
        let status = child.try_wait()?;
        if status.is_some() {
            cast.running.remove(at);
        }
        Ok(status)
    }

    /// Waits until something holds, as long as all that was started runs.
    pub(crate) fn wait_until<T>(&self, what: &str, mut holds: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = holds() {
                return Ok(value);
            }
            self.all_run()?;
            ensure!(Instant::now() < deadline, "waited {} seconds for {what}", PATIENCE.as_secs());
            sleep(GLANCE);
        }
    }

    /// Fails if one of them has ended by itself.
    pub(crate) fn all_run(&self) -> anyhow::Result<()> {
        let mut cast = self.cast();
        ensure!(!cast.over, "interrupted");
        for (name, child) in &mut cast.running {
            if let Some(status) = child.try_wait()? {
                bail!("{name} has ended ({status}): {}", self.complaint(name));
            }
        }
        Ok(())
    }

    /// How many run by now, for [`Self::end_since`].
    pub(crate) fn mark(&self) -> usize {
        self.cast().running.len()
    }

    /// Ends those that were started since, newest first.
    pub(crate) fn end_since(&self, mark: usize) {
        self.cast().end_since(mark);
    }

    /// Ends all of them, newest first, and lets nothing start any more.
    pub(crate) fn end_all(&self) {
        let mut cast = self.cast();
        cast.over = true;
        cast.end_since(0);
    }

    fn complaint(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(&format!("{name}.err"))).unwrap_or_default();
        let last: Vec<_> = text.lines().rev().take(LINES_TOLD).collect();
        last.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn cast(&self) -> MutexGuard<'_, Cast> {
        self.cast.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a process to end, and makes it if it does not.
fn end(child: &mut Child) {
    let asked = format!("kill -TERM {}", child.id());
    let _ = Command::new("sh").args(["-c", &asked]).stderr(Stdio::null()).status();
    let deadline = Instant::now() + FAREWELL;
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        sleep(GLANCE);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Whether a program can be started by its name.
pub(crate) fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Whether a path is there.
pub(crate) fn is_there(path: &Path) -> Option<()> {
    path.exists().then_some(())
}

/// How long something may take to get ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a process may take to end when asked.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often it is looked whether something has happened.
const GLANCE: Duration = Duration::from_millis(5);
/// How much of a program's complaint is told.
const LINES_TOLD: usize = 10;
