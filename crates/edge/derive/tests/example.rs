//! What the processes of the example exchange are told, and that all of it fits together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use expect_test::{ExpectFile, expect_file};
use mainstay_derive::{
    Layout, Machine, Placements, Shares, gateway_instance, gateway_snapshot, keeper_config,
    keeper_instance, service_instance, watch_config, watch_instance, wire_specs,
};
use mainstay_model::address::Slot;
use mainstay_model::name::{RegionName, ServiceName};
use mainstay_model::{Host, Platform};
use serde::Serialize;

fn load(text: &str) -> Platform {
    match mainstay_manifest::load("platform.yaml", text) {
        Ok(platform) => platform,
        Err(diagnostics) => panic!("\n{}", mainstay_manifest::render(&diagnostics)),
    }
}

fn example() -> String {
    variant("platform-80ms.yaml")
}

fn variant(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    std::fs::read_to_string(root.join("examples/exchange").join(name)).expect("the example")
}

/// The example with a second host in one region, so that doors have to tell hosts apart.
fn crowded() -> String {
    let text = example();
    let text = text.replacen(
        "    - name: euw1-a\n      region: eu-west-1\n",
        "    - name: euw1-a\n      region: eu-west-1\n    - name: euw1-b\n      region: eu-west-1\n",
        1,
    );
    let text = text.replace("peer: 7432", "peer: 7431");
    let text = text.replace("metricsPort: 7434", "metricsPort: 7436");
    let text = text.replace("      replicas: 2\n", "      replicas: 4\n");
    text.replace("port: 6433", "port: 6435")
}

fn with_machine(text: &str, look: impl FnOnce(&Machine<'_>)) {
    let platform = load(text);
    let layout = Layout::new(Path::new("/data"), Path::new("/run/7"));
    look(&Machine {
        platform: &platform,
        slot: Slot::new(7).expect("a slot"),
        layout: &layout,
        program: Path::new("/opt/mainstay/bin/mainstay"),
        installed: Path::new("/opt/mainstay/bin/mainstay"),
        server_user: Some("postgres"),
        server_programs: None,
    });
}

fn placements(platform: &Platform) -> Placements {
    let spread = platform.services().iter().filter(|s| s.follows().is_none());
    spread
        .map(|service| {
            let hosts = service.allowed_hosts()[..service.replicas()].to_vec();
            (service.name.clone(), hosts)
        })
        .collect()
}

fn host<'a>(machine: &Machine<'a>, name: &str) -> &'a Host {
    machine.platform.host(name).expect("declared")
}

fn check(value: &impl Serialize, expected: ExpectFile) {
    let mut text = serde_json::to_string_pretty(value).expect("writes");
    text.push('\n');
    expected.assert_eq(&text);
}

#[test]
fn a_keeper_is_told_its_replicas_through_doors() {
    with_machine(&example(), |machine| {
        let ledger = machine.platform.database("ledger").expect("declared");
        let host = host(machine, "usw2-a");
        let config = keeper_config(machine, ledger, host).expect("a replica stands there");
        check(&config, expect_file!["./golden/keeper.json"]);
        let instance = keeper_instance(machine, ledger, host, 1);
        check(&instance, expect_file!["./golden/keeper-instance.json"]);
    });
}

#[test]
fn a_database_that_is_put_away_hands_its_log_over() {
    with_machine(&example(), |machine| {
        let ledger = machine.platform.database("ledger").expect("declared");
        let config = keeper_config(machine, ledger, host(machine, "usw2-a")).expect("a replica");
        let settings: Vec<String> = (config.settings.iter())
            .map(|setting| format!("{} = {}", setting.name, setting.value))
            .collect();
        let script = machine.layout.archive("usw2-a", "ledger").join("hand-over");
        let command = format!(
            "archive_command = s='{}'; test ! -x \"$s\" || \"$s\" \"%p\" \"%f\"",
            script.display()
        );
        assert_eq!(settings, ["archive_mode = on", &command]);
    });
}

#[test]
fn a_gateway_is_told_its_routes() {
    with_machine(&example(), |machine| {
        let edge = machine.platform.gateway("edge").expect("declared");
        let host = host(machine, "euw1-a");
        let places = placements(machine.platform);
        let snapshot = gateway_snapshot(machine, edge, host, (&places, &Shares::new()), 3)
            .expect("it runs there");
        assert_eq!(snapshot.limits.hold_requests, 8192);
        assert_eq!(snapshot.limits.hold_bytes, 64 << 20);
        assert_eq!(snapshot.limits.hold_wait_ms, 14_000);
        let mut form = serde_json::to_value(&snapshot).expect("writes");
        // The other limits are the gateway's own business.
        form.as_object_mut().expect("an object").remove("limits");
        check(&form, expect_file!["./golden/gateway.json"]);
        let instance = gateway_instance(machine, edge, host, 1);
        check(&instance, expect_file!["./golden/gateway-instance.json"]);
    });
}

/// The file lets requests wait for a minute: then nothing else may end them before.
#[test]
fn a_hold_is_as_long_as_the_file_says() {
    let text = example().replacen("time: 14s", "time: 40s", 1);
    with_machine(&text, |machine| {
        let edge = machine.platform.gateway("edge").expect("declared");
        let host = host(machine, "euw1-a");
        let places = placements(machine.platform);
        let snapshot = gateway_snapshot(machine, edge, host, (&places, &Shares::new()), 3)
            .expect("it runs there");
        assert_eq!(snapshot.limits.hold_wait_ms, 40_000);
        assert!(
            snapshot.limits.request_timeout_ms > 40_000,
            "a request without a deadline waits for {} ms in all",
            snapshot.limits.request_timeout_ms
        );
    });
}

#[test]
fn a_share_is_told_for_the_instances_of_its_region_and_never_for_a_cell() {
    with_machine(&example(), |machine| {
        let edge = machine.platform.gateway("edge").expect("declared");
        let host = host(machine, "euw1-a");
        let places = placements(machine.platform);
        let shares = ["ticker", "venue"].map(|service| {
            let service = ServiceName::new(service).expect("a name");
            let region = RegionName::new("us-east-1").expect("a name");
            ((service, region), 30)
        });
        let snapshot = gateway_snapshot(machine, edge, host, (&places, &shares.into()), 1);
        let services = snapshot.expect("it runs there").services;
        let told = services.iter().flat_map(|service| &service.instances);
        let told: Vec<(&str, Option<u8>)> = told
            .filter(|instance| instance.share.is_some())
            .map(|instance| (instance.name.as_str(), instance.share))
            .collect();
        assert_eq!(told, [("use1-a/ticker", Some(30))]);
    });
}

#[test]
fn a_service_is_told_its_surroundings() {
    with_machine(&example(), |machine| {
        let host = host(machine, "use1-a");
        for (name, golden) in [
            ("venue", expect_file!["./golden/venue-instance.json"]),
            ("ticker", expect_file!["./golden/ticker-instance.json"]),
        ] {
            let service = machine.platform.service(name).expect("declared");
            check(&service_instance(machine, service, host, 1), golden);
        }
    });
}

#[test]
fn wires_have_half_the_round_trip() {
    with_machine(&example(), |machine| {
        let specs = wire_specs(machine);
        assert_eq!(specs.len(), 6);
        assert!(specs.iter().all(|spec| spec.shape.delay_us == 40_000));
        check(&specs[0], expect_file!["./golden/wire.json"]);
    });
}

/// Every address that somebody is told leads, directly or through a door of the right wire, to a process that
/// listens there.
#[test]
fn whoever_knocks_finds_a_door_and_somebody_behind_it() {
    for text in [example(), crowded()] {
        with_machine(&text, |machine| {
            let listening = listening(machine);
            let doors: BTreeMap<(String, SocketAddr), SocketAddr> = wire_specs(machine)
                .into_iter()
                .flat_map(|spec| {
                    let from = spec.from;
                    spec.doors
                        .into_iter()
                        .map(move |door| ((from.clone(), door.listen), door.target))
                })
                .collect();
            let mut knocked = BTreeSet::new();
            for (reader, address) in told(machine) {
                let direct = machine.platform.hosts_in(&reader.region);
                let is_direct = direct
                    .into_iter()
                    .any(|h| h.address(machine.slot) == address.ip());
                let target = if is_direct {
                    address
                } else {
                    let key = (reader.region.to_string(), address);
                    knocked.insert(key.clone());
                    *doors.get(&key).unwrap_or_else(|| panic!("no door {key:?}"))
                };
                assert!(
                    listening.contains(&target),
                    "{} told of {target}",
                    reader.name
                );
            }
            for (from, listen) in doors.keys() {
                assert!(
                    !listening.contains(listen),
                    "{from}'s door {listen} is taken"
                );
            }
            assert!(knocked.len() > 20);
        });
    }
}

/// All (reader, address) pairs in the configurations of keepers and gateways.
fn told<'a>(machine: &Machine<'a>) -> Vec<(&'a Host, SocketAddr)> {
    let places = placements(machine.platform);
    let mut told = Vec::new();
    for host in machine.platform.hosts() {
        for database in machine.platform.databases() {
            let config = keeper_config(machine, database, host);
            for replica in config.into_iter().flat_map(|config| config.replicas) {
                told.push((host, replica.peer_address));
                told.push((host, replica.postgres_address));
            }
        }
        for gateway in machine.platform.gateways() {
            let Some(snapshot) =
                gateway_snapshot(machine, gateway, host, (&places, &Shares::new()), 1)
            else {
                continue;
            };
            let parse = |text: &str| text.parse::<SocketAddr>().expect("an address");
            for service in snapshot.services {
                assert!(!service.instances.is_empty());
                told.extend(service.instances.iter().map(|i| (host, parse(&i.address))));
            }
            for replica in snapshot
                .databases
                .iter()
                .flat_map(|database| &database.replicas)
            {
                told.push((host, parse(&replica.sight_address)));
                told.push((host, parse(&replica.postgres_address)));
            }
        }
    }
    told
}

fn listening(machine: &Machine<'_>) -> BTreeSet<SocketAddr> {
    let mut all = BTreeSet::new();
    let mut listen = |address: SocketAddr| assert!(all.insert(address), "{address} is taken twice");
    for host in machine.platform.hosts() {
        for database in machine.platform.databases() {
            if let Some(config) = keeper_config(machine, database, host) {
                let own = config.listen;
                [own.peer, own.http, own.postgres]
                    .into_iter()
                    .for_each(&mut listen);
            }
        }
        for service in machine.platform.services() {
            if service.allowed_hosts().contains(&host.name) {
                let instance = service_instance(machine, service, host, 1);
                let address = &instance.shim.environment["MAINSTAY_LISTEN"];
                listen(address.parse().expect("an address"));
            }
        }
        for gateway in machine.platform.gateways() {
            let snapshot = gateway_snapshot(
                machine,
                gateway,
                host,
                (&Placements::new(), &Shares::new()),
                1,
            );
            let Some(listeners) = snapshot.map(|snapshot| snapshot.listeners) else {
                continue;
            };
            let http = listeners.http.iter().map(|listener| &listener.address);
            let tcp = listeners.tcp.iter().map(|listener| &listener.address);
            let both = http
                .chain(tcp)
                .map(|address| address.parse().expect("an address"));
            both.for_each(&mut listen);
        }
    }
    all
}

/// Unix sockets have 107 bytes; the longest names on a root's machine stay below.
#[test]
fn sockets_stay_short() {
    let name = "n".repeat(mainstay_model::name::NAME_BYTES_MAX);
    let layout = Layout::new(Path::new("/data"), Path::new("/run/mainstay/199"));
    for path in [
        layout.node_socket(&name),
        layout.keeper_socket(&name, &name),
        layout.gateway_socket(&name, &name),
        layout.wire_control(&name, &name),
    ] {
        assert!(path.as_os_str().len() <= 107, "{}", path.display());
    }
}

#[test]
fn a_watch_is_told_everybody_as_seen_from_its_host() {
    with_machine(&example(), |machine| {
        let placements = placements(machine.platform);
        let config = watch_config(machine, host(machine, "euw1-a"), &placements).expect("runs");
        check(&config, expect_file!["./golden/watch.json"]);
        assert_eq!(
            watch_config(machine, host(machine, "usw2-a"), &placements),
            None
        );
        let spec = watch_instance(machine, host(machine, "euw1-a"), "one");
        // It reads its configuration once: with another one it must be seen to be another.
        assert_ne!(
            spec.shim,
            watch_instance(machine, host(machine, "euw1-a"), "another").shim
        );
        let others = ["use1-a", "usw2-a", "euw1-a"].map(|name| {
            let gateway = &machine.platform.gateways()[0];
            gateway_instance(machine, gateway, host(machine, name), 1).order
        });
        assert!(
            others.iter().all(|order| *order < spec.order),
            "it goes first"
        );
    });
}

/// Job, instance, address and name of those with this job, as the watch on a host asks for them.
fn asked(file: &str, job: &str) -> Vec<String> {
    let mut asked = Vec::new();
    with_machine(&variant(file), |machine| {
        let config = watch_config(machine, host(machine, "euw1-a"), &Placements::new());
        let targets = config.expect("runs").targets.into_iter();
        asked.extend(targets.filter(|target| target.job == job).map(|target| {
            let name = target.name.unwrap_or_default();
            format!("{} {} {name}", target.instance, target.address)
        }));
    });
    asked
}

#[test]
fn members_of_etcd_and_archivers_are_asked_where_there_are_any() {
    assert_eq!(
        asked("platform-etcd.yaml", "etcd"),
        [
            "use1-a 127.7.1.13:2379 etcd.use1-a.exchange.mainstay",
            "usw2-a 127.7.2.13:2379 etcd.usw2-a.exchange.mainstay",
            "euw1-a 127.7.3.1:2379 etcd.euw1-a.exchange.mainstay",
        ]
    );
    for file in [
        "platform.yaml",
        "platform-etcd.yaml",
        "platform-backup.yaml",
    ] {
        assert_eq!(
            asked(file, "archiver"),
            [
                "use1-a/ledger 127.7.1.13:7434 archiver-ledger.use1-a.exchange.mainstay",
                "usw2-a/ledger 127.7.2.13:7434 archiver-ledger.usw2-a.exchange.mainstay",
                "euw1-a/ledger 127.7.3.1:7434 archiver-ledger.euw1-a.exchange.mainstay",
            ]
        );
    }
    assert_eq!(asked("platform.yaml", "etcd"), Vec::<String>::new());
    assert_eq!(
        asked("platform-chaos.yaml", "archiver"),
        Vec::<String>::new()
    );
}

/// Whoever is asked in another region must be reached through a door that a wire opens.
#[test]
fn every_target_of_a_watch_is_behind_a_door_or_near() {
    for text in [
        crowded(),
        variant("platform-etcd.yaml"),
        variant("platform-backup.yaml"),
    ] {
        every_target_is_behind_a_door_or_near(&text);
    }
}

fn every_target_is_behind_a_door_or_near(text: &str) {
    with_machine(text, |machine| {
        let placements = placements(machine.platform);
        let doors: BTreeSet<SocketAddr> = wire_specs(machine)
            .iter()
            .flat_map(|wire| wire.doors.iter().map(|door| door.listen))
            .collect();
        let reader = host(machine, "euw1-a");
        let config = watch_config(machine, reader, &placements).expect("runs");
        for target in &config.targets {
            let Ok(address) = target.address.parse::<SocketAddr>() else {
                assert_eq!(target.job, "watch", "{target:?}");
                continue;
            };
            let near = machine.platform.hosts().iter().any(|host| {
                host.region == reader.region
                    && std::net::IpAddr::V4(host.address(machine.slot)) == address.ip()
            });
            assert!(near || doors.contains(&address), "{target:?}");
        }
    });
}
