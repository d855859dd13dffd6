//! One request on one server: sent, read, and what came of it.

use std::time::Duration;

use deadpool_redis::redis::{Arg, Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection, cmd, pipe};
use tokio::time::{sleep, timeout};

use super::{
    connections::{Connections, Lent, PACE},
    reply::{self, Failure, Remedy},
    scripts::Step,
};
use crate::{random, store::StoreError};

/// Something to ask Redis; all of it may be asked twice.
#[derive(Clone, Copy)]
pub(super) enum Request<'a> {
    Command(&'a Cmd),
    Script(&'a Step<'a>),
    Pipeline(&'a Pipeline),
}

/// How an answer is read.
pub(super) type Read<T> = fn(Value) -> Result<T, StoreError>;

impl<'a> Request<'a> {
    /// The key by which a cluster finds the node to ask; nothing for a command without one.
    pub(super) fn key(self) -> &'a [u8] {
        match self {
            Self::Command(command) => key(command),
            Self::Script(step) => step.first_key(),
            Self::Pipeline(pipeline) => pipeline.cmd_iter().next().map(key).unwrap_or_default(),
        }
    }

    async fn send(self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Self::Command(command) => command.query_async(connection).await,
            Self::Script(step) => step.invoke(connection).await,
            Self::Pipeline(pipeline) => pipeline.query_async(connection).await,
        }
    }

    /// Sends it to a node that a slot is on its way to. The permission holds for the next command on the connection, so both
    /// go in one piece: others share it.
    async fn send_asking(self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Self::Command(command) => asking(command, connection).await,
            Self::Script(step) => match asking(&step.by_hash(), connection).await {
                Err(error) if reply::is_unknown_script(&error) => asking(&step.in_full(), connection).await,
                outcome => outcome,
            },
            Self::Pipeline(pipeline) => pipeline.query_async(connection).await,
        }
    }
}

async fn asking(command: &Cmd, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
    let mut both = pipe();
    both.cmd("ASKING").ignore().add_command(command.clone());
    let mut answers = connection.send_packed_commands(&both, 1, 1).await?;
    answers.pop().unwrap_or(Value::Nil).extract_error()
}

fn key(command: &Cmd) -> &[u8] {
    match command.args_iter().nth(1) {
        Some(Arg::Simple(key)) => key,
        _ => &[],
    }
}

impl Connections {
    /// Asks, and once more if a new connection may help; a server that is reading its data is waited for.
    pub(super) async fn ask<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, StoreError> {
        let mut retried = false;
        loop {
            let failure = match self.attempt(request, read).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.remedy {
                Remedy::Wait => sleep(PACE).await,
                Remedy::Reconnect if !retried => retried = true,
                _ => return Err(failure.error),
            }
        }
    }

    /// Asks once.
    pub(super) async fn attempt<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, Failure> {
        let mut lent = self.lend().await?;
        let sent = request.send(&mut lent.connection).await;
        self.take(sent, lent, read).await
    }

    /// Asks once what a slot's old node said to ask here.
    pub(super) async fn attempt_asking<T>(&self, request: Request<'_>, read: Read<T>) -> Result<T, Failure> {
        let mut lent = self.lend().await?;
        let sent = request.send_asking(&mut lent.connection).await;
        self.take(sent, lent, read).await
    }

    async fn take<T>(&self, sent: RedisResult<Value>, lent: Lent, read: Read<T>) -> Result<T, Failure> {
        let answer = match sent {
            Ok(_) if self.distrusts(&lent) => return Err(reply::out_of_step()),
            Ok(answer) => answer,
            Err(error) => return Err(self.broken(reply::failure(&error), &lent)),
        };
        match read(answer) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                Box::pin(self.leave_unless_in_step(lent)).await;
                Err(Failure { error, remedy: Remedy::Reconnect })
            }
        }
    }

    /// Takes new connections from now on if one of those that there are gives answers that do not fit their questions.
    pub(super) async fn leave_if_out_of_step(&self) {
        for lent in self.live() {
            if !self.distrusts(&lent) {
                self.leave_unless_in_step(lent).await;
            }
        }
    }

    /// An answer that does not fit its question may be another's, and then so is all that comes after it on that line. A
    /// line that repeats a word is in step: what does not fit is then a value, which is no reason to leave all others'
    /// questions unanswered.
    async fn leave_unless_in_step(&self, mut lent: Lent) {
        if !is_in_step(&mut lent.connection).await {
            self.distrust(lent.newest());
        }
    }

    fn broken(&self, mut failure: Failure, lent: &Lent) -> Failure {
        if failure.remedy == Remedy::ReconnectUnlessNew && !lent.is_new() {
            failure.remedy = Remedy::Reconnect;
        }
        if failure.remedy == Remedy::Reconnect {
            self.forget(lent.newest());
        }
        failure
    }
}

async fn is_in_step(connection: &mut MultiplexedConnection) -> bool {
    let Ok(word) = random::bytes::<16>() else {
        return false;
    };
    let mut question = cmd("PING");
    question.arg(&word);
    let said = timeout(REPEATED_WITHIN, question.query_async::<Value>(connection)).await;
    matches!(said, Ok(Ok(Value::BulkString(said))) if said == word)
}

/// How soon a line that is in step repeats a word; there must be time left for another try.
const REPEATED_WITHIN: Duration = Duration::from_millis(100);
