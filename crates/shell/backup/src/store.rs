//! Where sealed objects lie: one store, or two that must not be lost together.
//!
//! An object is put under a name that must be free, and then read back and opened: what a store says it has taken is
//! not believed. A name that is taken is looked into: the same bytes are fine (an upload that was repeated), other bytes
//! under the name of a piece of log mean that two servers wrote the same history differently, which is split brain and
//! never overwritten. A read takes the first store whose object is authentic.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::key::MasterKey;
use crate::seal::{self, DataKey, SealError};

/// More stores than two cost uploads and protect little.
pub const STORES_MAX: usize = 2;

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

struct Store {
    address: String,
    objects: Arc<dyn ObjectStore>,
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
}

impl Stores {
    /// Addresses are absolute paths of folders, made if missing.
    ///
    /// # Errors
    /// When there are none or too many, or one cannot be opened.
    pub fn open(addresses: &[String], master: MasterKey) -> Result<Self, StoreError> {
        let refuse = |why| StoreError::Address {
            store: addresses.join(", "),
            why,
        };
        if addresses.is_empty() || addresses.len() > STORES_MAX {
            return Err(refuse("one store or two are possible"));
        }
        let stores = addresses.iter().map(|address| open_one(address));
        Ok(Self {
            stores: stores.collect::<Result<_, _>>()?,
            master,
        })
    }

    pub fn addresses(&self) -> Vec<&str> {
        let stores = self.stores.iter();
        stores.map(|store| store.address.as_str()).collect()
    }

    pub fn fingerprint(&self) -> crate::key::Fingerprint {
        self.master.fingerprint()
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
        for store in &self.stores {
            match self.put_into(store, name, plain, payload.clone()).await {
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
        let options = PutOptions::from(PutMode::Create);
        match store
            .objects
            .put_opts(&Path::from(name), payload, options)
            .await
        {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(source) => return Err(store.error("put", name, source)),
        }
        let there = self.get_from(store, name).await?;
        if there == plain {
            Ok(())
        } else {
            Err(StoreError::Conflict {
                name: name.to_owned(),
                store: store.address.clone(),
            })
        }
    }

    /// The first authentic copy.
    ///
    /// # Errors
    /// When no store has one, with what is wrong in each.
    pub async fn get(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        let mut wrong = Vec::new();
        for store in &self.stores {
            match self.get_from(store, name).await {
                Ok(plain) => return Ok(plain),
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

    async fn get_from(&self, store: &Store, name: &str) -> Result<Vec<u8>, StoreError> {
        let read = |source| store.error("read", name, source);
        let object = store.objects.get(&Path::from(name)).await.map_err(read)?;
        let sealed = object.bytes().await.map_err(read)?;
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
        let path = Path::from(prefix);
        for store in &self.stores {
            match store.objects.list_with_delimiter(Some(&path)).await {
                Ok(found) => {
                    let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
                    let objects = found.objects.iter().map(|meta| name(&meta.location));
                    listing.objects.extend(objects);
                    listing
                        .folders
                        .extend(found.common_prefixes.iter().map(name));
                }
                Err(source) => wrong.push(store.error("list", prefix, source)),
            }
        }
        if wrong.len() == self.stores.len()
            && let Some(error) = wrong.pop()
        {
            return Err(error);
        }
        Ok(listing)
    }

    /// Gives every store what another has of the objects below a prefix. Only what is authentic is copied. Returns how
    /// many were copied.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn level(&self, prefix: &str) -> Result<u64, StoreError> {
        let mut copied = 0;
        if self.stores.len() < 2 {
            return Ok(copied);
        }
        for object in self.list(prefix).await?.objects {
            let name = format!("{prefix}/{object}");
            for store in &self.stores {
                if store.objects.head(&Path::from(name.as_str())).await.is_ok() {
                    continue;
                }
                let Ok(plain) = self.get(&name).await else {
                    continue;
                };
                let data = DataKey::draw();
                match seal::seal(&name, &plain, &data, &self.master) {
                    Ok(sealed) => {
                        let payload = PutPayload::from(sealed);
                        if self.put_into(store, &name, &plain, payload).await.is_ok() {
                            copied += 1;
                        }
                    }
                    Err(source) => return Err(StoreError::Seal { name, source }),
                }
            }
        }
        Ok(copied)
    }

    /// Removes from every store; what is not there is removed already.
    ///
    /// # Errors
    /// When a store refuses.
    pub async fn remove(&self, name: &str) -> Result<(), StoreError> {
        for store in &self.stores {
            match store.objects.delete(&Path::from(name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(store.error("remove", name, source)),
            }
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
pub struct Listing {
    pub objects: BTreeSet<String>,
    pub folders: BTreeSet<String>,
}

impl Store {
    fn error(&self, action: &'static str, name: &str, source: object_store::Error) -> StoreError {
        StoreError::Store {
            action,
            name: name.to_owned(),
            store: self.address.clone(),
            source: Box::new(source),
        }
    }
}

fn open_one(address: &str) -> Result<Store, StoreError> {
    let folder = address.strip_prefix("file://").unwrap_or(address);
    if !folder.starts_with('/') {
        return Err(StoreError::Address {
            store: address.to_owned(),
            why: "this program keeps backups in folders only; give an absolute path",
        });
    }
    std::fs::create_dir_all(FilePath::new(folder)).map_err(|source| StoreError::Folder {
        store: address.to_owned(),
        source,
    })?;
    let local = LocalFileSystem::new_with_prefix(folder).map_err(|source| StoreError::Store {
        action: "open",
        name: folder.to_owned(),
        store: address.to_owned(),
        source: Box::new(source),
    })?;
    Ok(Store {
        address: address.to_owned(),
        objects: Arc::new(local.with_fsync(true)),
    })
}

/// Several errors with their causes, on one line.
fn reasons(errors: &[StoreError]) -> String {
    let each: Vec<String> = errors.iter().map(|error| crate::chain(error)).collect();
    each.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KEY_BYTES;

    fn stores(folders: &[&FilePath]) -> Stores {
        let addresses: Vec<String> = folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        let bytes = [7; KEY_BYTES];
        Stores::open(&addresses, MasterKey { bytes }).unwrap()
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
        assert_eq!(both.level("wal").await.unwrap(), 1);
        let mended = stores(&[one.path()]).get("wal/1").await.unwrap();
        assert_eq!(mended, b"history");
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
