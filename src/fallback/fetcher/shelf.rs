//! The folder that keeps the last good revocation list of each address for a restart.
//!
//! Invariant: what comes back is what was put there for that very address, with the moment at which it was fetched; a
//! file that was edited, or put in another's place, does not open. A whole older file in its own place does: it counts
//! from its own older moment, and the number that it brings back is an older one.

use std::{
    fmt::Write as _,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{
    clock::Timestamp,
    fallback::crl::MAX_CRL_BYTES,
    random,
    seal::{NONCE_BYTES, Purpose, RingInForce},
};

/// The folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    keys: RingInForce,
}

/// A list as it came, and when it did.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) fetched: Timestamp,
    pub(super) bytes: Vec<u8>,
}

impl Shelf {
    pub(super) const fn new(folder: PathBuf, keys: RingInForce) -> Self {
        Self { folder, keys }
    }

    /// Puts a list in the place of the one before; whoever is interrupted leaves that one.
    pub(super) fn put(&self, url: &Url, kept: &Kept) -> Result<(), ShelfError> {
        let plain = postcard::to_stdvec(kept).map_err(|_| ShelfError::NotSealed)?;
        let nonce = random::bytes::<NONCE_BYTES>().map_err(|_| ShelfError::NotSealed)?;
        let key = self.keys.load().sealing().purpose(Purpose::RevocationList);
        let sealed = key.seal(nonce, &associated(url), &plain).map_err(|_| ShelfError::NotSealed)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (place, beside) = (self.place(url), self.place(url).with_extension("new"));
        write_whole(&beside, &sealed)?;
        fs::rename(&beside, &place)?;
        Ok(())
    }

    /// What was put there for that address.
    pub(super) fn get(&self, url: &Url) -> Result<Option<Kept>, ShelfError> {
        let file = match File::open(self.place(url)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut sealed = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut sealed)?;
        if sealed.len() as u64 > MAX_FILE_BYTES {
            return Err(ShelfError::NotOpened);
        }
        let associated = associated(url);
        let open =
            self.keys.load().all().find_map(|key| key.purpose(Purpose::RevocationList).open(&associated, &sealed).ok());
        let plain = open.ok_or(ShelfError::NotOpened)?;
        postcard::from_bytes(&plain).map(Some).map_err(|_| ShelfError::NotOpened)
    }

    /// The file's name does not tell the address, which may hold a password.
    fn place(&self, url: &Url) -> PathBuf {
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, url.as_str().as_bytes());
        let mut name = String::new();
        for byte in &hash.as_ref()[..NAME_BYTES] {
            let _ = write!(name, "{byte:02x}");
        }
        self.folder.join(name).with_extension("crl")
    }
}

/// Why a list is not kept, or does not come back.
#[derive(Debug, thiserror::Error)]
pub(super) enum ShelfError {
    #[error("it could not be sealed")]
    NotSealed,
    #[error("the file is not what was put there for this address")]
    NotOpened,
    #[error("{0}")]
    File(#[from] io::Error),
}

fn associated(url: &Url) -> Vec<u8> {
    [FORMAT, url.as_str().as_bytes()].concat()
}

/// For its owner alone, and on the disk before it takes its place.
fn write_whole(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The longest file that is read: a list, its moment, and the seal.
const MAX_FILE_BYTES: u64 = MAX_CRL_BYTES as u64 + 1024;
const NAME_BYTES: usize = 16;
const FORMAT: &[u8] = b"portcullis revocation list 1\n";

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::{os::unix::fs::PermissionsExt as _, sync::Arc};

    use tempfile::TempDir;

    use super::*;
    use crate::seal::{KeyRing, MasterKey};

    fn ring(sealing: u8, accepted: &[u8]) -> RingInForce {
        let key = |byte: u8| MasterKey::from_bytes([byte; 32]);
        let accepted: Vec<_> = accepted.iter().map(|byte| key(*byte)).collect();
        RingInForce::new(Arc::new(KeyRing::new(&key(sealing), &accepted)))
    }

    fn url(path: &str) -> Url {
        Url::parse("http://user:secret@crl.example.com/").unwrap().join(path).unwrap()
    }

    fn kept(number: u8) -> Kept {
        Kept { fetched: Timestamp::from_seconds(number.into()), bytes: vec![number; 100] }
    }

    fn files(folder: &TempDir) -> Vec<PathBuf> {
        fs::read_dir(folder.path().join("lists")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn what_was_put_comes_back_for_its_own_address() {
        let folder = TempDir::new().unwrap();
        let shelf = Shelf::new(folder.path().join("lists"), ring(1, &[]));
        assert_eq!(shelf.get(&url("a?1")).unwrap(), None);
        shelf.put(&url("a?1"), &kept(1)).unwrap();
        shelf.put(&url("a?2"), &kept(2)).unwrap();
        shelf.put(&url("a?1"), &kept(3)).unwrap();
        assert_eq!(shelf.get(&url("a?1")).unwrap(), Some(kept(3)));
        assert_eq!(shelf.get(&url("a?2")).unwrap(), Some(kept(2)));
        assert_eq!(files(&folder).len(), 2, "nothing is left beside them");
        for file in files(&folder) {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            assert!(!file.to_string_lossy().contains("secret"));
        }
    }

    #[test]
    fn a_file_in_anothers_place_or_with_one_bit_changed_does_not_open() {
        let folder = TempDir::new().unwrap();
        let shelf = Shelf::new(folder.path().join("lists"), ring(1, &[]));
        shelf.put(&url("a"), &kept(1)).unwrap();
        fs::copy(shelf.place(&url("a")), shelf.place(&url("b"))).unwrap();
        assert!(matches!(shelf.get(&url("b")), Err(ShelfError::NotOpened)));
        let whole = fs::read(shelf.place(&url("a"))).unwrap();
        for at in 0..whole.len() {
            let mut spoilt = whole.clone();
            spoilt[at] ^= 1;
            fs::write(shelf.place(&url("a")), spoilt).unwrap();
            assert!(matches!(shelf.get(&url("a")), Err(ShelfError::NotOpened)), "{at}");
        }
        fs::write(shelf.place(&url("a")), vec![0; 2 * MAX_CRL_BYTES]).unwrap();
        assert!(matches!(shelf.get(&url("a")), Err(ShelfError::NotOpened)));
    }

    #[test]
    fn the_key_may_be_replaced_in_between() {
        let folder = TempDir::new().unwrap();
        let shelf = |keys| Shelf::new(folder.path().join("lists"), keys);
        shelf(ring(1, &[])).put(&url("a"), &kept(1)).unwrap();
        assert_eq!(shelf(ring(2, &[1])).get(&url("a")).unwrap(), Some(kept(1)));
        assert!(matches!(shelf(ring(2, &[])).get(&url("a")), Err(ShelfError::NotOpened)));
    }

    #[test]
    fn what_an_interrupted_write_left_is_in_nobodys_way() {
        let folder = TempDir::new().unwrap();
        let shelf = Shelf::new(folder.path().join("lists"), ring(1, &[]));
        shelf.put(&url("a"), &kept(1)).unwrap();
        fs::write(shelf.place(&url("a")).with_extension("new"), b"half").unwrap();
        assert_eq!(shelf.get(&url("a")).unwrap(), Some(kept(1)));
        shelf.put(&url("a"), &kept(2)).unwrap();
        assert_eq!(shelf.get(&url("a")).unwrap(), Some(kept(2)));
        fs::remove_dir_all(folder.path().join("lists")).unwrap();
        fs::write(folder.path().join("lists"), b"a file").unwrap();
        assert!(matches!(shelf.put(&url("a"), &kept(3)), Err(ShelfError::File(_))));
    }
}
