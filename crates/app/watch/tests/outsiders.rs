//! Whoever asks the watch from outside the platform, such as Grafana: over real TLS, by a token.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod shared;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http::Method;
use mainstay_identity::authority::Authority;
use mainstay_identity::{Identity, web};
use mainstay_record::identity::{IdentityFiles, identity_name};
use mainstay_record::watch::WatchConfig;
use mainstay_scrape::exposition::Limits;
use mainstay_scraper::server::{NoReply, Place, Proof, Server};
use mainstay_scraper::web::Web;
use mainstay_scraper::{Endpoint, NoAnswer, Reach, ask};
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
        headers: BTreeMap::new(),
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

/// A watch is asked here as a target that is not of the platform: whoever asks knows its authority, its name and a token.
#[tokio::test]
async fn a_target_over_tls_proves_its_name_and_is_shown_a_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = secret(folder.path(), "token", "open sesame");
    let (watch, own) = start(folder.path(), Some(token.clone())).await;
    until_heard(watch.listen, folder.path()).await;
    let address = watch.listen.to_string();
    let name = identity_name("watch", "h", "p");
    let endpoint = |name: &str, authority: &Path, token_file: Option<PathBuf>| Endpoint {
        reach: Reach::Web(Web::new(&address, name, Some(authority.to_owned()))),
        token_file,
        path: "/metrics".to_owned(),
        labels: Vec::new(),
        honor_labels: false,
        interval: LIMIT,
        timeout: LIMIT,
        limits: Limits::default(),
    };
    let shown = || Some(token.clone());
    let known = endpoint(&name, &own.roots, shown());
    let answer = ask(&known).await.expect("an answer");
    assert!(!answer.samples.is_empty());
    // By its address, which is in its certificate too.
    let answer = ask(&endpoint("127.0.0.1", &own.roots, shown())).await;
    answer.expect("an answer");
    let refused = ask(&endpoint(&name, &own.roots, None)).await;
    assert!(matches!(refused, Err(NoAnswer::Status(status)) if status == 401));
    let other = identity_name("watch", "other", "p");
    let refused = ask(&endpoint(&other, &own.roots, shown())).await;
    assert!(
        matches!(refused, Err(NoAnswer::Web(_))),
        "another name was believed"
    );
    let late = folder.path().join("late.pem");
    let unknown = endpoint(&name, &late, shown());
    let refused = ask(&unknown).await;
    assert!(
        matches!(refused, Err(NoAnswer::Web(_))),
        "an authority that is not there was believed"
    );
    // The same target, once somebody has laid the file down.
    std::fs::copy(&own.roots, &late).expect("copied");
    ask(&unknown).await.expect("an answer");
    let open = secret(folder.path(), "open", "open sesame");
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&open, readable).expect("set");
    let refused = ask(&endpoint(&name, &own.roots, Some(open))).await;
    assert!(
        matches!(refused, Err(NoAnswer::Token(_))),
        "a token that others can read was shown"
    );
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
