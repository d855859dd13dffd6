//! The Redis store: Redis or Valkey from 6.2 on, alone, behind sentinels, or a cluster.
//!
//! Every operation has one deadline, whatever happens on the way: waiting for a connection, a connection that turns
//! out broken, one more try on a new one. A step that changes something is one Lua script that may run twice with
//! the same effect and the same answer. Starting never waits for the server.
//!
//! A session is one hash (`v` version, `f` facts, `t` tokens, `i` index entry, `g` groups), so that its parts come,
//! change and go together; facts and tokens end in their length. The set of a shard's living sessions, which are counted by
//! it, is written in the same step. Groups lie elsewhere in a cluster, and are written before: a gateway that dies between the
//! two leaves a name that leads nowhere and expires.

use std::{fmt, time::Duration};

use deadpool_redis::redis::{Cmd, Pipeline, cmd, pipe};
use tokio::time::{Instant, timeout, timeout_at};

pub use self::bus::Ear;
pub use self::client::{
    Address, ClientCertificate, Config, DEFAULT_CONNECTIONS, DEFAULT_DEADLINE, DEFAULT_PREFIX, Host, Sentinels,
    SetupError, Tls,
};
pub use self::durability::{Finding, Inspected};
use self::{
    client::servers,
    keys::{Keys, epoch, lease, moment},
    request::Request,
    scripts::{Scripts, Step},
    servers::{Place, Servers},
    whole::marked,
};
use super::{
    Beaten, Change, ENDED_BEFORE, Ended, GROUP_LIMIT, Mark, Member, NAME_TAKEN, Name, NewSession, StoreError,
    StoredFacts, StoredSession, StoredSwitches, Swap, Thrown, Token,
    notice::{Beat, Notice},
    window::{Counted, Rate, Window},
};
use crate::{clock::Timestamp, random};

mod apart;
mod bus;
mod client;
mod cluster;
mod connections;
mod durability;
mod inspect;
mod keys;
mod reply;
mod request;
mod scripts;
mod servers;
mod slots;
mod source;
mod whole;

/// Sessions in Redis.
pub struct Redis {
    address: Address,
    deadline: Duration,
    keys: Keys,
    scripts: Box<Scripts>,
    servers: Servers,
}

impl fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Redis")
            .field("address", &self.address)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Sets the store up without speaking to the server, which need not be there yet.
    ///
    /// # Errors
    /// [`SetupError`] when the settings can never work.
    pub fn new(config: Config) -> Result<Self, SetupError> {
        let keys = Keys::new(&config.prefix).ok_or(SetupError::Prefix)?;
        let servers = servers(&config)?;
        Ok(Self {
            address: config.address,
            deadline: config.deadline,
            keys,
            scripts: Box::new(Scripts::new()),
            servers,
        })
    }

    /// Takes new connections from now on if one of those that there are gives answers that do not fit their questions.
    pub async fn leave_if_out_of_step(&self) {
        self.servers.leave_if_out_of_step().await;
    }

    /// Whether all is said on by one server, in the order in which it was said.
    pub const fn keeps_order(&self) -> bool {
        matches!(self.servers, Servers::One(_))
    }

    /// Counts the times a connection was made after one was lost or could not be made.
    pub fn generation(&self) -> u64 {
        self.servers.generation()
    }
}

/// The operations; [`super::Store`] says what each promises.
#[expect(clippy::missing_errors_doc, reason = "the errors are described where callers meet the operations, on Store")]
impl Redis {
    /// See [`super::Store::create`].
    pub async fn create(&self, session: &NewSession) -> Result<(), StoreError> {
        self.within(|| async {
            for group in &session.groups {
                self.join(self.keys.group(group), session).await?;
            }
            self.write(session).await
        })
        .await
    }

    /// See [`super::Store::facts`].
    pub async fn facts(&self, name: &Name) -> Result<Option<StoredFacts>, StoreError> {
        let mut command = Cmd::with_capacity(4, FACTS_COMMAND_BYTES);
        command.arg("HMGET").arg(self.keys.session(name)).arg("v").arg("f");
        self.within(|| self.servers.ask(Request::Command(&command), reply::facts)).await
    }

    /// See [`super::Store::session`].
    pub async fn session(&self, name: &Name) -> Result<Option<StoredSession>, StoreError> {
        let mut command = cmd("HMGET");
        command.arg(self.keys.session(name)).arg(&["v", "f", "t"]);
        self.within(|| self.servers.ask(Request::Command(&command), reply::session)).await
    }

    /// See [`super::Store::compare_and_set`].
    pub async fn compare_and_set(&self, name: &Name, change: &Change) -> Result<Swap, StoreError> {
        let mut step = self.scripts.swap.key(self.keys.session(name));
        step.arg(change.expected.0).arg(change.expected.next().0).arg(marked(&change.facts));
        step.arg(self.keys.bus()).arg(Notice::Session(*name).to_bytes());
        if let Some(tokens) = &change.tokens {
            step.arg(marked(tokens));
        }
        match self.step(&step).await? {
            1 => Ok(Swap::Done),
            0 => Ok(Swap::Stale),
            -1 => Ok(Swap::Gone),
            _ => Err(StoreError::Garbage("a record is not whole".to_owned())),
        }
    }

    /// See [`super::Store::end`].
    ///
    /// The session has ended once its record is gone; should there be no time left to take its name from the groups, it
    /// expires there.
    pub async fn end(&self, name: &Name, until: Timestamp) -> Result<Ended, StoreError> {
        let by = random::bytes::<16>().map_err(|error| StoreError::Refused(error.to_string()))?;
        let mut step = self.scripts.end.key(self.keys.session(name));
        step.key(self.keys.ended(name)).key(self.keys.live(name)).arg(&by).arg(moment(until));
        step.arg(self.keys.bus()).arg(Notice::Session(*name).to_bytes()).arg(name.encoded());
        let deadline = Instant::now() + self.deadline;
        let ending = async || match self.servers.ask_together(&step, reply::ended).await? {
            Some(found) => Ok(found),
            None => Box::pin(self.end_apart(name, &by, until, &step)).await,
        };
        let (lived, groups) = self.by(deadline, ending).await?;
        if lived {
            let leave = self.leave(name, &groups);
            let _ = self.by(deadline, || self.servers.ask(Request::Pipeline(&leave), reply::anything)).await;
            return Ok(Ended::Now);
        }
        Ok(Ended::Before)
    }

    /// See [`super::Store::was_ended`].
    pub async fn was_ended(&self, name: &Name) -> Result<bool, StoreError> {
        let mut command = cmd("EXISTS");
        command.arg(self.keys.ended(name));
        Ok(self.within(|| self.servers.ask(Request::Command(&command), reply::number)).await? == 1)
    }

    /// See [`super::Store::group`].
    pub async fn group(&self, group: &Name) -> Result<Vec<Member>, StoreError> {
        self.within(|| async {
            let mut step = self.scripts.members.key(self.keys.group(group));
            step.arg(GROUP_SCAN);
            let names = self.servers.ask(Request::Script(&step), reply::names).await?;
            let mut living = Vec::new();
            for names in names.chunks(GROUP_LIMIT) {
                if living.len() < GROUP_LIMIT {
                    living.extend(self.members(names).await?);
                }
            }
            living.truncate(GROUP_LIMIT);
            Ok(living)
        })
        .await
    }

    /// See [`super::Store::count`].
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.within(|| async {
            let now = self.servers.ask(Request::Command(&cmd("TIME")), reply::time).await?;
            let mut count = pipe();
            for shard in self.keys.shards() {
                count.zcount(shard, format!("({now}"), "+inf");
            }
            self.servers.ask(Request::Pipeline(&count), reply::sum).await
        })
        .await
    }

    /// See [`super::Store::mark_once`].
    pub async fn mark_once(&self, name: &Name, by: &Token, until: Timestamp) -> Result<Mark, StoreError> {
        let mut step = self.scripts.mark.key(self.keys.once(name));
        step.arg(&by.0).arg(moment(until));
        match self.step(&step).await? {
            1 => Ok(Mark::First),
            _ => Ok(Mark::Again),
        }
    }

    /// See [`super::Store::lock`].
    pub async fn lock(&self, name: &Name, owner: &Token, time: Duration) -> Result<bool, StoreError> {
        let mut step = self.scripts.lock.key(self.keys.lock(name));
        step.arg(&owner.0).arg(lease(time));
        Ok(self.step(&step).await? == 1)
    }

    /// See [`super::Store::unlock`].
    pub async fn unlock(&self, name: &Name, owner: &Token) -> Result<(), StoreError> {
        let mut step = self.scripts.unlock.key(self.keys.lock(name));
        step.arg(&owner.0);
        self.step(&step).await.map(drop)
    }

    /// See [`super::Store::count_in_window`].
    pub async fn count_in_window(&self, window: Window, rates: &[Rate], by: &Token) -> Result<Counted, StoreError> {
        let mut step = self.scripts.window.key(self.keys.window(window));
        step.key(self.keys.barred(window)).arg(&by.0);
        for rate in rates {
            step.arg(rate.most()).arg(lease(rate.per()));
        }
        match u64::try_from(self.step(&step).await?) {
            Ok(0) => Ok(Counted::Admitted),
            Ok(millis) => Ok(Counted::Refused { wait: Duration::from_millis(millis) }),
            Err(_) => Err(StoreError::Garbage("a wait is less than nothing".to_owned())),
        }
    }

    /// See [`super::Store::bar_window`].
    pub async fn bar_window(&self, window: Window, time: Duration) -> Result<(), StoreError> {
        let mut command = cmd("SET");
        command.arg(self.keys.barred(window)).arg("-").arg("NX").arg("PX").arg(lease(time));
        self.within(|| self.servers.ask(Request::Command(&command), reply::done)).await
    }

    /// See [`super::Store::switches`].
    pub async fn switches(&self) -> Result<Option<StoredSwitches>, StoreError> {
        let mut command = cmd("GET");
        command.arg(self.keys.switches());
        self.within(|| self.servers.ask(Request::Command(&command), reply::switches)).await
    }

    /// See [`super::Store::throw_switches`].
    pub async fn throw_switches(&self, switches: &StoredSwitches) -> Result<Thrown, StoreError> {
        let record = [epoch(switches.epoch).as_bytes(), &marked(&switches.sealed)].concat();
        let mut step = self.scripts.throw.key(self.keys.switches());
        step.arg(record).arg(self.keys.bus()).arg(Notice::Switches.to_bytes());
        match self.step(&step).await? {
            1 => Ok(Thrown::Done),
            _ => Ok(Thrown::Stale),
        }
    }

    /// See [`super::Store::announce`].
    pub async fn announce(&self, notice: Notice) -> Result<(), StoreError> {
        let mut command = cmd("PUBLISH");
        command.arg(self.keys.bus()).arg(notice.to_bytes());
        self.within(|| self.servers.ask(Request::Command(&command), reply::number)).await.map(drop)
    }

    /// See [`super::Store::beat`].
    pub async fn beat(&self, beat: Beat, new: &Token) -> Result<Beaten, StoreError> {
        self.within(|| async {
            let places = self.servers.places(&self.keys).await?;
            let (mut servers, mut mark) = (0, 0);
            for place in &places {
                let Token(own) = self.beat_at(place, beat, new).await?;
                servers += 1;
                mark = one_of_many(mark, own);
            }
            Ok(Beaten { servers, mark: Token(mark.to_be_bytes()) })
        })
        .await
    }

    /// See [`super::Store::listen`].
    pub async fn listen(&self) -> Result<Ear, StoreError> {
        let opened = timeout(self.deadline, Ear::open(&self.servers, &self.keys.bus())).await;
        opened.unwrap_or(Err(StoreError::Deadline(self.deadline)))
    }

    /// See [`super::Store::ping`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        let command = cmd("PING");
        self.within(|| self.servers.ask(Request::Command(&command), reply::pong)).await
    }
}

/// Parts of operations.
impl Redis {
    /// A node of a cluster that serves none of the shards has no session to lose, and so no mark.
    async fn beat_at(&self, place: &Place<'_>, beat: Beat, new: &Token) -> Result<Token, StoreError> {
        let notice = Notice::Beat(beat).to_bytes();
        let Some(mark) = place.mark() else {
            let mut command = cmd("PUBLISH");
            command.arg(self.keys.bus()).arg(notice);
            return place.ask(Request::Command(&command), reply::number).await.map(|_| Token([0; 16]));
        };
        let mut step = self.scripts.beat.key(mark.to_owned());
        step.arg(self.keys.bus()).arg(notice).arg(&new.0).arg(lease(MARK_STAYS));
        place.ask(Request::Script(&step), reply::token).await
    }

    /// Adds a session's name to a set by its expiry.
    async fn join(&self, set: String, session: &NewSession) -> Result<(), StoreError> {
        let mut step = self.scripts.join.key(set);
        step.arg(moment(session.until)).arg(session.name.encoded());
        self.servers.ask(Request::Script(&step), reply::number).await.map(drop)
    }

    async fn write(&self, session: &NewSession) -> Result<(), StoreError> {
        let groups: Vec<u8> = session.groups.iter().flat_map(|group| group.0).collect();
        let mut step = self.scripts.create.key(self.keys.session(&session.name));
        step.key(self.keys.ended(&session.name))
            .key(self.keys.live(&session.name))
            .arg(moment(session.until))
            .arg(marked(&session.facts))
            .arg(marked(&session.tokens))
            .arg(&session.index)
            .arg(groups)
            .arg(session.name.encoded());
        let written = match self.servers.ask_together(&step, reply::number).await? {
            Some(written) => written,
            None => Box::pin(self.create_apart(session, &step)).await?,
        };
        match written {
            1 => Ok(()),
            0 => Err(StoreError::Refused(ENDED_BEFORE.to_owned())),
            _ => Err(StoreError::Refused(NAME_TAKEN.to_owned())),
        }
    }

    /// Takes an ended session's name from the sets.
    fn leave(&self, name: &Name, groups: &[Name]) -> Pipeline {
        let mut leave = pipe();
        for group in groups {
            leave.zrem(self.keys.group(group), name.encoded());
        }
        leave
    }

    /// Those of the names that live, with their index entries.
    async fn members(&self, names: &[Name]) -> Result<Vec<Member>, StoreError> {
        let mut read = pipe();
        for name in names {
            read.hget(self.keys.session(name), "i");
        }
        let entries = self.servers.ask(Request::Pipeline(&read), reply::entries).await?;
        let found = names.iter().zip(entries);
        Ok(found.filter_map(|(&name, index)| index.map(|index| Member { name, index })).collect())
    }
}

/// One request under its deadline.
impl Redis {
    async fn step(&self, step: &Step<'_>) -> Result<i64, StoreError> {
        self.within(|| self.servers.ask(Request::Script(step), reply::number)).await
    }

    fn within<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        operation: impl FnOnce() -> F,
    ) -> impl Future<Output = Result<T, StoreError>> {
        self.by(Instant::now() + self.deadline, operation)
    }

    /// Connections that were there before and let the deadline pass are not trusted with the next operation.
    ///
    /// The operation is made where it is waited for: a future that is handed over takes its room twice.
    async fn by<T, F: Future<Output = Result<T, StoreError>>>(
        &self,
        deadline: Instant,
        operation: impl FnOnce() -> F,
    ) -> Result<T, StoreError> {
        let newest = self.servers.newest();
        if let Ok(outcome) = timeout_at(deadline, operation()).await {
            return outcome;
        }
        self.servers.forget(newest);
        Err(StoreError::Deadline(self.deadline))
    }
}

/// Most names that one look at a group goes through; more than [`GROUP_LIMIT`], because some may lead nowhere.
const GROUP_SCAN: usize = 10 * GROUP_LIMIT;

/// The marks of several servers as one: it changes when one of them does, and when they all change to the same.
fn one_of_many(before: u128, mark: [u8; 16]) -> u128 {
    before.wrapping_mul(MARK_FACTOR).wrapping_add(u128::from_be_bytes(mark))
}

/// Any odd number of many digits.
const MARK_FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

/// How long the store's mark stays after it was prolonged last: a gateway that begins within that time may tell that all
/// data was lost.
const MARK_STAYS: Duration = Duration::from_secs(24 * 3_600);

/// The room that the command for a session's facts takes, unless the prefix is long.
const FACTS_COMMAND_BYTES: usize = 128;

#[cfg(test)]
mod tests;
