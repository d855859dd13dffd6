//! Pure. Who an administrator's certificate makes its holder: the allow-list.
//!
//! Invariant: a certificate is somebody's only if its subject has exactly one common name and exactly one entry of the
//! list fits it, byte for byte. Nothing is folded, normalised or looked for anywhere else.

use crate::fallback::certificate::Leaf;

/// One administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the settings call it.
    pub name: String,
    /// By what the certificate is known.
    pub id: Identifier,
    /// Who its holder is then.
    pub user: String,
    /// The groups that they are in.
    pub groups: Vec<String>,
}

/// The one thing by which an entry knows a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    /// Its common name.
    CommonName(String),
    /// An e-mail address among its alternative names.
    Email(String),
    /// A URI among its alternative names.
    Uri(String),
}

impl Entry {
    /// What metrics and the audit log call it: the identifier's text.
    pub fn label(&self) -> &str {
        match &self.id {
            Identifier::CommonName(text) | Identifier::Email(text) | Identifier::Uri(text) => text,
        }
    }

    fn fits(&self, common_name: &str, leaf: &Leaf) -> bool {
        match &self.id {
            Identifier::CommonName(name) => name == common_name,
            Identifier::Email(address) => leaf.emails().contains(address),
            Identifier::Uri(uri) => leaf.uris().contains(uri),
        }
    }
}

/// The allow-list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Administrators(Vec<Entry>);

impl Administrators {
    /// Exactly these.
    pub const fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// Whose certificate it is; nobody's where two entries fit, because nobody could say which one was meant.
    pub fn find(&self, leaf: &Leaf) -> Option<&Entry> {
        let common_name = leaf.common_name()?;
        let mut fitting = self.0.iter().filter(|entry| entry.fits(common_name, leaf));
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }

    /// All of them.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fallback::fixture::{Template, attribute, common_name, name, relative_name, tlv};

    fn entry(name: &str, id: Identifier) -> Entry {
        Entry { name: name.into(), id, user: format!("{name}@example.com"), groups: vec!["admins".into()] }
    }

    fn listed() -> Administrators {
        Administrators::new(vec![
            entry("alice", Identifier::CommonName("Alice Admin".into())),
            entry("bob", Identifier::Email("bob@example.com".into())),
            entry("carol", Identifier::Uri("spiffe://example.com/carol".into())),
        ])
    }

    fn check(template: Template, expected: Option<&str>) {
        let leaf = template.self_signed().leaf();
        let found = listed();
        assert_eq!(found.find(&leaf).map(|entry| entry.name.as_str()), expected, "{}", leaf.subject());
    }

    fn of_subject(parts: &[Vec<u8>]) -> Template {
        Template { subject: name(parts), ..Template::leaf("-") }
    }

    #[test]
    fn an_entry_fits_its_own_certificate_by_one_kind_of_name() {
        check(Template::leaf("Alice Admin"), Some("alice"));
        check(of_subject(&[relative_name(&[attribute(3, 0x13, b"Alice Admin")])]), Some("alice"));
        let with_organisation = [relative_name(&[attribute(10, 0x0c, b"Example")]), common_name("Alice Admin")];
        check(of_subject(&with_organisation), Some("alice"));
        check(Template::leaf("somebody").email("bob@example.com"), Some("bob"));
        check(Template::leaf("somebody").uri("spiffe://example.com/carol"), Some("carol"));
    }

    #[test]
    fn any_other_spelling_is_nobody() {
        for text in
            ["alice admin", "Alice  Admin", "Alice Admin ", " Alice Admin", "Alice", "Alice Admin\0", "Аlice Admin"]
        {
            check(Template::leaf(text), None);
        }
        check(Template::leaf("Alice Admin\0.example.com"), None);
        check(Template::leaf("somebody").email("Bob@example.com"), None);
        check(Template::leaf("somebody").email("bob@example.com."), None);
        check(Template::leaf("somebody").uri("spiffe://example.com/Carol"), None);
    }

    #[test]
    fn a_name_of_another_kind_is_nobody() {
        check(Template::leaf("bob@example.com"), None);
        check(Template::leaf("somebody").email("Alice Admin"), None);
        check(Template::leaf("somebody").dns("Alice Admin"), None);
        check(Template::leaf("somebody").uri("bob@example.com"), None);
        check(of_subject(&[relative_name(&[attribute(10, 0x0c, b"Alice Admin")])]), None);
    }

    #[test]
    fn without_exactly_one_common_name_it_is_nobody() {
        let alice = || attribute(3, 0x0c, b"Alice Admin");
        let other = || attribute(3, 0x0c, b"Mallory");
        check(of_subject(&[relative_name(&[alice()]), relative_name(&[other()])]), None);
        check(of_subject(&[relative_name(&[other()]), relative_name(&[alice()])]), None);
        check(of_subject(&[relative_name(&[alice(), other()])]), None);
        check(of_subject(&[relative_name(&[alice()]), relative_name(&[alice()])]), None);
        check(of_subject(&[]).email("bob@example.com"), None);
        check(of_subject(&[relative_name(&[alice(), other()])]).email("bob@example.com"), None);
        let unreadable = relative_name(&[attribute(3, 0x1e, b"\0M")]);
        check(of_subject(&[relative_name(&[alice()]), unreadable]), None);
    }

    #[test]
    fn a_common_name_in_an_ambiguous_kind_of_text_is_nobody() {
        let wide: Vec<u8> = "Alice Admin".encode_utf16().flat_map(u16::to_be_bytes).collect();
        check(of_subject(&[relative_name(&[attribute(3, 0x1e, &wide)])]), None);
        for tag in [0x14, 0x16, 0x12, 0x1a, 0x04, 0x8c] {
            check(of_subject(&[relative_name(&[attribute(3, tag, b"Alice Admin")])]), None);
        }
        let nested = tlv(0x0c, b"Alice Admin");
        check(of_subject(&[relative_name(&[attribute(3, 0x2c, &nested)])]), None);
    }

    #[test]
    fn whom_two_entries_fit_is_nobody() {
        check(Template::leaf("Alice Admin").email("bob@example.com"), None);
        check(Template::leaf("somebody").email("bob@example.com").uri("spiffe://example.com/carol"), None);
        check(Template::leaf("Alice Admin").email("other@example.com"), Some("alice"));
    }

    #[test]
    fn an_entry_is_called_by_its_identifier() {
        let listed = listed();
        let labels: Vec<&str> = listed.entries().iter().map(Entry::label).collect();
        assert_eq!(labels, ["Alice Admin", "bob@example.com", "spiffe://example.com/carol"]);
    }
}
