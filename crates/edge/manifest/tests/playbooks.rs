//! Playbooks as texts: everything that is wrong has a place and a way out, and what is shipped has nothing wrong.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use mainstay_manifest::{
    criticise_playbook, due_times, load, load_playbook, playbook_schema, render, render_criticism,
    unknown_alerts,
};
use mainstay_playbook::Trigger;

fn wrong(text: &str, expected: Expect) {
    let found = load_playbook("p.yaml", text).expect_err("it is wrong");
    expected.assert_eq(&render(&found));
}

fn criticised(text: &str, expected: Expect) {
    let platform = fs::read_to_string(examples().join("platform.yaml")).unwrap();
    let platform = load("platform.yaml", &platform).unwrap();
    let found = criticise_playbook("p.yaml", text, Some(&platform));
    let found = found.unwrap_or_else(|errors| panic!("{}", render(&errors)));
    expected.assert_eq(&render_criticism(&found));
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/exchange")
}

fn shipped() -> Vec<(String, String)> {
    let entries = fs::read_dir(examples().join("playbooks")).unwrap();
    let mut texts: Vec<(String, String)> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            )
        })
        .collect();
    texts.sort();
    assert!(texts.len() >= 2);
    texts
}

#[test]
fn every_shipped_playbook_is_read_and_has_nothing_to_criticise() {
    let platform = fs::read_to_string(examples().join("platform.yaml")).unwrap();
    let platform = load("platform.yaml", &platform).unwrap();
    for (path, text) in shipped() {
        let found = criticise_playbook(&path, &text, Some(&platform));
        let found = found.unwrap_or_else(|errors| panic!("{}", render(&errors)));
        assert_eq!(render_criticism(&found), "");
    }
}

/// Alert names of a trigger, of every shipped playbook.
fn answered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in shipped() {
        let book =
            load_playbook(&path, &text).unwrap_or_else(|errors| panic!("{}", render(&errors)));
        for trigger in book.triggers {
            if let Trigger::Alert { labels } = trigger {
                names.extend(labels.get("alertname").cloned());
            }
        }
    }
    names
}

/// Every file with rules below the examples; those that test rules have none of their own.
fn rule_files() -> Vec<PathBuf> {
    let mut folders = vec![examples().join("..")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "yaml")
                && fs::read_to_string(&path).unwrap().contains("\ngroups:")
            {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn every_alert_of_the_example_has_a_playbook() {
    let files = rule_files();
    let texts = files.iter().map(|path| fs::read_to_string(path).unwrap());
    let texts: Vec<String> = texts.collect();
    let alerts = texts.iter().flat_map(|text| text.lines());
    let alerts = alerts.filter_map(|line| line.trim().strip_prefix("- alert: "));
    let mut alerts: BTreeSet<&str> = alerts.collect();
    assert!(
        files.len() >= 2 && alerts.len() >= 17,
        "{files:?} {alerts:?}"
    );
    // Of the objectives of the platform file.
    alerts.extend(["ErrorBudgetBurn", "ErrorBudgetUnknown"]);
    let answered = answered();
    let unanswered: Vec<&&str> = alerts
        .iter()
        .filter(|name| !answered.contains(**name))
        .collect();
    assert!(unanswered.is_empty(), "nobody answers {unanswered:?}");
}

#[test]
fn the_schema_knows_every_field_of_what_is_shipped_and_explains_it() {
    let schema = playbook_schema();
    let definitions = schema["definitions"].as_object().unwrap();
    let mut fields = Vec::new();
    for form in definitions.values().chain([&schema]) {
        for (field, property) in form["properties"].as_object().into_iter().flatten() {
            fields.push(field.clone());
            let explained = ["description", "$ref", "allOf", "anyOf"]
                .iter()
                .any(|key| property.get(*key).is_some());
            assert!(explained || field == "database", "{field}");
        }
        assert_ne!(form["additionalProperties"], true);
    }
    for (path, text) in shipped() {
        for line in text.lines().map(str::trim_start) {
            let Some((key, _)) = line.trim_start_matches("- ").split_once(':') else {
                continue;
            };
            if line.starts_with('#') || key.contains(['{', '"', ' ']) {
                continue;
            }
            assert!(fields.iter().any(|field| field == key), "{path}: {key}");
        }
    }
}

#[test]
fn the_form_is_told_with_line_column_and_way_out() {
    wrong(
        "apiVersion: mainstay/v1\nkind: Playbok\n",
        expect![[r#"
        p.yaml:2:7: error[unknown-kind]: `kind: Playbok` is not known here
            2 | kind: Playbok
              |       ^
              = help: write `kind: Playbook`
    "#]],
    );
    wrong(
        "apiVersion: mainstay/v1
kind: Playbook
metadata: {name: p, version: 1}
spec:
  summary: s
  mode: automatic
  stepps: []
  steps:
    - id: a
      action: {restart: {host: h}}
      timeout: 30
",
        expect![[r#"
            p.yaml:6:9: error[unknown-value]: `automatic` is not known here
                6 |   mode: automatic
                  |         ^
                  = help: known here: `observe`, `suggest`, `approve`, `auto`
            p.yaml:7:3: error[unknown-field]: the field `stepps` is not known here
                7 |   stepps: []
                  |   ^
                  = help: known here: `promotion`, `triggers`, `parameters`, `approval`, `guardrails`
            p.yaml:10:25: error[missing-field]: the field `instance` is missing here
               10 |       action: {restart: {host: h}}
                  |                         ^
            p.yaml:11:16: error[invalid-value]: `30` is not a length of time; write a whole number and a unit, such as `500ms`, `30s`, `5m`
               11 |       timeout: 30
                  |                ^
        "#]],
    );
}

const WRONG: &str = "apiVersion: mainstay/v1
kind: Playbook
metadata: {name: Big, version: 0}
spec:
  summary: s
  mode: auto
  promotion: {after: 3, to: suggest}
  triggers:
    - alert: {labels: {}}
    - {}
  parameters:
    - {name: count, kind: integer, default: 9, most: 3}
  approval: {by: [grace], count: 2}
  guardrails:
    mostShare: 120
    forbidden: [{from: '9:00', to: '17:00'}]
  steps:
    - id: a
      action:
        restart: {host: '${hots}', instance: venue}
        wait: {quiet: A}
    - id: a
      action: {run: {host: h, program: reboot}}
      verify: {condition: {query: 'up ==', quiet: A}}
";

#[test]
#[allow(clippy::too_many_lines, reason = "what is told is long")]
fn the_meaning_is_told_with_line_column_and_way_out() {
    wrong(
        WRONG,
        expect![[r#"
            p.yaml:3:18: error[invalid-name]: "Big" is not a name
                3 | metadata: {name: Big, version: 0}
                  |                  ^
                  = help: lower-case letters, digits and '-', at most 32, beginning with a letter
            p.yaml:3:32: error[invalid-value]: versions count from 1
                3 | metadata: {name: Big, version: 0}
                  |                                ^
                  = help: write 1
            p.yaml:7:3: error[invalid-value]: a promotion leads to a bolder mode, after at least one run
                7 |   promotion: {after: 3, to: suggest}
                  |   ^
                  = help: modes, from careful to bold: observe, suggest, approve, auto
            p.yaml:9:7: error[invalid-value]: without labels every alert would set it off
                9 |     - alert: {labels: {}}
                  |       ^
                  = help: name the alert: `labels: {alertname: TargetSilent}`
            p.yaml:10:7: error[exactly-one]: exactly one is expected here
               10 |     - {}
                  |       ^
                  = help: give one of alert, burn, incident, every, schedule
            p.yaml:12:45: error[invalid-value]: the default does not fit: at most 3
               12 |     - {name: count, kind: integer, default: 9, most: 3}
                  |                                             ^
                  = help: give another default
            p.yaml:13:34: error[invalid-value]: 2 of 1 people cannot approve it
               13 |   approval: {by: [grace], count: 2}
                  |                                  ^
                  = help: at least 1, and at most as many as are named under `by`
            p.yaml:15:16: error[invalid-value]: more than all
               15 |     mostShare: 120
                  |                ^
                  = help: a percentage from 0 to 100
            p.yaml:16:24: error[invalid-value]: "9:00" is no time of the day
               16 |     forbidden: [{from: '9:00', to: '17:00'}]
                  |                        ^
                  = help: write "13:30", in quotes
            p.yaml:19:7: error[unknown-parameter]: there is no parameter `hots`
               19 |       action:
                  |       ^
                  = help: known here: count
            p.yaml:19:7: error[exactly-one]: exactly one is expected here
               19 |       action:
                  |       ^
                  = help: give one of switchover, restart, clearFaults, drain, return, run, shift, replicas, mode, replace, rebuild, http, notify, workItem, wait
            p.yaml:23:40: error[invalid-value]: "reboot" is no absolute path
               23 |       action: {run: {host: h, program: reboot}}
                  |                                        ^
                  = help: name the program from the root: nothing is searched for
            p.yaml:24:16: error[exactly-one]: exactly one is expected here
               24 |       verify: {condition: {query: 'up ==', quiet: A}}
                  |                ^
                  = help: give one of query, ready, alive, primary, replica, noFaults, quiet, instances, shifted, mode
            p.yaml:24:35: error[invalid-query]: this is not PromQL: unexpected end of input
               24 |       verify: {condition: {query: 'up ==', quiet: A}}
                  |                                   ^
                  = help: `mainstay query` tries an expression
        "#]],
    );
}

#[test]
fn what_is_unwise_is_criticised_with_the_repair() {
    criticised(
        "apiVersion: mainstay/v1
kind: Playbook
metadata: {name: rash, version: 1}
spec:
  summary: s
  mode: auto
  triggers:
    - alert: {labels: {alertname: A}}
  parameters:
    - {name: host, kind: host}
    - {name: spare, kind: text, default: x}
  steps:
    - id: restart
      action: {restart: {host: '${host}', instance: venu}}
      retry: {times: 2}
    - id: drain
      action: {drain: {region: us-east-2}}
      timeout: 10s
    - id: move
      action: {switchover: {database: ledger, to: eu-west-1}}
      timeout: 10s
    - id: shell
      action: {run: {host: '${host}', program: /bin/sh, arguments: [-c, 'true']}}
      timeout: 10s
",
        expect![[r#"
            p.yaml:4:1: no-rate: it acts without anybody's word, and nothing limits how often
              repair: rate: {runs: 3, per: 1h}
            p.yaml:4:1: no-cool-down: an alert that comes and goes would have the same thing done again at once
              repair: coolDown: 5m
            p.yaml:10:7: no-value: no trigger can give host a value
              repair: label: LABEL, or default: VALUE
            p.yaml:11:7: unused-parameter: nothing uses the parameter spare
              repair: write ${spare} where it belongs, or take it out
            p.yaml:12:3: unguarded: a destructive action needs an approval, or a limit to what it touches
              repair: mode: approve, or guardrails: {mostTargets: 1, mostShare: 34}
            p.yaml:13:7: unknown-reference: the platform file has no instance venu
              repair: did you mean `venue`?
            p.yaml:13:11: no-verify: nothing shows that it helped, nor, after a crash, whether it was done
              repair: verify: {condition: {ready: {host: …, instance: …}}, within: 30s}
            p.yaml:13:11: no-timeout: it says no time: 30 s are assumed
              repair: timeout: 30s
            p.yaml:15:7: retry-not-idempotent: it is repeated only when it has certainly not been done: a lost answer is not repeated
              repair: idempotent: true, if doing it twice is as good as once
            p.yaml:16:7: unknown-reference: the platform file has no region us-east-2
              repair: did you mean `us-east-1`?
            p.yaml:16:11: no-verify: nothing shows that it helped, nor, after a crash, whether it was done
              repair: verify: {condition: {query: …}, within: 30s}
            p.yaml:17:7: no-return: what is drained stays out of routing when a later step fails, and afterwards
              repair: compensate: {return: …}, and a step at the end that returns it
            p.yaml:19:11: no-verify: nothing shows that it helped, nor, after a crash, whether it was done
              repair: verify: {condition: {primary: {database: …, region: …}}, within: 30s}
            p.yaml:22:11: no-verify: nothing shows that it helped, nor, after a crash, whether it was done
              repair: verify: {condition: {query: …}, within: 30s}
            p.yaml:23:7: shell: a shell reads values of parameters as commands
              repair: name the program itself, with its arguments one by one
        "#]],
    );
}

const OF_A_SERVICE: &str = "apiVersion: mainstay/v1
kind: Playbook
metadata: {name: p, version: 1}
spec:
  summary: s
  mode: approve
  parameters:
    - {name: share, kind: integer, least: 0, most: 100}
  steps:
";

#[test]
fn numbers_that_cannot_be_are_wrong_before_anything_runs() {
    let steps = "    - id: a
      action: {shift: {service: ticker, from: us-east-1, share: 101}}
    - id: b
      action: {shift: {service: ticker, route: /v1/ticker, from: us-east-1, share: '${share}'}}
    - id: c
      action: {replicas: {service: ticker, count: 0}}
      verify: {condition: {instances: {service: ticker, ready: none}}}
    - id: d
      action: {replicas: {service: ticker, count: file}}
";
    wrong(
        &format!("{OF_A_SERVICE}{steps}"),
        expect![[r#"
            p.yaml:11:65: error[invalid-value]: "101" is no share
               11 |       action: {shift: {service: ticker, from: us-east-1, share: 101}}
                  |                                                                 ^
                  = help: write a percentage from 0 to 100
            p.yaml:13:7: error[exactly-one]: exactly one is expected here
               13 |       action: {shift: {service: ticker, route: /v1/ticker, from: us-east-1, share: '${share}'}}
                  |       ^
                  = help: give one of switchover, restart, clearFaults, drain, return, run, shift, replicas, mode, replace, rebuild, http, notify, workItem, wait
            p.yaml:13:16: error[exactly-one]: exactly one is expected here
               13 |       action: {shift: {service: ticker, route: /v1/ticker, from: us-east-1, share: '${share}'}}
                  |                ^
                  = help: give one of service, route
            p.yaml:15:51: error[invalid-value]: a playbook takes no service away
               15 |       action: {replicas: {service: ticker, count: 0}}
                  |                                                   ^
                  = help: at least 1 instance
            p.yaml:16:64: error[invalid-value]: "none" is no number of instances
               16 |       verify: {condition: {instances: {service: ticker, ready: none}}}
                  |                                                                ^
                  = help: write one from 1
        "#]],
    );
}

#[test]
fn what_a_service_cannot_do_and_what_stays_behind_is_criticised() {
    let steps = "    - id: cell
      action: {shift: {route: '/v1/cells/{cell}', from: us-east-1, share: 100}}
      timeout: 10s
      verify: {condition: {quiet: OrdersFail}}
    - id: venue
      action: {shift: {service: venue, from: us-east-1, share: '${share}'}}
      timeout: 10s
      verify: {condition: {quiet: OrdersFail}}
    - id: route
      action: {shift: {route: /v1/tickers, from: us-east-1, share: 100}}
      timeout: 10s
      verify: {condition: {quiet: OrdersFail}}
    - id: more
      action: {replicas: {service: ticker, count: 4}}
      timeout: 10s
      verify: {condition: {instances: {service: ticker, ready: 3}}}
    - id: shut
      action: {mode: {service: venue, mode: shut}}
      timeout: 10s
      verify: {condition: {mode: {service: ticker, mode: open}}}
";
    criticised(
        &format!("{OF_A_SERVICE}{steps}"),
        expect![[r#"
        p.yaml:11:7: impossible: /v1/cells/{cell} leads to a cell: its requests go where the primary is
          repair: switchover: {database: …, to: …}
        p.yaml:15:7: no-return: what is shifted stays shifted when a later step fails
          repair: compensate: {shift: {…, share: 100}}
        p.yaml:15:7: impossible: venue follows ledger: its requests and its instances go where that is
          repair: switchover: {database: ledger, to: …}
        p.yaml:19:7: unknown-reference: the platform file has no route /v1/tickers
          repair: did you mean `/v1/ticker`?
        p.yaml:23:7: no-return: the number of instances stays when a later step fails, until the file changes
          repair: compensate: {replicas: {service: …, count: file}}
        p.yaml:23:7: impossible: 4 instances of ticker need as many hosts, and 3 may run one
          repair: write less, or allow more hosts in the platform file
        p.yaml:26:7: impossible: the platform file gives ticker no modes
          repair: modes: {path: …, names: […]} at the service
        p.yaml:27:7: no-return: the service stays in this mode when a later step fails
          repair: compensate: {mode: {service: …, mode: …}}
        p.yaml:27:7: unknown-reference: the platform file has no mode shut
          repair: the platform file has open, reduceOnly, cancelOnly
    "#]],
    );
}

/// Whatever stands in a text, reading it ends, and with places within the text.
#[test]
fn damaged_texts_are_refused_without_a_panic() {
    for (path, text) in shipped() {
        let lines: Vec<&str> = text.lines().collect();
        for index in 0..lines.len() {
            let mut damaged = lines.clone();
            damaged.remove(index);
            for line in [
                lines[index].replace(':', ""),
                format!("  {}", lines[index]),
                "- ${".to_owned(),
            ] {
                let mut other = lines.clone();
                other[index] = &line;
                read(&path, &other.join("\n"));
            }
            read(&path, &damaged.join("\n"));
        }
        for end in 0..text.len().min(600) {
            if text.is_char_boundary(end) {
                read(&path, &text[..end]);
            }
        }
    }
}

fn read(path: &str, text: &str) {
    if let Err(found) = criticise_playbook(path, text, None) {
        assert!(!found.is_empty());
        let lines = text.lines().count() + 1;
        for found in found {
            assert!(
                usize::try_from(found.place.line).unwrap() <= lines,
                "{found:?}\n{text}"
            );
        }
    }
}

#[test]
fn a_trigger_says_what_it_waits_for() {
    let text = |triggers: &str| {
        format!(
            "apiVersion: mainstay/v1\nkind: Playbook\nmetadata: {{name: look, version: 1}}\nspec:\n  summary: look\n  mode: suggest\n  \
             triggers:\n{triggers}  steps:\n    - id: look\n      action: {{wait: {{noFaults: {{}}}}}}\n"
        )
    };
    let good = text(
        "    - burn: {objective: orders-answered, window: 1h}\n    - incident: {severity: error, things: [database/ledger, service/venue]}\n    \
         - incident: {state: mitigated}\n",
    );
    criticised(
        &good,
        expect![[r#"
        p.yaml:12:11: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
    "#]],
    );
    criticised(
        &text(
            "    - burn: {objective: orders-answerd}\n    - incident: {things: [database/leger]}\n",
        ),
        expect![[r#"
            p.yaml:8:25: unknown-reference: the platform file has no objective orders-answerd
              repair: did you mean `orders-answered`?
            p.yaml:9:27: unknown-reference: the platform file has no database leger
              repair: did you mean `ledger`?
            p.yaml:11:11: no-timeout: it says no time: 30 s are assumed
              repair: timeout: 30s
        "#]],
    );
    wrong(
        &text(
            "    - burn: {objective: x, window: 2h}\n    - incident: {things: [ledger]}\n    \
             - incident: {state: closed}\n",
        ),
        expect![[r#"
            p.yaml:10:25: error[unknown-value]: `closed` is not known here
               10 |     - incident: {state: closed}
                  |                         ^
                  = help: known here: `open`, `acknowledged`, `mitigated`, `resolved`
        "#]],
    );
    wrong(
        &text(
            "    - schedule: 15 3 * *\n    - schedule: 0 0 31 2 *\n    - schedule: '@every 1h'\n    \
             - {schedule: 0 6 1 * *, every: 1h}\n",
        ),
        expect![[r#"
            p.yaml:8:17: error[invalid-value]: "15 3 * *" has 4 fields, not five or six
                8 |     - schedule: 15 3 * *
                  |                 ^
                  = help: `15 3 * * 1-5` is 03:15 UTC from Monday to Friday; for something that repeats itself write `every: 1h`
            p.yaml:9:17: error[invalid-value]: "0 0 31 2 *" never comes
                9 |     - schedule: 0 0 31 2 *
                  |                 ^
                  = help: `15 3 * * 1-5` is 03:15 UTC from Monday to Friday; for something that repeats itself write `every: 1h`
            p.yaml:10:17: error[invalid-value]: a schedule is of times of the calendar
               10 |     - schedule: '@every 1h'
                  |                 ^
                  = help: `15 3 * * 1-5` is 03:15 UTC from Monday to Friday; for something that repeats itself write `every: 1h`
            p.yaml:11:7: error[exactly-one]: exactly one is expected here
               11 |     - {schedule: 0 6 1 * *, every: 1h}
                  |       ^
                  = help: give one of alert, burn, incident, every, schedule
        "#]],
    );
}

#[test]
fn a_schedule_tells_its_next_times() {
    let text = "apiVersion: mainstay/v1\nkind: Playbook\nmetadata: {name: look, version: 1}\nspec:\n  summary: look\n  mode: observe\n  \
                triggers:\n    - schedule: 15 3 * * 1-5\n    - every: 1h\n  steps:\n    - id: look\n      action: {wait: {noFaults: {}}}\n";
    let book = load_playbook("p.yaml", text).unwrap_or_else(|errors| panic!("{}", render(&errors)));
    // 2026-11-27T12:00:00Z, a Friday; then Monday, Tuesday and Wednesday at a quarter past three.
    let friday = 1_795_780_800_000;
    let monday = friday + (2 * 24 + 15) * 3_600_000 + 900_000;
    let day = 24 * 3_600_000;
    let times = vec![monday, monday + day, monday + 2 * day];
    assert_eq!(
        due_times(&book, friday, 3),
        [("15 3 * * 1-5".to_owned(), times)]
    );
}

#[test]
fn a_guardrail_that_never_holds_anything_back_is_named() {
    let text = |step: &str| {
        format!(
            "apiVersion: mainstay/v1
kind: Playbook
metadata: {{name: move, version: 1}}
spec:
  summary: s
  mode: suggest
  guardrails:
    mostShare: 34
    rate: {{runs: 1001, per: 1d}}
  steps:
    - id: one
      action: {{{step}}}
      timeout: 10s
      verify: {{condition: {{primary: {{database: ledger, region: eu-west-1}}}}, within: 5s}}
"
        )
    };
    criticised(
        &text("switchover: {database: ledger, to: eu-west-1}"),
        expect![[r#"
            p.yaml:8:16: idle-guardrail: it counts hosts, and no step is at one: a switchover, a mode and a number of instances take none away
              repair: leave it out, or leastHealthy: 2, which counts the hosts that are well, whatever the steps touch
            p.yaml:9:18: idle-guardrail: of each playbook the last 1000 starts are remembered: more than that are never counted
              repair: rate: {runs: 3, per: 1h}
        "#]],
    );
    criticised(
        &text("restart: {host: use1-a, instance: venue}"),
        expect![[r#"
            p.yaml:9:18: idle-guardrail: of each playbook the last 1000 starts are remembered: more than that are never counted
              repair: rate: {runs: 3, per: 1h}
        "#]],
    );
}

/// A condition that nothing can break, and a trigger that never comes, look like any other.
#[test]
fn an_alert_that_no_rule_raises_is_named_with_its_line() {
    let text = "apiVersion: mainstay/v1
kind: Playbook
metadata: {name: p, version: 1}
spec:
  summary: s
  mode: suggest
  triggers:
    - alert: {labels: {alertname: OrdersFail}}
    - alert:
        labels: {severity: page, alertname: OrdersFial}
  guardrails:
    condition: {quiet: Nothing}
  steps:
    - id: a
      when: {quiet: OrdersFail}
      action: {wait: {quiet: orders-fail}}
      verify: {condition: {quiet: 'Of${host}'}}
    - id: b
      action: {clearFaults: {}}
      verify:
        condition:
          quiet: LedgerGone
  parameters: [{name: host, kind: host}]
";
    let known = BTreeSet::from(["OrdersFail".to_owned(), "LedgerDown".to_owned()]);
    let found = unknown_alerts("p.yaml", text, &known);
    let found = found.unwrap_or_else(|errors| panic!("{}", render(&errors)));
    let told = render_criticism(&found);
    for said in [
        "p.yaml:10:",
        "no rule raises OrdersFial: the trigger never comes\n  repair: did you mean `OrdersFail`?",
        "p.yaml:12:",
        "no rule raises Nothing: the condition holds, whatever happens",
        "p.yaml:16:",
        "p.yaml:22:",
        "no rule raises LedgerGone",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert_eq!(found.len(), 4, "{told}");
    let none = unknown_alerts("p.yaml", text, &BTreeSet::new());
    let none = none.unwrap_or_else(|errors| panic!("{}", render(&errors)));
    assert!(
        render_criticism(&none).contains("no rule of the platform raises an alert at all"),
        "{none:?}"
    );
}
