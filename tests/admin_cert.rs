//! What `scripts/admin-cert.sh` makes is what the gateway takes: certificates, lists, revocations.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use portcullis::{
    clock::Clock,
    fallback::{
        certificate::Leaf,
        chain::AdminCa,
        crl::RevocationList,
        revocation::{Book, Rules},
    },
    reason::Reason,
};
use tempfile::TempDir;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

struct TestAuthority {
    folder: TempDir,
}

impl TestAuthority {
    fn new() -> Self {
        let authority = Self { folder: TempDir::new().unwrap() };
        authority.run("ca", &[]);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("ca").join(name)
    }

    fn try_to(&self, command: &str, arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/admin-cert.sh");
        let mut script = Command::new(script);
        script.arg(command).arg("--into").arg(self.path("")).args(arguments).output().unwrap()
    }

    /// What the script prints on standard output.
    fn run(&self, command: &str, arguments: &[&str]) -> String {
        let outcome = self.try_to(command, arguments);
        assert!(outcome.status.success(), "{command}: {}", String::from_utf8_lossy(&outcome.stderr));
        String::from_utf8(outcome.stdout).unwrap().trim().to_owned()
    }

    fn ca(&self) -> AdminCa {
        let [root, between] = ["root.pem", "intermediate.pem"].map(|name| fs::read(self.path(name)).unwrap());
        AdminCa::new(&root, Some(&between)).unwrap()
    }

    fn lists(&self) -> [RevocationList; 2] {
        ["root.crl", "intermediate.crl"].map(|name| {
            RevocationList::read(&fs::read(self.path(name)).unwrap(), &self.ca(), DAY, Clock::system().now()).unwrap()
        })
    }

    /// What the gateway would say of a certificate, with the lists as they are now.
    fn check(&self, leaf: &Leaf) -> Result<(), Reason> {
        let now = Clock::system().now();
        let path = self.ca().verify(leaf, now).unwrap();
        let mut book = Book::new(2, Rules::default());
        for (address, list) in self.lists().into_iter().enumerate() {
            book.arrived(address, now, Ok(list)).unwrap();
        }
        book.check(&path, now).map(|_| ())
    }
}

fn leaf(file: &str) -> Leaf {
    Leaf::parse_pem(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_certificate_of_the_test_authority_is_taken_until_it_is_revoked() {
    let made = TestAuthority::new();
    let names = ["--email", "alice@example.com", "--uri", "spiffe://example.com/alice"];
    let alice = made.run("issue", &[&["--cn", "Alice / Admin + 1"], &names[..]].concat());
    let bob = made.path("people/bob.pem").display().to_string();
    assert_eq!(made.run("issue", &["--cn", "bob", "--days", "1", "--out", &bob]), bob);
    made.run("crl", &[]);
    let leaf_of_alice = leaf(&alice);
    assert_eq!(leaf_of_alice.common_name(), Some("Alice / Admin + 1"));
    assert_eq!(leaf_of_alice.emails(), ["alice@example.com"]);
    assert_eq!(leaf_of_alice.uris(), ["spiffe://example.com/alice"]);
    assert_eq!(leaf_of_alice.not_after().since(leaf_of_alice.not_before()), 7 * DAY);
    assert_eq!(leaf(&bob).not_after().since(leaf(&bob).not_before()), DAY);
    assert_eq!((made.check(&leaf_of_alice), made.check(&leaf(&bob))), (Ok(()), Ok(())));
    let before = made.lists().map(|list| list.number());
    for _ in 0..2 {
        made.run("revoke", &[&alice]);
    }
    made.run("crl", &[]);
    assert_eq!((made.check(&leaf_of_alice), made.check(&leaf(&bob))), (Err(Reason::Revoked), Ok(())));
    assert!(made.lists().map(|list| list.number()).iter().zip(before).all(|(number, before)| *number > before));
    made.run("revoke", &[&made.path("intermediate.pem").display().to_string()]);
    made.run("crl", &[]);
    assert_eq!(made.check(&leaf(&bob)), Err(Reason::Revoked), "with whoever issued it");
}

#[test]
fn the_test_authority_is_made_once_and_keeps_its_keys_to_itself() {
    let made = TestAuthority::new();
    let root = fs::read(made.path("root.pem")).unwrap();
    made.run("ca", &[]);
    assert_eq!(fs::read(made.path("root.pem")).unwrap(), root);
    let alice = PathBuf::from(made.run("issue", &["--cn", "alice"]));
    let private = [made.path("root/key.pem"), made.path("intermediate/key.pem")];
    for file in private.into_iter().chain(["key", "p12"].map(|kind| alice.with_extension(kind))) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn nothing_is_issued_that_no_gateway_would_take() {
    let made = TestAuthority::new();
    let refused = |command: &str, arguments: &[&str]| assert!(!made.try_to(command, arguments).status.success());
    refused("issue", &[]);
    refused("issue", &["--cn", "alice", "--days", "8"]);
    refused("issue", &["--cn", "alice", "--days", "0"]);
    refused("issue", &["--cn", "a\nb"]);
    refused("issue", &["--cn", "alice", "--email", "no address"]);
    refused("issue", &["--cn", "alice", "--uri", "$x"]);
    refused("revoke", &[]);
    refused("revoke", &[&TestAuthority::new().run("issue", &["--cn", "somebody else's"])]);
    let help = made.try_to("--help", &[]);
    assert!(String::from_utf8_lossy(&help.stdout).contains("FOR DRILLS AND TESTS ONLY"));
}
