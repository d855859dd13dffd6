//! Reading the settings: the file, the environment, and the files that the settings name. Rules are in `check`.

use std::{
    env,
    fs::File,
    io::{self, Read},
    path::Path,
};

use toml::Table;
use zeroize::Zeroizing;

use super::{
    Config,
    check::check,
    environment::Environment,
    given::Given,
    problem::{Checked, Path as Key, Problems},
    raw::{Raw, node::Node},
};

/// Reads the settings from a file and the environment.
///
/// # Errors
/// All [`Problems`] there are; only a file that cannot be read, or is no TOML, hides others.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Problems> {
    match read_bounded(path, SETTINGS_BYTES) {
        Ok(bytes) => from_text(&path.display().to_string(), &bytes, environment, &read_named),
        Err(message) => {
            let mut problems = Problems::default();
            problems.about(path.display(), message);
            Err(problems)
        }
    }
}

/// Reads the settings from a text that goes by that name in problems; `read` brings the files that it names, or says
/// why it cannot, to be read after "names a file that".
///
/// # Errors
/// All [`Problems`] there are; only a text that is no TOML hides others.
pub fn from_text(name: &str, text: &[u8], environment: &Environment, read: Reader<'_>) -> Result<Config, Problems> {
    let mut problems = Problems::default();
    match parse(name, text, &mut problems) {
        Ok(table) => from_table(table, environment, read, problems),
        Err(_) => Err(problems),
    }
}

/// What brings a file that the settings name.
pub type Reader<'a> = &'a dyn Fn(&Path) -> Result<Zeroizing<Vec<u8>>, String>;

/// The error's own text would show the line it is about, which may hold a secret.
fn parse(name: &str, bytes: &[u8], problems: &mut Problems) -> Checked<Table> {
    let text = str::from_utf8(bytes).map_err(|_| problems.about(name, "is not UTF-8"))?;
    text.parse::<Table>().map_err(|error| {
        let (line, column) = position(text, error.span().map_or(0, |span| span.start));
        problems.about(format!("{name}:{line}:{column}"), format!("is not TOML: {}", error.message()))
    })
}

pub(super) fn from_table(
    mut table: Table,
    environment: &Environment,
    read: Reader<'_>,
    mut problems: Problems,
) -> Result<Config, Problems> {
    environment.substitute(&mut table, &mut problems);
    let mut origins = environment.apply_overrides(&mut table, &Raw::keys(), &mut problems);
    origins.extend(environment.apply_usual_names(&mut table));
    let mut given = Given::of(&table);
    let mut raw = Raw::read(Ok(Some(table.into())), Key::root(), &mut problems);
    read_files(&mut raw, read, &mut problems);
    given.read_files(&mut raw);
    let config = check(&raw, given, &mut problems);
    for origin in origins {
        problems.trace(&origin.path, &origin.variable);
    }
    match config {
        Ok(config) if problems.is_empty() => Ok(config),
        _ => Err(problems),
    }
}

fn read_files(raw: &mut Raw, read: Reader<'_>, problems: &mut Problems) {
    for field in raw.files() {
        let Some(mut file) = field.given().cloned() else {
            continue;
        };
        match read(&file.path) {
            Ok(contents) => {
                file.contents = contents;
                field.fill(file);
            }
            Err(message) => {
                let noted = problems.add(&field.path, format!("names a file that {message}"));
                field.spoil(noted);
            }
        }
    }
}

pub(super) fn read_named(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    read_bounded(path, NAMED_FILE_BYTES)
}

fn read_bounded(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let file = File::open(path).map_err(cannot)?;
    let mut contents = Zeroizing::new(Vec::new());
    file.take(limit + 1).read_to_end(&mut contents).map_err(cannot)?;
    if contents.len() as u64 > limit {
        return Err(format!("is longer than {limit} bytes"));
    }
    Ok(contents)
}

/// Line and column of a byte, both from one.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let mut environment = Self::default();
        for (name, value) in env::vars_os() {
            environment.add(name.to_string_lossy().into_owned(), value.into_string().ok());
        }
        environment
    }
}

/// The longest settings file.
const SETTINGS_BYTES: u64 = 1024 * 1024;
/// The longest file that the settings name: a secret, or certificates.
const NAMED_FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::fs;

    use proptest::prelude::*;
    use toml::Value;

    use super::*;
    use crate::config::{
        fixture::{KEY, Settings},
        raw::node::{ANY_NAME, Kind, MEMBER},
    };

    #[test]
    fn all_problems_come_at_once() {
        let settings = Settings::of(
            "mode = 'production'\nmood = 1\n[listener.nginx]\nkind = 'nginx'\naddress = '0.0.0.0:1'\n[site.main]\npublic_url = 'http://a.example'\n\
             [session]\nkey = 'c2hvcnQ='\nidle_timeout = '9h'\n[policy.all]\nrules = [{ allow = true }]\n[provider.main]\nissuer = 'http://op.example'",
        );
        assert_eq!(
            settings.problems(),
            "listener.nginx.trusted_proxies: is missing: others than this machine can connect, so name those to be believed\n\
             listener.ops: is missing: one listener must be of kind \"ops\"\n\
             mood: is not a setting; did you mean mode?\n\
             policy.all.rules[0]: has no condition on the user; a rule for everybody signed in says everyone = true\n\
             provider.main.client_id: is missing\n\
             provider.main.client_secret: is missing; a public client says provider.main.authentication = \"none\"\n\
             provider.main.issuer: must be https outside development mode\n\
             session.idle_timeout: must not be longer than session.absolute_lifetime\n\
             session.key: must decode to exactly 32 bytes, not 5\n\
             site.main.public_url: must be https outside development mode"
        );
    }

    #[test]
    fn every_key_of_the_wrong_type_is_told_once_under_its_own_path() {
        for key in Raw::keys() {
            let settings = Settings::valid().with(&at(&key.path, "1979-05-27"));
            let path = key.path.join(".").replace(ANY_NAME, "main").replace(&format!(".{MEMBER}"), "[0]");
            let problems = settings.problems();
            let told = problems.lines().filter(|line| line.starts_with(&format!("{path}: must be "))).count();
            assert_eq!(told, 1, "{path}\n{problems}");
        }
    }

    /// TOML that has `value` at a key.
    fn at(path: &[&str], value: &str) -> String {
        let (first, rest) = path.split_first().unwrap();
        let below = rest.iter().rev().fold(value.to_owned(), |below, step| match *step {
            MEMBER => format!("[{below}]"),
            ANY_NAME => format!("{{ main = {below} }}"),
            step => format!("{{ {step} = {below} }}"),
        });
        format!("{first} = {below}")
    }

    #[test]
    fn syntax_errors_are_told_with_their_place() {
        let check = |text: &[u8], expected: &str| {
            let mut problems = Problems::default();
            assert!(parse("x.toml", text, &mut problems).is_err());
            assert_eq!(problems.to_string(), expected);
        };
        check(b"mode = 'production'\n[session\n", "x.toml:2:9: is not TOML: unclosed table, expected `]`");
        check(b"a = 1\na = 2", "x.toml:2:1: is not TOML: duplicate key");
        check(b"\xff", "x.toml: is not UTF-8");
    }

    #[test]
    fn secrets_come_from_files_without_their_last_line_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let check = |text: &str, expected: &str| {
            let key = file("key", text);
            let settings = Settings::valid().without("session.key").with(&format!("[session]\nkey_file = '{key}'"));
            assert_eq!(settings.problems(), expected, "{text:?}");
        };
        check(KEY, "");
        check(&format!("{KEY}\n"), "");
        check(&format!("{KEY}\r\n"), "");
        check("\n", "session.key_file: names a file that is empty");
        check("c2hvcnQ=", "session.key_file: names a key that must decode to exactly 32 bytes, not 5");
        let twice = Settings::valid().with(&format!("[session]\nkey_file = '{}'", file("key", KEY)));
        assert_eq!(twice.problems(), "session.key: is given twice: here and by session.key_file");
    }

    #[test]
    fn files_that_cannot_be_read_are_problems() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.toml");
        let problems = load(&missing, &Environment::default()).unwrap_err();
        assert_eq!(
            problems.to_string(),
            format!("{}: cannot be read: No such file or directory (os error 2)", missing.display())
        );
        let settings = Settings::valid().without("session.key").with("[session]\nkey_file = '/nonexistent'");
        assert_eq!(
            settings.problems(),
            "session.key_file: names a file that cannot be read: No such file or directory (os error 2)"
        );
        let long = folder.path().join("long.toml");
        fs::write(&long, vec![b'#'; 1024 * 1024 + 1]).unwrap();
        let problems = load(&long, &Environment::default()).unwrap_err();
        assert_eq!(problems.to_string(), format!("{}: is longer than 1048576 bytes", long.display()));
    }

    const MARKER: &str = "m4rk3r";

    #[test]
    fn no_message_shows_a_value_of_any_key() {
        for key in Raw::keys() {
            for value in [
                format!("'{MARKER}'"),
                format!("'redis://{MARKER}:{MARKER}@{MARKER}/{MARKER}?{MARKER}'"),
                format!("'https://{MARKER}@*.example/{MARKER}'"),
                format!("'${{{MARKER}'"),
                format!("'${{ {MARKER} }}'"),
                format!("['{MARKER}', '{MARKER}']"),
                format!("[{{ {MARKER}_ = '{MARKER}' }}]").replace(&format!("{MARKER}_"), "path"),
            ] {
                let problems = Settings::valid().with(&at(&key.path, &value)).problems();
                assert!(!problems.contains(MARKER), "{:?} {value}\n{problems}", key.path);
            }
        }
    }

    #[test]
    fn no_message_shows_a_secret_from_the_environment() {
        let variable = |key: &[&str]| format!("PORTCULLIS_{}", key.join("__").replace(ANY_NAME, "main").to_uppercase());
        let mut settings =
            Settings::of("session = 3\n[provider.main]\nauthentication = 'none'\n[store]\nkind = 'redis'");
        let secrets = Raw::keys().into_iter().filter(|key| key.kind == Kind::Secret);
        for key in secrets {
            settings = settings.env(&variable(&key.path), MARKER);
        }
        for name in ["SESSION_ENCRYPTION_KEY", "SESSION_ENCRYPTION_KEY_NEW", "SESSION_ENCRYPTION_KEY_OLD", "REDIS_URL"]
        {
            settings = settings.env(name, MARKER);
        }
        let problems = settings.problems();
        assert!(problems.contains("(set by PORTCULLIS_STORE__REDIS__URL)"), "{problems}");
        assert!(!problems.contains(MARKER), "{problems}");
    }

    #[test]
    fn no_message_shows_the_line_of_a_syntax_error() {
        for line in [
            "key = 'm4rk3r",
            "key = m4rk3r",
            "key = \"m4rk3r\\q\"",
            "key = \"\"\"m4rk3r",
            "key 'm4rk3r'",
            "key = 'a' 'm4rk3r'",
            "key = [m4rk3r",
            "key = 1\nkey = 'm4rk3r'",
        ] {
            let mut problems = Problems::default();
            assert!(parse("x.toml", format!("[session]\n{line}\n").as_bytes(), &mut problems).is_err(), "{line}");
            assert!(!problems.to_string().contains(MARKER), "{problems}");
        }
    }

    #[test]
    fn what_is_checked_shows_no_secret_when_it_is_printed() {
        let config = Settings::valid()
            .with("[store]\nkind = 'redis'\n[store.redis]\nurl = 'redis://u:m4rk3r@cache'")
            .with("[provider.main]\nclient_secret = 'm4rk3r'")
            .config();
        let printed = format!("{config:?}");
        assert!(!printed.contains(MARKER) && !printed.contains(KEY), "{printed}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<String>().prop_map(Value::from),
            "[a-z0-9.:/*@$\\{\\}_-]{0,40}".prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4)
                    .prop_map(|map| Value::Table(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_settings_or_problems(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut problems = Problems::default();
            if let Ok(table) = parse("x.toml", &bytes, &mut problems) {
                prop_assert!(from_table(table, &Environment::default(), &read_named, problems).is_err());
            } else {
                prop_assert!(!problems.is_empty());
            }
        }

        #[test]
        fn any_value_of_any_key_is_read_or_told(key in 0..Raw::keys().len(), value in value(), text in any::<String>()) {
            let path = &Raw::keys()[key].path;
            let printed = value.to_string();
            if let Ok(text) = at(path, &printed).parse::<Table>() {
                let merged = Settings::valid().with(&text.to_string());
                let _ = merged.problems();
            }
            let variable = format!("PORTCULLIS_{}", path.join("__").replace(ANY_NAME, "main").to_uppercase());
            let _ = Settings::valid().env(&variable, &text).problems();
        }
    }
}
