//! Stores in a cloud, against a service that speaks S3 on this machine and fails as such services do.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use mainstay_backup::{Access, DataKey, MasterKey, StoreError, Stores, chain};
use mainstay_record::backup::StoreOptionsRecord;
use mainstay_testkit::s3::{Fault, S3};
use mainstay_testkit::wait::wait_for_async;

const PATIENCE: Duration = Duration::from_secs(120);
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMIKEXAMPLEKEY";
const URL: &str = "s3://vault/ledger/archives";

struct Place {
    folder: tempfile::TempDir,
    service: S3,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let credentials = folder.path().join("credentials");
        std::fs::write(
            &credentials,
            format!("[{URL}]\nAWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY={SECRET}\n"),
        )?;
        std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600))?;
        let service = S3::start("vault", KEY)?;
        Ok(Self { folder, service })
    }

    fn credentials(&self) -> PathBuf {
        self.folder.path().join("credentials")
    }

    fn access(&self) -> Access {
        Access {
            options: vec![StoreOptionsRecord {
                store: URL.to_owned(),
                region: Some("eu-central-1".to_owned()),
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
        ensure!(wrong.is_empty(), "{wrong:?}");
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

#[tokio::test]
async fn objects_are_put_once_listed_whole_and_removed() -> Result<()> {
    let place = Place::new()?;
    let stores = place.open(&[URL])?;
    let large = bytes(3 << 20);
    for number in 0..8 {
        put(&stores, &format!("d/a/wal/{number}"), &large[number..]).await?;
    }
    put(&stores, "d/a/wal/5", &large[5..]).await?;
    let other = put(&stores, "d/a/wal/5", b"another history").await;
    ensure!(
        matches!(other, Err(StoreError::Conflict { .. })),
        "{other:?}"
    );
    ensure!(stores.get("d/a/wal/5").await? == large[5..]);
    let listing = stores.list("d/a/wal").await?;
    ensure!(listing.objects.len() == 8, "{listing:?}");
    ensure!(stores.list("d").await?.folders.len() == 1);
    stores.remove("d/a/wal/5").await?;
    stores.remove("d/a/wal/5").await?;
    ensure!(stores.list("d/a/wal").await?.objects.len() == 7);
    for (name, content) in place.service.objects() {
        ensure!(name.starts_with("ledger/archives/"), "{name}");
        let needle = &large[100_000..100_064];
        let shows = content.windows(needle.len()).any(|part| part == needle);
        ensure!(!shows, "{name} shows what it holds");
    }
    place.is_content()
}

#[tokio::test]
async fn what_passes_by_itself_is_waited_for() -> Result<()> {
    for (fault, times) in [
        (Fault::SlowDown, 3),
        (Fault::DropAnswer, 1),
        (Fault::DropUpload, 1),
    ] {
        let place = Place::new()?;
        let stores = place.open(&[URL])?;
        put(&stores, "d/first", b"so that the store is known").await?;
        let plain = bytes(1 << 20);
        place.service.plan(fault, times);
        let done = wait_for_async("the object to be put", PATIENCE, || async {
            put(&stores, "d/second", &plain).await.ok()
        });
        ensure!(done.await? == 0);
        ensure!(place.service.left(fault) == 0, "{fault:?} did not strike");
        ensure!(stores.get("d/second").await? == plain, "{fault:?}");
        place.is_content()?;
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_that_was_cut_off_is_found_and_put_again() -> Result<()> {
    let place = Place::new()?;
    let stores = place.open(&[URL])?;
    put(&stores, "d/first", b"so that the store is known").await?;
    let plain = bytes(1 << 20);
    place.service.plan(Fault::Truncate, 1);
    ensure!(put(&stores, "d/second", &plain).await? == 0);
    ensure!(
        place.service.left(Fault::Truncate) == 0,
        "nothing was cut off"
    );
    ensure!(stores.get("d/second").await? == plain);
    // Twice in a row: it is not called put.
    place.service.plan(Fault::Truncate, 2);
    let refused = put(&stores, "d/third", &plain).await;
    let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
    ensure!(
        said.contains("not authentic") || said.contains("cut off"),
        "{said}"
    );
    // A reader that meets a truncated object is told so.
    let changed = place.service.change("ledger/archives/d/second", |bytes| {
        bytes.truncate(bytes.len() / 2);
    });
    ensure!(changed && stores.get("d/second").await.is_err());
    place.is_content()
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_by_name_and_the_other_is_used() -> Result<()> {
    let place = Place::new()?;
    place.service.set_overwriting(true);
    let alone = place.open(&[URL])?;
    let refused = put(&alone, "d/one", b"x").await;
    let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
    ensure!(
        said.contains("If-None-Match") && said.contains(URL),
        "{said}"
    );
    let names: Vec<String> = place.service.objects().into_keys().collect();
    ensure!(
        names == ["ledger/archives/mainstay-probe/if-none-match"],
        "{names:?}"
    );
    let local = place.local();
    let both = place.open(&[URL, &local])?;
    ensure!(put(&both, "d/one", b"x").await? == 1);
    ensure!(both.get("d/one").await? == b"x");
    Ok(())
}

#[tokio::test]
async fn a_dead_store_of_two_is_survived_and_gets_the_backlog_when_it_returns() -> Result<()> {
    let place = Place::new()?;
    let local = place.local();
    let both = place.open(&[URL, &local])?;
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
    let alone = place.open(&[URL])?;
    for number in 0..20 {
        ensure!(alone.get(&format!("d/{number}")).await?.len() == 1_000);
    }
    place.is_content()
}

#[tokio::test]
async fn keys_are_in_no_url_and_in_no_error() -> Result<()> {
    let place = Place::new()?;
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
    std::fs::set_permissions(place.credentials(), std::fs::Permissions::from_mode(0o644))?;
    let said = place.open(&[URL]).err().map(|error| format!("{error:#}"));
    let said = said.unwrap_or_default();
    ensure!(said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(place.credentials(), std::fs::Permissions::from_mode(0o600))?;
    // Another's key: the service says no, and the answer does not hold the secret.
    std::fs::write(
        place.credentials(),
        format!("AWS_ACCESS_KEY_ID=ANOTHER\nAWS_SECRET_ACCESS_KEY={SECRET}\n"),
    )?;
    let stores = place.open(&[URL])?;
    let refused = put(&stores, "d/one", b"x").await;
    let said = refused.err().map(|error| chain(&error)).unwrap_or_default();
    ensure!(said.contains("403") && !said.contains(SECRET), "{said}");
    Ok(())
}
