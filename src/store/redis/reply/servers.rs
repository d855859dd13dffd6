//! Pure. What sentinels and clusters say of servers.

use deadpool_redis::redis::Value;

use super::{
    super::{
        client::Host,
        slots::{Redirect, SLOTS, Shard},
    },
    Failure, Remedy, bytes, decimal, garbage, list,
};
use crate::store::StoreError;

/// Whom a sentinel names as the server that takes writes.
pub(in crate::store::redis) fn named(answer: Value) -> Result<Host, Failure> {
    let missing = || elsewhere("the sentinel knows no master of that name");
    let failed = |error| Failure { error, remedy: Remedy::Reconnect };
    let Value::Array(parts) = answer else {
        return Err(missing());
    };
    let [name, port] = <[Value; 2]>::try_from(parts).map_err(|_| missing())?;
    let name = String::from_utf8(bytes(name).map_err(failed)?).map_err(|_| missing())?;
    let port = decimal(port).ok().and_then(|port| u16::try_from(port).ok()).ok_or_else(missing)?;
    Ok(Host { name, port })
}

/// The answer to `ROLE`, of a server that takes writes.
pub(in crate::store::redis) fn primary(answer: Value) -> Result<(), Failure> {
    let role = match answer {
        Value::Array(parts) => parts.into_iter().next(),
        _ => None,
    };
    match role {
        Some(Value::BulkString(role)) if role == b"master" => Ok(()),
        _ => Err(elsewhere("whom the sentinel names is not a master")),
    }
}

/// The answer to `CLUSTER SLOTS`; a node without a name is the one that was asked.
pub(in crate::store::redis) fn shards(answer: Value, asked: &Host) -> Result<Vec<Shard>, StoreError> {
    list(answer)?.into_iter().map(|range| shard(range, asked)).collect()
}

fn shard(range: Value, asked: &Host) -> Result<Shard, StoreError> {
    let wrong = || garbage("a cluster's slots were expected");
    let mut parts = list(range)?.into_iter();
    let mut slot = || match parts.next() {
        Some(Value::Int(slot)) => u16::try_from(slot).ok().filter(|slot| *slot < SLOTS).ok_or_else(wrong),
        _ => Err(wrong()),
    };
    let (first, last) = (slot()?, slot()?);
    let mut hosts = parts.map(|node| host(node, asked));
    let primary = hosts.next().ok_or_else(wrong)??;
    Ok(Shard { first, last, primary, replicas: hosts.collect::<Result<_, _>>()? })
}

fn host(node: Value, asked: &Host) -> Result<Host, StoreError> {
    let wrong = || garbage("a cluster's node was expected");
    let mut parts = list(node)?.into_iter();
    let name = match parts.next() {
        Some(Value::BulkString(name)) if name == b"?" => return Err(wrong()),
        Some(Value::BulkString(name)) if !name.is_empty() => String::from_utf8(name).map_err(|_| wrong())?,
        Some(Value::BulkString(_) | Value::Nil) => asked.name.clone(),
        _ => return Err(wrong()),
    };
    match parts.next() {
        Some(Value::Int(port)) => Ok(Host { name, port: u16::try_from(port).map_err(|_| wrong())? }),
        _ => Err(wrong()),
    }
}

fn elsewhere(why: &str) -> Failure {
    Failure { error: StoreError::Unreachable(why.to_owned()), remedy: Remedy::Reconnect }
}

/// A host and port as a node names them.
pub(super) fn redirect(host: &str, asking: bool) -> Option<Redirect> {
    let (name, port) = host.rsplit_once(':')?;
    let host = Host { name: name.to_owned(), port: port.parse().ok()? };
    (name != "?").then_some(Redirect { host, asking })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &str) -> Value {
        Value::BulkString(bytes.as_bytes().to_vec())
    }

    fn at(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn a_sentinel_names_a_host_and_a_port_or_nobody() {
        let check =
            |answer: Value, expected: Option<Host>| assert_eq!(named(answer.clone()).ok(), expected, "{answer:?}");
        check(Value::Array(vec![text("10.0.0.1"), text("6379")]), Some(at("10.0.0.1", 6_379)));
        check(Value::Nil, None);
        check(Value::Array(vec![text("10.0.0.1")]), None);
        check(Value::Array(vec![text("10.0.0.1"), text("70000")]), None);
        check(Value::Array(vec![text("10.0.0.1"), Value::Nil]), None);
        check(Value::Okay, None);
    }

    #[test]
    fn only_who_says_so_takes_writes() {
        assert!(primary(Value::Array(vec![text("master"), Value::Int(0)])).is_ok());
        for role in [text("slave"), text("sentinel"), Value::Nil, Value::Int(1)] {
            assert!(primary(Value::Array(vec![role])).is_err());
        }
        assert!(primary(Value::Array(Vec::new())).is_err() && primary(text("master")).is_err());
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
    }

    fn node(name: Value, port: i64) -> Value {
        Value::Array(vec![name, Value::Int(port), text("id")])
    }

    #[test]
    fn slots_have_a_primary_and_perhaps_replicas() {
        let nodes = vec![node(text("a"), 1), node(text("b"), 2)];
        let expected = Shard { first: 0, last: 16_383, primary: at("a", 1), replicas: vec![at("b", 2)] };
        assert_eq!(shards(Value::Array(vec![range(0, 16_383, nodes)]), &at("here", 9)), Ok(vec![expected]));
        for unnamed in [text(""), Value::Nil] {
            let found = shards(Value::Array(vec![range(1, 1, vec![node(unnamed, 7)])]), &at("here", 9)).ok();
            assert_eq!(found.and_then(|mut found| found.pop()).map(|shard| shard.primary), Some(at("here", 7)));
        }
    }

    #[test]
    fn slots_that_there_cannot_be_are_garbage() {
        let good = || vec![node(text("a"), 1)];
        for wrong in [
            range(0, 16_384, good()),
            range(-1, 1, good()),
            range(0, 1, Vec::new()),
            range(0, 1, vec![node(text("?"), 1)]),
            range(0, 1, vec![node(text("a"), 70_000)]),
            range(0, 1, vec![Value::Int(1)]),
            Value::Int(1),
        ] {
            assert!(shards(Value::Array(vec![wrong.clone()]), &at("here", 9)).is_err(), "{wrong:?}");
        }
        assert!(shards(Value::Nil, &at("here", 9)).is_err());
    }

    #[test]
    fn a_redirection_has_a_port_and_perhaps_a_host() {
        let check = |host: &str, expected: Option<Host>| assert_eq!(redirect(host, true).map(|to| to.host), expected);
        check("10.0.0.1:7000", Some(at("10.0.0.1", 7_000)));
        check("::1:7000", Some(at("::1", 7_000)));
        check(":7000", Some(at("", 7_000)));
        check("?:7000", None);
        check("a", None);
        check("a:x", None);
    }
}
