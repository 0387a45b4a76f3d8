//! One small platform, many requests.

use alloc::string::ToString;
use alloc::vec;

use super::*;

fn service(name: &str, hosts: &[&str]) -> Service {
    Service {
        name: name.to_string(),
        instances: hosts
            .iter()
            .map(|host| Instance {
                name: alloc::format!("{host}/{name}"),
                host: (*host).to_string(),
                place: Place::OwnRegion,
                share: 100,
            })
            .collect(),
    }
}

fn database(name: &str) -> Database {
    Database {
        name: name.to_string(),
        replicas: vec!["a".to_string(), "b".to_string()],
    }
}

fn route(name: &str, prefix: &str, target: TargetDeclared) -> RouteDeclared {
    RouteDeclared {
        name: name.to_string(),
        host: None,
        path_prefix: prefix.to_string(),
        methods: vec![],
        target,
        hold_wait: Duration::from_secs(1),
        idempotency_header: None,
    }
}

fn cell(value: &str, database: &str, service: &str) -> CellDeclared {
    CellDeclared {
        values: vec![value.to_string()],
        database: database.to_string(),
        service: service.to_string(),
    }
}

fn cells(key: Key) -> TargetDeclared {
    TargetDeclared::Cell {
        key,
        cells: vec![cell("us", "us", "venue"), cell("eu", "eu", "venue")],
    }
}

fn table() -> Routing {
    let by_path = route("cells", "/v1/cells", cells(Key::PathPart(2)));
    let by_header = route(
        "accounts",
        "/v1/accounts/",
        cells(Key::Header("x-cell".to_string())),
    );
    let mut read_only = route("web", "/", TargetDeclared::Service("web".to_string()));
    read_only.methods = vec![Method::Get];
    let mut other_host = route("admin", "/", TargetDeclared::Service("venue".to_string()));
    other_host.host = Some("Admin.example".to_string());
    Routing::new(
        vec![service("web", &["a"]), service("venue", &["b", "c"])],
        vec![database("us"), database("eu")],
        vec![(
            "public".to_string(),
            vec![read_only, by_path, by_header, other_host],
        )],
    )
    .expect("flawless")
}

#[test]
fn requests_find_their_place() {
    let routing = table();
    let (web, venue) = (
        Destination::Service(ServiceId(0)),
        Destination::Service(ServiceId(1)),
    );
    let (us, eu) = (Destination::Cell(CellId(0)), Destination::Cell(CellId(1)));
    let rows: &[(&str, &str, &str, Result<Destination, RouteMiss>)] = &[
        ("x", "GET", "/", Ok(web)),
        ("x", "GET", "/index.html", Ok(web)),
        (
            "x",
            "POST",
            "/index.html",
            Err(RouteMiss::MethodNotAllowed(MethodSet::of(&[Method::Get]))),
        ),
        ("x", "POST", "/v1/cells/us/orders", Ok(us)),
        ("x", "POST", "/v1/cells/eu", Ok(eu)),
        (
            "x",
            "GET",
            "/v1/cells/asia/orders",
            Err(RouteMiss::UnknownCell),
        ),
        ("x", "GET", "/v1/cells", Err(RouteMiss::KeyMissing)),
        ("x", "GET", "/v1/cellsus/us", Ok(web)),
        ("x", "GET", "/v1/accounts/7", Ok(us)),
        ("admin.example:8080", "POST", "/v1/cells/us", Ok(venue)),
        ("ADMIN.example", "DELETE", "/anything", Ok(venue)),
        (
            "x",
            "GET",
            "/v1/cells/../admin",
            Err(RouteMiss::AmbiguousPath),
        ),
        ("x", "GET", "/v1/cells/us/.", Err(RouteMiss::AmbiguousPath)),
        ("x", "GET", "/v1/cells/..", Err(RouteMiss::AmbiguousPath)),
        ("x", "GET", "/v1/cells%2Fus", Err(RouteMiss::AmbiguousPath)),
        ("x", "GET", "/v1/%2e%2e/us", Err(RouteMiss::AmbiguousPath)),
        ("x", "GET", "//v1/cells/us", Err(RouteMiss::AmbiguousPath)),
        ("x", "GET", "/v1\\cells", Err(RouteMiss::AmbiguousPath)),
        (
            "x",
            "GET",
            "http://x/v1/cells/us",
            Err(RouteMiss::AmbiguousPath),
        ),
        ("x", "GET", "/v1/cells/us/.well-known", Ok(us)),
    ];
    for (host, method, path, expected) in rows {
        let found = routing.tables[0].find(host, path, Method::parse(method), |name| {
            (name == "x-cell").then(|| "us".to_string())
        });
        assert_eq!(
            found.map(|(_, place)| place),
            *expected,
            "{method} {host} {path}"
        );
    }
}

#[test]
fn an_instance_knows_the_replica_on_its_host() {
    assert_eq!(table().cells[0].replica_of, [Some(1), None]);
}

#[test]
fn all_flaws_are_reported_at_once() {
    let target = TargetDeclared::Cell {
        key: Key::Always,
        cells: vec![cell("us", "nowhere", "venue"), cell("us", "us", "nobody")],
    };
    let twice = TargetDeclared::Cell {
        key: Key::PathPart(0),
        cells: vec![cell("us", "us", "venue"), cell("us", "us", "venue")],
    };
    let flaws = Routing::new(
        vec![service("venue", &["a"]), service("venue", &[])],
        vec![database("us")],
        vec![(
            "public".to_string(),
            vec![route("one", "v1", target), route("two", "/", twice)],
        )],
    )
    .expect_err("flawed");
    let text: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    expect_test::expect![[r#"
        two services are named venue
        the path prefix of route one does not begin with a slash
        route one has no key and more than one cell
        route one follows database nowhere, which does not exist
        route one leads to service nobody, which does not exist
        key value us of route two belongs to two cells"#]]
    .assert_eq(&text.join("\n"));
}

/// As docs/platform-file.md says: a longer path goes before a shorter one, and a part such as `{cell}` makes it longer.
#[test]
fn a_route_with_a_part_goes_before_one_that_ends_where_the_part_begins() {
    let list = route(
        "list",
        "/v1/cells",
        TargetDeclared::Service("web".to_string()),
    );
    let by_path = route("cells", "/v1/cells", cells(Key::PathPart(2)));
    for declared in [
        vec![list.clone(), by_path.clone()],
        vec![by_path, list.clone()],
    ] {
        let routing = Routing::new(
            vec![service("web", &["a"]), service("venue", &["b"])],
            vec![database("us"), database("eu")],
            vec![("public".to_string(), declared)],
        )
        .expect("flawless");
        let find = |path| {
            let found = routing.tables[0].find("x", path, Method::Post, |_| None);
            found.map(|(_, place)| place)
        };
        assert_eq!(
            find("/v1/cells/us/orders"),
            Ok(Destination::Cell(CellId(0)))
        );
        assert_eq!(find("/v1/cells/asia"), Err(RouteMiss::UnknownCell));
        assert_eq!(find("/v1/cells"), Ok(Destination::Service(ServiceId(0))));
        assert_eq!(find("/v1/cells/"), Ok(Destination::Service(ServiceId(0))));
    }
}
