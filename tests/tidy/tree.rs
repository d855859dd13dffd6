//! The files of this repository, as the rules look at them: path, text, and Rust without its comments and texts.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::LazyLock};

/// The files of this repository.
pub(super) static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let mut files = Vec::new();
    gather(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut files);
    assert!(files.len() > 100, "the tree is there");
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Tree(files)
});

pub(super) struct Tree(pub(super) Vec<Source>);

pub(super) struct Source {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) executable: bool,
}

pub(super) fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned(), executable: false }
}

/// Every text file, but for what is built, fetched or drawn.
fn gather(folder: &Path, prefix: &str, files: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().unwrap();
        let hidden = name.starts_with('.') && name != ".ci";
        if kind.is_dir() && !hidden && !NOT_OURS.contains(&name.as_str()) {
            gather(&entry.path(), &format!("{path}/"), files);
        } else if kind.is_file() && !hidden {
            let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            files.push(Source { path, text, executable });
        }
    }
}

impl Tree {
    pub(super) fn rust(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter(|file| file.is_rust())
    }

    /// What is in the binary: no tests beside the code either.
    pub(super) fn product(&self) -> impl Iterator<Item = &Source> {
        let tests = |file: &Source| file.path.ends_with("/tests.rs") || file.path.contains("/tests/");
        self.rust().filter(move |file| file.path.starts_with("src/") && !tests(file))
    }

    pub(super) fn text(&self, path: &str) -> &str {
        self.0.iter().find(|file| file.path == path).map_or("", |file| &file.text)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.0.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }

    /// The cells of a file's table rows whose first cell is code, without back-ticks.
    pub(super) fn rows(&self, path: &str) -> Vec<Vec<String>> {
        let rows = self.text(path).lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = |row: &str| {
            row.trim_end_matches('|').split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect()
        };
        rows.map(cells).collect()
    }
}

impl Source {
    pub(super) fn is_rust(&self) -> bool {
        self.is_a("rs")
    }

    pub(super) fn is_a(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    pub(super) fn says_pure(&self) -> bool {
        self.text.starts_with("//! Pure.")
    }

    pub(super) fn is_of(&self, module: &str) -> bool {
        let rest = self.path.strip_prefix("src/").and_then(|path| path.strip_prefix(module));
        rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }

    pub(super) fn offence(&self, what: &str) -> String {
        format!("{} {what}", self.path)
    }

    /// The code without comments, texts and the tests at its end.
    pub(super) fn code(&self) -> String {
        let mut code = code_of(&self.text);
        let tests = code.match_indices("#[cfg(test)]").find(|(at, mark)| {
            let rest = code[at + mark.len()..].trim_start();
            rest.trim_start_matches("pub(crate) ").starts_with("mod tests {")
        });
        if let Some((at, _)) = tests {
            code.truncate(at);
        }
        code
    }
}

/// Rust without its comments and without what stands in quotes.
pub(super) fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => quoted(rest, &code),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(first);
        }
        rest = &rest[if skipped == 0 { first.len_utf8() } else { skipped }..];
    }
    code
}

/// The length of a text in quotes, raw if what stands before it says so.
fn quoted(rest: &str, before: &str) -> usize {
    let bare = before.trim_end_matches('#');
    let prefix = bare.trim_end_matches(|letter: char| letter.is_alphanumeric() || letter == '_');
    if matches!(&bare[prefix.len()..], "r" | "br" | "cr") {
        let end = format!("\"{}", "#".repeat(before.len() - bare.len()));
        return rest[1..].find(&end).map_or(rest.len(), |at| 1 + at + end.len());
    }
    let mut escaped = false;
    let end = rest[1..].find(|letter| {
        let ends = letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |at| at + 2)
}

/// The length of a character in quotes; none for a lifetime.
fn character(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some((at, _))) => rest[at + 1..].find('\'').map_or(0, |end| at + end + 2),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).any(|found| found == word)
}

const NOT_OURS: [&str; 5] = ["target", "node_modules", "shots", "corpus", "artifacts"];
