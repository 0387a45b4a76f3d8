//! Documents, what is said of them, and the text as it should have been.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use std::time::Duration;

use expect_test::{Expect, expect, expect_file};
use mainstay_chaos::finding::{Code, render, repaired};
use mainstay_chaos::plan::plan;
use mainstay_chaos::{Checked, check};

const TWO: &str = include_str!("data/two.yaml");

fn said(text: &str, expected: Expect) -> Checked {
    let checked = check("chaos.yaml", text);
    let lines: Vec<String> = render(&checked.findings)
        .lines()
        .filter(|line| !line.starts_with("  "))
        .map(str::to_owned)
        .collect();
    expected.assert_eq(&lines.join("\n"));
    checked
}

fn codes(text: &str) -> Vec<Code> {
    let found = check("chaos.yaml", text).findings;
    found.iter().map(|finding| finding.code).collect()
}

#[test]
fn a_delay_and_a_kill_as_one_finds_them() {
    let checked = said(
        TWO,
        expect![[r#"
        chaos.yaml:2:1: weak: NetworkChaos/slow-ledger: no-steady-state: nothing says what must hold before, during and after it: whatever happens, it has passed
        chaos.yaml:2:1: weak: NetworkChaos/slow-ledger: no-abort: nothing ends it when it does more harm than was meant
        chaos.yaml:2:1: weak: NetworkChaos/slow-ledger: no-blast-radius: nothing bounds how much of the platform it may touch
        chaos.yaml:8:3: weak: NetworkChaos/slow-ledger spec.duration: never-ends: without a duration it lasts until somebody deletes it, also if nobody is left who knows of it
        chaos.yaml:16:5: weak: NetworkChaos/slow-ledger spec.delay.jitter: jitter-uncorrelated: jitter without correlation makes each packet as likely late as the one before was early: real networks have moods
        chaos.yaml:19:5: error: NetworkChaos/slow-ledger spec.target.mode: missing-field: spec.target.mode is required and not there
        chaos.yaml:24:1: weak: PodChaos/till-pod-failure: no-steady-state: nothing says what must hold before, during and after it: whatever happens, it has passed
        chaos.yaml:24:1: weak: PodChaos/till-pod-failure: no-abort: nothing ends it when it does more harm than was meant
        chaos.yaml:24:1: weak: PodChaos/till-pod-failure: no-blast-radius: nothing bounds how much of the platform it may touch
        chaos.yaml:27:3: weak: PodChaos/till-pod-failure metadata.namespace: no-namespace: neither metadata nor the selector names a namespace: it means whichever one it is applied in, "default" as a rule
        chaos.yaml:27:9: weak: PodChaos/till-pod-failure metadata.name: name-says-otherwise: the name says pod-failure, and the action is pod-kill
        chaos.yaml:31:10: error: PodChaos/till-pod-failure spec.value: type: spec.value must be text, and is a number
        chaos.yaml:34:7: weak: PodChaos/till-pod-failure labelSelectors.app: labels-disagree: "till" is selected by "app" here and by "component" in NetworkChaos/slow-ledger: one of the two meets nobody, unless both labels are given
        chaos.yaml:36:3: weak: PodChaos/till-pod-failure spec.duration: without-effect: pod-kill is over at once: Chaos Mesh ignores its duration"#]],
    );
    assert!(checked.has_errors());
    let text = repaired(TWO, &checked.findings);
    expect_file!["data/two-repaired.yaml"].assert_eq(&text);
    let again = check("chaos.yaml", &text);
    assert!(again.findings.is_empty(), "{}", render(&again.findings));
}

/// A document of one kind, with a spec that is right but for what is added to it.
fn one(kind: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: chaos-mesh.org/v1alpha1\nkind: {kind}\nmetadata:\n  name: x\n  namespace: shop\nspec:\n{spec}"
    )
}

const WHO: &str = "mode: one\nselector:\n  labelSelectors: {app: till}\n";

fn errors(kind: &str, spec: &str) -> Vec<String> {
    let checked = check("chaos.yaml", &one(kind, spec));
    let errors = checked
        .findings
        .iter()
        .filter(|finding| finding.code.is_error());
    errors
        .map(|finding| format!("{}: {}", finding.code.name(), finding.reason))
        .collect()
}

/// The verdict of Chaos Mesh, by its schema and its webhooks.
#[test]
fn what_chaos_mesh_accepts() {
    for (kind, spec) in [
        ("PodChaos", "action: pod-kill"),
        ("PodChaos", "action: pod-failure\nduration: 1m30s"),
        ("PodChaos", "action: container-kill\ncontainerNames: [till]"),
        ("NetworkChaos", "action: partition\ndirection: both"),
        (
            "NetworkChaos",
            "action: loss\nloss: {loss: \"25\"}\nduration: 30s",
        ),
        (
            "NetworkChaos",
            "action: bandwidth\nbandwidth: {rate: 1mbps, limit: 100, buffer: 100}\nduration: 5s",
        ),
        (
            "NetworkChaos",
            "action: delay\ndelay: {latency: 10ms}\ndirection: from\ntarget:\n  mode: all\n  selector: {labelSelectors: {a: b}}",
        ),
        ("StressChaos", "stressors: {cpu: {workers: 2, load: 50}}"),
        (
            "StressChaos",
            "stressors: {memory: {workers: 1, size: 50%}}",
        ),
        (
            "TimeChaos",
            "timeOffset: \"-10m\"\nclockIds: [CLOCK_REALTIME]",
        ),
        (
            "IOChaos",
            "action: latency\nvolumePath: /var\ndelay: 10ms\npercent: 50",
        ),
        ("DNSChaos", "action: error\npatterns: [a.*]"),
        ("HTTPChaos", "target: Request\nport: 80\nabort: true"),
    ] {
        assert_eq!(
            errors(kind, &format!("{WHO}{spec}")),
            Vec::<String>::new(),
            "{kind} {spec}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_chaos_mesh_refuses() {
    for (kind, spec, expected) in [
        (
            "PodChaos",
            "action: pod-explode",
            "value: \"pod-explode\" is none of",
        ),
        (
            "PodChaos",
            "action: pod-kill\ngracePeriod: -1",
            "value: -1 is less than 0",
        ),
        (
            "PodChaos",
            "action: pod-kill\ngracePeriod: \"5\"",
            "type: spec.gracePeriod must be a whole number",
        ),
        (
            "PodChaos",
            "action: pod-kill\nduration: 2 minutes",
            "rule: \"2 minutes\" is no duration",
        ),
        (
            "PodChaos",
            "action: pod-kill\nduration: 120",
            "type: spec.duration must be text, and is a number",
        ),
        (
            "PodChaos",
            "action: container-kill",
            "rule: container-kill needs the names",
        ),
        (
            "PodChaos",
            "action: pod-kill\nscheduler: {cron: \"@hourly\"}",
            "unknown-field: the schedule of version 1",
        ),
        (
            "PodChaos",
            "action: pod-kill\ncontainerName: a",
            "unknown-field: there is no field spec.containerName",
        ),
        ("PodChaos", "", "missing-field: spec.action is required"),
        (
            "NetworkChaos",
            "action: delay\ndelay: {latency: fast}",
            "rule: \"fast\" is no duration",
        ),
        (
            "NetworkChaos",
            "action: delay\ndelay: {jitter: 5ms}",
            "missing-field: spec.delay.latency is required",
        ),
        (
            "NetworkChaos",
            "action: delay\ndelay: {latency: 5ms, correlation: much}",
            "rule: \"much\" is no number",
        ),
        (
            "NetworkChaos",
            "action: loss\nloss: {loss: 25}",
            "type: spec.loss.loss must be text",
        ),
        (
            "NetworkChaos",
            "action: loss\nloss: {loss: \"25\"}\ndirection: both",
            "rule: both needs a target",
        ),
        (
            "NetworkChaos",
            "action: loss\nloss: {loss: \"25\"}\ndirection: from\nexternalTargets: [a.b]",
            "rule: from cannot be used with externalTargets",
        ),
        (
            "NetworkChaos",
            "action: bandwidth\nbandwidth: {rate: fast, limit: 1, buffer: 1}",
            "rule: \"fast\" has no unit",
        ),
        (
            "NetworkChaos",
            "action: partition\ntarget: {selector: {}}",
            "missing-field: spec.target.mode is required",
        ),
        ("StressChaos", "duration: 1m", "rule: neither stressors"),
        (
            "StressChaos",
            "stressors: {cpu: {workers: 1, load: 150}}",
            "rule: 150 is more than 100 %",
        ),
        (
            "StressChaos",
            "stressors: {memory: {workers: 1, size: lots}}",
            "rule: \"lots\" is no size",
        ),
        (
            "TimeChaos",
            "timeOffset: \"-10m\"\nclockIds: [CLOCK_SUNDIAL]",
            "rule: there is no clock",
        ),
        (
            "IOChaos",
            "action: latency\nvolumePath: /var\npercent: 101",
            "rule: 101 is more than 100 %",
        ),
    ] {
        let found = errors(kind, &format!("{WHO}{spec}"));
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{kind} {spec}: {found:?}"
        );
    }
    for (mode, expected) in [
        ("mode: fixed", "rule: mode fixed needs a value"),
        (
            "mode: fixed\nvalue: \"0\"",
            "rule: mode fixed needs more than 0",
        ),
        (
            "mode: fixed\nvalue: some",
            "rule: \"some\" is no whole number",
        ),
        (
            "mode: fixed\nvalue: 1",
            "type: spec.value must be text, and is a number",
        ),
        (
            "mode: fixed-percent\nvalue: \"101\"",
            "rule: 101 is more than 100 %",
        ),
        ("mode: some", "value: \"some\" is none of"),
    ] {
        let found = errors(
            "PodChaos",
            &format!("action: pod-kill\nselector: {{}}\n{mode}"),
        );
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{mode}: {found:?}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn schedules_and_workflows_as_chaos_mesh_judges_them() {
    let pod = "podChaos:\n  action: pod-kill\n  mode: one\n  selector: {labelSelectors: {a: b}}\n";
    let kill = "  mode: one\n  action: pod-kill\n  selector: {labelSelectors: {a: b}}";
    assert_eq!(
        errors(
            "Schedule",
            &format!(
                "schedule: \"@every 5m\"\ntype: PodChaos\nhistoryLimit: 2\nconcurrencyPolicy: Forbid\n{pod}"
            )
        ),
        Vec::<String>::new()
    );
    for (spec, expected) in [
        (
            format!("schedule: often\ntype: PodChaos\n{pod}"),
            "rule: \"often\" has 1 fields",
        ),
        (
            format!("schedule: \"@every 5m\"\ntype: NetworkChaos\n{pod}"),
            "rule: type is NetworkChaos, and networkChaos is not there",
        ),
        (
            format!("schedule: \"@every 5m\"\ntype: Lunch\n{pod}"),
            "rule: \"Lunch\" is no kind of chaos",
        ),
        (
            format!("schedule: \"@every 5m\"\ntype: PodChaos\nhistoryLimit: 0\n{pod}"),
            "value: 0 is less than 1",
        ),
        (
            format!("schedule: \"@every 5m\"\ntype: PodChaos\nconcurrencyPolicy: Replace\n{pod}"),
            "value: \"Replace\" is none of",
        ),
    ] {
        let found = errors("Schedule", &spec);
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{spec}: {found:?}"
        );
    }
    let flow = |templates: &str| format!("entry: all\ntemplates:\n{templates}");
    let suspend = "- name: rest\n  templateType: Suspend\n  deadline: 5s\n";
    let good = format!(
        "- name: all\n  templateType: Serial\n  children: [rest, kill]\n{suspend}- name: kill\n  templateType: PodChaos\n  deadline: 5s\n  podChaos:\n  {}\n",
        kill.replace('\n', "\n  ")
    );
    assert_eq!(errors("Workflow", &flow(&good)), Vec::<String>::new());
    for (templates, expected) in [
        (
            "- name: all\n  templateType: Serial\n  children: [nobody]\n".to_owned(),
            "rule: no template is called \"nobody\"",
        ),
        (suspend.to_owned(), "rule: no template is called \"all\""),
        (
            "- name: all\n  templateType: Suspend\n".to_owned(),
            "rule: a Suspend without a deadline never ends",
        ),
        (
            "- name: All_\n  templateType: Suspend\n  deadline: 1s\n".to_owned(),
            "rule: \"All_\" is no name",
        ),
        (
            format!("{good}{suspend}"),
            "rule: another template is called \"rest\"",
        ),
        (
            "- name: all\n  templateType: Dance\n".to_owned(),
            "rule: \"Dance\" is no kind of chaos",
        ),
        (
            "- name: all\n  templateType: Suspend\n  deadline: 1s\n  children: [all]\n".to_owned(),
            "rule: a Suspend has no children",
        ),
        (
            good.replace("podChaos:\n", "podChaos:\n    duration: 5s\n"),
            "rule: within a Workflow the deadline",
        ),
    ] {
        let found = errors("Workflow", &flow(&templates));
        assert!(
            found.iter().any(|error| error.starts_with(expected)),
            "{templates}: {found:?}"
        );
    }
}

#[test]
fn what_is_no_document() {
    assert_eq!(codes(""), [Code::Field]);
    assert_eq!(codes("a: [1"), [Code::NotYaml]);
    assert_eq!(codes("kind: Deployment\n"), [Code::Kind]);
    let old = one("PodChaos", &format!("{WHO}action: pod-kill")).replace("v1alpha1", "v1");
    assert!(codes(&old).contains(&Code::Kind));
}

#[test]
fn weaknesses() {
    for (kind, spec, code) in [
        (
            "NetworkChaos",
            format!("{WHO}action: partition"),
            Code::NeverEnds,
        ),
        (
            "StressChaos",
            format!("{WHO}stressors: {{cpu: {{workers: 1}}}}"),
            Code::NeverEnds,
        ),
        (
            "PodChaos",
            format!("{WHO}action: pod-failure"),
            Code::NeverEnds,
        ),
        (
            "PodChaos",
            format!("{WHO}action: pod-kill\nduration: 5m"),
            Code::WithoutEffect,
        ),
        (
            "PodChaos",
            format!("{WHO}action: pod-failure\nduration: 5m\ngracePeriod: 5"),
            Code::WithoutEffect,
        ),
        (
            "NetworkChaos",
            format!("{WHO}action: delay\nduration: 5m"),
            Code::WithoutEffect,
        ),
        (
            "PodChaos",
            "action: pod-kill\nmode: all\nselector: {labelSelectors: {a: b}}".to_owned(),
            Code::KillsAll,
        ),
        (
            "PodChaos",
            "action: pod-kill\nmode: one\nselector: {namespaces: [shop]}".to_owned(),
            Code::HitsEverything,
        ),
        (
            "PodChaos",
            format!("{WHO}action: pod-kill"),
            Code::NoSteadyState,
        ),
        ("PodChaos", format!("{WHO}action: pod-kill"), Code::NoAbort),
        (
            "PodChaos",
            format!("{WHO}action: pod-kill"),
            Code::NoBlastRadius,
        ),
    ] {
        let found = codes(&one(kind, &spec));
        assert!(found.contains(&code), "{kind} {spec}: {found:?}");
    }
    let named = format!("{WHO}action: pod-kill");
    assert!(!codes(&one("PodChaos", &named)).contains(&Code::NoNamespace));
    let nameless = one("PodChaos", &named).replace("  namespace: shop\n", "");
    assert!(codes(&nameless).contains(&Code::NoNamespace));
}

#[test]
fn every_repair_of_a_program_makes_the_finding_go() {
    for (kind, spec) in [
        (
            "NetworkChaos",
            "mode: all\naction: delay\nselector: {labelSelectors: {a: b}}\ndelay:\n  latency: 5ms\n  jitter: 1ms",
        ),
        (
            "PodChaos",
            "mode: all\naction: pod-kill\nselector:\n  labelSelectors: {a: b}\nduration: 1m",
        ),
        (
            "PodChaos",
            "mode: fixed\nvalue: 2 # two of them\naction: pod-failure\nselector: {labelSelectors: {a: b}}",
        ),
    ] {
        let text = one(kind, spec);
        let fixed = repaired(&text, &check("x", &text).findings);
        let left = check("x", &fixed).findings;
        assert!(left.is_empty(), "{fixed}\n{}", render(&left));
    }
}

#[test]
fn an_experiment_names_what_is_there_and_says_what_it_is_for() {
    let experiment = |spec: &str| {
        let pod = one("PodChaos", &format!("{WHO}action: pod-kill"));
        format!(
            "{pod}---\napiVersion: mainstay/v1\nkind: Experiment\nmetadata: {{name: e}}\nspec:\n{spec}"
        )
    };
    let full = "  hypothesis: h\n  run: [{kind: PodChaos, name: x}]\n  steadyState: [{name: s, query: up, atLeast: 1}]\n  abort: [{name: a, query: up, atLeast: 1}]\n  blastRadius: {targets: 1}\n";
    assert_eq!(codes(&experiment(full)), []);
    for (from, to, code) in [
        ("name: x}", "name: y}", Code::Reference),
        (", atLeast: 1}]\n  abort", "}]\n  abort", Code::Rule),
        (
            "query: up, atLeast: 1}]\n  abort",
            "query: up, objective: o, atLeast: 1}]\n  abort",
            Code::Rule,
        ),
        (
            "  abort: [{name: a, query: up, atLeast: 1}]\n",
            "",
            Code::NoAbort,
        ),
        (
            "  steadyState: [{name: s, query: up, atLeast: 1}]\n",
            "",
            Code::NoSteadyState,
        ),
        ("  blastRadius: {targets: 1}\n", "", Code::NoBlastRadius),
        ("  hypothesis: h\n", "", Code::Missing),
        ("{targets: 1}", "{targets: some}", Code::Type),
    ] {
        let changed = full.replace(from, to);
        assert_ne!(changed, full, "{from}");
        let found = codes(&experiment(&changed));
        assert!(found.contains(&code), "{changed}: {found:?}");
    }
}

/// When what begins and how long it lasts.
fn timetable(text: &str, window: Option<Duration>) -> Result<Vec<String>, String> {
    let checked = check("x", text);
    let documents: Vec<_> = checked.documents.iter().collect();
    // 2026-11-28T18:30:00Z
    let plan = plan(&documents, window, 1_795_890_600)?;
    let mut lines: Vec<String> = plan
        .steps
        .iter()
        .map(|step| match step.lasts {
            Some(lasts) => format!("{:?} {} for {lasts:?}", step.at, step.chaos.name),
            None => format!("{:?} {}", step.at, step.chaos.name),
        })
        .collect();
    lines.extend(
        plan.refused
            .iter()
            .map(|(name, _)| format!("refused {name}")),
    );
    lines.push(format!("ends {:?}", plan.ends));
    Ok(lines)
}

#[test]
fn times_of_schedules() {
    let schedule = |more: &str, chaos: &str| {
        one(
            "Schedule",
            &format!(
                "schedule: \"*/1 * * * *\"\ntype: PodChaos\n{more}podChaos:\n  mode: one\n  selector: {{labelSelectors: {{a: b}}}}\n  {chaos}"
            ),
        )
    };
    let window = Some(Duration::from_secs(200));
    let kills = timetable(&schedule("", "action: pod-kill"), window).unwrap();
    assert_eq!(kills, ["60s x", "120s x", "180s x", "ends 200s"]);
    // Forbid is the default: what is due while the last one goes on is left out.
    let failure = "action: pod-failure\n  duration: 90s";
    let downs = timetable(&schedule("", failure), window).unwrap();
    assert_eq!(downs, ["60s x for 90s", "180s x for 90s", "ends 270s"]);
    let overlap = timetable(&schedule("concurrencyPolicy: Allow\n", failure), window).unwrap();
    assert_eq!(overlap.len(), 4);
    assert!(
        timetable(&schedule("", failure), None)
            .unwrap_err()
            .contains("never ends")
    );
}

#[test]
fn times_of_workflows() {
    let kill = |name: &str, deadline: &str| {
        format!(
            "- name: {name}\n  templateType: PodChaos\n{deadline}  podChaos: {{mode: one, action: pod-failure, selector: {{labelSelectors: {{a: b}}}}}}\n"
        )
    };
    let text = one(
        "Workflow",
        &format!(
            "entry: all\ntemplates:\n- name: all\n  templateType: Serial\n  deadline: 60s\n  children: [one, rest, both, task]\n- name: rest\n  templateType: Suspend\n  deadline: 10s\n- name: both\n  templateType: Parallel\n  children: [two, three]\n- name: task\n  templateType: Task\n{}{}{}",
            kill("one", "  deadline: 5s\n"),
            kill("two", "  deadline: 20s\n"),
            kill("three", ""),
        ),
    );
    let lines = timetable(&text, None).unwrap();
    assert_eq!(
        lines,
        [
            "0ns x.one for 5s",
            "15s x.two for 20s",
            // Without a deadline of its own it lasts until that of the whole.
            "15s x.three for 45s",
            "ends 60s",
        ]
    );
    let circle = one(
        "Workflow",
        "entry: all\ntemplates:\n- name: all\n  templateType: Serial\n  children: [all]\n",
    );
    assert!(
        timetable(&circle, None)
            .unwrap_err()
            .contains("part of itself")
    );
}

#[test]
fn times_of_single_documents() {
    let down = one(
        "PodChaos",
        &format!("{WHO}action: pod-failure\nduration: 90s"),
    );
    assert_eq!(
        timetable(&down, None).unwrap(),
        ["0ns x for 90s", "ends 90s"]
    );
    let endless = one("PodChaos", &format!("{WHO}action: pod-failure"));
    assert!(timetable(&endless, None).is_err());
    // What no fault can last is refused in the plan, not when it is due.
    let hours = one(
        "PodChaos",
        &format!("{WHO}action: pod-failure\nduration: 61m"),
    );
    let checked = check("x", &hours);
    let documents: Vec<_> = checked.documents.iter().collect();
    let refused = plan(&documents, None, 1_795_890_600).unwrap().refused;
    let [(name, why)] = refused.as_slice() else {
        panic!("{refused:?}");
    };
    let line = hours
        .lines()
        .position(|line| line.contains("duration"))
        .unwrap()
        + 1;
    assert_eq!(name, "PodChaos/x");
    assert!(
        why.starts_with(&format!("line {line}: it would last for 61m")),
        "{why}"
    );
    let long = Some(Duration::from_secs(7_200));
    assert!(
        timetable(&endless, long)
            .unwrap()
            .contains(&"refused PodChaos/x".to_owned())
    );
    let hour = one(
        "PodChaos",
        &format!("{WHO}action: pod-failure\nduration: 1h"),
    );
    assert_eq!(
        timetable(&hour, None).unwrap(),
        ["0ns x for 3600s", "ends 3600s"]
    );
    let kill = one("PodChaos", &format!("{WHO}action: pod-kill\nduration: 90s"));
    assert_eq!(
        timetable(&kill, None).unwrap(),
        ["0ns x", "ends 0ns"],
        "a kill has no duration"
    );
}
