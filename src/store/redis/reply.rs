//! Pure. What an answer of Redis means, good or bad.
//!
//! Nothing that Redis says is repeated but its error code: its texts may quote keys and values.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind, Value};

use super::{keys::EPOCH_DIGITS, whole::unmarked};
use crate::store::{Name, StoreError, StoredFacts, StoredSession, StoredSwitches, Token, Version};

/// The answer to `HMGET v f`.
pub(super) fn facts(answer: Value) -> Result<Option<StoredFacts>, StoreError> {
    match <[Value; 2]>::try_from(list(answer)?) {
        Ok([Value::Nil, Value::Nil]) => Ok(None),
        Ok([version, facts]) => Ok(Some(StoredFacts { version: version_of(&version)?, facts: whole(facts)? })),
        Err(_) => Err(garbage("a record has other parts than it should")),
    }
}

/// The answer to `HMGET v f t`.
pub(super) fn session(answer: Value) -> Result<Option<StoredSession>, StoreError> {
    match <[Value; 3]>::try_from(list(answer)?) {
        Ok([Value::Nil, Value::Nil, _]) => Ok(None),
        Ok([version, facts, tokens]) => {
            Ok(Some(StoredSession { version: version_of(&version)?, facts: whole(facts)?, tokens: whole(tokens)? }))
        }
        Err(_) => Err(garbage("a record has other parts than it should")),
    }
}

/// The record of the switches: its epoch in digits, then what is sealed. Of one that is not whole, nothing is sealed, so that
/// it opens under no key; its epoch counts, as it does for who writes after it.
pub(super) fn switches(answer: Value) -> Result<Option<StoredSwitches>, StoreError> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let record = bytes(answer)?;
    let (digits, sealed) = record.split_at_checked(EPOCH_DIGITS).ok_or_else(|| garbage(NO_EPOCH))?;
    let digits = Some(digits).filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
    let epoch = digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| garbage(NO_EPOCH))?;
    Ok(Some(StoredSwitches { epoch, sealed: unmarked(sealed.to_vec()).unwrap_or_default() }))
}

/// A whole number.
#[expect(clippy::needless_pass_by_value, reason = "answers are read by value")]
pub(super) fn number(answer: Value) -> Result<i64, StoreError> {
    match answer {
        Value::Int(number) => Ok(number),
        _ => Err(garbage("a number was expected")),
    }
}

/// 16 bytes by which something is told from another.
pub(super) fn token(answer: Value) -> Result<Token, StoreError> {
    bytes(answer)?.try_into().map(Token).map_err(|_| garbage("a mark of another length"))
}

/// The answer to `PING`.
pub(super) fn pong(answer: Value) -> Result<(), StoreError> {
    match answer {
        Value::SimpleString(answer) if answer == "PONG" => Ok(()),
        _ => Err(garbage("a ping had no pong")),
    }
}

/// The answer to a write that may have been needless.
#[expect(clippy::needless_pass_by_value, reason = "answers are read by value")]
pub(super) fn done(answer: Value) -> Result<(), StoreError> {
    match answer {
        Value::Okay | Value::Nil => Ok(()),
        _ => Err(garbage("a write was answered otherwise")),
    }
}

/// An answer that nobody reads.
#[expect(clippy::unnecessary_wraps, reason = "it stands where other answers are read")]
pub(super) fn anything(_answer: Value) -> Result<(), StoreError> {
    Ok(())
}

/// The names of a group's members.
pub(super) fn names(answer: Value) -> Result<Vec<Name>, StoreError> {
    list(answer)?.into_iter().map(name).collect()
}

/// For each of a group's members its index entry, if it lives.
pub(super) fn entries(answer: Value) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
    let optional = |value| match value {
        Value::Nil => Ok(None),
        value => bytes(value).map(Some),
    };
    list(answer)?.into_iter().map(optional).collect()
}

/// Whether the caller ended the session, and the groups that it was in.
pub(super) fn ended(answer: Value) -> Result<(bool, Vec<Name>), StoreError> {
    let Ok([now, groups]) = <[Value; 2]>::try_from(list(answer)?) else {
        return Err(garbage("ending a session was answered otherwise"));
    };
    let groups = bytes(groups)?;
    let (hashes, _) = groups.as_chunks();
    let groups = hashes.iter().copied().map(Name::new).collect();
    Ok((number(now)? == 1, groups))
}

fn name(value: Value) -> Result<Name, StoreError> {
    let hash = URL_SAFE_NO_PAD.decode(bytes(value)?).ok();
    let hash = hash.and_then(|hash| <[u8; 32]>::try_from(hash).ok());
    hash.map(Name::new).ok_or_else(|| garbage("a group has a member that is no name"))
}

/// A version as we write it: decimal, from 1, without anything before it.
fn version_of(value: &Value) -> Result<Version, StoreError> {
    let wrong = || garbage("a record has no version");
    let Value::BulkString(digits) = value else {
        return Err(wrong());
    };
    if !digits.first().is_some_and(|digit| (b'1'..=b'9').contains(digit)) {
        return Err(wrong());
    }
    let digits = str::from_utf8(digits).map_err(|_| wrong())?;
    digits.parse().map(Version).map_err(|_| wrong())
}

fn bytes(value: Value) -> Result<Vec<u8>, StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::Nil => Err(garbage("a record lacks a part")),
        _ => Err(garbage("bytes were expected")),
    }
}

/// A part of a record, all of it.
fn whole(value: Value) -> Result<Vec<u8>, StoreError> {
    unmarked(bytes(value)?).ok_or_else(|| garbage("a part of a record was cut, or is not ours"))
}

fn list(value: Value) -> Result<Vec<Value>, StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(garbage("a list was expected")),
    }
}

fn garbage(what: &str) -> StoreError {
    StoreError::Garbage(what.to_owned())
}

/// An error, and what may help against it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: StoreError,
    pub(super) remedy: Remedy,
}

/// What may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing that we can do.
    None,
    /// A new connection: this one is broken.
    Reconnect,
    /// A new connection, if this one is not new itself: the server may have been demoted, and another taken over.
    ReconnectUnlessNew,
    /// Patience: the server is reading its data.
    Wait,
}

/// What an error of the client library or the server means.
pub(super) fn failure(error: &RedisError) -> Failure {
    let (error, remedy) = match error.kind() {
        ErrorKind::Io => (StoreError::Unreachable(error.to_string()), Remedy::Reconnect),
        ErrorKind::Parse => (garbage("it does not speak the Redis protocol"), Remedy::Reconnect),
        ErrorKind::UnexpectedReturnType => (garbage("an answer of another kind"), Remedy::Reconnect),
        ErrorKind::AuthenticationFailed => {
            (StoreError::Refused("wrong user name or password".to_owned()), Remedy::None)
        }
        ErrorKind::Server(ServerErrorKind::BusyLoading) => (refused(error), Remedy::Wait),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::ResponseError) => {
            (refused(error), Remedy::ReconnectUnlessNew)
        }
        _ if error.code() == Some("WRONGTYPE") => (garbage("a key holds another kind of value"), Remedy::None),
        _ if error.code().is_some() => (refused(error), Remedy::None),
        _ => (StoreError::Unreachable(error.category().to_owned()), Remedy::None),
    };
    Failure { error, remedy }
}

/// An answer on a connection that was found to be out of step.
pub(super) fn out_of_step() -> Failure {
    Failure { error: garbage("answers and questions do not belong together"), remedy: Remedy::Reconnect }
}

fn refused(error: &RedisError) -> StoreError {
    let code = error.code().unwrap_or_default();
    StoreError::Refused(explained(code))
}

/// An error code, with what it means where operators meet it.
fn explained(code: &str) -> String {
    let meaning = match code {
        "BUSY" => "a script runs for too long",
        "LOADING" => "it is reading its data",
        "MASTERDOWN" => "it is a replica whose master is down",
        "MISCONF" => "it cannot write to its disk",
        "NOAUTH" => "it wants a password",
        "NOPERM" => "the user lacks a permission",
        "NOREPLICAS" => "it has too few replicas to write",
        "OOM" => "it is out of memory",
        "READONLY" => "it takes no writes",
        "WRONGPASS" => "wrong user name or password",
        _ => "",
    };
    let plain = code.len() <= MAX_CODE && code.bytes().all(|byte| byte.is_ascii_uppercase());
    match (meaning, plain && !code.is_empty()) {
        ("", true) => code.to_owned(),
        ("", false) => "an error of another kind".to_owned(),
        (meaning, _) => format!("{code}, {meaning}"),
    }
}

const NO_EPOCH: &str = "a record of the switches has no epoch";

/// Longest error code that is repeated.
const MAX_CODE: usize = 24;

#[cfg(test)]
mod tests {
    use std::io;

    use deadpool_redis::redis::parse_redis_value;

    use super::{super::whole::marked, *};

    fn part(bytes: &str) -> Value {
        Value::BulkString(marked(bytes.as_bytes()))
    }

    fn text(bytes: &str) -> Value {
        Value::BulkString(bytes.as_bytes().to_vec())
    }

    #[test]
    fn facts_are_a_version_and_bytes_or_nothing() {
        let check = |answer: Value, expected: Option<Option<u64>>| {
            let version = facts(answer.clone()).ok().map(|found| found.map(|facts| facts.version.0));
            assert_eq!(version, expected, "{answer:?}");
        };
        let pair = |version, facts| Value::Array(vec![version, facts]);
        check(pair(text("1"), part("x")), Some(Some(1)));
        check(pair(text("1"), part("")), Some(Some(1)));
        check(pair(text("1"), text("x")), None);
        check(pair(text("1"), text("")), None);
        check(pair(text("18446744073709551615"), part("x")), Some(Some(u64::MAX)));
        check(pair(Value::Nil, Value::Nil), Some(None));
        check(pair(Value::Nil, part("x")), None);
        check(pair(text("1"), Value::Nil), None);
        check(pair(text("1"), Value::Int(1)), None);
        for version in ["", "0", "01", "+1", "-1", "1.5", " 1", "1x", "\u{ff11}", "18446744073709551616"] {
            check(pair(text(version), part("x")), None);
        }
        check(pair(Value::Int(1), part("x")), None);
        check(Value::Array(vec![text("1")]), None);
        check(Value::Nil, None);
        check(Value::Okay, None);
        check(text("1"), None);
    }

    #[test]
    fn a_session_without_tokens_is_garbage() {
        let parts = vec![text("1"), part("f"), Value::Nil];
        assert!(matches!(session(Value::Array(parts)), Err(StoreError::Garbage(_))));
    }

    #[test]
    fn switches_are_an_epoch_of_20_digits_and_all_that_was_sealed() {
        let check = |record: &[u8], expected: Option<u64>| {
            let found = switches(Value::BulkString(record.to_vec())).ok().flatten();
            assert_eq!(found.map(|found| found.epoch), expected, "{record:?}");
        };
        let record = |epoch: &str, sealed: &[u8]| [epoch.as_bytes(), sealed].concat();
        check(&record("00000000000000000007", &marked(b"x")), Some(7));
        check(&record("18446744073709551615", &marked(b"")), Some(u64::MAX));
        check(&record("18446744073709551616", &marked(b"x")), None);
        check(&record("+0000000000000000007", &marked(b"x")), None);
        check(&record("0000000000000000007x", &marked(b"x")), None);
        check(&record("00000000000000000007", b"x"), Some(7));
        check(&record("00000000000000000007", b""), Some(7));
        check(b"7", None);
        check(b"", None);
        assert_eq!(switches(Value::Nil), Ok(None));
        assert!(switches(Value::Int(7)).is_err());
    }

    #[test]
    fn a_member_that_is_no_name_is_garbage() {
        let good = Name::new([7; 32]);
        let list = |member: &str| Value::Array(vec![text(member)]);
        assert_eq!(names(list(&good.encoded())), Ok(vec![good]));
        for member in ["", "short", "*", &"A".repeat(44)] {
            assert!(names(list(member)).is_err(), "{member}");
        }
    }

    #[test]
    fn the_groups_of_an_ended_session_are_read_in_whole_names() {
        let mut groups = vec![1; 32];
        groups.extend([2; 32]);
        groups.extend([3; 5]);
        let answer = Value::Array(vec![Value::Int(1), Value::BulkString(groups)]);
        let both = vec![Name::new([1; 32]), Name::new([2; 32])];
        assert_eq!(ended(answer), Ok((true, both)));
    }

    #[test]
    fn each_error_of_the_server_has_its_meaning_and_remedy() {
        let check = |line: &str, label: &str, expected: Remedy| {
            let Ok(Value::ServerError(error)) = parse_redis_value(line.as_bytes()) else {
                return assert_eq!(line, "an error");
            };
            let Failure { error, remedy } = failure(&error.into());
            assert_eq!((error.label(), remedy), (label, expected), "{line}");
            assert!(!error.to_string().contains("marker"), "{error}");
        };
        check("-OOM marker\r\n", "refused", Remedy::None);
        check("-READONLY marker\r\n", "refused", Remedy::ReconnectUnlessNew);
        check("-LOADING marker\r\n", "refused", Remedy::Wait);
        check("-NOAUTH marker\r\n", "refused", Remedy::None);
        check("-NOPERM marker\r\n", "refused", Remedy::None);
        check("-WRONGTYPE marker\r\n", "garbage", Remedy::None);
        check("-ERR unknown command marker\r\n", "refused", Remedy::ReconnectUnlessNew);
        check("-marker marker\r\n", "refused", Remedy::None);
    }

    #[test]
    fn a_broken_pipe_asks_for_a_new_connection() {
        let error = io::Error::from(io::ErrorKind::BrokenPipe);
        let failure = failure(&error.into());
        assert_eq!(failure.error.label(), "unreachable");
        assert_eq!(failure.remedy, Remedy::Reconnect);
    }

    #[test]
    fn only_plain_codes_are_repeated() {
        let check = |code, expected: &str| assert_eq!(explained(code), expected);
        check("OOM", "OOM, it is out of memory");
        check("NEWKIND", "NEWKIND");
        check("s3cret", "an error of another kind");
        check("", "an error of another kind");
        check("AVERYVERYVERYVERYLONGCODE", "an error of another kind");
    }
}
