//! What the file says of calling people: what is sound, and every mistake by its place.

use expect_test::{Expect, expect};
use mainstay_manifest::{load, render};
use mainstay_model::Platform;
use mainstay_model::oncall::{EmailTls, Told, Way};

const BEFORE: &str = "apiVersion: mainstay/v1
kind: Platform
metadata:
  name: small
spec:
  environment:
    name: test
  regions:
    - name: a
  hosts:
    - name: a1
      region: a
  roles:
    - name: owner
      permissions: [\"*\"]
  operators:
    - name: ada
      unix:
        owner: true
      roles: [owner]
    - name: grace
      unix:
        uid: 7
      roles: [owner]
";

const ONCALL: &str = "  oncall:
    channels:
      - name: pager
        pagerduty: {keyFile: /etc/k}
      - name: desk
        slack: {urlFile: /etc/u}
      - name: mail
        email:
          to: [desk@example.org]
          from: mainstay@example.org
          server: smtp.example.org:587
    contacts:
      - {operator: ada, channels: [pager, mail]}
    rotations:
      - name: first
        operators: [ada, grace]
        handover: mon 09:00 +01:00
        starts: 2026-11-02
        overrides:
          - {operator: grace, from: 2026-12-24T09:00+01:00, to: 2026-12-27T09:00+01:00}
    policies:
      - name: all
        about: [database/ledger]
        levels:
          - {tell: [rotation/first], within: 2m}
          - tell: [operator/ada, channel/desk]
";

fn read(text: &str) -> Result<Platform, String> {
    load("p.yaml", text).map_err(|diagnostics| render(&diagnostics))
}

#[test]
fn a_ladder_is_read_with_its_defaults() {
    let platform = read(&format!("{BEFORE}{ONCALL}")).expect("it is sound");
    let oncall = platform.oncall().expect("it is there");
    let Way::Email(mail) = &oncall.channels[2].way else {
        panic!("it is mail");
    };
    assert_eq!(
        mail.tls,
        EmailTls::Starttls,
        "never in the clear by default"
    );
    let policy = &oncall.policies[0];
    assert_eq!((policy.severity.as_str(), policy.rounds), ("error", 3));
    assert_eq!(policy.levels[0].tell, [Told::Rotation("first".to_owned())]);
    assert_eq!(oncall.rotations[0].starts_ms, 1_793_606_400_000);
    assert!(read(BEFORE).expect("sound").oncall().is_none());
}

fn check(changes: &[(&str, &str)], expected: Expect) {
    let mut text = ONCALL.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "there is no {from:?}");
        text = text.replacen(from, to, 1);
    }
    let said = read(&format!("{BEFORE}{text}")).err().unwrap_or_default();
    expected.assert_eq(&said);
}

#[test]
fn names_lead_somewhere() {
    check(
        &[
            ("[pager, mail]", "[pagr]"),
            ("operators: [ada, grace]", "operators: [ada, grce]"),
            ("rotation/first", "rotation/second"),
            ("operator/ada, channel/desk", "operator/grace, desk"),
            ("database/ledger", "ledger"),
        ],
        expect![[r#"
            p.yaml:37:36: error[unknown-reference]: there is no channel `pagr`
               37 |       - {operator: ada, channels: [pagr]}
                  |                                    ^
                  = help: did you mean `pager`?
            p.yaml:40:26: error[unknown-reference]: there is no operator `grce`
               40 |         operators: [ada, grce]
                  |                          ^
                  = help: did you mean `grace`?
            p.yaml:47:17: error[invalid-value]: "ledger" is no part of a platform
               47 |         about: [ledger]
                  |                 ^
                  = help: write KIND/NAME, as in database/ledger, host/use1-a, route//v1/ticker
            p.yaml:49:21: error[unknown-reference]: there is no rotation `second`
               49 |           - {tell: [rotation/second], within: 2m}
                  |                     ^
                  = help: known: `first`
            p.yaml:50:20: error[missing]: nothing leads to grace
               50 |           - tell: [operator/grace, desk]
                  |                    ^
                  = help: name channels of this operator under `contacts`
            p.yaml:50:36: error[invalid-value]: "desk" is nobody to tell
               50 |           - tell: [operator/grace, desk]
                  |                                    ^
                  = help: write rotation/NAME, operator/NAME or channel/NAME
        "#]],
    );
}

#[test]
fn times_say_their_distance_from_utc() {
    check(
        &[
            ("mon 09:00 +01:00", "mon 09:00"),
            ("2026-12-24T09:00+01:00", "2026-12-24T09:00"),
        ],
        expect![[r#"
            p.yaml:41:19: error[invalid-value]: "mon 09:00" is no hand-over
               41 |         handover: mon 09:00
                  |                   ^
                  = help: write `mon 09:00 +01:00` for once a week, `09:00 +01:00` for every day; the distance from UTC must be said
            p.yaml:44:37: error[invalid-value]: "2026-12-24T09:00" is no moment
               44 |           - {operator: grace, from: 2026-12-24T09:00, to: 2026-12-27T09:00+01:00}
                  |                                     ^
                  = help: write one such as 2026-12-24T09:00+01:00
        "#]],
    );
    check(
        &[
            ("starts: 2026-11-02", "starts: 2026-11-31"),
            ("to: 2026-12-27T09:00+01:00", "to: 2026-12-23T09:00+01:00"),
        ],
        expect![[r#"
            p.yaml:42:17: error[invalid-value]: "2026-11-31" is no day: expected one such as 2026-11-02
               42 |         starts: 2026-11-31
                  |                 ^
            p.yaml:44:65: error[invalid-value]: it ends before it begins
               44 |           - {operator: grace, from: 2026-12-24T09:00+01:00, to: 2026-12-23T09:00+01:00}
                  |                                                                 ^
        "#]],
    );
}

#[test]
fn secrets_stand_in_files_and_passwords_do_not_go_in_the_clear() {
    check(
        &[
            ("{keyFile: /etc/k}", "{keyFile: k}"),
            (
                "{urlFile: /etc/u}",
                "{urlFile: https://hooks.example.org/T0}",
            ),
            (
                "server: smtp.example.org:587",
                "server: smtp.example.org:587\n          tls: none\n          user: x",
            ),
        ],
        expect![[r#"
            p.yaml:28:30: error[invalid-value]: "k" is no absolute path
               28 |         pagerduty: {keyFile: k}
                  |                              ^
                  = help: a file of mode 0600 on every host; whoever leads reads it when it is needed
            p.yaml:30:26: error[invalid-value]: "https://hooks.example.org/T0" is no absolute path
               30 |         slack: {urlFile: https://hooks.example.org/T0}
                  |                          ^
                  = help: a file of mode 0600 on every host; whoever leads reads it when it is needed
            p.yaml:32:9: error[invalid-value]: `user` and `passwordFile` belong together
               32 |         email:
                  |         ^
            p.yaml:36:16: error[invalid-value]: mail is sent in the clear only to a server of the same host
               36 |           tls: none
                  |                ^
                  = help: write `tls: starttls` or `tls: implicit`
        "#]],
    );
    check(
        &[(
            "slack: {urlFile: /etc/u}",
            "webhook: {url: 'https://me:secret@example.org/', secretFile: /etc/s}",
        )],
        expect![[r#"
            p.yaml:30:24: error[invalid-value]: a URL holds no user and no password
               30 |         webhook: {url: 'https://me:secret@example.org/', secretFile: /etc/s}
                  |                        ^
                  = help: secrets stand in files of their own
        "#]],
    );
}
