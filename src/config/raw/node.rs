//! Pure. How the shape of the settings is read: tables, named tables, lists and single values, each with its path.
//!
//! Invariant: reading never stops at a mistake. A value of the wrong shape is noted once and then counts as neither
//! given nor missing; keys that no table knows are noted with their whole path.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::leaf::Leaf;
use crate::config::problem::{Checked, Noted, Path, Problems};

/// A part of the settings that can be read, whatever stands there.
pub(in crate::config) trait Node: Sized {
    /// Reads what stands at `path`, if anything does; where what is around it is unreadable, so is this.
    fn read(value: Checked<Option<Value>>, path: Path, problems: &mut Problems) -> Self;

    /// Names every key below `path`.
    fn describe(path: &[&'static str], keys: &mut Vec<KnownKey>);
}

/// A key that the settings know; names that the operator chooses stand as [`ANY_NAME`], members of lists as [`MEMBER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct KnownKey {
    /// The way to it.
    pub(in crate::config) path: Vec<&'static str>,
    /// How an environment variable's text becomes its value.
    pub(in crate::config) kind: Kind,
}

/// How an environment variable's text becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Kind {
    /// As it stands, to the last quotation mark.
    Secret,
    /// As it stands, unless it is a text quoted as TOML does.
    Text,
    /// As a TOML value.
    Value,
}

/// Stands for a name that the operator chooses.
pub(in crate::config) const ANY_NAME: &str = "*";
/// Stands for the members of a list.
pub(in crate::config) const MEMBER: &str = "[]";

/// A single value.
#[derive(Debug)]
pub(in crate::config) struct Field<T> {
    /// Where it stands.
    pub(in crate::config) path: Path,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Absent,
    Wrong(Noted),
    Given(T),
}

impl<T> Field<T> {
    /// The value, if one is given and readable.
    pub(in crate::config) const fn given(&self) -> Option<&T> {
        match &self.state {
            State::Given(value) => Some(value),
            State::Absent | State::Wrong(_) => None,
        }
    }

    /// Whether anything stands there, readable or not.
    pub(in crate::config) const fn is_present(&self) -> bool {
        !matches!(self.state, State::Absent)
    }

    /// Puts a value there, as from a file that the settings name.
    pub(in crate::config) fn fill(&mut self, value: T) {
        self.state = State::Given(value);
    }

    /// Counts as unreadable from now on.
    pub(in crate::config) fn spoil(&mut self, noted: Noted) {
        self.state = State::Wrong(noted);
    }
}

impl<T: Clone> Field<T> {
    /// The value, if one is given.
    pub(in crate::config) fn optional(&self) -> Checked<Option<T>> {
        match &self.state {
            State::Given(value) => Ok(Some(value.clone())),
            State::Absent => Ok(None),
            State::Wrong(noted) => Err(*noted),
        }
    }

    /// The value, or the default where none is given.
    pub(in crate::config) fn or(&self, default: T) -> Checked<T> {
        self.optional().map(|value| value.unwrap_or(default))
    }

    /// The value, or the default; noting a problem where neither is there.
    pub(in crate::config) fn or_some(&self, default: Option<T>, problems: &mut Problems) -> Checked<T> {
        self.optional()?.or(default).ok_or_else(|| problems.add(&self.path, "is missing"))
    }

    /// The value, noting a problem where none is given.
    pub(in crate::config) fn required(&self, problems: &mut Problems) -> Checked<T> {
        self.or_some(None, problems)
    }
}

impl<T: Leaf> Node for Field<T> {
    fn read(value: Checked<Option<Value>>, path: Path, problems: &mut Problems) -> Self {
        let read = value.and_then(|value| value.map(|value| T::read(value, &path, problems)).transpose());
        let state = match read {
            Ok(None) => State::Absent,
            Ok(Some(value)) => State::Given(value),
            Err(noted) => State::Wrong(noted),
        };
        Self { path, state }
    }

    fn describe(path: &[&'static str], keys: &mut Vec<KnownKey>) {
        keys.push(KnownKey { path: path.to_vec(), kind: T::KIND });
    }
}

/// Tables under names that the operator chooses.
#[derive(Debug)]
pub(in crate::config) struct Named<T> {
    /// Where the tables stand.
    pub(in crate::config) path: Path,
    /// They, by name.
    pub(in crate::config) entries: BTreeMap<String, T>,
}

impl<T: Node> Node for Named<T> {
    fn read(value: Checked<Option<Value>>, path: Path, problems: &mut Problems) -> Self {
        let table = open(value, &path, problems).unwrap_or_default();
        let entries = table.into_iter().map(|(name, value)| {
            let entry = T::read(Ok(Some(value)), path.key(&name), problems);
            (name, entry)
        });
        Self { entries: entries.collect(), path }
    }

    fn describe(path: &[&'static str], keys: &mut Vec<KnownKey>) {
        T::describe(&[path, &[ANY_NAME]].concat(), keys);
    }
}

/// Tables one after the other.
#[derive(Debug)]
pub(in crate::config) struct List<T> {
    /// Where the list stands.
    pub(in crate::config) path: Path,
    /// Whether there is one at all, readable or not.
    pub(in crate::config) present: bool,
    /// Its members.
    pub(in crate::config) members: Vec<T>,
}

impl<T: Node> Node for List<T> {
    fn read(value: Checked<Option<Value>>, path: Path, problems: &mut Problems) -> Self {
        let present = !matches!(value, Ok(None));
        let values = match value {
            Ok(Some(Value::Array(values))) => values,
            Ok(Some(_)) => {
                problems.add(&path, "must be a list of tables, such as [{ … }, { … }]");
                Vec::new()
            }
            Ok(None) | Err(_) => Vec::new(),
        };
        let members = values.into_iter().enumerate();
        let members = members.map(|(index, value)| T::read(Ok(Some(value)), path.index(index), problems)).collect();
        Self { path, present, members }
    }

    fn describe(path: &[&'static str], keys: &mut Vec<KnownKey>) {
        T::describe(&[path, &[MEMBER]].concat(), keys);
    }
}

/// The table at a path; an empty one if there is none.
pub(super) fn open(value: Checked<Option<Value>>, path: &Path, problems: &mut Problems) -> Checked<Table> {
    match value? {
        Some(Value::Table(table)) => Ok(table),
        Some(_) => Err(problems.add(path, "must be a table")),
        None => Ok(Table::new()),
    }
}

/// Takes a key's value out of a table.
pub(super) fn take(table: &mut Checked<Table>, key: &str) -> Checked<Option<Value>> {
    table.as_mut().map(|table| table.remove(key)).map_err(|noted| *noted)
}

/// Notes the keys that are left over.
pub(super) fn refuse_rest(table: &Checked<Table>, path: &Path, known: &[&str], problems: &mut Problems) {
    for key in table.iter().flat_map(Table::keys) {
        let message = match nearest(key, known) {
            Some(meant) => format!("is not a setting; did you mean {meant}?"),
            None => "is not a setting".to_owned(),
        };
        problems.add(&path.key(key), message);
    }
}

/// The known key that a misspelt one most likely stands for.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    if key.len() > LONGEST_GUESS {
        return None;
    }
    let near = known.iter().map(|candidate| (distance(key, candidate), *candidate));
    near.filter(|(distance, candidate)| distance * 2 <= candidate.len()).min().map(|(_, candidate)| candidate)
}

/// How many letters must be put in, left out or changed (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, other) in right.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

/// Longer keys are no misspellings of ours.
const LONGEST_GUESS: usize = 40;

/// Declares a table of the settings: a struct of nodes, its keys being the fields' names.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($(#[$key_meta:meta])* $key:ident: $node:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(in crate::config) struct $name {
            $($(#[$key_meta])* pub(in crate::config) $key: $node,)+
        }

        impl $crate::config::raw::node::Node for $name {
            fn read(
                value: $crate::config::problem::Checked<Option<toml::Value>>,
                path: $crate::config::problem::Path,
                problems: &mut $crate::config::problem::Problems,
            ) -> Self {
                let mut table = $crate::config::raw::node::open(value, &path, problems);
                $(let $key = Node::read($crate::config::raw::node::take(&mut table, stringify!($key)), path.key(stringify!($key)), problems);)+
                $crate::config::raw::node::refuse_rest(&table, &path, &[$(stringify!($key)),+], problems);
                Self { $($key),+ }
            }

            fn describe(path: &[&'static str], keys: &mut Vec<$crate::config::raw::node::KnownKey>) {
                $(<$node>::describe(&[path, &[stringify!($key)]].concat(), keys);)+
            }
        }
    };
}
pub(super) use table;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture::Settings;

    #[test]
    fn what_is_misspelt_is_named_with_its_path_and_what_was_meant() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Settings::valid().with(text).problems(), expected, "{text}");
        };
        check("modus = 'x'", "modus: is not a setting; did you mean mode?");
        check(
            "[session]\nidle_time_out = '30m'",
            "session.idle_time_out: is not a setting; did you mean idle_timeout?",
        );
        check("[site.main]\nzzz = 1", "site.main.zzz: is not a setting");
        check("[store.redis.a.b]\nc = 1", "store.redis.a: is not a setting");
        check("[policy.staff]\nrule = []", "policy.staff.rule: is not a setting; did you mean rules?");
    }

    #[test]
    fn what_has_the_wrong_shape_is_named_once() {
        let check = |table: &str, text: &str, expected: &str| {
            assert_eq!(Settings::valid().without(table).with(text).problems(), expected, "{text}");
        };
        check("session", "session = 3", "session: must be a table");
        check("policy", "policy = []", "policy: must be a table");
        check("site", "site = { main = 'x' }", "site.main: must be a table");
        check(
            "policy",
            "policy = { staff = { rules = 'x' } }",
            "policy.staff.rules: must be a list of tables, such as [{ … }, { … }]",
        );
        check("policy", "policy = { staff = { rules = [1] } }", "policy.staff.rules[0]: must be a table");
    }

    #[test]
    fn distances_are_counted_in_letters() {
        let check = |one: &str, other: &str, expected: usize| {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        };
        check("", "abc", 3);
        check("idle", "idle", 0);
        check("idel", "idle", 2);
        check("kitten", "sitting", 3);
    }
}
