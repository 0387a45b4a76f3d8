//! Who may speak with a keeper, and what becomes of it when keys and certificates change.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_identity::Identity;
use mainstay_identity::authority::Authority;
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::keeper_message::{Frame, Hello, VERSION};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{self, Writer};
use crate::cluster::{COUNT, Cluster};

/// For everything that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
const KEEPER: &str = "keeper-orders";

fn name(which: usize) -> String {
    identity_name(KEEPER, &format!("host-{}", which + 1), "test")
}

/// Whoever shows no identity, a foreign one or another's is sent away from every port of a keeper.
pub fn strangers_are_refused() -> Result<()> {
    let cluster = Cluster::healthy()?;
    let elsewhere = tempfile::tempdir()?;
    let foreign = foreign(elsewhere.path(), &name(1))?;
    let second = Identity::read(cluster.identity(1, KEEPER)?)?;
    cluster.runtime.block_on(async {
        for address in [cluster.peer_address(0), cluster.sight_address(0)] {
            let mut plain = TcpStream::connect(address).await?;
            plain
                .write_all(b"GET /v1/status HTTP/1.1\r\nHost: keeper\r\n\r\n")
                .await?;
            let answer = until_end(&mut plain).await?;
            let answered = answer.windows(4).any(|part| part == b"HTTP");
            ensure!(!answered, "{address} answers whoever asks");
            let shown = foreign
                .connect(TcpStream::connect(address).await?, &name(0))
                .await;
            ensure!(shown.is_err(), "{address} is believed by a stranger");
            let naive = naive(&cluster, elsewhere.path())?;
            // Its own handshake is over before it is refused: only what comes then says so.
            if let Ok(mut stream) = naive
                .connect(TcpStream::connect(address).await?, &name(0))
                .await
            {
                stream.write_all(&hello(2)?).await.ok();
                stream.flush().await.ok();
                let answer = until_end(&mut stream).await?;
                ensure!(answer.is_empty(), "{address} answers a stranger");
            }
        }
        // One of ours, who says that it is another.
        let address = cluster.peer_address(0);
        let stream = TcpStream::connect(address).await?;
        let mut stream = second.connect(stream, &name(0)).await?;
        stream.write_all(&hello(3)?).await?;
        stream.flush().await?;
        let answer = until_end(&mut stream).await?;
        ensure!(answer.is_empty(), "a keeper was taken for another");
        Ok(())
    })
}

/// The authority's key is lost while everything runs: another is made, every leaf is replaced, nobody is restarted,
/// and the next failover is as any other.
pub fn another_authority() -> Result<()> {
    let cluster = Cluster::healthy()?;
    client::prepare(&cluster)?;
    let writer = Writer::start(&cluster)?;
    let authority = Authority::new(&cluster.authority(), "test");
    std::fs::remove_file(authority.key())?;
    let trust = authority.keep(mainstay_rt::clock::wall_ms())?;
    ensure!(trust.believed.len() == 2, "two roots overlap");
    for which in 0..COUNT {
        std::fs::remove_file(&cluster.identity(which, KEEPER)?.own)?;
        cluster.identity(which, KEEPER)?;
    }
    // Whoever believes the new root alone is answered by all: they show new leaves.
    let only = cluster.authority().join("only-new.pem");
    let roots = std::fs::read_to_string(authority.roots())?;
    let begins = roots.rfind("-----BEGIN").context("a root")?;
    std::fs::write(&only, &roots[begins..])?;
    let strict = Identity::read(IdentityFiles {
        own: cluster.identity(0, KEEPER)?.own,
        roots: only,
    })?;
    for which in 0..COUNT {
        cluster.wait("a new leaf in use", || {
            let shown = async {
                let stream = TcpStream::connect(cluster.sight_address(which)).await;
                strict.connect(stream.ok()?, &name(which)).await.ok()
            };
            cluster.runtime.block_on(shown).map(drop)
        })?;
    }
    let (primary, term) = cluster.await_healthy()?;
    cluster.kill_postmaster(primary)?;
    cluster.await_primary(term)?;
    writer.await_more(&cluster, 20)?;
    cluster.await_healthy()?;
    client::check(&cluster, &writer.finish()?)
}

/// A leaf for one of our names, by an authority of its own.
fn foreign(folder: &std::path::Path, name: &str) -> Result<Identity> {
    let authority = Authority::new(folder, "test");
    let leaf = authority.issue(name, mainstay_rt::clock::wall_ms())?;
    let own = folder.join("own.pem");
    mainstay_rt::files::write_atomic(&own, leaf.pem.as_bytes())?;
    let roots = authority.roots();
    Ok(Identity::read(IdentityFiles { own, roots })?)
}

/// The same leaf, believing our roots.
fn naive(cluster: &Cluster, folder: &std::path::Path) -> Result<Identity> {
    Ok(Identity::read(IdentityFiles {
        own: folder.join("own.pem"),
        roots: Authority::new(&cluster.authority(), "test").roots(),
    })?)
}

fn hello(from: u8) -> Result<Vec<u8>> {
    let hello = Frame::Hello(Hello {
        version: VERSION,
        platform: "test".to_owned(),
        database: "orders".to_owned(),
        from,
        to: 1,
    });
    let json = serde_json::to_vec(&hello)?;
    let mut bytes = u32::try_from(json.len())?.to_be_bytes().to_vec();
    bytes.extend_from_slice(&json);
    Ok(bytes)
}

/// What the other side says before it hangs up, in whatever way.
async fn until_end(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut said));
    // An alert or a reset is an end too.
    let _ = read.await.context("it does not hang up")?;
    Ok(said)
}
