//! Sealed parts of the journal in a bucket, with a copy at hand.
//!
//! A part is in the bucket before etcd lets go of it, and in the folder besides: a node that starts reads the whole journal,
//! and should not ask a cloud for each part. Whoever verifies asks the bucket itself.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use mainstay_backup::{Access, PlainStore, StoreError};
use mainstay_rt::error::chain;
use mainstay_storage::{Archive, ArchiveFolder, Listing};
use mainstay_units::Position;
use tokio::runtime::Runtime;

const SUFFIX: &str = ".part";

/// What is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The folder, and the bucket for what is missing there.
    Copies,
    /// The bucket alone.
    Bucket,
}

pub struct BucketArchive {
    address: String,
    access: Access,
    copies: ArchiveFolder,
    trust: Trust,
    /// Opened at first use: the keys may be laid down later than the platform starts.
    opened: Mutex<Option<(Runtime, PlainStore)>>,
}

impl BucketArchive {
    pub fn new(address: &str, access: Access, copies: PathBuf, trust: Trust) -> Self {
        Self {
            address: address.to_owned(),
            access,
            copies: ArchiveFolder::at(&copies),
            trust,
            opened: Mutex::new(None),
        }
    }

    fn ask<T>(
        &self,
        question: impl AsyncFnOnce(&PlainStore) -> Result<T, StoreError>,
    ) -> io::Result<T> {
        let failed = |error: StoreError| io::Error::other(chain(&error));
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if opened.is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            // Clients of clouds want a runtime around them when they are made.
            let store = {
                let _inside = runtime.enter();
                PlainStore::open(&self.address, &self.access).map_err(failed)?
            };
            *opened = Some((runtime, store));
        }
        let Some((runtime, store)) = opened.as_ref() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        runtime.block_on(question(store)).map_err(failed)
    }
}

fn name(position: Position) -> String {
    format!("parts/{:020}{SUFFIX}", position.0)
}

impl Archive for BucketArchive {
    fn put(&self, position: Position, part: &[u8]) -> io::Result<()> {
        self.ask(async |store| store.put(&name(position), part).await)?;
        self.copies.put(position, part)
    }

    fn get(&self, position: Position) -> io::Result<Option<Vec<u8>>> {
        if self.trust == Trust::Copies
            && let Some(part) = self.copies.get(position)?
        {
            return Ok(Some(part));
        }
        let part = self.ask(async |store| store.get(&name(position)).await)?;
        if let (Trust::Copies, Some(part)) = (self.trust, &part) {
            self.copies.put(position, part)?;
        }
        Ok(part)
    }

    fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for found in self.ask(async |store| store.list("parts").await)? {
            let digits = found.strip_suffix(SUFFIX);
            let position = digits.and_then(|digits| digits.parse().ok()).map(Position);
            match position.filter(|position| name(*position) == format!("parts/{found}")) {
                Some(position) => listing.parts.push(position),
                None => listing.foreign.push(found),
            }
        }
        listing.parts.sort();
        Ok(listing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_record::backup::StoreOptionsRecord;
    use mainstay_testkit::objects::ObjectService;
    use std::os::unix::fs::PermissionsExt;

    const URL: &str = "s3://vault/journal";

    #[test]
    fn parts_are_in_the_bucket_and_at_hand_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = folder.path().join("credentials");
        std::fs::write(
            &credentials,
            "AWS_ACCESS_KEY_ID=k\nAWS_SECRET_ACCESS_KEY=s3cret\n",
        )
        .unwrap();
        std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
        let service = ObjectService::s3("vault", "k").unwrap();
        let access = Access {
            options: vec![StoreOptionsRecord {
                store: URL.to_owned(),
                region: Some("eu-central-1".to_owned()),
                endpoint: Some(service.endpoint()),
                allow_http: true,
            }],
            credentials: Some(credentials),
        };
        let copies = folder.path().join("copies");
        let open = |trust| BucketArchive::new(URL, access.clone(), copies.clone(), trust);
        let node = open(Trust::Copies);
        let auditor = open(Trust::Bucket);
        for position in [0, 7, 1_000, 5] {
            node.put(Position(position), b"a part").unwrap();
        }
        node.put(Position(7), b"a part").unwrap();
        assert!(node.put(Position(7), b"another").is_err());
        let parts = auditor.list().unwrap().parts;
        assert_eq!(parts, [0, 5, 7, 1_000].map(Position));
        assert_eq!(auditor.get(Position(7)).unwrap().unwrap(), b"a part");
        assert_eq!(auditor.get(Position(8)).unwrap(), None);
        // A changed object is seen by who asks the bucket; a lost copy is fetched again.
        assert!(
            service.change("journal/parts/00000000000000000007.part", |bytes| bytes
                .push(1))
        );
        assert_eq!(auditor.get(Position(7)).unwrap().unwrap(), b"a part\x01");
        assert_eq!(node.get(Position(7)).unwrap().unwrap(), b"a part");
        std::fs::remove_dir_all(&copies).unwrap();
        assert_eq!(node.get(Position(5)).unwrap().unwrap(), b"a part");
        service.set_down(true);
        assert_eq!(node.get(Position(5)).unwrap().unwrap(), b"a part");
        assert!(node.get(Position(0)).is_err());
        assert_eq!(service.wrong(), Vec::<String>::new());
    }
}
