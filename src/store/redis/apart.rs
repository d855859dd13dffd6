//! Creating and ending a session while its shard's slot moves from one node of a cluster to another.
//!
//! Until all of it has moved, the keys of one step may lie with two nodes, and Redis refuses the step. Then each key is written
//! by itself, in an order that never lets a session live that has ended: ending writes the tombstone before it takes the
//! record away; creating looks for a tombstone after the record stands, and takes it away again if there is one. A gateway
//! that dies half-way leaves a session whole or ended; it may be counted wrongly until it expires.

use deadpool_redis::redis::{Cmd, cmd};

use super::{Redis, keys::moment, reply, request::Request, scripts::Step};
use crate::{
    clock::Timestamp,
    store::{Name, NewSession, StoreError},
};

/// What [`super::reply::ended`] reads.
type Found = (bool, Vec<Name>);

impl Redis {
    /// What the step does that writes a session, and its answer.
    pub(super) async fn create_apart(&self, session: &NewSession, step: &Step<'_>) -> Result<i64, StoreError> {
        let name = &session.name;
        if self.is_buried(name).await? {
            return Ok(0);
        }
        let written = self.servers.ask(Request::Script(&step.on_first_key()), reply::number).await?;
        if written != 1 {
            return Ok(written);
        }
        self.join(self.keys.live(name), session).await?;
        if self.is_buried(name).await? {
            self.servers.ask(Request::Command(&self.removal(name)), reply::number).await?;
            self.servers.ask(Request::Command(&self.departure(name)), reply::number).await?;
            return Ok(0);
        }
        Ok(1)
    }

    /// What the step does that ends a session, and its answer.
    pub(super) async fn end_apart(
        &self,
        name: &Name,
        by: &[u8],
        until: Timestamp,
        step: &Step<'_>,
    ) -> Result<Found, StoreError> {
        self.bury(name, by, until, false).await?;
        let (lived, groups) = self.servers.ask(Request::Script(&step.on_first_key()), reply::ended).await?;
        let lived = self.bury(name, by, until, lived).await?;
        self.servers.ask(Request::Command(&self.departure(name)), reply::number).await?;
        Ok((lived, groups))
    }

    /// Tells whether it was that caller who found the session alive.
    async fn bury(&self, name: &Name, by: &[u8], until: Timestamp, lived: bool) -> Result<bool, StoreError> {
        let mut step = self.scripts.bury.key(self.keys.ended(name));
        step.arg(by).arg(moment(until)).arg(i32::from(lived));
        Ok(self.servers.ask(Request::Script(&step), reply::number).await? == 1)
    }

    async fn is_buried(&self, name: &Name) -> Result<bool, StoreError> {
        let mut command = cmd("EXISTS");
        command.arg(self.keys.ended(name));
        Ok(self.servers.ask(Request::Command(&command), reply::number).await? == 1)
    }

    fn removal(&self, name: &Name) -> Cmd {
        let mut command = cmd("DEL");
        command.arg(self.keys.session(name));
        command
    }

    fn departure(&self, name: &Name) -> Cmd {
        let mut command = cmd("ZREM");
        command.arg(self.keys.live(name)).arg(name.encoded());
        command
    }
}
