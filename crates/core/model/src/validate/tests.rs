//! One sound draft; each test spoils it in one way and reads what the inspection says.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;
use core::time::Duration;

use expect_test::{Expect, expect};

use crate::database::Survive;
use crate::draft::*;
use crate::platform::Platform;
use crate::service::Placement;
use crate::watch::TargetAddress;

fn sound() -> PlatformDraft {
    let region = |name: &str| RegionDraft { name: name.into() };
    let host = |name: &str, region: &str| HostDraft {
        name: name.into(),
        region: region.into(),
    };
    let replica = |host: &str| ReplicaDraft { host: host.into() };
    PlatformDraft {
        name: "exchange".into(),
        environment: EnvironmentDraft {
            name: "development".into(),
            production: false,
        },
        regions: vec![region("east"), region("west"), region("north")],
        hosts: vec![host("e1", "east"), host("w1", "west"), host("n1", "north")],
        databases: vec![DatabaseDraft {
            name: "ledger".into(),
            home: "east".into(),
            survive: Survive::Region,
            ports: DatabasePortsDraft {
                postgres: 5432,
                peer: 5433,
                sight: 5434,
            },
            filling_rate: None,
            replicas: vec![replica("e1"), replica("w1"), replica("n1")],
            backup: None,
            parameters: [("work_mem".into(), "8MB".into())].into(),
        }],
        services: vec![venue(), ticker()],
        gateways: vec![gateway()],
        roles: vec![RoleDraft {
            name: "all".into(),
            permissions: vec!["*".into()],
        }],
        operators: vec![OperatorDraft {
            name: "owner".into(),
            unix_owner: true,
            roles: vec!["all".into()],
            ..OperatorDraft::default()
        }],
        ..PlatformDraft::default()
    }
}

fn venue() -> ServiceDraft {
    let http = PortDraft {
        name: "http".into(),
        port: 8100,
        tls: None,
    };
    ServiceDraft {
        name: "venue".into(),
        command: vec!["exchange-venue".into()],
        ports: vec![http],
        probes: ProbesDraft {
            readiness: Some(ProbeDraft {
                path: "/health/ready".into(),
                ..ProbeDraft::default()
            }),
            ..ProbesDraft::default()
        },
        placement: PlacementDraft {
            follows: Some("ledger".into()),
            ..PlacementDraft::default()
        },
        objectives: ObjectivesDraft {
            rto: Some(Duration::from_secs(4)),
            rpo: Some(Duration::ZERO),
        },
        ..ServiceDraft::default()
    }
}

fn ticker() -> ServiceDraft {
    let http = PortDraft {
        name: "http".into(),
        port: 8110,
        tls: None,
    };
    ServiceDraft {
        name: "ticker".into(),
        command: vec!["exchange-venue".into(), "ticker".into()],
        ports: vec![http],
        probes: ProbesDraft {
            readiness: Some(ProbeDraft {
                path: "/health/ready".into(),
                ..ProbeDraft::default()
            }),
            ..ProbesDraft::default()
        },
        replicas: Some(2),
        ..ServiceDraft::default()
    }
}

fn gateway() -> GatewayDraft {
    let cell = RouteDraft {
        path: "/v1/cells/{cell}".into(),
        cell: Some(CellTargetDraft {
            key_path_part: Some("cell".into()),
            members: vec![CellMemberDraft {
                database: "ledger".into(),
                service: "venue".into(),
                port: None,
            }],
            ..CellTargetDraft::default()
        }),
        idempotency_header: Some("Idempotency-Key".into()),
        ..RouteDraft::default()
    };
    let rest = RouteDraft {
        path: "/".into(),
        service: Some(ServiceTargetDraft {
            name: "ticker".into(),
            port: Some("http".into()),
        }),
        ..RouteDraft::default()
    };
    GatewayDraft {
        name: "edge".into(),
        regions: vec!["east".into(), "west".into(), "north".into()],
        metrics_port: None,
        http: vec![HttpListenerDraft {
            name: "public".into(),
            port: 8080,
            tls: None,
            certificate_file: None,
            key_file: None,
            client_roots: None,
            routes: vec![cell, rest],
        }],
        tcp: vec![TcpListenerDraft {
            name: "sql".into(),
            port: 6432,
            primary_of: Some("ledger".into()),
            replicas_of: None,
        }],
    }
}

fn check(spoil: impl FnOnce(&mut PlatformDraft), expected: Expect) {
    let mut draft = sound();
    spoil(&mut draft);
    let mut text = String::new();
    for violation in Platform::from_draft(&draft).err().unwrap_or_default() {
        writeln!(text, "{violation}").expect("a string takes text");
    }
    expected.assert_eq(&text);
}

#[test]
fn the_sound_draft_is_sound() {
    check(|_| {}, expect![[""]]);
    let platform = Platform::from_draft(&sound()).expect("sound");
    let ticker = platform.service("ticker").expect("declared");
    assert!(matches!(
        ticker.placement,
        Placement::Spread { replicas: 2, .. }
    ));
    assert_eq!(ticker.allowed_hosts().len(), 3);
    let ledger = platform.database("ledger").expect("declared");
    assert_eq!((ledger.quorum.commit, ledger.quorum.promise), (2, 2));
    assert_eq!(ledger.home_replica().map(|r| r.host.as_str()), Some("e1"));
}

#[test]
fn an_empty_draft_is_told_what_is_missing() {
    check(
        |draft| *draft = PlatformDraft::default(),
        expect![[r#"
        /metadata/name: invalid-name: "" is not a usable name: a name may not be empty
        /spec/environment/name: invalid-name: "" is not a usable name: a name may not be empty
        /spec/regions: missing: a platform needs at least one region (help: three regions let a database survive the loss of one)
        /spec/hosts: missing: a platform needs at least one host (help: declare one host in each region)
        /spec/operators: nobody-may: no operator has status.read, platform.apply, platform.stop, fault.clear (help: without them nobody could run or stop the platform: give some operator such a role)
    "#]],
    );
}

#[test]
fn names_are_usable_and_unique() {
    check(
        |draft| {
            draft.name = "My Exchange".into();
            draft.regions[1].name = "east".into();
            draft.hosts[2].name = String::new();
        },
        expect![[r#"
            /metadata/name: invalid-name: "My Exchange" is not a usable name: 'M' cannot stand in a name; lower-case letters, digits and '-' can (help: write `my-exchange`)
            /spec/regions/1/name: duplicate-name: region `east` is declared twice (help: names must differ: rename or remove one of them)
            /spec/hosts/2/name: invalid-name: "" is not a usable name: a name may not be empty
            /spec/hosts/1/region: unknown-reference: there is no region `west` (help: known: `east`, `east`, `north`)
            /spec/databases/0/replicas/2/host: unknown-reference: there is no host `n1` (help: known: `e1`, `w1`, ``)
            /spec/gateways/0/regions/1: unknown-reference: there is no region `west` (help: known: `east`, `east`, `north`)
        "#]],
    );
}

#[test]
fn dangling_references_name_the_nearest() {
    check(
        |draft| {
            draft.hosts[0].region = "eats".into();
            draft.databases[0].home = "eest".into();
            draft.databases[0].replicas[1].host = "frankfurt".into();
            draft.services[0].placement.follows = Some("leger".into());
            draft.gateways[0].http[0].routes[1].service = Some(ServiceTargetDraft {
                name: "tikcer".into(),
                port: None,
            });
            draft.operators[0].roles = vec!["alll".into()];
        },
        expect![[r#"
            /spec/regions/0/name: missing: region `east` has no host (help: declare a host in it under /spec/hosts, or remove the region)
            /spec/hosts/0/region: unknown-reference: there is no region `eats` (help: did you mean `east`?)
            /spec/databases/0/home: unknown-reference: there is no region `eest` (help: did you mean `east`?)
            /spec/databases/0/replicas/1/host: unknown-reference: there is no host `frankfurt` (help: known: `e1`, `w1`, `n1`)
            /spec/services/0/placement/follows: unknown-reference: there is no database `leger` (help: did you mean `ledger`?)
            /spec/gateways/0/http/0/routes/1/service/name: unknown-reference: there is no service `tikcer` (help: did you mean `ticker`?)
            /spec/operators/0/roles/0: unknown-reference: there is no role `alll` (help: did you mean `all`?)
        "#]],
    );
}

#[test]
fn what_a_door_shows_fits_what_it_says() {
    check(
        |draft| {
            let door = &mut draft.gateways[0].http[0];
            door.tls = Some(DoorTlsDraft::Files);
            door.certificate_file = Some("edge.pem".into());
            door.client_roots = Some("customers.pem".into());
        },
        expect![[r#"
            /spec/gateways/0/http/0/certificateFile: invalid-value: "edge.pem" is no absolute path (help: write the path of a PEM file on every host of the gateway)
            /spec/gateways/0/http/0: missing: `tls: files` shows files, and `keyFile` is not there (help: give `certificateFile` and `keyFile`, PEM; both may be the same file)
            /spec/gateways/0/http/0/clientRoots: invalid-value: "customers.pem" is no absolute path (help: write the path of a PEM file on every host of the gateway, or `platform`)
        "#]],
    );
    check(
        |draft| {
            let door = &mut draft.gateways[0].http[0];
            door.key_file = Some("/etc/edge.key".into());
            door.client_roots = Some("platform".into());
        },
        expect![[r#"
            /spec/gateways/0/http/0/keyFile: invalid-value: `keyFile` is shown to nobody (help: say `tls: files`, or remove it)
            /spec/gateways/0/http/0/clientRoots: invalid-value: clients that speak in the clear prove nothing (help: say `tls: platform` or `tls: files`, or remove `clientRoots`)
        "#]],
    );
}

#[test]
fn ports_are_unique_and_a_free_one_is_named() {
    check(
        |draft| {
            draft.services[1].ports[0].port = 8100;
            draft.gateways[0].tcp[0].port = 5433;
            draft.gateways[0].http[0].port = 0;
        },
        expect![[r#"
            /spec/services/1/ports/0/port: port-clash: port 8100 is taken by `http` of service `venue` (help: port 8101 is free)
            /spec/gateways/0/http/0/port: invalid-value: `public` of gateway `edge` cannot have port 0 (help: choose from 1 to 65535)
            /spec/gateways/0/tcp/0/port: port-clash: port 5433 is taken by the keepers of database `ledger` (help: port 5435 is free)
        "#]],
    );
    check(
        |draft| {
            draft.hosts.push(HostDraft {
                name: "e2".into(),
                region: "east".into(),
            });
        },
        expect![[r#"
            /spec/databases/0/ports/peer: port-clash: port 5433 is too near to port 5432 of PostgreSQL of database `ledger`: on the further hosts of a region ports count upwards (help: port 5436 is free)
            /spec/databases/0/ports/sight: port-clash: port 5434 is too near to port 5433 of the keepers of database `ledger`: on the further hosts of a region ports count upwards (help: port 5436 is free)
        "#]],
    );
}

#[test]
fn survival_is_arithmetic() {
    check(
        |draft| {
            draft.databases[0].replicas.pop();
        },
        expect![[r#"
            /spec/databases/0/survive: survival-impossible: `ledger` cannot survive the loss of region `west`: a commit needs 2 of 2 replicas on disk, and the loss takes 1 and leaves 1 (help: add a replica on `n1` (region `north`); what is needed is one replica in each of three regions)
        "#]],
    );
    check(
        |draft| {
            for (name, region) in [("e2", "east"), ("e3", "east")] {
                draft.hosts.push(HostDraft {
                    name: name.into(),
                    region: region.into(),
                });
                draft.databases[0]
                    .replicas
                    .push(ReplicaDraft { host: name.into() });
            }
            draft.databases[0].ports = DatabasePortsDraft {
                postgres: 5400,
                peer: 5410,
                sight: 5420,
            };
        },
        expect![[r#"
            /spec/databases/0/survive: survival-impossible: `ledger` cannot survive the loss of region `east`: a commit needs 3 of 5 replicas on disk, and the loss takes 3 and leaves 2 (help: spread at least three replicas over three regions, or settle for `survive: host`)
        "#]],
    );
    check(
        |draft| draft.databases[0].survive = Survive::Nothing,
        expect![[r#"
            /spec/services/0/objectives/rpo: survival-impossible: an RPO of zero cannot be kept: `ledger` acknowledges on one replica alone (help: give the database `survive: host` or `survive: region`)
            /spec/services/0/placement: single-point-of-failure: service `venue` is a single point of failure: it follows `ledger`, which survives no loss (help: let it run in a second region, or accept the risk by an entry under /spec/waivers with a name and a reason)
        "#]],
    );
}

#[test]
fn the_home_has_a_replica() {
    check(
        |draft| {
            draft.regions.push(RegionDraft {
                name: "south".into(),
            });
            draft.hosts.push(HostDraft {
                name: "s1".into(),
                region: "south".into(),
            });
            draft.databases[0].home = "south".into();
        },
        expect![[r#"
            /spec/databases/0/home: home-without-replica: the home of `ledger` is `south`, but no replica stands there (help: place a replica in `south`, or make `east` the home)
        "#]],
    );
}

#[test]
fn placements_can_be_satisfied() {
    check(
        |draft| {
            draft.services[0].replicas = Some(3);
            draft.services[1].replicas = Some(4);
        },
        expect![[r#"
            /spec/services/0/replicas: placement-impossible: a service that follows `ledger` has one instance beside each of its replicas (help: remove `replicas`)
            /spec/services/1/replicas: placement-impossible: 4 instances of `ticker` need as many hosts, one each; the placement allows 3 (help: allow more regions or hosts, or ask for fewer instances)
        "#]],
    );
}

#[test]
fn single_points_of_failure_need_a_waiver_and_waivers_a_subject() {
    check(
        |draft| {
            draft.services[1].placement.regions = vec!["east".into()];
            draft.services[1].replicas = Some(1);
            draft.gateways[0].regions.truncate(1);
        },
        expect![[r#"
            /spec/services/1/placement: single-point-of-failure: service `ticker` is a single point of failure: host `e1` alone may run it (help: let it run in a second region, or accept the risk by an entry under /spec/waivers with a name and a reason)
            /spec/gateways/0/regions: single-point-of-failure: gateway `edge` is a single point of failure: host `e1` alone may run it (help: let it run in a second region, or accept the risk by an entry under /spec/waivers with a name and a reason)
        "#]],
    );
    let waiver = |reason: &str| WaiverDraft {
        name: "one-gateway".into(),
        gateway: Some("edge".into()),
        reason: reason.into(),
        ..WaiverDraft::default()
    };
    check(
        |draft| {
            draft.gateways[0].regions.truncate(1);
            draft
                .waivers
                .push(waiver("clients are in this region alone"));
        },
        expect![[""]],
    );
    check(
        |draft| draft.waivers.push(waiver("because")),
        expect![[r#"
        /spec/waivers/0/reason: missing: a waiver needs a reason (help: say why the risk is acceptable and who decided it)
        /spec/waivers/0: unused-waiver: waiver `one-gateway` waives nothing (help: its subject is no single point of failure (any more): remove the waiver)
    "#]],
    );
}

#[test]
fn routes_lead_somewhere_and_holds_last() {
    check(
        |draft| {
            let routes = &mut draft.gateways[0].http[0].routes;
            routes[0].hold = Some(HoldDraft {
                time: Some(Duration::from_secs(2)),
                requests: Some(0),
                bytes: None,
            });
            routes[0].path = "/v1/cells".into();
            routes[0].idempotency_header = Some("Idempotency Key".into());
            routes[1].hold = Some(HoldDraft::default());
            routes.push(RouteDraft {
                path: "/".into(),
                ..RouteDraft::default()
            });
        },
        expect![[r#"
            /spec/gateways/0/http/0/routes/0/idempotencyHeader: invalid-value: "Idempotency Key" is not the name of a header (help: such as `Idempotency-Key`)
            /spec/gateways/0/http/0/routes/0/cell/key/pathPart: unknown-reference: the route's path `/v1/cells` has no part `{cell}` (help: write a path such as `/v1/cells/{cell}`)
            /spec/gateways/0/http/0/routes/0/hold/requests: invalid-value: a number of waiting requests of 0 is out of bounds (help: choose from 1 to 1000000)
            /spec/gateways/0/http/0/routes/0/hold/time: hold-too-short: requests wait at most 2s, but a recovery may take 4s by the service's RTO (help: hold for at least 4s)
            /spec/gateways/0/http/0/routes/1/hold: invalid-value: only requests for a cell are held: a service has other instances to go to (help: remove `hold`)
            /spec/gateways/0/http/0/routes/2/path: duplicate-name: another route takes the same requests for `/` (help: make host, path or methods differ, or remove one)
            /spec/gateways/0/http/0/routes/2: invalid-value: a route leads to either a `service` or a `cell` (help: a cell is a database with the one active instance that writes it)
        "#]],
    );
}

#[test]
fn whoever_is_given_requests_says_whether_it_is_ready() {
    check(
        |draft| {
            draft.services[0].probes.readiness = None;
            draft.services[1].ports.push(PortDraft {
                name: "admin".into(),
                port: 8111,
                tls: None,
            });
            if let Some(probe) = &mut draft.services[1].probes.readiness {
                probe.port = Some("admin".into());
            }
        },
        expect![[r#"
            /spec/gateways/0/http/0/routes/0/cell/members/0: missing: service `venue` is given requests but has no readiness probe (help: give it one, such as `probes: {readiness: {path: /health/ready}}`)
            /spec/gateways/0/http/0/routes/1/service/port: invalid-value: service `ticker` is given requests at `http` but says at `admin` whether it is ready (help: probe its readiness at `http` too)
        "#]],
    );
}

#[test]
fn services_are_startable() {
    check(
        |draft| {
            draft.services[0].name = "node".into();
            let service = &mut draft.services[1];
            service.name = "keeper-x".into();
            service.command.clear();
            service.environment.insert("PGHOST".into(), "x".into());
            service.environment.insert("9".into(), "x".into());
            service.probes.liveness = Some(ProbeDraft {
                port: Some("htpt".into()),
                path: "health".into(),
                period: Some(Duration::ZERO),
                timeout: None,
                failures: Some(0),
            });
            service.restart.delay_max = Some(Duration::from_millis(20));
        },
        expect![[r#"
            /spec/services/0/name: invalid-name: `node` is what Mainstay calls a process of its own (help: choose another name; not `node`, nor one that begins with `keeper-`, `gateway-` or `postgres-`)
            /spec/services/1/name: invalid-name: `keeper-x` is what Mainstay calls a process of its own (help: choose another name; not `node`, nor one that begins with `keeper-`, `gateway-` or `postgres-`)
            /spec/services/1/command: missing: a service needs a command (help: write the program and its arguments as a list, such as `[exchange-venue, serve]`)
            /spec/services/1/environment/9: invalid-name: "9" cannot be the name of an environment variable (help: use letters, digits and '_', not beginning with a digit)
            /spec/services/1/environment/PGHOST: invalid-name: `PGHOST` is set by Mainstay for every instance (help: choose a name that begins with neither `MAINSTAY_` nor `PG`)
            /spec/services/1/probes/liveness/path: invalid-value: "health" cannot be probed: a path begins with '/' (help: write an absolute path such as `/health/ready`)
            /spec/services/1/probes/liveness/period: invalid-value: a period of 0s is out of bounds (help: choose from 10ms to 300s)
            /spec/services/1/probes/liveness/failures: invalid-value: a number of failures of 0 is out of bounds (help: choose from 1 to 100000)
            /spec/services/1/probes/liveness/port: unknown-reference: there is no port `htpt` (help: did you mean `http`?)
            /spec/services/1/restart/delayMax: invalid-value: the longest delay is shorter than the first (help: raise `delayMax` or lower `delayFirst`)
            /spec/gateways/0/http/0/routes/0/cell/members/0/service: unknown-reference: there is no service `venue` (help: known: `node`, `keeper-x`)
            /spec/gateways/0/http/0/routes/1/service/name: unknown-reference: there is no service `ticker` (help: known: `node`, `keeper-x`)
        "#]],
    );
}

#[test]
fn somebody_can_run_and_stop_the_platform() {
    check(
        |draft| {
            draft.roles[0].permissions = vec!["status.red".into(), "status.read".into()];
            draft.operators[0].unix_uid = Some(0);
        },
        expect![[r#"
            /spec/roles/0/permissions/0: unknown-permission: there is no permission `status.red` (help: did you mean `status.read`?)
            /spec/operators/0/unix: invalid-value: an operator is recognised by exactly one of `user`, `uid` and `owner: true` (help: `owner: true` stands for whoever started the platform)
        "#]],
    );
    check(
        |draft| draft.operators.clear(),
        expect![[r#"
        /spec/operators: nobody-may: no operator has status.read, platform.apply, platform.stop, fault.clear (help: without them nobody could run or stop the platform: give some operator such a role)
    "#]],
    );
}

#[test]
fn distances_are_between_two_regions() {
    let distance = |between: &[&str]| DistanceDraft {
        between: between.iter().map(|name| String::from(*name)).collect(),
        round_trip: Duration::from_millis(80),
    };
    check(
        |draft| {
            draft.distances = vec![
                distance(&["east", "west"]),
                distance(&["west", "east"]),
                distance(&["east", "east"]),
                distance(&["east"]),
                distance(&["east", "sotuh"]),
            ];
        },
        expect![[r#"
            /spec/distances/1/between: duplicate-name: the distance between `west` and `east` is given twice (help: a distance holds in both directions: remove one of the two)
            /spec/distances/2/between: invalid-value: `east` has no distance to itself (help: name two different regions, or remove the entry)
            /spec/distances/3/between: invalid-value: a distance is between two regions, not 1 (help: write `between: [us-east-1, eu-west-1]`)
            /spec/distances/4/between/1: unknown-reference: there is no region `sotuh` (help: known: `east`, `west`, `north`)
        "#]],
    );
    let mut draft = sound();
    draft.distances = vec![distance(&["west", "east"])];
    let platform = Platform::from_draft(&draft).expect("sound");
    let index: Vec<_> = platform
        .regions()
        .iter()
        .map(|region| region.index)
        .collect();
    assert_eq!(platform.distance(index[0], index[1]).as_millis(), 80);
    assert_eq!(platform.distance(index[1], index[2]).as_millis(), 0);
    let far = platform.with_distance(Duration::from_millis(35));
    assert_eq!(far.distance(index[2], index[1]).as_millis(), 35);
}

fn watched(draft: &mut PlatformDraft) {
    draft.watch = Some(WatchDraft {
        regions: vec!["east".into(), "west".into()],
        port: Some(9190),
        rules: vec!["rules/a.yaml".into()],
        targets: vec![WatchTargetDraft {
            job: "balancer".into(),
            address: "10.0.0.1:9100".into(),
            ..WatchTargetDraft::default()
        }],
        ..WatchDraft::default()
    });
    draft.gateways[0].metrics_port = Some(8090);
    draft.services[0].metrics = Some(MetricsDraft::default());
}

#[test]
fn a_token_opens_a_door_that_is_there() {
    let with = |file: &'static str, port: Option<u16>| {
        move |draft: &mut PlatformDraft| {
            watched(draft);
            if let Some(watch) = &mut draft.watch {
                (watch.token_file, watch.port) = (Some(file.into()), port);
            }
        }
    };
    check(with("/etc/mainstay/watch.token", Some(9190)), expect![[""]]);
    check(
        with("watch.token", None),
        expect![[r#"
            /spec/watch/tokenFile: invalid-value: "watch.token" is no absolute path (help: a file of mode 0600 on every host of a watch)
            /spec/watch/tokenFile: invalid-value: there is no door that it opens (help: give the watch a `port`)
        "#]],
    );
}

#[test]
fn a_watch_runs_on_the_first_host_of_each_region_and_can_be_off() {
    check(watched, expect![[""]]);
    let mut draft = sound();
    watched(&mut draft);
    let platform = Platform::from_draft(&draft).expect("sound");
    let watch = platform.watch().expect("on");
    assert_eq!(
        watch.hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>(),
        ["e1", "w1"]
    );
    assert_eq!(watch.targets[0].instance, "10.0.0.1:9100");
    let metrics = platform.services()[0].metrics.as_ref().expect("declared");
    assert_eq!(
        (metrics.port.as_str(), metrics.path.as_str()),
        ("http", "/metrics")
    );
    if let Some(watch) = &mut draft.watch {
        watch.enabled = Some(false);
    }
    // What a watch that is off would need is not asked for.
    draft.gateways[0].metrics_port = None;
    assert!(
        Platform::from_draft(&draft)
            .expect("sound")
            .watch()
            .is_none()
    );
}

#[test]
fn playbooks_are_named_once_by_their_paths() {
    let named = |draft: &mut PlatformDraft| {
        draft.playbooks = vec!["a/x.yaml".into(), "b/x.yaml".into(), "/srv/y.yaml".into()];
    };
    check(named, expect![[""]]);
    let mut draft = sound();
    named(&mut draft);
    let platform = Platform::from_draft(&draft).expect("sound");
    assert_eq!(platform.playbooks(), draft.playbooks);
    check(
        |draft| {
            draft.playbooks = vec!["x.yaml".into(), "".into(), "x.yaml".into(), "a/..".into()];
        },
        expect![[r#"
            /spec/playbooks/1: invalid-value: "" is not the path of a playbook (help: write a path beside the platform file, such as `playbooks/move-ledger.yaml`)
            /spec/playbooks/2: duplicate-name: `x.yaml` is named twice (help: name it once)
            /spec/playbooks/3: invalid-value: "a/.." is not the path of a playbook (help: write a path beside the platform file, such as `playbooks/move-ledger.yaml`)
        "#]],
    );
}

#[test]
fn a_watch_is_placed_and_can_ask() {
    check(
        |draft| {
            watched(draft);
            let watch = draft.watch.as_mut().expect("declared");
            watch.regions = vec!["east".into(), "weest".into()];
            watch.hosts = vec!["e1".into()];
            watch.port = Some(8090);
            watch.interval = Some(Duration::from_secs(300));
            watch.retention = Some(Duration::ZERO);
            watch.rules = vec!["a/x.yaml".into(), "b/x.yaml".into(), "rules/".into()];
            draft.gateways[0].metrics_port = None;
            draft.services[1].name = "keeper".into();
            draft.services[0].metrics = Some(MetricsDraft {
                port: Some("metrics".into()),
                path: Some("metrics".into()),
            });
        },
        expect![[r#"
            /spec/services/0/metrics/path: invalid-value: "metrics" is not a path that can be asked for (help: write an absolute path such as `/metrics`)
            /spec/services/0/metrics/port: unknown-reference: there is no port `metrics` (help: known: `http`)
            /spec/gateways/0/http/0/routes/1/service/name: unknown-reference: there is no service `ticker` (help: known: `venue`, `keeper`)
            /spec/watch/interval: invalid-value: an interval of 300s is out of bounds (help: choose from 100ms to 120s)
            /spec/watch/retention: invalid-value: a retention of 0s is out of bounds (help: choose from 60s to 34560000s)
            /spec/watch/rules/1: duplicate-name: two rule files are called `x.yaml` (help: rename one of them: a group is known by its file's name and its own)
            /spec/watch/rules/2: invalid-value: "rules/" is not the path of a rule file (help: write a path beside the platform file, such as `rules/exchange.yaml`)
            /spec/watch/regions/0: duplicate-name: a watch runs on host `e1` already (help: remove one of them: a host has one watch)
            /spec/watch/regions/1: unknown-reference: there is no region `weest` (help: did you mean `west`?)
            /spec/gateways/0: missing: the watch cannot ask gateway `edge`: it has no port for its figures (help: give it one, such as `metricsPort: 8090`; only processes of the platform are answered there)
            /spec/services/1/name: invalid-name: `keeper` is what the watch calls targets of Mainstay's own (help: choose another name; not `archiver`, `etcd`, `gateway`, `keeper`, `node` or `watch`)
        "#]],
    );
    check(
        |draft| {
            watched(draft);
            let watch = draft.watch.as_mut().expect("declared");
            (watch.regions, watch.port) = (vec![], None);
            let target = |job: &str, address: &str| WatchTargetDraft {
                job: job.into(),
                address: address.into(),
                path: Some("/metrics?a=b".into()),
                ..WatchTargetDraft::default()
            };
            watch.targets = vec![
                target("a", "unix:/run/a.sock"),
                target("a", "unix:/run/a.sock"),
                target("venue", "10.0.0.1"),
                target("", "unix:run"),
                WatchTargetDraft {
                    path: Some("x y".into()),
                    labels: [("job".into(), "x".into()), ("a-b".into(), "y".into())].into(),
                    ..target("b", "h:0")
                },
            ];
        },
        expect![[r#"
            /spec/watch/targets/1: duplicate-name: `unix:/run/a.sock` of job `a` is named twice (help: their series would be the same: give one another `instance`)
            /spec/watch/targets/2/job: duplicate-name: `venue` is the job of targets that the platform has itself (help: choose another name)
            /spec/watch/targets/2/address: invalid-value: "10.0.0.1" cannot be asked (help: write `HOST:PORT`, or `unix:/PATH` for a socket of the watch's host)
            /spec/watch/targets/3/job: invalid-value: a job needs a name (help: write what kind of thing it is, such as `load-balancer`)
            /spec/watch/targets/3/address: invalid-value: "unix:run" cannot be asked (help: write `HOST:PORT`, or `unix:/PATH` for a socket of the watch's host)
            /spec/watch/targets/4/labels: invalid-name: "a-b" cannot be the name of a label here (help: use letters, digits and '_'; `job` and `instance` are fields of their own)
            /spec/watch/targets/4/labels: invalid-name: "job" cannot be the name of a label here (help: use letters, digits and '_'; `job` and `instance` are fields of their own)
            /spec/watch/targets/4/path: invalid-value: "x y" is not a path that can be asked for (help: write an absolute path such as `/metrics`)
            /spec/watch/targets/4/address: invalid-value: "h:0" cannot be asked (help: write `HOST:PORT`, or `unix:/PATH` for a socket of the watch's host)
            /spec/watch: missing: it is not said where the watch runs (help: name hosts, or regions: each then has a watch of its own, on its first host)
        "#]],
    );
}

#[test]
fn a_server_that_scrapes_instead() {
    let server = |source: &str, url: &str| MetricsServerDraft {
        source: source.into(),
        url: url.into(),
        ..MetricsServerDraft::default()
    };
    check(
        |draft| {
            watched(draft);
            let watch = draft.watch.as_mut().expect("declared");
            watch.targets = vec![WatchTargetDraft {
                job: "a".into(),
                address: "h:1".into(),
                ..WatchTargetDraft::default()
            }];
            watch.metrics = Some(MetricsServerDraft {
                bearer_token_file: Some("token".into()),
                user: Some("watch".into()),
                headers: [
                    ("X-Scope-OrgID".into(), "desk".into()),
                    ("Authorization".into(), "Bearer x".into()),
                    ("X-Tenant".into(), "a\nb".into()),
                ]
                .into(),
                ..server("graphite", "https://watch:pa55@h")
            });
        },
        expect![[r#"
            /spec/watch/metrics/source: invalid-value: "graphite" is no source of metrics (help: write `prometheus`, or leave `metrics` out: then the watch asks everybody itself)
            /spec/watch/metrics/url: invalid-value: a URL holds no user and no password (help: secrets stand in files of their own)
            /spec/watch/metrics/bearerTokenFile: invalid-value: "token" is no absolute path (help: a file on every host of a watch; those with secrets have mode 0600)
            /spec/watch/targets: invalid-value: targets are asked by nobody where a server scrapes instead of the watch (help: let that server scrape them, and remove them here)
            /spec/watch/metrics: invalid-value: a server is asked with `bearerTokenFile`, or with `user` and `passwordFile` (help: keep one of the two ways, whole)
            /spec/watch/metrics/headers: invalid-value: "Authorization" with "Bearer x" cannot be said to a server (help: write a header such as `X-Scope-OrgID: desk`; tokens and passwords stand in files of their own)
            /spec/watch/metrics/headers: invalid-value: "X-Tenant" with "a\nb" cannot be said to a server (help: write a header such as `X-Scope-OrgID: desk`; tokens and passwords stand in files of their own)
        "#]],
    );
}

#[test]
fn a_target_is_asked_over_tls_and_shown_a_token_there_alone() {
    let target = |name: &str, address: &str, tls: Option<TargetTlsDraft>| WatchTargetDraft {
        job: "balancer".into(),
        instance: Some(name.into()),
        address: address.into(),
        tls,
        token_file: Some("/etc/mainstay/balancer.token".into()),
        ..WatchTargetDraft::default()
    };
    let named = |authority: &str, name: &str| {
        Some(TargetTlsDraft {
            authority_file: Some(authority.into()),
            server_name: Some(name.into()),
        })
    };
    let with = |targets: Vec<WatchTargetDraft>| {
        move |draft: &mut PlatformDraft| {
            watched(draft);
            draft.watch.as_mut().expect("declared").targets = targets;
        }
    };
    let sound_ones = vec![
        target(
            "a",
            "10.0.0.9:9100",
            named("/etc/b.pem", "balancer.example.com"),
        ),
        target("b", "[::1]:9100", Some(TargetTlsDraft::default())),
        target("c", "unix:/run/c.sock", None),
    ];
    let mut draft = sound();
    with(sound_ones)(&mut draft);
    let platform = Platform::from_draft(&draft).expect("sound");
    let targets = &platform.watch().expect("on").targets;
    let name_of = |place: usize| match &targets[place].address {
        TargetAddress::Tls { server_name, .. } => server_name.as_str(),
        TargetAddress::Tcp(_) | TargetAddress::Unix(_) => "none",
    };
    assert_eq!(
        [name_of(0), name_of(1), name_of(2)],
        ["balancer.example.com", "::1", "none"]
    );
    check(
        with(vec![
            target("a", "10.0.0.9:9100", None),
            target("b", "unix:/run/c.sock", named("/a", "b")),
            target("c", "h:1", named("ca.pem", "a b")),
        ]),
        expect![[r#"
            /spec/watch/targets/0/tokenFile: invalid-value: the token would be shown in the clear to whoever listens (help: give the target `tls`, or ask it over a socket of the watch's host)
            /spec/watch/targets/1/tls: invalid-value: a socket of the watch's host is not spoken to over TLS (help: take `tls` out, or write `HOST:PORT`)
            /spec/watch/targets/2/tls/serverName: invalid-value: "a b" is no name that a certificate could have (help: write the name, or the address, that stands in the target's certificate)
            /spec/watch/targets/2/tls/authorityFile: invalid-value: "ca.pem" is no absolute path (help: a PEM file on every host of a watch)
        "#]],
    );
}

#[test]
fn archivers_and_members_of_etcd_are_jobs_where_they_are_asked() {
    let job = |draft: &mut PlatformDraft, job: &str| {
        watched(draft);
        draft.watch.as_mut().expect("declared").targets[0].job = job.into();
    };
    check(|draft| job(draft, "archiver"), expect![[""]]);
    check(|draft| job(draft, "etcd"), expect![[""]]);
    check(
        |draft| {
            job(draft, "archiver");
            draft.databases[0].backup = Some(BackupDraft {
                metrics_port: Some(draft.databases[0].ports.sight),
                ..BackupDraft::default()
            });
        },
        expect![[r#"
            /spec/databases/0/backup/metricsPort: port-clash: port 5434 is taken by the keepers' HTTP of database `ledger` (help: port 5435 is free)
            /spec/watch/targets/0/job: duplicate-name: `archiver` is the job of targets that the platform has itself (help: choose another name)
        "#]],
    );
}

fn objective(name: &str, target: &str) -> ObjectiveDraft {
    ObjectiveDraft {
        name: name.into(),
        target: target.into(),
        gateway: Some("edge".into()),
        ..ObjectiveDraft::default()
    }
}

fn promised(draft: &mut PlatformDraft, objectives: Vec<ObjectiveDraft>) {
    watched(draft);
    let watch = draft.watch.as_mut().expect("declared");
    watch.objectives = objectives;
}

#[test]
fn target_recoveries_and_drills_add_up() {
    // A recovery of one second, once a month, is within 99.99 % of a month.
    check(
        |draft| {
            let sound = ObjectiveDraft {
                recovery: Some(Duration::from_secs(1)),
                drill_every: Some(Duration::from_secs(30 * 86_400)),
                within: Some(Duration::from_millis(256)),
                ..objective("sound", "99.99")
            };
            promised(draft, vec![sound]);
        },
        expect![[""]],
    );
    check(
        |draft| {
            let second = Duration::from_secs(1);
            let five_nines = ObjectiveDraft {
                recovery: Some(second * 10),
                drill_every: Some(second * 7 * 86_400),
                ..objective("too-much", "99.999")
            };
            let once = ObjectiveDraft {
                recovery: Some(second * 40),
                ..objective("once", "99.999")
            };
            let unknown = ObjectiveDraft {
                drill_every: Some(second * 86_400),
                ..objective("how-long", "99")
            };
            promised(draft, vec![five_nines, once, unknown]);
        },
        expect![[r#"
            /spec/watch/objectives/0/target: objective-impossible: 99.999 % of 30d allows 25.92s (5m 15s a year); 5 drills of 10s each, 50s in all, cannot be had within it (help: possible would be a target of 99.99807 %, or recoveries of 5.184s, or a drill every 15d)
            /spec/watch/objectives/1/target: objective-impossible: 99.999 % of 30d allows 25.92s (5m 15s a year); one recovery of 40s cannot be had within it (help: possible would be a target of 99.998456 %, or recoveries of 25.92s)
        "#]],
    );
}

#[test]
fn an_objective_is_counted_by_somebody() {
    check(
        |draft| {
            let odd = ObjectiveDraft {
                within: Some(Duration::from_millis(250)),
                period: Some(Duration::from_secs(60)),
                floor: Some("a".into()),
                ..objective("odd", "100")
            };
            let both = ObjectiveDraft {
                bad: Some("x".into()),
                ..objective("both", "99")
            };
            let expressions = ObjectiveDraft {
                gateway: None,
                bad: Some("rate(x[5m])".into()),
                total: Some("rate(x[$window])".into()),
                route: Some("/v1".into()),
                ..objective("expressions", "99")
            };
            let nowhere = ObjectiveDraft {
                route: Some("/nowhere".into()),
                ..objective("nowhere", "99")
            };
            promised(draft, vec![odd, both, expressions, nowhere]);
        },
        expect![[r#"
            /spec/watch/objectives/0/period: invalid-value: a period of 60s is out of bounds (help: choose from 604800s to 7948800s)
            /spec/watch/objectives/0/target: invalid-value: "100" is no target (help: write a percentage above 0 and below 100 with six decimals at most, such as 99.95)
            /spec/watch/objectives/0/within: invalid-value: the gateway counts nothing at this bound, and would have to guess (help: choose 128000us or 256000us: what a gateway counts is 125us, doubled again and again)
            /spec/watch/objectives/0/floor: invalid-value: "a" is no number of events in a second (help: write a number with three decimals at most, such as 0.5)
            /spec/watch/objectives/1: missing: it is not said what is counted (help: name a `gateway`, or give PromQL for both `bad` and `total`; not both ways)
            /spec/watch/objectives/2: invalid-value: `route` and `within` are about a gateway, and none is named (help: name the gateway, or put both into the expressions)
            /spec/watch/objectives/2/bad: invalid-value: the expression has no `[$window]` (help: write the range as `[$window]`, as in `sum(rate(errors_total[$window]))`)
            /spec/watch/objectives/3/route: unknown-reference: there is no route `/nowhere` (help: known: `/v1/cells/{cell}`, `/`)
        "#]],
    );
}

#[test]
fn modes_are_told_to_an_active_instance_that_knows_who_tells_them() {
    let modes = |names: &[&str]| {
        Some(ModesDraft {
            port: None,
            path: "/control/mode".into(),
            names: names.iter().map(|name| String::from(*name)).collect(),
        })
    };
    check(
        |draft| {
            draft.services[0].ports[0].tls = Some(PortTlsDraft::Platform);
            draft.services[0].modes = modes(&["open", "shut"]);
        },
        expect![[""]],
    );
    check(
        |draft| {
            draft.services[0].modes = modes(&["open", "open", "not open"]);
            draft.services[1].ports[0].tls = Some(PortTlsDraft::Platform);
            draft.services[1].modes = Some(ModesDraft {
                path: "mode".into(),
                port: Some("control".into()),
                ..ModesDraft::default()
            });
        },
        expect![[r#"
            /spec/services/0/modes/names/1: invalid-name: "open" cannot be another mode (help: letters, digits and '-', at most 32, each name once)
            /spec/services/0/modes/names/2: invalid-name: "not open" cannot be another mode (help: letters, digits and '-', at most 32, each name once)
            /spec/services/0/modes/port: invalid-value: anybody who reaches port `http` could change the mode (help: give that port `tls: platform`: then a caller has to prove who it is)
            /spec/services/1/modes: placement-impossible: a mode is told to the active instance, and this service has none (help: modes are for services whose placement `follows` a database)
            /spec/services/1/modes/path: invalid-value: "mode" is not a path that can be asked for (help: write an absolute path such as `/control/mode`)
            /spec/services/1/modes/names: missing: with one mode there is nothing to choose (help: name the ordinary one first, such as `names: [open, cancelOnly]`)
            /spec/services/1/modes/port: unknown-reference: there is no port `control` (help: known: `http`)
        "#]],
    );
}
