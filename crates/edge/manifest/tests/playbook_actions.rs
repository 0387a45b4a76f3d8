//! Actions that do more than name a place, and playbooks that a platform file names.

#![allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use expect_test::{Expect, expect};
use mainstay_manifest::{
    criticise_playbook, load, load_playbook, named_playbooks, render, render_criticism,
};
use mainstay_model::Platform;
use mainstay_playbook::{Action, Condition, Due, Method};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/exchange")
}

fn text(steps: &str) -> String {
    format!(
        "apiVersion: mainstay/v1\nkind: Playbook\nmetadata: {{name: act, version: 1}}\nspec:\n  summary: act\n  mode: suggest\n  \
         parameters:\n    - {{name: host, kind: host}}\n    - {{name: why, kind: text, default: none}}\n  steps:\n{steps}"
    )
}

fn wrong(steps: &str, expected: Expect) {
    let found = load_playbook("p.yaml", &text(steps)).expect_err("it is wrong");
    expected.assert_eq(&render(&found));
}

const ALL: &str = "    - {id: move, action: {replace: {host: '${host}', instance: ticker}}}
    - id: fill
      action: {rebuild: {database: ledger, host: '${host}'}}
      verify: {condition: {replica: {database: ledger, host: '${host}'}}}
    - id: call
      action:
        http:
          host: '${host}'
          url: https://api.example/v1/hosts/${host}
          method: PUT
          body: '{\"why\": \"${why}\", \"left\": 3}'
          headersFile: /etc/mainstay/headers
          authorityFile: /etc/mainstay/roots.pem
          expect: 200..204
    - {id: tell, action: {notify: {to: rotation/first, text: 'moved: ${why}'}}}
    - {id: plain, action: {http: {host: '${host}', url: 'http://127.0.0.1:9/x'}}}
    - {id: later, action: {workItem: {title: 'look at ${host}', owner: ada, within: 7d}}}
    - {id: then, action: {workItem: {title: look, owner: ada, due: 2026-12-24, incident: i3}}}
";

#[test]
fn every_action_is_read() {
    let book =
        load_playbook("p.yaml", &text(ALL)).unwrap_or_else(|wrong| panic!("{}", render(&wrong)));
    let names: Vec<&str> = book.steps.iter().map(|step| step.action.name()).collect();
    assert_eq!(
        names,
        [
            "replace", "rebuild", "http", "notify", "http", "workItem", "workItem"
        ]
    );
    let Action::Http(call) = &book.steps[2].action else {
        panic!("{:?}", book.steps[2]);
    };
    assert_eq!((call.method, call.expect), (Method::Put, (200, 204)));
    let roots = call.authority_file.as_deref();
    assert_eq!(roots, Some("/etc/mainstay/roots.pem"));
    let Action::Http(plain) = &book.steps[4].action else {
        panic!("{:?}", book.steps[4]);
    };
    assert_eq!((plain.method, plain.expect), (Method::Post, (200, 299)));
    let due = |index: usize| match &book.steps[index].action {
        Action::WorkItem(item) => item.due.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (due(5), due(6)),
        (Due::Days(7), Due::Day("2026-12-24".to_owned()))
    );
    let verify = book.steps[1]
        .verify
        .as_ref()
        .map(|verify| &verify.condition);
    assert!(matches!(verify, Some(Condition::Replica { .. })));
    // In doubt it is said again; nothing else is repeated by itself.
    let repeats: Vec<bool> = book.steps.iter().map(|step| step.idempotent).collect();
    assert_eq!(repeats, [false, false, false, true, false, false, false]);
    assert_eq!(book.steps[3].retry.times, 3);
}

#[test]
#[allow(clippy::too_many_lines, reason = "what is told is long")]
fn mistakes_are_told_where_they_are() {
    wrong(
        "    - id: a
      action: {http: {host: h, url: 'https://${host}/x', method: get, expect: 2xx}}
    - id: b
      action: {http: {host: h, url: 'https://ada:hush@h/x', method: GET, body: '{', headersFile: secrets}}
    - id: c
      action: {http: {host: h, url: 'ftp://h'}}
    - id: d
      action: {notify: {to: grace, text: ''}}
    - id: e
      action: {workItem: {title: t, owner: ada}}
    - id: f
      action: {workItem: {title: t, owner: ada, due: 2026-02-30}}
    - id: g
      action: {workItem: {title: t, owner: ada, within: 36h}}
    - id: h
      action: {rebuild: {database: ledger, host: '${hots}'}}
    - id: i
      action: {http: {host: h, url: 'http://h/x', authorityFile: roots.pem}}
",
        expect![[r#"
            p.yaml:12:37: error[invalid-value]: "https://${host}/x" does not say whom to call
               12 |       action: {http: {host: h, url: 'https://${host}/x', method: get, expect: 2xx}}
                  |                                     ^
                  = help: https://HOST/PATH, or http://…, without a user; parameters stand behind the host, secrets in `headersFile`
            p.yaml:12:66: error[unknown-value]: "get" is no method
               12 |       action: {http: {host: h, url: 'https://${host}/x', method: get, expect: 2xx}}
                  |                                                                  ^
                  = help: one of GET, HEAD, POST, PUT, PATCH, DELETE
            p.yaml:12:79: error[invalid-value]: "2xx" is no status of an answer
               12 |       action: {http: {host: h, url: 'https://${host}/x', method: get, expect: 2xx}}
                  |                                                                               ^
                  = help: write 200..299, or 202
            p.yaml:14:37: error[invalid-value]: "https://ada:hush@h/x" does not say whom to call
               14 |       action: {http: {host: h, url: 'https://ada:hush@h/x', method: GET, body: '{', headersFile: secrets}}
                  |                                     ^
                  = help: https://HOST/PATH, or http://…, without a user; parameters stand behind the host, secrets in `headersFile`
            p.yaml:14:80: error[invalid-value]: this is not JSON: EOF while parsing an object at line 1 column 1
               14 |       action: {http: {host: h, url: 'https://ada:hush@h/x', method: GET, body: '{', headersFile: secrets}}
                  |                                                                                ^
                  = help: write JSON, with parameters within its texts or as its numbers
            p.yaml:14:80: error[invalid-value]: GET takes no body
               14 |       action: {http: {host: h, url: 'https://ada:hush@h/x', method: GET, body: '{', headersFile: secrets}}
                  |                                                                                ^
                  = help: write `method: POST`, say
            p.yaml:14:98: error[invalid-value]: "secrets" is no absolute path
               14 |       action: {http: {host: h, url: 'https://ada:hush@h/x', method: GET, body: '{', headersFile: secrets}}
                  |                                                                                                  ^
                  = help: name one file from the root, of mode 0600, that is the same on every host
            p.yaml:16:37: error[invalid-value]: "ftp://h" does not say whom to call
               16 |       action: {http: {host: h, url: 'ftp://h'}}
                  |                                     ^
                  = help: https://HOST/PATH, or http://…, without a user; parameters stand behind the host, secrets in `headersFile`
            p.yaml:18:29: error[invalid-value]: "grace" is nobody to tell
               18 |       action: {notify: {to: grace, text: ''}}
                  |                             ^
                  = help: write rotation/NAME, operator/NAME or channel/NAME
            p.yaml:18:42: error[invalid-value]: a text of 0 bytes
               18 |       action: {notify: {to: grace, text: ''}}
                  |                                          ^
                  = help: from 1 to 1000 bytes
            p.yaml:20:16: error[exactly-one]: exactly one is expected here
               20 |       action: {workItem: {title: t, owner: ada}}
                  |                ^
                  = help: give one of due, within
            p.yaml:22:54: error[invalid-value]: "2026-02-30" is no day: write YEAR-MONTH-DAY, as in 2026-12-24
               22 |       action: {workItem: {title: t, owner: ada, due: 2026-02-30}}
                  |                                                      ^
                  = help: or give a time, `within: 7d`, that is counted from the run
            p.yaml:24:57: error[invalid-value]: whole days are expected here
               24 |       action: {workItem: {title: t, owner: ada, within: 36h}}
                  |                                                         ^
                  = help: write 7d, say
            p.yaml:26:7: error[unknown-parameter]: there is no parameter `hots`
               26 |       action: {rebuild: {database: ledger, host: '${hots}'}}
                  |       ^
                  = help: known here: host, why
            p.yaml:28:66: error[invalid-value]: "roots.pem" is no absolute path
               28 |       action: {http: {host: h, url: 'http://h/x', authorityFile: roots.pem}}
                  |                                                                  ^
                  = help: name one file from the root that is the same on every host
            p.yaml:28:66: error[invalid-value]: whoever is called in the clear proves nothing
               28 |       action: {http: {host: h, url: 'http://h/x', authorityFile: roots.pem}}
                  |                                                                  ^
                  = help: write https://…, or remove `authorityFile`
        "#]],
    );
}

#[test]
fn what_a_program_may_stands_in_the_text() {
    wrong(
        "    - id: a
      action: {run: {host: h, program: /bin/df, reads: [etc/x, '/opt/${host}', /opt/tools], connects: [0, 5432]}}
",
        expect![[r#"
            p.yaml:12:57: error[invalid-value]: "etc/x" is no absolute path
               12 |       action: {run: {host: h, program: /bin/df, reads: [etc/x, '/opt/${host}', /opt/tools], connects: [0, 5432]}}
                  |                                                         ^
                  = help: name one file from the root that is the same on every host
            p.yaml:12:64: error[invalid-value]: "/opt/${host}" is no absolute path
               12 |       action: {run: {host: h, program: /bin/df, reads: [etc/x, '/opt/${host}', /opt/tools], connects: [0, 5432]}}
                  |                                                                ^
                  = help: name one file from the root that is the same on every host
            p.yaml:12:104: error[invalid-value]: 0 is no port that one connects to
               12 |       action: {run: {host: h, program: /bin/df, reads: [etc/x, '/opt/${host}', /opt/tools], connects: [0, 5432]}}
                  |                                                                                                        ^
                  = help: give 1 to 65535
        "#]],
    );
}

#[test]
fn what_is_unwise_is_criticised() {
    let platform = platform("");
    let found = criticise_playbook("p.yaml", &text(ALL), Some(&platform)).unwrap();
    expect![[r#"
        p.yaml:11:12: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:12:11: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:15:11: no-verify: nothing shows that it helped, nor, after a crash, whether it was done
          repair: verify: {condition: {query: …}, within: 30s}
        p.yaml:15:11: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:25:12: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:25:40: unknown-reference: the platform file has no addressee rotation/first
          repair: the platform file has no addressee at all
        p.yaml:26:12: no-verify: nothing shows that it helped, nor, after a crash, whether it was done
          repair: verify: {condition: {query: …}, within: 30s}
        p.yaml:26:12: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:27:12: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:27:72: unknown-reference: the platform file has no operator ada
          repair: the platform file has owner
        p.yaml:28:12: no-timeout: it says no time: 30 s are assumed
          repair: timeout: 30s
        p.yaml:28:58: unknown-reference: the platform file has no operator ada
          repair: the platform file has owner
    "#]].assert_eq(&render_criticism(&found));
}

/// The example, with other playbooks.
fn platform(named: &str) -> Platform {
    load("platform.yaml", &platform_text(named))
        .unwrap_or_else(|wrong| panic!("{}", render(&wrong)))
}

fn platform_text(named: &str) -> String {
    let text = fs::read_to_string(examples().join("platform.yaml")).unwrap();
    let (before, after) = text.split_once("  playbooks:\n").unwrap();
    let rest = after.split_once("\n\n").unwrap().1;
    format!("{before}  playbooks: [{named}]\n\n{rest}")
}

#[test]
fn the_shipped_platform_files_name_every_playbook_that_is_shipped() {
    let shipped = fs::read_dir(examples().join("playbooks")).unwrap();
    let shipped = shipped.map(|entry| entry.unwrap().file_name());
    let shipped = shipped.map(|name| format!("playbooks/{}", name.to_string_lossy()));
    let shipped: BTreeSet<String> = shipped.collect();
    for file in ["platform.yaml", "platform-80ms.yaml", "platform-etcd.yaml"] {
        let text = fs::read_to_string(examples().join(file)).unwrap();
        let platform = load(file, &text).unwrap();
        let named = named_playbooks((file, &text), &platform, |declared| {
            let path = examples().join(declared);
            let text = fs::read_to_string(&path).map_err(|error| error.to_string());
            (declared.to_owned(), text)
        });
        let named = named.unwrap_or_else(|wrong| panic!("{}", render(&wrong)));
        let named = named.into_iter().map(|playbook| playbook.declared);
        assert_eq!(named.collect::<BTreeSet<_>>(), shipped, "{file}");
    }
}

#[test]
fn playbooks_that_a_platform_file_names_are_told_with_file_line_and_column() {
    let good = text("    - {id: look, action: {wait: {noFaults: {}}}, timeout: 5s}\n");
    let other =
        text("    - {id: a, action: {restart: {host: use1-a, instance: venu}}, timeout: 5s}\n");
    let other = other.replace("name: act", "name: other");
    let files: BTreeMap<&str, String> = BTreeMap::from([
        ("good.yaml", good.clone()),
        ("same.yaml", good),
        ("other.yaml", other),
        ("broken.yaml", text("    - {id: a}\n")),
    ]);
    let named = "good.yaml, same.yaml, gone.yaml, other.yaml, broken.yaml";
    let platform_file = platform_text(named);
    let found = named_playbooks(("p.yaml", &platform_file), &platform(named), |declared| {
        let text = files.get(declared).cloned();
        (
            declared.to_owned(),
            text.ok_or_else(|| "not found".to_owned()),
        )
    });
    expect![[r#"
        p.yaml:237:26: error[duplicate-name]: two of these playbooks are called act
          237 |   playbooks: [good.yaml, same.yaml, gone.yaml, other.yaml, broken.yaml]
              |                          ^
              = see p.yaml:237:15: playbooks: [good.yaml, same.yaml, gone.yaml, other.yaml, broken.yaml]
              = help: rename one of them under `metadata`
        p.yaml:237:37: error[no-file]: gone.yaml: not found
          237 |   playbooks: [good.yaml, same.yaml, gone.yaml, other.yaml, broken.yaml]
              |                                     ^
              = help: put the playbook there, or take the line out
        other.yaml:11:7: error[unknown-reference]: the platform file has no instance venu
           11 |     - {id: a, action: {restart: {host: use1-a, instance: venu}}, timeout: 5s}
              |       ^
              = help: did you mean `venue`?
        broken.yaml:11:7: error[missing-field]: the field `action` is missing here
           11 |     - {id: a}
              |       ^
    "#]].assert_eq(&render(&found.expect_err("they are wrong")));
}
