//! Asks the servers what they say of themselves, for `portcullis check --online`. A user of the gateway's own need not be
//! allowed to: what is refused is told as not seen.

use deadpool_redis::redis::{Cmd, cmd};

use super::{
    Address, Redis,
    durability::{Answers, Inspected, Standby, inspected},
    reply,
    request::{Read, Request},
    servers::Place,
};
use crate::store::StoreError;

impl Redis {
    /// See [`crate::store::Store::inspect`].
    #[expect(clippy::missing_errors_doc, reason = "the errors are described on Store")]
    pub async fn inspect(&self) -> Result<Vec<Inspected>, StoreError> {
        self.ping().await?;
        let standby = match self.address {
            Address::Sentinel(_) | Address::Cluster { .. } => Standby::Meant,
            Address::Unix(_) | Address::Tcp { .. } | Address::Tls { .. } => Standby::None,
        };
        let places = self.within(|| self.servers.places(&self.keys)).await?;
        let mut all = Vec::with_capacity(places.len());
        for place in &places {
            let named = place.host().map_or_else(|| self.address.to_string(), ToString::to_string);
            let answers = Answers {
                info: self.told(place, &cmd("INFO"), reply::text).await?,
                appendfsync: self.told(place, &setting("appendfsync"), reply::setting).await?,
                min_replicas: self.told(place, &setting("min-replicas-to-write"), reply::setting).await?,
            };
            all.push(inspected(&named, &answers, standby));
        }
        Ok(all)
    }

    async fn told(&self, place: &Place<'_>, command: &Cmd, read: Read<String>) -> Result<Option<String>, StoreError> {
        match self.within(|| place.ask(Request::Command(command), read)).await {
            Ok(told) => Ok(Some(told)),
            Err(StoreError::Refused(_) | StoreError::Garbage(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn setting(name: &str) -> Cmd {
    let mut command = cmd("CONFIG");
    command.arg("GET").arg(name);
    command
}
