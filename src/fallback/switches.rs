//! Keeps the switches in memory, in the process's file and in the store, so that all processes agree within a second.
//!
//! With the store unreachable the last known state holds; a process that begins then goes by its file, so one that did not
//! run when a kill switch was thrown does not know of it: the command names it among those that did not acknowledge. What
//! counts is decided in [`agreement`](super::switch::agreement).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    task::spawn_blocking,
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    door,
    switch::{
        MAX_RECORD_BYTES, Record,
        agreement::{Agreement, Arming, Kept, News, NotTaken, Said, Source},
        to_text,
    },
};
use crate::{
    clock::Timestamp,
    random,
    seal::KeyRing,
    session::keeper::Keeper,
    store::{Store, StoreError, Thrown},
    telemetry::{Event, Telemetry, fallback::FallbackEvent},
};

/// What the settings say of the switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The process's own record of them, in a folder that is there; without one, a process that begins while the store is
    /// unreachable has nothing to go by, and stays closed.
    pub file: Option<PathBuf>,
    /// Whether the door opens only while an operator has armed it.
    pub require_arming: bool,
    /// How long it may be armed for at most.
    pub longest_arming: Duration,
}

impl Config {
    /// What is demanded of an arming.
    pub const fn arming(&self) -> Arming {
        Arming { required: self.require_arming, longest: self.longest_arming }
    }
}

/// The switches of one process. Clones share them.
#[derive(Clone, Debug)]
pub struct Switches(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    config: Config,
    keeper: Arc<Keeper>,
    telemetry: Telemetry,
    agreement: Mutex<Agreement>,
    /// One read of the file at a time: one that hangs is left alone, and nobody waits for it twice.
    reading: Arc<Semaphore>,
    /// One write at a time, so that an older record never lands on a newer one.
    writing: Arc<Semaphore>,
    file_is_bad: AtomicBool,
    thrown: Notify,
    began: Instant,
}

/// The switches, for people to look at.
#[derive(Clone, Debug)]
pub struct Status {
    /// How they stand.
    pub switches: door::Switches,
    /// The highest epoch that was seen.
    pub epoch: u64,
    /// The record with the highest epoch that opened.
    pub record: Option<Record>,
    /// The same record, sealed, as a line of text.
    pub sealed: Option<String>,
}

/// A record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its epoch.
    pub epoch: u64,
    /// Whether the process's file holds it; not so if there is no file, or if it could not be written.
    pub kept: bool,
    /// Whether the store holds it.
    pub stored: bool,
}

impl Switches {
    /// Switches that nobody has looked at yet: closed until [`Switches::keep_agreeing`] has.
    pub fn new(config: Config, keeper: Arc<Keeper>, telemetry: Telemetry) -> Self {
        Self(Arc::new(Parts {
            config,
            keeper,
            telemetry,
            agreement: Mutex::default(),
            reading: Arc::new(Semaphore::new(1)),
            writing: Arc::new(Semaphore::new(1)),
            file_is_bad: AtomicBool::new(false),
            thrown: Notify::new(),
            began: Instant::now(),
        }))
    }

    /// How they stand.
    pub fn standing(&self, now: Timestamp) -> door::Switches {
        self.agreement().standing(now, self.0.config.arming())
    }

    /// The same, with the record they follow from.
    pub fn status(&self, now: Timestamp) -> Status {
        let agreement = self.agreement();
        Status {
            switches: agreement.standing(now, self.0.config.arming()),
            epoch: agreement.epoch(),
            record: agreement.held().map(|kept| kept.record.clone()),
            sealed: agreement.held().map(|kept| to_text(&kept.sealed)),
        }
    }

    /// Another process threw them: the store is asked at once, and not only when it is time.
    pub fn thrown(&self) {
        self.0.thrown.notify_one();
    }

    /// Asks store and file again and again, believes what is to be believed, and mends what has lost it.
    pub async fn keep_agreeing(&self) {
        let mut tick = interval(PACE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.0.thrown.notified() => sleep(AFTER_NEWS).await,
            }
            self.agree().await;
        }
    }

    async fn agree(&self) {
        let before = self.agreement().epoch();
        let (store, file) = tokio::join!(self.hear_store(before), self.read_file());
        let news = {
            let mut agreement = self.agreement();
            agreement.meet(&store, self.store().is_shared(), self.0.began.elapsed());
            agreement.hear(vec![(Source::Stored, store.clone()), (Source::Filed, file.clone())], before)
        };
        self.tell(news);
        self.make(Agreement::reconciliation).await;
        self.renew().await;
        self.mend(&store, &file).await;
    }

    /// Seals the record anew, when its key is about to go. The store has it first: of two processes that do so at one time,
    /// one is late there, and hears of the other's.
    async fn renew(&self) {
        let ring = self.ring();
        let renewal = self.agreement().renewal(&ring);
        let Some((record, nonce)) = renewal.zip(random::bytes().ok()) else {
            return;
        };
        let Ok(sealed) = record.seal(&ring, nonce) else {
            return;
        };
        if self.store().throw_switches(&sealed).await == Ok(Thrown::Done) {
            let news = self.agreement().make(Kept { record, sealed });
            self.tell(news);
        }
    }

    /// A record in the store counts at once, whatever the file is doing.
    async fn hear_store(&self, before: u64) -> Said {
        let said = self.ask_store().await;
        if matches!(said, Said::Record(_)) {
            let news = self.agreement().hear(vec![(Source::Stored, said.clone())], before);
            self.tell(news);
        }
        said
    }

    /// Closes the door in this process at once, then everywhere.
    pub async fn auto_close(&self, reason: &str) {
        self.make(|agreement, now| agreement.auto_close(reason, now)).await;
    }

    /// Takes a record that an operator's command made; in this process it counts at once.
    ///
    /// # Errors
    /// [`NotTaken`] when it is no record of ours, known already, or opens the door and is old.
    pub async fn take(&self, text: &[u8]) -> Result<Taken, NotTaken> {
        let Said::Record(kept) = Said::of_text(&self.ring(), text) else {
            return Err(NotTaken::Broken);
        };
        let epoch = kept.record.epoch;
        let now = self.0.keeper.clock().now();
        let news = self.agreement().take(kept.clone(), now)?;
        self.tell(news);
        let (kept, stored) = self.lay_down(&kept).await;
        Ok(Taken { epoch, kept, stored })
    }

    /// Makes a record of this process's own if there is one to make, and lays it down.
    async fn make(&self, next: impl FnOnce(&Agreement, Timestamp) -> Option<Record>) {
        let Some((kept, news)) = self.made(next) else {
            return;
        };
        self.tell(news);
        self.lay_down(&kept).await;
    }

    fn made(&self, next: impl FnOnce(&Agreement, Timestamp) -> Option<Record>) -> Option<(Kept, Option<News>)> {
        let mut agreement = self.agreement();
        let record = next(&agreement, self.0.keeper.clock().now())?;
        let nonce = random::bytes().ok();
        let Some(sealed) = nonce.and_then(|nonce| record.seal(&self.ring(), nonce).ok()) else {
            agreement.distrust();
            return None;
        };
        let kept = Kept { record, sealed };
        let news = agreement.make(kept.clone());
        Some((kept, news))
    }

    /// Whether the file has it, and whether the store has.
    async fn lay_down(&self, kept: &Kept) -> (bool, bool) {
        let (in_file, thrown) = tokio::join!(self.keep(), self.store().throw_switches(&kept.sealed));
        (in_file, thrown == Ok(Thrown::Done))
    }

    async fn mend(&self, store: &Said, file: &Said) {
        let (to_store, to_file) = {
            let agreement = self.agreement();
            (agreement.owed_to_store(store).cloned(), agreement.owed_to_file(file).is_some())
        };
        let mend_file = async {
            if to_file {
                self.keep().await;
            }
        };
        let mend_store = async {
            if let Some(owed) = to_store {
                // What could not be written is owed in the next round too.
                let _ = self.store().throw_switches(&owed).await;
            }
        };
        tokio::join!(mend_file, mend_store);
    }

    /// An answer that makes no sense may be another question's, or not Redis's at all.
    async fn ask_store(&self) -> Said {
        let said = self.ask_store_once().await;
        if !matches!(said, Said::Broken { .. }) {
            return said;
        }
        self.store().leave_if_out_of_step().await;
        if self.store().ping().await.is_ok() { self.ask_store_once().await } else { Said::Unknown }
    }

    async fn ask_store_once(&self) -> Said {
        match self.store().switches().await {
            Ok(stored) => Said::of_stored(&self.ring(), stored),
            Err(StoreError::Garbage(_)) => Said::Broken { epoch: None, cause: "something that is no record" },
            Err(_) => Said::Unknown,
        }
    }

    async fn read_file(&self) -> Said {
        let Some(path) = self.0.config.file.clone() else {
            return Said::Unknown;
        };
        let Ok(place) = Arc::clone(&self.0.reading).try_acquire_owned() else {
            return Said::Unknown;
        };
        let this = self.clone();
        let read = spawn_blocking(move || {
            let _place = place;
            this.read_now(&path)
        });
        if let Ok(said) = timeout(FILE_TIME, read).await {
            return said.unwrap_or(Said::Unknown);
        }
        self.file_failed(&io::ErrorKind::TimedOut.into());
        Said::Unknown
    }

    fn read_now(&self, path: &Path) -> Said {
        match read(path) {
            Ok(text) => Said::of_text(&self.ring(), &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Said::Absent,
            Err(error) => {
                self.file_failed(&error);
                Said::Unknown
            }
        }
    }

    /// Writes to the file what is believed by the time it is written; false too if that takes too long.
    async fn keep(&self) -> bool {
        let Some(path) = self.0.config.file.clone() else {
            return false;
        };
        let kept = async {
            let turn = Arc::clone(&self.0.writing).acquire_owned().await.ok()?;
            let this = self.clone();
            let write = spawn_blocking(move || {
                let _turn = turn;
                this.keep_now(&path)
            });
            write.await.ok()
        };
        if let Ok(kept) = timeout(FILE_TIME, kept).await {
            return kept.unwrap_or(false);
        }
        self.file_failed(&io::ErrorKind::TimedOut.into());
        false
    }

    fn keep_now(&self, path: &Path) -> bool {
        let owed = self.agreement().owed_to_file(&Said::Absent).map(to_text);
        let Some(text) = owed else {
            return false;
        };
        match replace(path, &text) {
            Ok(()) => self.0.file_is_bad.store(false, Ordering::Relaxed),
            Err(error) => {
                self.file_failed(&error);
                return false;
            }
        }
        true
    }

    fn file_failed(&self, error: &io::Error) {
        if !self.0.file_is_bad.swap(true, Ordering::Relaxed) {
            let cause = error.to_string();
            self.0.telemetry.event(&Event::Fallback(FallbackEvent::SwitchesNotKept { cause: &cause }));
        }
    }

    fn tell(&self, news: impl IntoIterator<Item = News>) {
        for news in news {
            self.0.telemetry.event(&Event::Fallback(match &news {
                News::Thrown { record, source, at_start } => FallbackEvent::SwitchThrown {
                    action: record.action.label(),
                    epoch: record.epoch,
                    operator: &record.operator,
                    reason: &record.reason,
                    source: source.label(),
                    armed_until: record.armed_until,
                    at: record.at,
                    at_start: *at_start,
                },
                News::Invalid(source, cause) => FallbackEvent::SwitchesInvalid { place: source.label(), cause },
            }));
        }
    }

    fn ring(&self) -> Arc<KeyRing> {
        self.0.keeper.ring_in_force().load()
    }

    fn store(&self) -> &Store {
        self.0.keeper.store()
    }

    fn agreement(&self) -> MutexGuard<'_, Agreement> {
        self.0.agreement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file's text, and one byte more than a record may have of one that is longer. Only a regular file is opened: opening a
/// pipe waits for whoever writes to it.
///
/// # Errors
/// Whatever the system says, and [`io::ErrorKind::InvalidInput`] for what is no regular file.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut text = Vec::new();
    File::open(path)?.take(MAX_RECORD_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Puts a line in place of a file, whole or not at all, and for its owner alone.
fn replace(path: &Path, line: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.{}", process::id()));
    let written = write_new(&new, line).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, line: &str) -> io::Result<()> {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(line.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// How long after news that the switches were thrown they are looked at: news that never ends is looked into ten times a
/// second.
const AFTER_NEWS: Duration = Duration::from_millis(50);

/// How often each process asks the store: often enough for all to agree within a second.
const PACE: Duration = Duration::from_millis(400);

/// How long a look at the file, or a write, may hold up anything else; a disk that hangs goes on alone.
const FILE_TIME: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
