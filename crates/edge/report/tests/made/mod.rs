//! A made log of a drill, and packs of it, for several tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use mainstay_journal::tree::root_of;
use mainstay_journal::{Checkpoint, Entry, NodeKey, PublicKey, leaf_hash};
use mainstay_report::evidence::{
    MANIFEST, Manifest, Material, Refused, Status, Subject, Unverified, Verified, controls, pack,
    tar, verify,
};
use serde_json::{Value, json};

pub const START_MS: u64 = 1_795_867_200_000;
pub const DAY_MS: u64 = 86_400_000;
pub const ORIGIN: &str = "mainstay/exchange/0123456789abcdef";

pub fn key() -> NodeKey {
    NodeKey::from_seed(&[7; 32])
}

pub fn keys() -> Vec<(String, PublicKey)> {
    vec![(ORIGIN.to_owned(), key().public())]
}

pub fn by(name: &str) -> Value {
    json!({"uid": 1000, "operator": name})
}

#[derive(Default)]
pub struct Log {
    pub entries: Vec<Entry>,
}

impl Log {
    pub fn add(&mut self, after_ms: u64, kind: &str, body: Value) -> u64 {
        let position = self.entries.len() as u64;
        let text = json!({
            "kind": kind, "version": 1, "at_ms": START_MS + after_ms, "epoch": 1, "body": body,
        });
        let entry = mainstay_report::Entry::read(position, &text.to_string()).unwrap();
        assert!(entry.event.is_some(), "{kind} is not known");
        self.entries.push(Entry::new(text.to_string()).unwrap());
        position
    }

    pub fn begin(&mut self) {
        self.add(
            0,
            "journal.opened",
            json!({"origin": ORIGIN, "platform": "exchange", "node": "e1", "key": key().public().to_string()}),
        );
        self.add(
            0,
            "leadership.claimed",
            json!({"epoch": 1, "node": "e1", "why": "first"}),
        );
        self.adopt("aa");
    }

    /// A platform file with this digest comes into force.
    pub fn adopt(&mut self, digest: &str) {
        let desired = json!({
            "platform": "exchange", "production": false, "hosts": {"e1": "east", "w1": "west"},
            "databases": {"ledger": {"home": "east", "replicas": ["e1", "w1"], "fingerprint": "1"}},
            "services": {}, "gateways": {}, "operators": {},
        });
        self.add(
            1_000,
            "platform.adopted",
            json!({
                "generation": 1, "digest": digest, "by": by("ada"), "reason": "up", "changes": [], "steps": [],
                "desired": desired,
            }),
        );
    }
}

pub const DOCUMENT: &str =
    "spec:\n  severeButPlausible: a cable is cut\n  assumptions: [the rest stays]\n";

pub fn plan() -> Value {
    let digest = mainstay_journal::Hash::of(DOCUMENT.as_bytes()).to_string();
    json!({
        "name": "region-lost", "title": "A region is lost", "digest": digest, "text": DOCUMENT, "seed": "7",
        "versions": {"mainstay": "0.1.0"}, "environment": "development", "approver": "ada", "tester": "grace",
        "owner": "ada", "retention_days": 1826, "lasts_ms": 240_000,
        "objectives": [{"service": "Trading", "rto_below_ms": 5_000, "rpo_below": {"transactions": 1}}],
        "steps": [
            {"id": "lose", "what": "the region goes", "by_person": false},
            {"id": "call", "what": "the desk is called", "by_person": true},
        ],
    })
}

pub fn value(name: &str, value: u64, unit: &str) -> Value {
    json!({"name": name, "value": value, "unit": unit, "source": "clients"})
}

pub fn measurements() -> [Value; 3] {
    let phases = [
        "detect", "decide", "fence", "promote", "reroute", "restored",
    ];
    let mut recovery = vec![
        value("fault_at", START_MS * 1_000, "wall_us"),
        value("rto", 1_600_000, "us"),
    ];
    recovery.extend(phases.map(|phase| value(phase, 266_000, "us")));
    let of = |measured: &str, values: Vec<Value>| json!({"measured": measured, "services": ["Trading"], "subject": "orders", "values": values});
    let counts = [
        "acknowledged",
        "acknowledged_present",
        "lost",
        "duplicated",
        "invented",
        "unknown",
    ];
    let counts = counts.map(|name| {
        value(
            name,
            if name.starts_with("ack") { 100 } else { 0 },
            "transactions",
        )
    });
    let mut secondary = vec![
        value("served", 20_000_000, "us"),
        value("acknowledged", 40, "transactions"),
    ];
    secondary.push(json!({"name": "failed_back", "value": null, "unit": "us", "source": "keepers", "why": "nobody looked"}));
    [
        of("recovery", recovery),
        of("ledger", counts.to_vec()),
        of("secondary", secondary),
    ]
}

/// A drill that passes, but for a deficiency; with what happens meanwhile.
pub fn drill() -> Log {
    drill_after(|_| {})
}

pub fn drill_after(before: impl FnOnce(&mut Log)) -> Log {
    drill_with(before, |_| {})
}

pub fn drill_during(during: impl FnOnce(&mut Log)) -> Log {
    drill_with(|_| {}, during)
}

pub fn drill_with(before: impl FnOnce(&mut Log), during: impl FnOnce(&mut Log)) -> Log {
    let mut log = Log::default();
    log.begin();
    before(&mut log);
    let plan = plan();
    let adoption = json!({"name": "region-lost", "digest": plan["digest"], "text": DOCUMENT});
    let approved = log.add(
        2_000,
        "drill.adopted",
        json!({"adoption": adoption, "by": by("ada"), "reason": "monthly"}),
    );
    log.add(
        3_000,
        "drill.begun",
        json!({
            "drill": "d1", "plan": plan, "approved": approved, "platform": "aa",
            "until_ms": START_MS + 300_000, "by": by("grace"), "reason": "the monthly one",
        }),
    );
    for (step, at_ms) in [("lose", 4_000), ("call", 8_000)] {
        log.add(
            at_ms,
            "drill.step_begun",
            json!({"drill": "d1", "step": step, "what": "it is done"}),
        );
        if step == "call" {
            log.add(
                at_ms + 500,
                "drill.confirmed",
                json!({"drill": "d1", "step": step, "by": by("grace"), "note": "rang"}),
            );
        }
        let end = json!({"step": step, "outcome": "done", "detail": "so", "evidence": []});
        log.add(
            at_ms + 1_000,
            "drill.step_ended",
            json!({"drill": "d1", "end": end}),
        );
    }
    during(&mut log);
    for measurement in measurements() {
        log.add(
            10_000,
            "drill.measured",
            json!({"drill": "d1", "measurement": measurement}),
        );
    }
    let objective = &plan["objectives"][0];
    let service = json!({
        "objective": objective, "rto": "met", "rto_us": 1_600_000, "rpo": "met", "lost_transactions": 0, "lost_us": 0,
    });
    let deficiency = json!({"what": "the way back is not measured", "owner": "ada", "retest_by_ms": START_MS + 30 * DAY_MS});
    let end = json!({"verdict": "passed", "why": "all is met", "deficiencies": [deficiency], "residue": []});
    log.add(
        11_000,
        "drill.ended",
        json!({"drill": "d1", "name": "region-lost", "end": end, "services": [service]}),
    );
    log.add(12_000, "host.returned", json!({"host": "e1"}));
    log
}

/// A drill in which much happens, with an experiment and two incidents.
pub fn eventful() -> Log {
    drill_with(
        |log| {
            let deed = json!({"backup_proven": {"backup": "b7", "rto_ms": 8_400, "rpo_ms": 900}});
            let proven = json!({"archived": {"database": "ledger", "deed": deed}});
            let reflex = json!({"host": "e1", "at_ms": START_MS + 1_400, "reflex": proven});
            log.add(1_500, "reflex.recorded", reflex);
        },
        |log| {
            trouble(log);
            response(log);
            aftermath(log);
        },
    )
}

fn trouble(log: &mut Log) {
    let plan = json!({
        "name": "slow", "digest": "f00d", "seed": "1", "hypothesis": "the desk hears of it", "injections": ["delay"],
        "lasts_ms": 60_000,
    });
    let begun = json!({"experiment": "x1", "plan": plan, "until_ms": START_MS, "by": by("ada"), "reason": "x"});
    log.add(9_100, "experiment.begun", begun);
    let spec = json!({"kind": "cut", "target": {"region": "east"}, "lasts_ms": 60_000});
    let injected = json!({"fault": "f1", "until_ms": START_MS + 61_000, "by": by("ada"), "reason": "is it heard?", "spec": spec});
    let fault = log.add(9_200, "fault.injected", injected);
    log.add(
        9_210,
        "host.lost",
        json!({"host": "e1", "silent_ms": 10_400}),
    );
    let fires = log.add(9_220, "alert.changed", alert("firing"));
    let opened = json!({
        "incident": "i1", "title": "orders are slow", "severity": "error", "conditions": ["alert Slow"],
        "things": ["database/ledger"], "evidence": [fault, fires], "reason": "an alert fires",
    });
    log.add(9_230, "incident.opened", opened);
    let placed = json!({"service": "venue", "host": "w1", "why": {"instead_of": {"lost": "e1"}}});
    log.add(9_240, "instance.placed", placed);
}

fn alert(state: &str) -> Value {
    json!({
        "watch": "e1", "alert": "Slow", "state": state, "since_ms": START_MS + 9_000, "at_ms": START_MS + 9_000,
        "labels": {"alertname": "Slow"}, "summary": "orders are slow", "value": "1.2", "why": "1.2 > 1",
    })
}

fn response(log: &mut Log) {
    let rung = json!({
        "incident": "i1", "policy": "all", "level": 1, "round": 1, "tell": [{"channel": "desk"}],
        "until_ms": START_MS + 60_000, "why": "it is open",
    });
    log.add(9_300, "notice.escalated", rung);
    let notice = |number: u64, kind: &str| {
        json!({
            "notice": number, "attempt": 1, "incident": "i1", "kind": kind, "to": {"channel": "desk", "who": "grace"},
            "severity": "error", "title": "x", "text": "level 1, round 1", "open_ms": START_MS + 9_000,
        })
    };
    let called = log.add(9_310, "notice.ordered", notice(1, "trigger"));
    let ended = |effect: u64, outcome: Value| json!({"effect": effect, "outcome": outcome});
    let failed = json!({"failed": {"why": "the channel refuses"}});
    log.add(9_320, "effect.finished", ended(called, failed));
    let origin = json!({"alert": {"watch": "e1", "alert": "Slow"}});
    let run = json!({"run": "r1", "playbook": "clear", "values": {}, "opening": {"goes": {}}, "origin": origin});
    log.add(9_330, "playbook", json!({"opened": run}));
    let declined = json!({"playbook": "move", "why": "at most 1 run in 1h", "origin": origin});
    log.add(9_340, "playbook", json!({"declined": declined}));
    let act = json!({"clear_faults": {"faults": ["f1"]}});
    let begun = json!({"run": "r1", "step": 0, "attempt": 1, "act": act});
    let begun = log.add(9_350, "playbook", json!({"begun": begun}));
    let done = json!({"done": {"detail": "f1 is gone"}});
    log.add(9_360, "effect.finished", ended(begun, done));
    let cleared = json!({"cleared": {"by": by("ada"), "reason": "enough"}});
    log.add(
        9_370,
        "fault.ending",
        json!({"fault": "f1", "why": cleared}),
    );
    let refused = json!({
        "asked": "switchover ledger west", "uid": 1000, "reason": "now", "code": "no_quorum", "why": "two copies are needed",
    });
    log.add(9_380, "command.refused", refused);
    let moved = json!({"database": "ledger", "from": "e1", "to": "w1", "by": by("grace"), "reason": "maintenance"});
    log.add(9_390, "switchover.ordered", moved);
}

fn aftermath(log: &mut Log) {
    let about = |reason: &str| json!({"incident": "i1", "reason": reason});
    let with = |reason: &str, more: Value| {
        let mut body = about(reason);
        body["by"] = by("ada");
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    log.add(9_400, "incident.acknowledged", with("looking", json!({})));
    log.add(9_410, "alert.changed", alert("resolved"));
    log.add(9_420, "incident.mitigated", about("all has ended"));
    log.add(
        9_430,
        "incident.resolved",
        with("replaced", json!({"standing": []})),
    );
    log.add(
        9_440,
        "incident.learned",
        with("one cable", json!({"lesson": "factor"})),
    );
    let action = json!({"action": 1, "owner": "grace", "due": "2026-12-24"});
    log.add(
        9_450,
        "incident.action_added",
        with("watch the cable", action),
    );
    let another = json!({"incident": "i2", "title": "another", "severity": "info", "reason": "x", "by": by("ada")});
    log.add(9_460, "incident.opened", another);
    let ended = json!({"experiment": "x1", "verdict": "passed", "why": "so", "residue": []});
    log.add(9_470, "experiment.ended", ended);
}

pub fn material(log: &Log, subject: &str, made_ms: u64) -> Material {
    let leaves: Vec<_> = log
        .entries
        .iter()
        .map(|entry| leaf_hash(entry.as_bytes()))
        .collect();
    let checkpoint = Checkpoint {
        origin: ORIGIN.to_owned(),
        size: leaves.len() as u64,
        root: root_of(&leaves),
    };
    Material {
        subject: Subject::parse(subject).unwrap(),
        made_ms,
        entries: log.entries.clone(),
        checkpoint: checkpoint.sign(&key()),
        keys: vec![key().public().verifier_text(ORIGIN)],
        controls: controls::SHIPPED.to_owned(),
        cosigned: Vec::new(),
        witnesses: Vec::new(),
        attached: BTreeMap::from([("figures.jsonl".to_owned(), b"{}\n".to_vec())]),
    }
}

pub fn sealed(material: &Material, signer: &NodeKey) -> tar::Files {
    let (files, manifest) = pack(material).unwrap();
    sign(files, &manifest, signer)
}

pub fn sign(mut files: tar::Files, manifest: &Manifest, signer: &NodeKey) -> tar::Files {
    let note = signer.sign(&manifest.origin, &manifest.text());
    files.insert(MANIFEST.to_owned(), note.into_bytes());
    files
}

/// As somebody would do who holds the key: the manifest fits whatever was changed.
pub fn sealed_again(mut files: tar::Files) -> tar::Files {
    files.remove(MANIFEST);
    let material = material(&drill(), "d1", START_MS + DAY_MS);
    let head = material.checkpoint.checkpoint.head();
    let manifest = Manifest::of(ORIGIN, &material.subject, material.made_ms, head, &files);
    sign(files, &manifest, &key())
}

pub fn whole() -> tar::Files {
    sealed(&material(&drill(), "d1", START_MS + DAY_MS), &key())
}

pub fn check(files: &tar::Files) -> Result<Verified, String> {
    verify(files, &keys(), &[], START_MS + DAY_MS).map_err(|refused| refused.to_string())
}

pub fn status(verified: &Verified, number: u8) -> Status {
    verified
        .items
        .iter()
        .find(|item| item.number == number)
        .unwrap()
        .status()
}

/// It is not a newer version's, it is wrong.
pub fn refused(result: Result<Verified, Unverified>) -> Refused {
    match result {
        Err(Unverified::Refused(refused)) => refused,
        other => panic!("it is not refused: {other:?}"),
    }
}
