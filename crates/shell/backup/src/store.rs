//! Where sealed objects lie: one store, or two that must not be lost together.
//!
//! An object is put under a name that must be free, and then read back and opened: what a store says it has taken is
//! not believed. A name that is taken is looked into: the same bytes are fine (an upload that was repeated), other bytes
//! under the name of a piece of log mean that two servers wrote the same history differently, which is split brain and
//! never overwritten. A read takes the first store whose object is authentic.

mod credentials;
mod place;
mod plain;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

pub use self::credentials::CredentialsError;
pub use self::place::Access;
use self::place::Store;
pub use self::plain::PlainStore;
use crate::key::MasterKey;
use crate::seal::{self, DataKey, SealError};

/// More stores than two cost uploads and protect little.
pub const STORES_MAX: usize = 2;
/// Objects that one call of [`Stores::level`] copies: whoever calls has other things to do as well.
const LEVEL_MAX: u64 = 8;
/// Objects that are noted as lacking while one store is read. One that lacks more is looked at again when it is read again.
const LACKED_MAX: usize = 10_000;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("open the store {store}: {why}")]
    Address { store: String, why: &'static str },
    #[error("make the store's folder {store}")]
    Folder {
        store: String,
        source: std::io::Error,
    },
    #[error("{action} {name} in {store}")]
    Store {
        action: &'static str,
        name: String,
        store: String,
        source: Box<object_store::Error>,
    },
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("use {store}: it failed a moment ago and is asked again soon: {why}")]
    Away { store: String, why: String },
    #[error(
        "use {store}: it overwrites what is there, though it was told not to (`If-None-Match: *`); two servers could \
         replace each other's history there, so nothing is put into it: use a store that honours conditional puts"
    )]
    Overwrites { store: String },
    #[error("seal {name}")]
    Seal { name: String, source: SealError },
    #[error("use {name} in {store}")]
    Damaged {
        name: String,
        store: String,
        source: SealError,
    },
    #[error(
        "put {name} into {store}: other bytes have that name already; two servers wrote the same piece of history \
         (split brain), and nothing was overwritten"
    )]
    Conflict { name: String, store: String },
    #[error("put {name}: no store took it; {why}")]
    NotTaken { name: String, why: String },
    #[error("find {name}: no store has it whole; {why}")]
    NotFound { name: String, why: String },
}

/// Whether every store has what was put.
#[derive(Debug, Default)]
pub struct Taken {
    /// Stores that do not have it, and why.
    pub missing: Vec<StoreError>,
}

/// All stores of one archive, and the key to what lies in them.
pub struct Stores {
    stores: Vec<Store>,
    master: MasterKey,
    turn: Mutex<Turn>,
}

/// Which store is read first, and what it lacked since that was said.
#[derive(Default)]
struct Turn {
    first: usize,
    lacked: Option<Vec<(String, String)>>,
}

impl Stores {
    /// Addresses are absolute paths of folders, made if missing, or URLs of buckets. Of two folders one may be away.
    ///
    /// # Errors
    /// When there are none or too many, one is no address, or none can be opened.
    pub fn open(
        addresses: &[String],
        access: &Access,
        master: MasterKey,
    ) -> Result<Self, StoreError> {
        let refuse = |why| StoreError::Address {
            store: addresses.join(", "),
            why,
        };
        if addresses.is_empty() || addresses.len() > STORES_MAX {
            return Err(refuse("one store or two are possible"));
        }
        let stores = addresses.iter().map(|address| Store::open(address, access));
        let stores: Vec<Store> = stores.collect::<Result<_, _>>()?;
        let opened = stores.iter().map(|store| store.objects().map(drop));
        opened.reduce(Result::or).unwrap_or(Ok(()))?;
        Ok(Self {
            stores,
            master,
            turn: Mutex::default(),
        })
    }

    pub fn addresses(&self) -> Vec<&str> {
        let stores = self.stores.iter();
        stores.map(|store| store.address.as_str()).collect()
    }

    pub fn fingerprint(&self) -> crate::key::Fingerprint {
        self.master.fingerprint()
    }

    pub(crate) fn use_key(&mut self, master: MasterKey) {
        self.master = master;
    }

    /// Seals and puts under a free name, in every store, and reads it back from each. An object of the same bytes under
    /// that name counts as put.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a store has other bytes there; else when no store took it.
    pub async fn put(&self, name: &str, plain: &[u8], data: &DataKey) -> Result<Taken, StoreError> {
        let sealed = seal::seal(name, plain, data, &self.master).map_err(|source| {
            let name = name.to_owned();
            StoreError::Seal { name, source }
        })?;
        let payload = PutPayload::from(sealed);
        let mut taken = Taken::default();
        // Side by side, so that the one that answers need not wait for the one that does not.
        let put = |store| self.put_into(store, name, plain, payload.clone());
        let outcomes = match self.stores.as_slice() {
            [one, other] => {
                let (one, other) = tokio::join!(put(one), put(other));
                vec![one, other]
            }
            stores => {
                let mut outcomes = Vec::new();
                for store in stores {
                    outcomes.push(put(store).await);
                }
                outcomes
            }
        };
        for outcome in outcomes {
            match outcome {
                Ok(()) => {}
                Err(error @ StoreError::Conflict { .. }) => return Err(error),
                Err(error) => taken.missing.push(error),
            }
        }
        if taken.missing.len() == self.stores.len() {
            return Err(StoreError::NotTaken {
                name: name.to_owned(),
                why: reasons(&taken.missing),
            });
        }
        Ok(taken)
    }

    async fn put_into(
        &self,
        store: &Store,
        name: &str,
        plain: &[u8],
        payload: PutPayload,
    ) -> Result<(), StoreError> {
        store.is_at_hand()?;
        let is_new = store.create(name, payload.clone()).await?;
        match self.get_from(store, name).await {
            Err(StoreError::Damaged { source, .. }) if source.is_damage() => {
                // What does not open is nobody's history: it was cut off on its way, now or when somebody else put it.
                tracing::error!(
                    store = store.address,
                    name,
                    is_new,
                    error = crate::chain(&source),
                    "what the store has taken is not what was sent: it is taken away and put again"
                );
                self.remove_from(store, name).await?;
                store.create(name, payload).await?;
            }
            Ok(there) if there == plain => return Ok(()),
            Ok(_) => return Err(conflict(store, name)),
            Err(error) => return Err(error),
        }
        match self.get_from(store, name).await? == plain {
            true => Ok(()),
            false => Err(conflict(store, name)),
        }
    }

    fn turn<T>(&self, look: impl FnOnce(&mut Turn) -> T) -> T {
        look(&mut self.turn.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the store after that one is read first, and what it lacks is noted. Says which that is.
    pub fn read_next_to(&self, last: Option<&str>) -> &str {
        let mut stores = self.stores.iter();
        let last = last.and_then(|last| stores.position(|store| store.address == last));
        let first = last.map_or(0, |last| (last + 1) % self.stores.len());
        self.turn(|turn| {
            turn.first = first;
            turn.lacked = Some(Vec::new());
        });
        self.stores.get(first).map_or("", |store| &store.address)
    }

    /// Puts again what the store that is read first did not have whole, from whoever has; says what that was.
    pub async fn give_again(&self) -> Option<Lacked> {
        let (first, names) = self.turn(|turn| (turn.first, turn.lacked.take()));
        let (store, names) = (self.stores.get(first)?, names?);
        let mut lacked: Option<Lacked> = None;
        for (name, why) in names {
            let given = match self.copy_into(store, &name).await {
                // It has it by now, or nobody has it any more.
                Ok(false) => continue,
                Ok(true) => 1,
                Err(_) => 0,
            };
            let lacked = lacked.get_or_insert(Lacked {
                first: why,
                objects: 0,
                given: 0,
            });
            lacked.objects += 1;
            lacked.given += given;
        }
        lacked
    }

    /// The first authentic copy.
    ///
    /// # Errors
    /// When no store has one, with what is wrong in each.
    pub async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut wrong = Vec::new();
        let first = self.turn(|turn| turn.first);
        let stores = self.stores.iter();
        for store in stores.cycle().skip(first).take(self.stores.len()) {
            let read = match store.is_at_hand() {
                Ok(()) => self.get_from(store, name).await,
                Err(away) => Err(away),
            };
            match read {
                Ok(plain) => {
                    if let Some(error) = wrong.first() {
                        self.note_lacking(name, error);
                    }
                    return Ok(plain);
                }
                Err(error) => wrong.push(error),
            }
        }
        match wrong.pop() {
            // One store: its own reason says it best.
            Some(error) if wrong.is_empty() => Err(error),
            last => {
                wrong.extend(last);
                Err(StoreError::NotFound {
                    name: name.to_owned(),
                    why: reasons(&wrong),
                })
            }
        }
    }

    fn note_lacking(&self, name: &str, error: &StoreError) {
        self.turn(|turn| {
            if let Some(lacked) = &mut turn.lacked
                && lacked.len() < LACKED_MAX
            {
                lacked.push((name.to_owned(), crate::chain(error)));
            }
        });
    }

    async fn get_from(&self, store: &Store, name: &str) -> Result<Vec<u8>, StoreError> {
        let sealed = store.read(name).await?;
        seal::open(name, &sealed, &self.master).map_err(|source| StoreError::Damaged {
            name: name.to_owned(),
            store: store.address.clone(),
            source,
        })
    }

    /// Names directly below a prefix: objects and folders, without the prefix. Whatever any store has is listed.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        let mut wrong = Vec::new();
        for store in &self.stores {
            match list_one(store, prefix).await {
                Ok(found) => {
                    listing.objects.extend(found.objects);
                    listing.folders.extend(found.folders);
                }
                Err(error) => wrong.push(error),
            }
        }
        if wrong.len() == self.stores.len()
            && let Some(error) = wrong.pop()
        {
            return Err(error);
        }
        Ok(listing)
    }

    /// As [`Stores::list`], where what a store that is away may have counts too.
    ///
    /// # Errors
    /// When any store cannot be listed.
    pub async fn list_each(&self, prefix: &str) -> Result<Listing, StoreError> {
        let mut listing = Listing::default();
        for store in &self.stores {
            let found = list_one(store, prefix).await?;
            listing.objects.extend(found.objects);
            listing.folders.extend(found.folders);
        }
        Ok(listing)
    }

    /// Gives every store what another has of the objects below a prefix, some at a time. Only what is authentic is copied.
    ///
    /// # Errors
    /// When two stores have different objects under one name.
    pub async fn level(&self, prefix: &str) -> Result<Levelled, StoreError> {
        let mut levelled = Levelled::default();
        if self.stores.len() < 2 {
            return Ok(levelled);
        }
        let mut listings = Vec::new();
        for store in &self.stores {
            match list_one(store, prefix).await {
                Ok(listing) => listings.push((store, listing.objects)),
                Err(error) => levelled.missing.push(error),
            }
        }
        let all = listings.iter().flat_map(|(_, objects)| objects);
        let all: BTreeSet<String> = all.cloned().collect();
        for (store, own) in &listings {
            for object in all.difference(own) {
                if levelled.copied == LEVEL_MAX {
                    levelled.is_cut_short = true;
                    return Ok(levelled);
                }
                let name = format!("{prefix}/{object}");
                match self.copy_into(store, &name).await {
                    Ok(is_new) => levelled.copied += u64::from(is_new),
                    Err(error @ StoreError::Conflict { .. }) => return Err(error),
                    Err(error) => levelled.missing.push(error),
                }
            }
        }
        Ok(levelled)
    }

    /// Says whether the store did not have it.
    async fn copy_into(&self, store: &Store, name: &str) -> Result<bool, StoreError> {
        store.is_at_hand()?;
        if self.get_from(store, name).await.is_ok() {
            return Ok(false);
        }
        let plain = match self.get(name).await {
            Ok(plain) => plain,
            // Retention, or a longer beginning of the same segment, has taken it away meanwhile.
            Err(StoreError::NotFound { .. }) if !self.is_anywhere(name).await => return Ok(false),
            Err(error) => return Err(error),
        };
        let data = DataKey::draw();
        let sealed = seal::seal(name, &plain, &data, &self.master);
        let sealed = sealed.map_err(|source| StoreError::Seal {
            name: name.to_owned(),
            source,
        })?;
        let payload = PutPayload::from(sealed);
        self.put_into(store, name, &plain, payload).await?;
        Ok(true)
    }

    async fn is_anywhere(&self, name: &str) -> bool {
        for store in &self.stores {
            // What cannot be looked at may be there.
            let Ok(objects) = store.objects() else {
                return true;
            };
            let head = objects.head(&Path::from(name)).await;
            if !matches!(head, Err(object_store::Error::NotFound { .. })) {
                return true;
            }
        }
        false
    }

    /// Removes from every store; what is not there is removed already.
    ///
    /// # Errors
    /// When a store refuses or is away; the others have removed it.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        let mut wrong = None;
        for store in &self.stores {
            if let Err(error) = self.remove_from(store, name).await {
                wrong = Some(error);
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    async fn remove_from(&self, store: &Store, name: &str) -> Result<(), StoreError> {
        store.is_at_hand()?;
        match store.objects()?.delete(&Path::from(name)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            outcome => store.noted("remove", name, outcome),
        }
    }
}

/// What came of [`Stores::give_again`].
#[derive(Debug)]
pub struct Lacked {
    /// What was wrong with the first one.
    pub first: String,
    pub objects: u64,
    /// How many of them it has now.
    pub given: u64,
}

/// What came of [`Stores::level`].
#[derive(Debug, Default)]
pub struct Levelled {
    pub copied: u64,
    /// There is more to copy.
    pub is_cut_short: bool,
    /// What could not be copied or seen, and why.
    pub missing: Vec<StoreError>,
}

async fn list_one(store: &Store, prefix: &str) -> Result<Listing, StoreError> {
    store.is_at_hand()?;
    let path = Path::from(prefix);
    let listed = store.objects()?.list_with_delimiter(Some(&path)).await;
    let found = store.noted("list", prefix, listed)?;
    let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
    Ok(Listing {
        objects: (found.objects.iter())
            .map(|meta| name(&meta.location))
            .collect(),
        folders: found.common_prefixes.iter().map(name).collect(),
    })
}

fn conflict(store: &Store, name: &str) -> StoreError {
    StoreError::Conflict {
        name: name.to_owned(),
        store: store.address.clone(),
    }
}

#[derive(Debug, Default)]
pub struct Listing {
    pub objects: BTreeSet<String>,
    pub folders: BTreeSet<String>,
}

/// Several errors with their causes, on one line.
fn reasons(errors: &[StoreError]) -> String {
    let each: Vec<String> = errors.iter().map(|error| crate::chain(error)).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use std::path::Path as FilePath;

    use super::*;
    use crate::key::KEY_BYTES;

    fn stores(folders: &[&FilePath]) -> Stores {
        let addresses: Vec<String> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        let bytes = [7; KEY_BYTES];
        Stores::open(&addresses, &Access::default(), MasterKey { bytes }).unwrap()
    }

    #[tokio::test]
    async fn the_same_bytes_may_come_twice_and_others_never() {
        let folder = tempfile::tempdir().unwrap();
        let stores = stores(&[folder.path()]);
        let key = DataKey::draw();
        stores.put("wal/1", b"history", &key).await.unwrap();
        stores
            .put("wal/1", b"history", &DataKey::draw())
            .await
            .unwrap();
        let other = stores.put("wal/1", b"another", &key).await;
        assert!(
            matches!(other, Err(StoreError::Conflict { .. })),
            "{other:?}"
        );
        assert_eq!(stores.get("wal/1").await.unwrap(), b"history");
    }

    #[tokio::test]
    async fn the_loss_or_damage_of_one_store_of_two_is_survived_and_mended() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let both = stores(&[one.path(), two.path()]);
        both.put("wal/1", b"history", &DataKey::draw())
            .await
            .unwrap();
        let place = one.path().join("wal/1");
        let mut bytes = std::fs::read(&place).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&place, bytes).unwrap();
        assert_eq!(both.get("wal/1").await.unwrap(), b"history");
        let alone = stores(&[one.path()]).get("wal/1").await;
        assert!(
            matches!(alone, Err(StoreError::Damaged { .. })),
            "{alone:?}"
        );
        std::fs::remove_file(&place).unwrap();
        assert_eq!(both.level("wal").await.unwrap().copied, 1);
        let mended = stores(&[one.path()]).get("wal/1").await.unwrap();
        assert_eq!(mended, b"history");
    }

    #[tokio::test]
    async fn each_store_is_read_in_its_turn_and_gets_what_it_lacks() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let both = stores(&[one.path(), two.path()]);
        for name in ["wal/1", "wal/2", "wal/3"] {
            both.put(name, name.as_bytes(), &DataKey::draw())
                .await
                .unwrap();
        }
        // Nobody sees that by names.
        let bytes = std::fs::read(two.path().join("wal/1")).unwrap();
        std::fs::write(two.path().join("wal/1"), &bytes[..bytes.len() / 2]).unwrap();
        std::fs::remove_file(two.path().join("wal/2")).unwrap();
        let (first, second) = (
            one.path().display().to_string(),
            two.path().display().to_string(),
        );
        assert_eq!(both.read_next_to(None), first);
        assert_eq!(both.get("wal/1").await.unwrap(), b"wal/1");
        assert!(both.give_again().await.is_none());
        assert_eq!(both.read_next_to(Some(&first)), second);
        for name in ["wal/1", "wal/2", "wal/3"] {
            assert_eq!(both.get(name).await.unwrap(), name.as_bytes());
        }
        let lacked = both.give_again().await.unwrap();
        assert_eq!((lacked.objects, lacked.given), (2, 2), "{lacked:?}");
        assert!(lacked.first.contains("wal/1"), "{lacked:?}");
        let alone = stores(&[two.path()]);
        for name in ["wal/1", "wal/2"] {
            assert_eq!(alone.get(name).await.unwrap(), name.as_bytes());
        }
        assert_eq!(both.read_next_to(Some(&second)), first);
        assert_eq!(both.read_next_to(Some("/moved/away")), first);
    }

    #[tokio::test]
    async fn a_folder_that_is_away_at_first_is_used_when_it_is_back() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let away = two.path().join("store");
        std::fs::write(&away, "no folder").unwrap();
        let both = stores(&[one.path(), &away]);
        let taken = both.put("wal/1", b"history", &DataKey::draw()).await;
        assert_eq!(taken.unwrap().missing.len(), 1);
        assert_eq!(both.get("wal/1").await.unwrap(), b"history");
        let address = away.display().to_string();
        let master = MasterKey {
            bytes: [7; KEY_BYTES],
        };
        let alone = Stores::open(&[address], &Access::default(), master);
        assert!(matches!(alone, Err(StoreError::Folder { .. })));
        std::fs::remove_file(&away).unwrap();
        // As a program does that begins now; this one waits before it tries again.
        let both = stores(&[one.path(), &away]);
        assert_eq!(both.level("wal").await.unwrap().copied, 1);
        assert_eq!(stores(&[&away]).get("wal/1").await.unwrap(), b"history");
    }

    #[tokio::test]
    async fn what_cannot_be_read_back_is_not_put() {
        let folder = tempfile::tempdir().unwrap();
        let stores = stores(&[folder.path()]);
        // A file where a folder is needed: the store cannot take it.
        std::fs::write(folder.path().join("wal"), b"").unwrap();
        let refused = stores.put("wal/1", b"x", &DataKey::draw()).await;
        assert!(
            matches!(refused, Err(StoreError::NotTaken { .. })),
            "{refused:?}"
        );
    }
}
