//! The atomic steps that Redis runs for us, each a Lua file beside this one.
//!
//! All keys of one step carry the same hash tag, so that a cluster keeps them together. Each step may be repeated.

use deadpool_redis::redis::{Cmd, RedisResult, ToRedisArgs, Value, aio::MultiplexedConnection};

use super::reply;

/// The steps, with their hashes worked out once.
pub(super) struct Scripts {
    pub(super) create: Script,
    pub(super) swap: Script,
    pub(super) end: Script,
    pub(super) bury: Script,
    pub(super) join: Script,
    pub(super) members: Script,
    pub(super) mark: Script,
    pub(super) lock: Script,
    pub(super) unlock: Script,
    pub(super) window: Script,
    pub(super) throw: Script,
    pub(super) beat: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            create: Script::new(concat!(include_str!("now.lua"), include_str!("set.lua"), include_str!("create.lua"))),
            swap: Script::new(include_str!("swap.lua")),
            end: Script::new(concat!(include_str!("now.lua"), include_str!("tombstone.lua"), include_str!("end.lua"))),
            bury: Script::new(concat!(
                include_str!("now.lua"),
                include_str!("tombstone.lua"),
                include_str!("bury.lua")
            )),
            join: Script::new(concat!(include_str!("now.lua"), include_str!("set.lua"), include_str!("join.lua"))),
            members: Script::new(concat!(include_str!("now.lua"), include_str!("members.lua"))),
            mark: Script::new(include_str!("mark.lua")),
            lock: Script::new(include_str!("lock.lua")),
            unlock: Script::new(include_str!("unlock.lua")),
            window: Script::new(concat!(include_str!("now.lua"), include_str!("window.lua"))),
            throw: Script::new(include_str!("throw.lua")),
            beat: Script::new(include_str!("beat.lua")),
        }
    }
}

/// A script, and the hash by which a server that knows it is told to run it.
pub(super) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        let hash = deadpool_redis::redis::Script::new(code).get_hash().to_owned();
        Self { code, hash }
    }

    /// A step of this script on that key.
    pub(super) fn key(&self, key: String) -> Step<'_> {
        Step { script: self, keys: vec![key.into_bytes()], values: Vec::new() }
    }
}

/// A script with its keys and values.
pub(super) struct Step<'a> {
    script: &'a Script,
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Step<'_> {
    /// One more key.
    pub(super) fn key(&mut self, key: String) -> &mut Self {
        self.keys.push(key.into_bytes());
        self
    }

    /// One more value.
    pub(super) fn arg(&mut self, value: impl ToRedisArgs) -> &mut Self {
        value.write_redis_args(&mut self.values);
        self
    }

    /// The same step without its other keys.
    pub(super) fn on_first_key(&self) -> Self {
        Self { script: self.script, keys: self.keys.iter().take(1).cloned().collect(), values: self.values.clone() }
    }

    pub(super) fn first_key(&self) -> &[u8] {
        self.keys.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// Runs it; a server that does not know the script yet is given it along. To load it first would be one more command
    /// that a user must be allowed, and in a cluster one more node that must be there.
    pub(super) async fn invoke(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self.by_hash().query_async(connection).await {
            Err(error) if reply::is_unknown_script(&error) => self.in_full().query_async(connection).await,
            outcome => outcome,
        }
    }

    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let bytes: usize = self.keys.iter().chain(&self.values).map(Vec::len).sum();
        let parts = self.keys.len() + self.values.len() + 3;
        let mut command = Cmd::with_capacity(parts, bytes + verb.len() + script.len() + KEY_COUNT_BYTES);
        command.arg(verb).arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.values);
        command
    }
}

/// Room for the number of keys.
const KEY_COUNT_BYTES: usize = 4;
