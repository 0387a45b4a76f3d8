//! Whom documents mean on the example, and what of them can be done there.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use std::collections::{BTreeMap, BTreeSet};

use expect_test::{expect, expect_file};
use mainstay_chaos::check;
use mainstay_chaos::document::Mode;
use mainstay_chaos::experiment::{Alerts, BlastRadius, Condition, Judged, Question};
use mainstay_chaos::finding::render;
use mainstay_chaos::inventory::{Inventory, Sight};
use mainstay_chaos::judge::{Bench, Fidelity, Judgement};
use mainstay_chaos::select::{Dice, choose};
use mainstay_model::Platform;
use mainstay_record::process::{FaultKind, FaultWays};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples/exchange");

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{EXAMPLES}/{name}")).unwrap()
}

fn platform(name: &str) -> Platform {
    mainstay_manifest::load(name, &read(name)).unwrap()
}

fn judged(platform: &Platform, sight: Option<&Sight>, text: &str) -> Vec<Judgement> {
    let checked = check("x", text);
    assert!(!checked.has_errors(), "{}", render(&checked.findings));
    let inventory = Inventory::of(platform, sight);
    let bench = Bench {
        platform,
        inventory: &inventory,
        seed: 1,
    };
    let chaos = checked
        .documents
        .iter()
        .flat_map(|document| document.chaos());
    chaos.map(|chaos| bench.judge(chaos)).collect()
}

fn one(kind: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: {kind}\nmetadata: {{name: x, namespace: exchange}}\nspec:\n{spec}"
    )
}

/// Of a document on the example with inner wires.
fn judge(kind: &str, spec: &str) -> Judgement {
    judged(&platform("platform-chaos.yaml"), None, &one(kind, spec)).remove(0)
}

#[test]
fn the_documents_of_the_example_are_clean_and_can_be_run_as_they_are() {
    let text = read("chaos/experiments.yaml");
    let findings = check("experiments.yaml", &text).findings;
    assert!(findings.is_empty(), "{}", render(&findings));
    let judgements = judged(&platform("platform-chaos.yaml"), None, &text);
    let [delay, kill] = judgements.as_slice() else {
        panic!("{judgements:?}");
    };
    assert_eq!(delay.fidelity, Fidelity::Exact);
    assert_eq!(
        delay.targets,
        ["euw1-a/venue", "use1-a/venue", "usw2-a/venue"]
    );
    let [order] = delay.orders.as_slice() else {
        panic!("{delay:?}");
    };
    // Only the venue beside the primary speaks to it.
    assert_eq!(
        (order.kind, order.target.as_str()),
        (FaultKind::Delay, "us-east-1:us-east-1")
    );
    assert_eq!(
        (order.delay_us, order.detail.jitter_us),
        (400_000, Some(200_000))
    );
    let door = order.detail.door.as_ref().unwrap();
    assert_eq!(
        (door.host.as_str(), door.port, door.ways),
        ("use1-a", 5_432, FaultWays::Towards)
    );
    assert_eq!(kill.fidelity, Fidelity::Exact);
    assert_eq!((kill.targets.len(), kill.meant), (1, 3));
    assert_eq!(kill.orders[0].detail.grace_ms, Some(5_000));
}

#[test]
fn without_labels_nobody_is_met_and_without_a_wire_nothing_is_slowed() {
    let text = read("chaos/experiments.yaml");
    for judgement in judged(&platform("platform.yaml"), None, &text) {
        assert_eq!(judgement.meant, 0);
        assert!(
            matches!(judgement.fidelity, Fidelity::Refused(_)),
            "{judgement:?}"
        );
    }
    let own = text
        .replace("trading-platform", "exchange")
        .replace("trading-service", "venue");
    let judgements = judged(&platform("platform.yaml"), None, &own);
    let why = judgements[0].fidelity.why();
    assert!(
        why.contains("no wire stands") && why.contains("innerWires"),
        "{why}"
    );
    assert_eq!(judgements[1].fidelity, Fidelity::Exact);
}

#[test]
fn the_role_label_follows_the_primary() {
    let sight = Sight {
        running: ["usw2-a/venue", "usw2-a/postgres-ledger", "use1-a/venue"]
            .map(str::to_owned)
            .into(),
        primaries: BTreeMap::from([("ledger".to_owned(), "usw2-a".to_owned())]),
    };
    let platform = platform("platform-chaos.yaml");
    let text = one(
        "PodChaos",
        "action: pod-kill\nmode: all\nselector: {labelSelectors: {component: postgres-primary}}",
    );
    let judgement = judged(&platform, Some(&sight), &text).remove(0);
    assert_eq!(judgement.targets, ["usw2-a/postgres-ledger"]);
    let text = one(
        "PodChaos",
        "action: pod-kill\nmode: all\nselector: {labelSelectors: {app: trading-service}}",
    );
    let judgement = judged(&platform, Some(&sight), &text).remove(0);
    assert_eq!(
        judgement.targets,
        ["use1-a/venue", "usw2-a/venue"],
        "only those that run"
    );
}

#[test]
fn a_whole_region_is_parted_as_a_region() {
    let region =
        |name: &str| format!("{{labelSelectors: {{topology.kubernetes.io/region: {name}}}}}");
    let spec = |direction: &str| {
        format!(
            "action: partition\nmode: all\nduration: 5s\nselector: {}\ndirection: {direction}\ntarget:\n  mode: all\n  selector: {}",
            region("us-east-1"),
            region("eu-west-1")
        )
    };
    for (direction, target, one_way) in [
        ("both", "us-east-1:eu-west-1", false),
        ("to", "us-east-1:eu-west-1", true),
        ("from", "eu-west-1:us-east-1", true),
    ] {
        let judgement = judge("NetworkChaos", &spec(direction));
        assert_eq!(judgement.fidelity, Fidelity::Exact, "{direction}");
        let orders: Vec<_> = judgement
            .orders
            .iter()
            .map(|o| (o.kind, o.target.as_str(), o.one_way))
            .collect();
        assert_eq!(orders, [(FaultKind::Cut, target, one_way)]);
    }
}

#[test]
fn whoever_shares_a_door_is_named() {
    let judgement = judge(
        "NetworkChaos",
        "action: loss\nloss: {loss: \"10\"}\nmode: all\nduration: 5s\nselector: {labelSelectors: {app: gateway, mainstay/region: eu-west-1}}\ntarget:\n  mode: all\n  selector: {labelSelectors: {component: postgres-primary}}",
    );
    let why = judgement.fidelity.why();
    assert_eq!(judgement.fidelity.name(), "approximated");
    assert!(
        why.contains("euw1-a/postgres-ledger goes through the same door"),
        "{why}"
    );
    assert!(why.contains("200 ms"), "{why}");
    let besides: Vec<&str> = judgement.besides.iter().map(String::as_str).collect();
    assert_eq!(besides, ["euw1-a/postgres-ledger"]);
    assert_eq!(judgement.orders[0].detail.loss_ppm, Some(100_000));
}

#[test]
fn what_cannot_be_done_here_is_refused_by_name() {
    let who = "mode: all\nselector: {labelSelectors: {app: trading-service}}\n";
    for (kind, spec, why) in [
        (
            "IOChaos",
            "action: latency\nvolumePath: /v\ndelay: 1ms",
            "file system",
        ),
        ("TimeChaos", "timeOffset: 5m", "clock"),
        ("DNSChaos", "action: error", "name server"),
        (
            "HTTPChaos",
            "target: Request\nabort: true",
            "requests are not changed",
        ),
        (
            "NetworkChaos",
            "action: duplicate\nduplicate: {duplicate: \"5\"}",
            "comes twice",
        ),
        (
            "NetworkChaos",
            "action: corrupt\ncorrupt: {corrupt: \"5\"}",
            "damaged",
        ),
        (
            "NetworkChaos",
            "action: partition\nexternalTargets: [example.com]",
            "externalTargets",
        ),
        (
            "StressChaos",
            "stressors: {memory: {workers: 1, size: 50%}}",
            "size in bytes",
        ),
        ("StressChaos", "stressngStressors: --cpu 1", "stress-ng"),
        (
            "PodChaos",
            "action: container-kill\ncontainerNames: [sidecar]",
            "nobody chosen has a container",
        ),
    ] {
        let judgement = judge(kind, &format!("{who}{spec}"));
        let Fidelity::Refused(found) = &judgement.fidelity else {
            panic!("{kind} {spec}: {judgement:?}");
        };
        assert!(found.contains(why), "{kind}: {found}");
        assert!(judgement.orders.is_empty(), "{kind}");
    }
    let server =
        "mode: one\nselector: {labelSelectors: {app: postgres, mainstay/region: eu-west-1}}\n";
    let down = judge(
        "PodChaos",
        &format!("{server}action: pod-failure\nduration: 5s"),
    );
    let refused = "euw1-a/postgres-ledger is started again by its keeper";
    assert!(down.fidelity.why().starts_with(refused), "{down:?}");
    assert!(down.orders.is_empty());
    let kill = judge("PodChaos", &format!("{server}action: pod-kill"));
    assert_eq!(kill.fidelity, Fidelity::Exact);
    let stress = judge(
        "StressChaos",
        &format!("{who}stressors: {{cpu: {{workers: 2, load: 40}}}}"),
    );
    assert_eq!(stress.fidelity.name(), "approximated");
    assert_eq!(stress.orders.len(), 3, "one on each host");
}

#[test]
fn a_choice_is_the_same_for_a_seed_and_fair_over_seeds() {
    let platform = platform("platform-chaos.yaml");
    let inventory = Inventory::of(&platform, None);
    let pods: Vec<_> = inventory.pods.iter().collect();
    let names = |mode, seed| -> Vec<&str> {
        let chosen = choose(pods.clone(), mode, &mut Dice::of(seed, "x"));
        chosen
            .into_iter()
            .map(|pod| pod.instance.as_str())
            .collect()
    };
    let all = pods.len();
    assert_eq!(names(Mode::All, 1).len(), all);
    assert_eq!(names(Mode::Fixed(100), 1).len(), all, "capped at the count");
    assert_eq!(names(Mode::FixedPercent(1), 1).len(), 1, "rounded up");
    assert_eq!(names(Mode::FixedPercent(50), 1).len(), all.div_ceil(2));
    let mut met = BTreeSet::new();
    let mut counts = BTreeSet::new();
    for seed in 0..300 {
        let one = names(Mode::One, seed);
        assert_eq!(one, names(Mode::One, seed));
        met.extend(one);
        counts.insert(names(Mode::RandomMaxPercent(20), seed).len());
    }
    assert_eq!(met.len(), all, "everybody is met by some seed");
    assert!(
        counts.contains(&0) && counts.iter().all(|count| *count <= all.div_ceil(5)),
        "{counts:?}"
    );
}

#[test]
fn missing_data_is_no_pass() {
    let condition = Condition {
        name: "c".to_owned(),
        question: Question::Query("up".to_owned()),
        at_least: Some(0.9),
        at_most: Some(1.5),
        when: BTreeSet::new(),
    };
    for (values, holds) in [
        (&[1.0][..], true),
        (&[1.0, 0.5], false),
        (&[2.0], false),
        (&[0.9, 1.5], true),
    ] {
        assert_eq!(
            matches!(condition.judge(values), Judged::Holds(_)),
            holds,
            "{values:?}"
        );
    }
    // What is seen is seen, whatever else could not be measured, and in whichever order.
    for values in [&[f64::NAN, 0.5][..], &[0.5, f64::NAN]] {
        let violated = "0.5 (from 0.9 to 1.5)".to_owned();
        assert_eq!(condition.judge(values), Judged::Violated(violated));
    }
    for values in [&[][..], &[f64::NAN], &[1.0, f64::NAN]] {
        assert!(
            matches!(condition.judge(values), Judged::Missing(_)),
            "{values:?}"
        );
    }
}

#[test]
fn alerts_and_bounds() {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let began = [
        ("Slow".to_owned(), "warning".to_owned()),
        ("Down".to_owned(), "page".to_owned()),
    ];
    let rules = Alerts {
        fire: set(&["Slow", "Late"]),
        may_fire: set(&[]),
        severities: set(&[]),
    };
    assert_eq!(rules.absent(&began), ["Late"]);
    assert_eq!(rules.unexpected(&began), [&began[1]]);
    let pages = Alerts {
        severities: set(&["page"]),
        ..Alerts::default()
    };
    assert_eq!(
        pages.unexpected(&began),
        [&began[1]],
        "a warning is none of its business"
    );
    let radius = BlastRadius {
        targets: Some(3),
        share_percent: Some(50),
    };
    assert_eq!(radius.exceeded(3, 6), None);
    assert!(radius.exceeded(4, 100).is_some() && radius.exceeded(3, 5).is_some());
}

/// What people bring: two documents that Chaos Mesh refuses, and that have weaknesses besides.
#[test]
fn the_sample_is_repaired() {
    let text = include_str!("data/sample.yaml");
    let findings = check("sample.yaml", text).findings;
    let found: String = findings
        .iter()
        .map(|found| {
            let (line, column) = (found.place.line, found.place.column);
            format!("{line}:{column} {}\n", found.code.name())
        })
        .collect();
    expect![[r#"
        1:1 no-steady-state
        1:1 no-abort
        1:1 no-blast-radius
        7:3 never-ends
        16:5 jitter-uncorrelated
        19:5 missing-field
        25:1 no-steady-state
        25:1 no-abort
        25:1 no-blast-radius
        28:9 name-says-otherwise
        32:10 type
        37:7 labels-disagree
        39:3 without-effect
    "#]]
    .assert_eq(&found);
    let errors = findings.iter().filter(|found| found.code.is_error());
    assert_eq!(errors.count(), 2, "what Chaos Mesh itself refuses");
    let fixed = mainstay_chaos::finding::repaired(text, &findings);
    expect_file!["data/sample-repaired.yaml"].assert_eq(&fixed);
    let left = check("repaired", &fixed).findings;
    assert!(left.is_empty(), "{}", render(&left));
    for judgement in judged(&platform("platform-chaos.yaml"), None, &fixed) {
        assert_eq!(judgement.fidelity, Fidelity::Exact, "{judgement:?}");
    }
}
