//! Pure. What is wrong with the settings: every problem at once, each under the path of its key.
//!
//! Invariant: a message never shows a value from the settings or the environment, because any of them may hold a
//! secret, put there by mistake or by substitution. Keys are shown, cut and escaped.

use std::{fmt, fmt::Write as _};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The key, as in `session.idle_timeout` or `policy.staff.rules[1].groups`.
    pub path: String,
    /// What is wrong with it, to be read after the path and a colon.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// All that is wrong, in the order of the paths; one problem per path, the first one found.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem, unless that path already has one: the second is mostly an echo of the first.
    pub(super) fn add(&mut self, path: &Path, message: impl fmt::Display) -> Noted {
        self.about(path, message)
    }

    /// Notes a problem of something that is no key: the file, an environment variable.
    pub(super) fn about(&mut self, thing: impl fmt::Display, message: impl fmt::Display) -> Noted {
        let (path, message) = (thing.to_string(), message.to_string());
        match self.0.binary_search_by(|problem| problem.path.cmp(&path)) {
            Ok(_) => {}
            Err(position) => self.0.insert(position, Problem { path, message }),
        }
        Noted(())
    }

    /// Appends where a value came from, for problems under a path that the environment set.
    pub(super) fn trace(&mut self, path: &Path, variable: &str) {
        let path = path.to_string();
        for problem in &mut self.0 {
            let rest = problem.path.strip_prefix(&path);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
                let _ = write!(problem.message, " (set by {variable})");
            }
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    /// One problem a line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position > 0 { "\n" } else { "" };
            write!(formatter, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// Proof that a problem was noted: whatever could not be made of the settings, somebody is told why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted(());

/// A part of the settings that is as it must be, or whose problem is noted.
pub(super) type Checked<T> = Result<T, Noted>;

/// Where a value stands in the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(String);

impl Path {
    /// The settings as a whole.
    pub(super) const fn root() -> Self {
        Self(String::new())
    }

    /// A key below this one. Keys that TOML would quote are quoted, and long ones cut.
    pub(super) fn key(&self, key: &str) -> Self {
        let separator = if self.0.is_empty() { "" } else { "." };
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !key.is_empty() && key.len() <= KEY_BYTES && key.bytes().all(bare) {
            return Self(format!("{}{separator}{key}", self.0));
        }
        let short: String = key.chars().take(KEY_BYTES).collect();
        Self(format!("{}{separator}{short:?}", self.0))
    }

    /// A member of the list at this path.
    pub(super) fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "settings" } else { &self.0 })
    }
}

/// How much of a key is shown.
const KEY_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_sorted_one_per_path_and_one_a_line() {
        let mut problems = Problems::default();
        problems.add(&Path::root().key("b").index(2).key("c"), "second");
        problems.add(&Path::root().key("a"), "first");
        problems.add(&Path::root().key("a"), "echo");
        assert_eq!(problems.to_string(), "a: first\nb[2].c: second");
    }

    #[test]
    fn odd_keys_are_quoted_escaped_and_cut() {
        let check = |key: &str, expected: &str| {
            assert_eq!(Path::root().key("x").key(key).to_string(), expected);
        };
        check("plain_key-2", "x.plain_key-2");
        check("two words", r#"x."two words""#);
        check("a\nb", r#"x."a\nb""#);
        check("", r#"x."""#);
        check(&"k".repeat(80), &format!("x.\"{}\"", "k".repeat(KEY_BYTES)));
    }

    #[test]
    fn problems_say_which_variable_set_the_value() {
        let mut problems = Problems::default();
        let session = Path::root().key("session");
        problems.add(&session.key("key"), "is not base64");
        problems.add(&session.key("key_old"), "is not base64");
        problems.trace(&session.key("key"), "SESSION_ENCRYPTION_KEY");
        assert_eq!(
            problems.to_string(),
            "session.key: is not base64 (set by SESSION_ENCRYPTION_KEY)\nsession.key_old: is not base64"
        );
    }
}
