//! One store: a folder, or a bucket in a cloud by its URL.
//!
//! A bucket is believed nothing. Before the first object is put into it a *probe* shows whether it keeps the one promise
//! that everything here rests on: of two that put under the same name, the second is refused. And a store that failed is
//! left alone for a while, so that the other one is not held up by it.

use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use mainstay_record::backup::StoreOptionsRecord;
use mainstay_units::Instant;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};

use super::StoreError;
use super::credentials::Credentials;

const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Without a byte.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);
/// For one request; an object has some tens of megabytes.
const REQUEST_LIMIT: Duration = Duration::from_secs(300);
/// Answers such as `503 Slow Down` are asked again so often, within the limit.
const RETRIES: usize = 4;
const RETRY_LIMIT: Duration = Duration::from_secs(15);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MOST: Duration = Duration::from_secs(4);
/// How long a store is left alone after it failed; twice as long each time.
const AWAY_FIRST: Duration = Duration::from_secs(2);
const AWAY_MOST: Duration = Duration::from_secs(60);
/// Every store has one; it is never removed.
const PROBE: &str = "mainstay-probe/if-none-match";
const PROBE_BYTES: usize = 32;

/// How stores are reached.
#[derive(Clone, Debug, Default)]
pub struct Access {
    pub options: Vec<StoreOptionsRecord>,
    /// A file that may hold credentials; without it, the environment may.
    pub credentials: Option<PathBuf>,
}

pub struct Store {
    pub address: String,
    /// Empty while the store's folder cannot be made or entered: of two stores one may be away when a program begins.
    objects: OnceLock<Arc<dyn ObjectStore>>,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    /// It was seen to refuse a name that is taken.
    is_proven: bool,
    failures: u32,
    until: Option<Instant>,
    why: String,
}

impl Store {
    /// A folder that cannot be used now is opened by whoever uses it first.
    ///
    /// # Errors
    /// When the address is none, or the credentials cannot be used.
    pub fn open(address: &str, access: &Access) -> Result<Self, StoreError> {
        let store = Self {
            address: address.to_owned(),
            objects: OnceLock::new(),
            standing: Mutex::default(),
        };
        match folder_of(address) {
            Some(path) if path.starts_with('/') => {
                store.standing(|standing| standing.is_proven = true);
                store.objects().ok();
            }
            Some(_) => {
                return Err(StoreError::Address {
                    store: address.to_owned(),
                    why: "it is neither an absolute path nor the URL of a bucket",
                });
            }
            None => {
                let opened = bucket(address, access)?;
                store.objects.get_or_init(|| opened);
            }
        }
        Ok(store)
    }

    /// # Errors
    /// While its folder cannot be made or entered.
    pub fn objects(&self) -> Result<&Arc<dyn ObjectStore>, StoreError> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects);
        }
        let path = folder_of(&self.address).unwrap_or_default();
        match folder(&self.address, path) {
            Ok(opened) => Ok(self.objects.get_or_init(|| opened)),
            Err(error) => {
                self.note_failure(&error);
                Err(error)
            }
        }
    }

    fn standing<T>(&self, look: impl FnOnce(&mut Standing) -> T) -> T {
        look(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// # Errors
    /// While it is left alone, with what went wrong.
    pub fn is_at_hand(&self) -> Result<(), StoreError> {
        let now = mainstay_rt::clock::now();
        self.standing(|standing| match standing.until {
            Some(until) if now < until => Err(StoreError::Away {
                store: self.address.clone(),
                why: standing.why.clone(),
            }),
            _ => Ok(()),
        })
    }

    /// Notes how a request went, and says what went wrong.
    pub fn noted<T>(
        &self,
        action: &'static str,
        name: &str,
        outcome: Result<T, object_store::Error>,
    ) -> Result<T, StoreError> {
        match outcome {
            Ok(value) => {
                self.standing(|standing| {
                    standing.failures = 0;
                    standing.until = None;
                });
                Ok(value)
            }
            Err(source) => {
                let of_object = matches!(
                    source,
                    object_store::Error::NotFound { .. }
                        | object_store::Error::AlreadyExists { .. }
                );
                let error = StoreError::Store {
                    action,
                    name: name.to_owned(),
                    store: self.address.clone(),
                    source: Box::new(source),
                };
                if !of_object {
                    self.note_failure(&error);
                }
                Err(error)
            }
        }
    }

    /// It is left alone for a while.
    fn note_failure(&self, error: &StoreError) {
        let now = mainstay_rt::clock::now();
        self.standing(|standing| {
            let times = 1_u32.checked_shl(standing.failures).unwrap_or(u32::MAX);
            let wait = AWAY_FIRST.saturating_mul(times).min(AWAY_MOST);
            standing.failures = standing.failures.saturating_add(1);
            standing.until = Some(now + wait);
            standing.why = crate::chain(error);
        });
    }

    /// Puts under a name that must be free; `false` if it was taken.
    ///
    /// # Errors
    /// When it does not answer, or is one that overwrites.
    pub async fn create(&self, name: &str, payload: PutPayload) -> Result<bool, StoreError> {
        if !self.standing(|standing| standing.is_proven) {
            self.probe().await?;
            self.standing(|standing| standing.is_proven = true);
        }
        self.create_unproven(name, payload).await
    }

    async fn create_unproven(&self, name: &str, payload: PutPayload) -> Result<bool, StoreError> {
        let options = PutOptions::from(PutMode::Create);
        let path = Path::from(name);
        match self.objects()?.put_opts(&path, payload, options).await {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            outcome => self.noted("put", name, outcome.map(|_| true)),
        }
    }

    /// Whether it refuses a name that is taken.
    async fn probe(&self) -> Result<(), StoreError> {
        let draw = || {
            let mut bytes = vec![0; PROBE_BYTES];
            mainstay_rt::entropy::fill(&mut bytes);
            bytes
        };
        self.create_unproven(PROBE, PutPayload::from(draw()))
            .await?;
        let second = draw();
        let overwritten = self
            .create_unproven(PROBE, PutPayload::from(second.clone()))
            .await?;
        // Its answer alone is not believed.
        if overwritten || self.read(PROBE).await?.as_ref() == second.as_slice() {
            return Err(StoreError::Overwrites {
                store: self.address.clone(),
            });
        }
        Ok(())
    }

    /// # Errors
    /// When it does not answer, or has no such object.
    pub async fn read(&self, name: &str) -> Result<bytes::Bytes, StoreError> {
        let objects = self.objects()?;
        let read = async { objects.get(&Path::from(name)).await?.bytes().await };
        let read = read.await;
        self.noted("read", name, read)
    }
}

/// The path of a store that is a folder.
fn folder_of(address: &str) -> Option<&str> {
    match address.split_once("://") {
        None => Some(address),
        Some(("file", path)) => Some(path),
        Some(_) => None,
    }
}

fn folder(address: &str, path: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    std::fs::create_dir_all(FilePath::new(path)).map_err(|source| StoreError::Folder {
        store: address.to_owned(),
        source,
    })?;
    let local = LocalFileSystem::new_with_prefix(path).map_err(open(address))?;
    Ok(Arc::new(local.with_fsync(true)))
}

fn open(address: &str) -> impl Fn(object_store::Error) -> StoreError {
    let address = address.to_owned();
    move |source| StoreError::Store {
        action: "open",
        name: address.clone(),
        store: address.clone(),
        source: Box::new(source),
    }
}

fn bucket(address: &str, access: &Access) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let refuse = |why| StoreError::Address {
        // What is behind an `@` or a `?` may be a secret, and is not repeated.
        store: address
            .split(['@', '?', '#'])
            .next()
            .filter(|shown| shown.len() == address.len())
            .map_or_else(|| format!("{scheme}://…"), str::to_owned),
        why,
    };
    if rest.contains(['@', '?', '#']) {
        return Err(refuse(
            "a URL with a user, a key or a query would be printed and logged; credentials belong into a file of mode 0600 \
             or the environment",
        ));
    }
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(refuse("it names no bucket"));
    }
    if !["s3", "gs", "az"].contains(&scheme) {
        return Err(refuse("only folders, s3://, gs:// and az:// are known"));
    }
    let values = Credentials::find(access.credentials.as_deref())?.of(address, scheme)?;
    let options = (access.options.iter())
        .find(|options| options.store.trim_end_matches('/') == address.trim_end_matches('/'))
        .cloned()
        .unwrap_or_default();
    let allowed = options.allow_http
        || values
            .get("AWS_ALLOW_HTTP")
            .is_some_and(|value| value == "true");
    let client = ClientOptions::new()
        .with_allow_http(allowed)
        .with_connect_timeout(CONNECT_LIMIT)
        .with_read_timeout(SILENCE_LIMIT)
        .with_timeout(REQUEST_LIMIT);
    let values = values
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.as_str()));
    let objects: Arc<dyn ObjectStore> = match scheme {
        "s3" => amazon(bucket, values, &options, client).map(|built| Arc::new(built) as _),
        "gs" => google(bucket, values, &options, client).map(|built| Arc::new(built) as _),
        _ => azure(bucket, values, &options, client).map(|built| Arc::new(built) as _),
    }
    .map_err(open(address))?;
    let prefix = prefix.trim_end_matches('/');
    if prefix.is_empty() {
        return Ok(objects);
    }
    Ok(Arc::new(PrefixStore::new(objects, prefix)))
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: BACKOFF_FIRST,
            max_backoff: BACKOFF_MOST,
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_LIMIT,
    }
}

fn amazon<'a>(
    bucket: &str,
    values: impl Iterator<Item = (String, &'a str)>,
    options: &StoreOptionsRecord,
    client: ClientOptions,
) -> Result<object_store::aws::AmazonS3, object_store::Error> {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_client_options(client)
        // One by one, as every service that speaks this protocol understands it.
        .with_disable_bulk_delete(true)
        .with_retry(retry());
    for (name, value) in values {
        if name != "aws_allow_http"
            && let Ok(key) = name.parse::<AmazonS3ConfigKey>()
        {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.build()
}

fn google<'a>(
    bucket: &str,
    values: impl Iterator<Item = (String, &'a str)>,
    options: &StoreOptionsRecord,
    client: ClientOptions,
) -> Result<object_store::gcp::GoogleCloudStorage, object_store::Error> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_client_options(client)
        .with_retry(retry());
    for (name, value) in values {
        if let Ok(key) = name.parse::<GoogleConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder.build()
}

fn azure<'a>(
    container: &str,
    values: impl Iterator<Item = (String, &'a str)>,
    options: &StoreOptionsRecord,
    client: ClientOptions,
) -> Result<object_store::azure::MicrosoftAzure, object_store::Error> {
    let mut builder = MicrosoftAzureBuilder::new()
        .with_container_name(container)
        .with_client_options(client)
        .with_retry(retry());
    for (name, value) in values {
        if let Ok(key) = name.parse::<AzureConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder.build()
}
