//! Stores in clouds, against services on this machine that speak as S3, Google and Azure do and fail as such services do. What is
//! promised of one is promised of all, and of a local folder.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_backup::{Access, DataKey, MasterKey, StoreError, Stores, chain};
use mainstay_record::backup::StoreOptionsRecord;
use mainstay_testkit::objects::{Fault, ObjectService, ServiceAccount};
use mainstay_testkit::wait::wait_for_async;

const PATIENCE: Duration = Duration::from_secs(120);
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMIKEXAMPLEKEY";
const ACCOUNT: &str = "exampleaccount";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cloud {
    Amazon,
    Google,
    Azure,
}

const CLOUDS: [Cloud; 3] = [Cloud::Amazon, Cloud::Google, Cloud::Azure];

impl Cloud {
    const fn url(self) -> &'static str {
        match self {
            Self::Amazon => "s3://vault/ledger/archives",
            Self::Google => "gs://vault/ledger/archives",
            Self::Azure => "az://vault/ledger/archives",
        }
    }

    /// Those of a stranger.
    const fn wrong_credentials(self) -> &'static str {
        match self {
            Self::Amazon => {
                "AWS_ACCESS_KEY_ID=ANOTHER\nAWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIKEXAMPLEKEY\n"
            }
            // Of an account that nobody knows; the key is drawn where it is used.
            Self::Google => "",
            Self::Azure => {
                "AZURE_STORAGE_ACCOUNT_NAME=exampleaccount\nAZURE_STORAGE_ACCOUNT_KEY=d0phbHJYVXRuRkVNSUtFWEFNUExFS0VZ\n"
            }
        }
    }
}

struct Place {
    cloud: Cloud,
    folder: tempfile::TempDir,
    service: ObjectService,
    /// What must be shown nowhere.
    secret: String,
}

impl Place {
    fn new(cloud: Cloud) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (service, secret, credentials) = match cloud {
            Cloud::Amazon => (
                ObjectService::s3("vault", KEY)?,
                SECRET.to_owned(),
                format!("AWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY={SECRET}\n"),
            ),
            Cloud::Google => {
                let account = ServiceAccount::draw()?;
                let file = folder.path().join("google.json");
                std::fs::write(&file, account.file())?;
                let line = account.key.lines().nth(1).context("a key")?.to_owned();
                let credentials = format!("GOOGLE_SERVICE_ACCOUNT={}\n", file.display());
                (ObjectService::google("vault", &account)?, line, credentials)
            }
            Cloud::Azure => {
                let key = "QzdOa1p0cWJvTnRYcUV4YW1wbGVLZXlFeGFtcGxlS2V5";
                let credentials = format!(
                    "AZURE_STORAGE_ACCOUNT_NAME={ACCOUNT}\nAZURE_STORAGE_ACCOUNT_KEY={key}\n"
                );
                (
                    ObjectService::azure("vault", ACCOUNT, key)?,
                    key.to_owned(),
                    credentials,
                )
            }
        };
        let place = Self {
            cloud,
            folder,
            service,
            secret,
        };
        place.write_credentials(&format!("[{}]\n{credentials}", cloud.url()))?;
        Ok(place)
    }

    fn write_credentials(&self, text: &str) -> Result<()> {
        std::fs::write(self.credentials(), text)?;
        let mode = std::fs::Permissions::from_mode(0o600);
        Ok(std::fs::set_permissions(self.credentials(), mode)?)
    }

    fn credentials(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    fn url(&self) -> &'static str {
        self.cloud.url()
    }

    fn access(&self) -> Access {
        Access {
            options: vec![StoreOptionsRecord {
                store: self.url().to_owned(),
                region: (self.cloud == Cloud::Amazon).then(|| "eu-central-1".to_owned()),
                endpoint: Some(self.service.endpoint()),
                allow_http: true,
            }],
            credentials: Some(self.credentials()),
        }
    }

    fn open(&self, addresses: &[&str]) -> Result<Stores> {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let key = MasterKey::read_or_create(&self.folder.path().join("key"))?;
        Ok(Stores::open(&addresses, &self.access(), key)?)
    }

    fn local(&self) -> String {
        self.folder.path().join("local").display().to_string()
    }

    /// The client did nothing that a client must not do.
    fn is_content(&self) -> Result<()> {
        let wrong = self.service.wrong();
        ensure!(wrong.is_empty(), "{:?}: {wrong:?}", self.cloud);
        Ok(())
    }
}

/// Nothing that compresses.
fn bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    mainstay_rt::entropy::fill(&mut bytes);
    bytes
}

async fn put(stores: &Stores, name: &str, plain: &[u8]) -> Result<usize, StoreError> {
    let taken = stores.put(name, plain, &DataKey::draw()).await?;
    Ok(taken.missing.len())
}

/// What every store must do; `large` is what was put.
async fn keeps_the_contract(stores: &Stores, large: &[u8]) -> Result<()> {
    for number in 0..8 {
        put(stores, &format!("d/a/wal/{number}"), &large[number..]).await?;
    }
    put(stores, "d/a/wal/5", &large[5..]).await?;
    let other = put(stores, "d/a/wal/5", b"another history").await;
    ensure!(
        matches!(other, Err(StoreError::Conflict { .. })),
        "{other:?}"
    );
    ensure!(stores.get("d/a/wal/5").await? == large[5..]);
    ensure!(stores.get("d/a/wal/9").await.is_err());
    let listing = stores.list("d/a/wal").await?;
    ensure!(listing.objects.len() == 8, "{listing:?}");
    ensure!(stores.list("d").await?.folders.len() == 1);
    ensure!(stores.list("e").await?.objects.is_empty());
    stores.remove("d/a/wal/5").await?;
    stores.remove("d/a/wal/5").await?;
    ensure!(stores.list("d/a/wal").await?.objects.len() == 7);
    put(stores, "d/a/wal/5", b"a name that is free again").await?;
    Ok(())
}

#[tokio::test]
async fn objects_are_put_once_listed_whole_and_removed() -> Result<()> {
    let large = bytes(256 << 10);
    for cloud in CLOUDS {
        let place = Place::new(cloud)?;
        let kept = keeps_the_contract(&place.open(&[place.url()])?, &large).await;
        kept.with_context(|| format!("{cloud:?}: {:?}", place.service.wrong()))?;
        for (name, content) in place.service.objects() {
            ensure!(name.starts_with("ledger/archives/"), "{name}");
            let needle = &large[100_000..100_064];
            let shows = content.windows(needle.len()).any(|part| part == needle);
            ensure!(!shows, "{name} shows what it holds");
        }
        place.is_content()?;
    }
    let place = Place::new(Cloud::Amazon)?;
    let local = place.local();
    let kept = keeps_the_contract(&place.open(&[local.as_str()])?, &large).await;
    kept.context("a local folder")
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for() -> Result<()> {
    for cloud in CLOUDS {
        for (fault, times) in [
            (Fault::SlowDown, 3),
            (Fault::DropAnswer, 1),
            (Fault::DropUpload, 1),
        ] {
            let place = Place::new(cloud)?;
            let stores = place.open(&[place.url()])?;
            put(&stores, "d/first", b"so that the store is known").await?;
            let plain = bytes(256 << 10);
            place.service.plan(fault, times);
            let done = wait_for_async("the object to be put", PATIENCE, || async {
                put(&stores, "d/second", &plain).await.ok()
            });
            ensure!(done.await? == 0);
            let left = place.service.left(fault);
            ensure!(left == 0, "{cloud:?}: {fault:?} did not strike");
            ensure!(stores.get("d/second").await? == plain, "{fault:?}");
            place.is_content()?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_that_was_cut_off_is_found_and_put_again() -> Result<()> {
    for cloud in CLOUDS {
        let place = Place::new(cloud)?;
        let stores = place.open(&[place.url()])?;
        put(&stores, "d/first", b"so that the store is known").await?;
        let plain = bytes(256 << 10);
        place.service.plan(Fault::Truncate, 1);
        ensure!(put(&stores, "d/second", &plain).await? == 0);
        let left = place.service.left(Fault::Truncate);
        ensure!(left == 0, "{cloud:?}: nothing was cut off");
        ensure!(stores.get("d/second").await? == plain);
        // Twice in a row: it is not called put.
        place.service.plan(Fault::Truncate, 2);
        let refused = put(&stores, "d/third", &plain).await;
        let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
        ensure!(
            said.contains("not authentic") || said.contains("cut off"),
            "{cloud:?}: {said}"
        );
        // A reader that meets a truncated object is told so.
        let changed = place.service.change("ledger/archives/d/second", |bytes| {
            bytes.truncate(bytes.len() / 2);
        });
        ensure!(changed && stores.get("d/second").await.is_err());
        place.is_content()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_by_name_and_the_other_is_used() -> Result<()> {
    for cloud in CLOUDS {
        let place = Place::new(cloud)?;
        place.service.set_overwriting(true);
        let alone = place.open(&[place.url()])?;
        let refused = put(&alone, "d/one", b"x").await;
        let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
        ensure!(
            said.contains("overwrites what is there") && said.contains(place.url()),
            "{said}"
        );
        let names: Vec<String> = place.service.objects().into_keys().collect();
        ensure!(
            names == ["ledger/archives/mainstay-probe/if-none-match"],
            "{names:?}"
        );
        let local = place.local();
        let both = place.open(&[place.url(), &local])?;
        ensure!(put(&both, "d/one", b"x").await? == 1);
        ensure!(both.get("d/one").await? == b"x");
    }
    Ok(())
}

#[tokio::test]
async fn a_dead_store_of_two_is_survived_and_gets_the_backlog_when_it_returns() -> Result<()> {
    for cloud in CLOUDS {
        let place = Place::new(cloud)?;
        let local = place.local();
        let both = place.open(&[place.url(), &local])?;
        ensure!(put(&both, "d/before", b"before").await? == 0);
        place.service.set_down(true);
        for number in 0..20 {
            let lacking = put(&both, &format!("d/{number}"), &bytes(1_000)).await?;
            ensure!(lacking == 1, "a dead store took {number}");
        }
        ensure!(both.list("d").await?.objects.len() == 21);
        ensure!(both.get("d/before").await? == b"before");
        let levelled = both.level("d").await?;
        ensure!(
            levelled.copied == 0 && !levelled.missing.is_empty(),
            "{levelled:?}"
        );
        place.service.set_down(false);
        let done = wait_for_async("the backlog", PATIENCE, || async {
            let levelled = both.level("d").await.ok()?;
            (levelled.missing.is_empty() && !levelled.is_cut_short).then_some(())
        });
        done.await?;
        // And now the other one is lost.
        std::fs::remove_dir_all(Path::new(&local))?;
        let alone = place.open(&[place.url()])?;
        for number in 0..20 {
            ensure!(alone.get(&format!("d/{number}")).await?.len() == 1_000);
        }
        place.is_content()?;
    }
    Ok(())
}

#[tokio::test]
async fn keys_are_in_no_url_and_in_no_error() -> Result<()> {
    let place = Place::new(Cloud::Amazon)?;
    for url in [
        format!("s3://{KEY}:{SECRET}@vault/x"),
        format!("s3://vault/x?secret={SECRET}"),
        format!("https://vault.example.com/{SECRET}@x"),
    ] {
        let Err(error) = place.open(&[url.as_str()]) else {
            anyhow::bail!("{url} was taken");
        };
        let said = format!("{error:#}");
        ensure!(!said.contains(SECRET), "{said}");
        ensure!(said.contains("printed") || said.contains("known"), "{said}");
    }
    for cloud in CLOUDS {
        let place = Place::new(cloud)?;
        std::fs::set_permissions(place.credentials(), std::fs::Permissions::from_mode(0o644))?;
        let said = place.open(&[place.url()]).err();
        let said = said.map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(said.contains("chmod 600"), "{said}");
        // Another's key: the service says no, and the answer does not hold the secret.
        match cloud {
            Cloud::Google => {
                let another = ServiceAccount::draw()?.file();
                std::fs::write(place.folder.path().join("google.json"), another)?;
                let file = place.folder.path().join("google.json");
                place.write_credentials(&format!("GOOGLE_SERVICE_ACCOUNT={}\n", file.display()))?;
            }
            Cloud::Amazon | Cloud::Azure => place.write_credentials(cloud.wrong_credentials())?,
        }
        let stores = place.open(&[place.url()])?;
        let refused = put(&stores, "d/one", b"x").await;
        let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
        ensure!(
            said.contains("403") && !said.contains(&place.secret),
            "{cloud:?}: {said}"
        );
        ensure!(!place.service.wrong().is_empty(), "nobody asked");
    }
    Ok(())
}
