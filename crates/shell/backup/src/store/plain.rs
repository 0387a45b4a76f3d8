//! Objects as they are, for what proves itself: no key and no seal, and names that are never used for anything else.

use object_store::PutPayload;

use super::place::{Access, Store};
use super::{StoreError, list_one};

/// One store, used in the clear.
pub struct PlainStore(Store);

impl PlainStore {
    /// The address is the absolute path of a folder, made if missing, or the URL of a bucket.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(address: &str, access: &Access) -> Result<Self, StoreError> {
        let store = Store::open(address, access)?;
        store.objects()?;
        Ok(Self(store))
    }

    /// Puts under a name that must be free, and reads back what is there then. The same bytes count as put.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when other bytes have the name; else when the store did not take it.
    pub async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.is_at_hand()?;
        self.0
            .create(name, PutPayload::from(bytes.to_vec()))
            .await?;
        match self.0.read(name).await?.as_ref() == bytes {
            true => Ok(()),
            false => Err(StoreError::Conflict {
                name: name.to_owned(),
                store: self.0.address.clone(),
            }),
        }
    }

    /// `None` if nothing has the name.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.is_at_hand()?;
        match self.0.read(name).await {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(StoreError::Store { source, .. })
                if matches!(*source, object_store::Error::NotFound { .. }) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Names of objects directly below a prefix, without it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.0.is_at_hand()?;
        let listing = list_one(&self.0, prefix).await?;
        Ok(listing.objects.into_iter().collect())
    }
}
