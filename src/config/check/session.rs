//! Pure. Sessions: cookie, lifetimes, binding, keys; and the time a sign-in may take.

use std::time::Duration;

use super::{HOUR, LONGEST_COOKIE, SECOND, count, duration, secret};
use crate::{
    config::{
        problem::{Checked, Path, Problems},
        raw::{
            SessionTable, SignInTable,
            leaf::{File, SameSite},
            node::Field,
        },
    },
    oidc::transaction,
    seal::{KeyRing, MasterKey},
    secret::Secret,
    session::{
        Lifetimes,
        binding::{BindingRules, Strictness},
        cache, cookie,
        keeper::{self, LONGEST_GRACE},
    },
};

/// Checks cookie, lifetimes, binding and keys.
pub(super) fn session(table: &SessionTable, plain: Checked<bool>, problems: &mut Problems) -> Checked<keeper::Config> {
    let name = cookie_name(&table.cookie_name, problems);
    let strict = table.same_site.or(SameSite::Lax).map(|same_site| same_site == SameSite::Strict);
    let lifetimes = lifetimes(table, problems);
    let keys = keys(table, problems);
    let cache = cache(table, problems);
    let grace = duration(&table.store_outage_grace, SECOND * 10, Duration::ZERO..=LONGEST_GRACE, problems);
    let cookie = cookie::Config { name: name?, strict: strict?, plain: plain? };
    Ok(keeper::Config { lifetimes: lifetimes?, cookie, keys: keys?, cache: cache?, store_outage_grace: grace? })
}

/// Checks the time a sign-in may take.
pub(super) fn transaction(
    table: &SignInTable,
    plain: Checked<bool>,
    problems: &mut Problems,
) -> Checked<transaction::Config> {
    let lifetime = duration(&table.lifetime, SECOND * 600, SECOND..=HOUR, problems)?;
    Ok(transaction::Config { lifetime, plain: plain? })
}

fn cookie_name(field: &Field<String>, problems: &mut Problems) -> Checked<String> {
    let name = field.or("portcullis".to_owned())?;
    // RFC 6265 section 4.1.1: a name is a token of RFC 9110 section 5.6.2.
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let message = if name.len() > COOKIE_NAME_BYTES || !name.bytes().all(token) {
        format!("must be at most {COOKIE_NAME_BYTES} letters, digits and signs that a cookie's name may have")
    } else if name.starts_with("__") {
        "must be without its prefix: __Host- or __Secure- is put in front of it".to_owned()
    } else {
        return Ok(name);
    };
    Err(problems.add(&field.path, message))
}

fn lifetimes(table: &SessionTable, problems: &mut Problems) -> Checked<Lifetimes> {
    let absolute = duration(&table.absolute_lifetime, HOUR * 4, SECOND..=LONGEST_COOKIE, problems);
    let idle = idle_timeout(table, absolute, problems);
    let address = table.bind_address.or(Strictness::Log);
    let exact_address = table.bind_exact_address.or(false);
    let user_agent = table.bind_user_agent.or(Strictness::Strict);
    let binding = BindingRules { address: address?, exact_address: exact_address?, user_agent: user_agent? };
    Ok(Lifetimes { absolute: absolute?, idle: idle?, binding })
}

fn cache(table: &SessionTable, problems: &mut Problems) -> Checked<cache::Config> {
    let entries = count(&table.cache_entries, cache::DEFAULT_ENTRIES, 0..=MOST_CACHED, problems);
    let bytes = count(&table.cache_bytes, cache::DEFAULT_BYTES, LEAST_CACHE_BYTES..=MOST_CACHE_BYTES, problems);
    Ok(cache::Config { entries: entries?, bytes: bytes? })
}

fn idle_timeout(table: &SessionTable, absolute: Checked<Duration>, problems: &mut Problems) -> Checked<Duration> {
    let idle = duration(&table.idle_timeout, SECOND * 30 * 60, SECOND..=LONGEST_COOKIE, problems)?;
    if idle <= absolute? {
        return Ok(idle);
    }
    let message = format!("must not be longer than {}", table.absolute_lifetime.path);
    Err(problems.add(&table.idle_timeout.path, message))
}

fn keys(table: &SessionTable, problems: &mut Problems) -> Checked<KeyRing> {
    let current = key(&table.key, &table.key_file, problems);
    if matches!(current, Ok(None)) {
        problems.add(&table.key.path, MISSING);
    }
    let new = key(&table.key_new, &table.key_new_file, problems);
    let old = key(&table.key_old, &table.key_old_file, problems);
    let all = [(&table.key.path, &current), (&table.key_new.path, &new), (&table.key_old.path, &old)];
    refuse_twins(&all.map(|(path, key)| (path, key.as_ref().ok().and_then(Option::as_ref))), problems);
    let (new, old) = (new?, old?);
    let current = current?.ok_or_else(|| problems.add(&table.key.path, MISSING))?;
    let ring = KeyRing::new(&current, new.as_slice());
    Ok(match old {
        Some(old) => ring.after(&old),
        None => ring,
    })
}

fn key(field: &Field<Secret>, file: &Field<File>, problems: &mut Problems) -> Checked<Option<MasterKey>> {
    let Some(text) = secret(field, file, problems)? else {
        return Ok(None);
    };
    let (path, lead) = if file.is_present() { (&file.path, "names a key that ") } else { (&field.path, "") };
    match MasterKey::parse(text.reveal()) {
        Ok(key) if !repeats(&key) => Ok(Some(key)),
        Ok(_) => Err(problems.add(path, format!("{lead}repeats itself: portcullis keygen makes a random one"))),
        Err(error) => Err(problems.add(path, format!("{lead}{error}"))),
    }
}

/// Whether a key is one short pattern again and again, such as all zeros.
fn repeats(key: &MasterKey) -> bool {
    let text = key.to_base64();
    let mut groups = text.as_bytes().chunks_exact(4).take(10);
    let first = groups.next();
    groups.all(|group| Some(group) == first)
}

fn refuse_twins(keys: &[(&Path, Option<&MasterKey>)], problems: &mut Problems) {
    for (position, (path, key)) in keys.iter().enumerate() {
        let same = |other: &MasterKey| key.is_some_and(|key| *key.to_base64() == *other.to_base64());
        let twin = keys[..position].iter().find(|(_, other)| other.is_some_and(same));
        if let Some((other, _)) = twin {
            problems.add(path, format!("is the same key as {other}"));
        }
    }
}

const MISSING: &str = "is missing: portcullis keygen makes one, and SESSION_ENCRYPTION_KEY may hold it";
/// The longest cookie name, without its prefix.
const COOKIE_NAME_BYTES: usize = 64;

/// Most sessions that one process may keep opened.
const MOST_CACHED: usize = 10_000_000;
/// Least bytes that they may take: room for one that is as large as a session may be, in each part of the cache.
const LEAST_CACHE_BYTES: usize = 1024 * 1024;
/// Most bytes that they may take.
const MOST_CACHE_BYTES: usize = 16 * 1024 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::{KEY, OTHER_KEY, Settings};

    fn check(session: &str, expected: &str) {
        let settings = Settings::valid().with(&format!("[session]\n{session}"));
        assert_eq!(settings.problems(), expected, "{session}");
    }

    #[test]
    fn keys_are_32_random_bytes_each_another() {
        check(&format!("key = '{OTHER_KEY}'"), "");
        check(&format!("key_new = '{OTHER_KEY}'"), "");
        check("key = 'c2hvcnQ='", "session.key: must decode to exactly 32 bytes, not 5");
        check("key = '!'", "session.key: is not base64");
        let zeros = MasterKey::from_bytes([0; 32]).to_base64();
        let pattern = "session.key: repeats itself: portcullis keygen makes a random one";
        check(&format!("key = '{}'", *zeros), pattern);
        check(&format!("key_old = '{KEY}'"), "session.key_old: is the same key as session.key");
        check(
            &format!("key_new = '{OTHER_KEY}'\nkey_old = '{}'", OTHER_KEY.trim_end_matches('=')),
            "session.key_old: is the same key as session.key_new",
        );
    }

    #[test]
    fn a_key_is_not_optional() {
        assert_eq!(Settings::valid().without("session.key").problems(), format!("session.key: {MISSING}"));
    }

    #[test]
    fn lifetimes_fit_into_each_other() {
        check("idle_timeout = '4h'", "");
        check("idle_timeout = '5h'", "session.idle_timeout: must not be longer than session.absolute_lifetime");
        check("absolute_lifetime = '10m'", "session.idle_timeout: must not be longer than session.absolute_lifetime");
        check("absolute_lifetime = '2 years'", "session.absolute_lifetime: must be between 1s and 400 days");
        let unit = "must be a duration with its unit, such as \"90s\", \"30m\" or \"1h 30m\"";
        check(
            "absolute_lifetime = 'soon'\nidle_timeout = '30'",
            &format!("session.absolute_lifetime: {unit}\nsession.idle_timeout: {unit}"),
        );
        check("idle_timeout = 30", "session.idle_timeout: must be a text in quotes");
    }

    #[test]
    fn cookie_names_are_tokens_without_a_prefix() {
        let token = "session.cookie_name: must be at most 64 letters, digits and signs that a cookie's name may have";
        check("cookie_name = 'sid'", "");
        check("cookie_name = 'a b'", token);
        check("cookie_name = 'a;b'", token);
        check("cookie_name = 'ü'", token);
        check("cookie_name = ''", "session.cookie_name: must not be empty");
        check(
            "cookie_name = '__Host-sid'",
            "session.cookie_name: must be without its prefix: __Host- or __Secure- is put in front of it",
        );
    }

    #[test]
    fn choices_are_words() {
        check("same_site = 'none'", "session.same_site: must be one of \"lax\", \"strict\"");
        check("bind_address = 'strict'\nbind_exact_address = true\nbind_user_agent = 'off'", "");
        check("bind_user_agent = true", "session.bind_user_agent: must be a text in quotes");
    }

    #[test]
    fn only_http_in_development_has_plain_cookies() {
        let plain = |text: &str| Settings::valid().with(text).config().gateway.session.cookie.plain;
        assert!(!plain(""));
        assert!(!plain("mode = 'development'\n[site.main]\npublic_url = 'https://localhost'"));
        assert!(plain("mode = 'development'\n[site.main]\npublic_url = 'http://localhost'"));
    }

    #[test]
    fn sign_ins_end_some_time() {
        let settings = Settings::valid().with("[sign_in]\nlifetime = '2h'");
        assert_eq!(settings.problems(), "sign_in.lifetime: must be between 1s and 1h");
    }
}
