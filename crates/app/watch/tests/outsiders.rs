//! Whoever asks the watch from outside the platform, such as Grafana: over real TLS, by a token.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod shared;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::Method;
use mainstay_identity::authority::Authority;
use mainstay_identity::{Identity, web};
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::watch::WatchConfig;
use mainstay_scraper::server::{NoReply, Place, Proof, Server};
use shared::{LIMIT, Watch};

fn secret(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    let closed = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, closed).expect("set");
    path
}

/// Of an authority of the folder's own; the name is reached at a loopback address.
fn identity(folder: &Path, role: &str) -> IdentityFiles {
    let authority = Authority::new(&folder.join("authority"), "p");
    let also = ["127.0.0.1".to_owned()];
    let name = identity_name(role, "h", "p");
    let leaf = authority.issue_for(&name, &also, mainstay_rt::clock::wall_ms());
    let own = secret(folder, role, &leaf.expect("a leaf").pem);
    let roots = authority.roots();
    IdentityFiles { own, roots }
}

async fn start(folder: &Path, token_file: Option<PathBuf>) -> (Watch, IdentityFiles) {
    let own = identity(folder, "watch");
    let config = WatchConfig {
        identity: Some(own.clone()),
        token_file,
        ..shared::config(folder).await
    };
    let watch = shared::start(folder, &config);
    (watch, own)
}

/// As Grafana asks: it believes the platform's authority and has no leaf of it.
async fn asks(to: SocketAddr, roots: &Path, proof: Proof) -> Result<String, NoReply> {
    let place = Place {
        url: format!("https://{to}"),
        proof,
        authority_file: Some(roots.to_owned()),
    };
    let server = Server::new(place).expect("an authority");
    let form = [("query".to_owned(), "1 + 1".to_owned())];
    let reply = server.ask("query", Some(&form), LIMIT).await?;
    Ok(reply.data.get().to_owned())
}

/// Until the watch listens, which is when somebody of the platform is answered: no token is asked of them.
async fn until_heard(to: SocketAddr, folder: &Path) {
    let own = Identity::open(identity(folder, "node")).expect("an identity");
    let name = identity_name("watch", "h", "p");
    let asking = async {
        loop {
            let watch = (to, name.as_str());
            let (get, path) = (Method::GET, "/-/healthy");
            match web::request(&own, watch, get, path, Vec::new(), LIMIT).await {
                Ok((status, _)) => return status,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    let status = tokio::time::timeout(LIMIT, asking).await.expect("heard");
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_token_opens_the_door_to_whoever_shows_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = secret(folder.path(), "token", "open sesame");
    let guessed = secret(folder.path(), "guessed", "open barley");
    let bearer = |token_file: &Path| Proof::Bearer {
        token_file: token_file.to_owned(),
    };
    let (watch, own) = start(folder.path(), Some(token.clone())).await;
    until_heard(watch.listen, folder.path()).await;
    let answered = asks(watch.listen, &own.roots, bearer(&token)).await;
    let answered = answered.expect("it is answered");
    assert!(answered.contains("\"2\""), "{answered}");
    for proof in [Proof::None, bearer(&guessed)] {
        let refused = asks(watch.listen, &own.roots, proof).await;
        let said = refused.expect_err("it is refused").to_string();
        assert!(said.contains("401"), "{said}");
    }
    watch.end().await;
}

#[tokio::test]
async fn without_one_nobody_is_heard_who_has_no_leaf() {
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = secret(folder.path(), "token", "open sesame");
    let (watch, own) = start(folder.path(), None).await;
    until_heard(watch.listen, folder.path()).await;
    let refused = asks(watch.listen, &own.roots, Proof::Bearer { token_file }).await;
    assert!(matches!(refused, Err(NoReply::Unheard(_))), "{refused:?}");
    watch.end().await;
}
