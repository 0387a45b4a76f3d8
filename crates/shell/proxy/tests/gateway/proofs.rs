//! Instances that must prove who they are, and want proof of who calls.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use mainstay_identity::authority::Authority;
use mainstay_identity::{Identity, web};
use mainstay_record::identity::IdentityFiles;
use mainstay_rt::http::{Call, text};

use crate::fakes::{locked, until};
use crate::process::{Client, Platform};

/// Paths that were asked for, by whoever got in.
type Asked = Arc<Mutex<Vec<String>>>;

/// An authority in a folder of its own.
struct Issuer<'a> {
    folder: &'a Path,
    authority: Authority,
}

impl<'a> Issuer<'a> {
    fn new(folder: &'a Path, name: &str) -> Self {
        let authority = Authority::new(&folder.join(name), "exchange");
        Self { folder, authority }
    }

    fn files(&self, file: &str, name: &str) -> IdentityFiles {
        let now = mainstay_rt::clock::wall_ms();
        let leaf = self.authority.issue(name, now).expect("a leaf");
        let own = self.folder.join(file);
        mainstay_rt::files::write_atomic(&own, leaf.pem.as_bytes()).expect("written");
        IdentityFiles {
            own,
            roots: self.authority.roots(),
        }
    }
}

/// An instance that lets in whom it believes, for as long as the test lasts.
fn serve(address: &str, files: IdentityFiles) -> Asked {
    let listener = TcpListener::bind(address).expect("bind");
    listener.set_nonblocking(true).expect("set");
    let asked = Asked::default();
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let identity = Identity::open(files).expect("an identity");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let answer = move |call: Call| {
                locked(&heard).push(call.path.clone());
                std::future::ready(text(StatusCode::OK, "proven"))
            };
            web::serve(listener, identity, answer).await;
        });
    });
    asked
}

#[test]
fn only_who_proves_its_name_is_asked_and_nothing_is_said_to_others() {
    let platform = Platform::new(80);
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (
        Issuer::new(folder.path(), "ours"),
        Issuer::new(folder.path(), "theirs"),
    );
    let name = |host: &str| format!("service-books.{host}.exchange.mainstay");
    let at = |host: u8| format!("127.205.80.{}:7100", 100 + host);
    let proven = serve(&at(1), ours.files("a.pem", &name("a")));
    let misnamed = serve(&at(2), ours.files("b.pem", &name("elsewhere")));
    let stranger = serve(&at(3), theirs.files("c.pem", &name("c")));
    let own = ours.files("own.pem", "gateway-front.a.exchange.mainstay");
    let _gateway = platform.start_with(|config| {
        let instances = ["a", "b", "c"].into_iter().zip(1..).map(|(host, number)| {
            serde_json::json!({"name": format!("{host}/books"), "host": host, "region": host,
                "address": at(number), "identity": name(host), "readiness_path": "/health/ready"})
        });
        let service = serde_json::json!({"name": "books", "instances": instances.collect::<Vec<_>>()});
        let route = serde_json::json!({"name": "books", "path_prefix": "/books", "target": {"service": "books"}});
        config["identity"] = serde_json::to_value(&own).expect("JSON");
        config["services"].as_array_mut().expect("services").push(service);
        config["listeners"]["http"][0]["routes"].as_array_mut().expect("routes").push(route);
    });
    until("the one that proves itself is ready", || {
        let asked = Client::connect(&platform.http()).get("/books/1");
        (asked.status, asked.body.as_str()) == (200, "proven")
    });
    let mut client = Client::connect(&platform.http());
    for number in 0..50 {
        let answer = client.get(&format!("/books/{number}"));
        assert_eq!((answer.status, answer.body.as_str()), (200, "proven"));
    }
    assert!(locked(&proven).len() > 50);
    assert_eq!(*locked(&misnamed), Vec::<String>::new());
    assert_eq!(*locked(&stranger), Vec::<String>::new());
}
