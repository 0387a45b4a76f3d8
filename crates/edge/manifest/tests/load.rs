//! What people write, and what they are told.

use std::fs;
use std::path::Path;
use std::time::Duration;

use expect_test::{Expect, expect};
use mainstay_manifest::{load, render, schema};
use mainstay_model::Platform;

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/exchange");
    fs::read_to_string(folder.join(name)).expect("the example is there")
}

fn platform(name: &str) -> Platform {
    match load(name, &example(name)) {
        Ok(platform) => platform,
        Err(diagnostics) => panic!("\n{}", render(&diagnostics)),
    }
}

/// Replaces the first occurrence in the example and shows what is said about the result.
fn check(changes: &[(&str, &str)], expected: Expect) {
    let mut text = example("platform.yaml");
    for (from, to) in changes {
        assert!(text.contains(from), "the example has no {from:?}");
        text = text.replacen(from, to, 1);
    }
    check_text(&text, expected);
}

fn check_text(text: &str, expected: Expect) {
    let diagnostics = load("p.yaml", text).err().unwrap_or_default();
    expected.assert_eq(&render(&diagnostics));
}

/// A part of a path matches whatever stands there: how it is called tells no two routes apart.
#[test]
fn routes_that_differ_in_the_name_of_a_part_alone_are_refused() {
    let other = "            - path: /v1/cells/{market}
              service: {name: ticker}
            - path: /v1/cells/{cell}
";
    check(
        &[("            - path: /v1/cells/{cell}\n", other)],
        expect![[r#"
            p.yaml:173:21: error[duplicate-name]: another route takes the same requests as `/v1/cells/{market}`: the names of parts do not tell them apart
              173 |             - path: /v1/cells/{cell}
                  |                     ^
                  = see p.yaml:171:21: - path: /v1/cells/{market}
                  = help: make host, path or methods differ, or remove one
        "#]],
    );
    // One that takes fewer methods is another one.
    let other = other.replace("{market}\n", "{market}\n              methods: [GET]\n");
    check(
        &[("            - path: /v1/cells/{cell}\n", &other)],
        expect![[""]],
    );
}

#[test]
fn the_smallest_example_is_sound() {
    let platform = platform("../database/platform.yaml");
    assert_eq!(platform.databases().len(), 1);
    assert!(platform.services().is_empty() && platform.gateways().is_empty());
}

#[test]
fn the_example_is_sound() {
    let platform = platform("platform.yaml");
    assert_eq!(platform.name().as_str(), "exchange");
    let ledger = platform.database("ledger").expect("declared");
    assert_eq!((ledger.replicas.len(), ledger.quorum.commit), (3, 2));
    assert_eq!(platform.service("ticker").expect("declared").replicas(), 2);
}

#[test]
fn the_distant_example_differs_in_distance_alone() {
    let near = platform("platform.yaml");
    let far = platform("platform-80ms.yaml");
    assert_ne!(near, far);
    assert_eq!(near.with_distance(Duration::from_millis(80)), far);
}

#[test]
fn the_example_on_etcd_differs_in_coordination_alone() {
    let folder = platform("platform.yaml");
    let etcd = platform("platform-etcd.yaml");
    assert_eq!(etcd.coordination().etcd().unwrap().own_hosts().len(), 3);
    assert_eq!(folder.coordination().etcd(), None);
    assert_ne!(folder, etcd);
    assert_eq!(folder.with_coordination_of(&etcd), etcd);
}

fn check_etcd(section: &str, expected: Expect) {
    let before = "  # ---- Data --";
    let after = format!("  coordination:\n    etcd:\n{section}{before}");
    check(&[(before, &after)], expected);
}

#[test]
fn mistakes_about_an_etcd_of_others_are_told_where_they_are() {
    check_etcd(
        "      endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]\n      certificateFile: /etc/x.pem\n",
        expect![[r#"
            p.yaml:53:5: error[missing]: `certificateFile` and `authorityFile` are given together
               53 |     etcd:
                  |     ^
                  = help: the first is what the platform shows (key and certificate, PEM), the second whom it believes; without both it uses its own authority
            p.yaml:54:41: error[invalid-value]: `ftp://x` is no endpoint of an etcd
               54 |       endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]
                  |                                         ^
                  = help: write https://HOST:PORT, or http://HOST:PORT where that is meant, without a user or a path
            p.yaml:54:50: error[invalid-value]: `https://h:0` is no endpoint of an etcd
               54 |       endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]
                  |                                                  ^
                  = help: write https://HOST:PORT, or http://HOST:PORT where that is meant, without a user or a path
            p.yaml:54:63: error[duplicate-name]: `http://10.0.0.1:2379` is named twice
               54 |       endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]
                  |                                                               ^
                  = see p.yaml:54:19: endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]
                  = help: name every member once
            p.yaml:54:85: error[invalid-value]: `https://u@h:1` is no endpoint of an etcd
               54 |       endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]
                  |                                                                                     ^
                  = help: write https://HOST:PORT, or http://HOST:PORT where that is meant, without a user or a path
            p.yaml:54:102: error[invalid-value]: `https://h` is no endpoint of an etcd
               54 |       endpoints: [http://10.0.0.1:2379, ftp://x, https://h:0, http://10.0.0.1:2379, 'https://u@h:1', https://h]
                  |                                                                                                      ^
                  = help: write https://HOST:PORT, or http://HOST:PORT where that is meant, without a user or a path
        "#]],
    );
}

#[test]
fn mistakes_about_own_members_of_etcd_are_told_where_they_are() {
    check_etcd(
        "      members: [{host: use1-a}, {host: use1-a}, {host: usw2}, {host: euw1-a}]\n      ports: {client: 5432}\n",
        expect![[r#"
            p.yaml:54:7: error[invalid-value]: 4 members of an etcd
               54 |       members: [{host: use1-a}, {host: use1-a}, {host: usw2}, {host: euw1-a}]
                  |       ^
                  = help: choose 1, 3, 5 or 7: an even number survives no more losses than the odd number below it
            p.yaml:54:40: error[duplicate-name]: `use1-a` has two members
               54 |       members: [{host: use1-a}, {host: use1-a}, {host: usw2}, {host: euw1-a}]
                  |                                        ^
                  = see p.yaml:54:24: members: [{host: use1-a}, {host: use1-a}, {host: usw2}, {host: euw1-a}]
                  = help: both would be lost with it: put one of them on another host
            p.yaml:54:56: error[unknown-reference]: there is no host `usw2`
               54 |       members: [{host: use1-a}, {host: use1-a}, {host: usw2}, {host: euw1-a}]
                  |                                                        ^
                  = help: known: `use1-a`, `usw2-a`, `euw1-a`
            p.yaml:55:23: error[port-clash]: port 5432 is taken by PostgreSQL of database `ledger`
               55 |       ports: {client: 5432}
                  |                       ^
                  = see p.yaml:81:19: postgres: 5432
                  = help: port 5433 is free
        "#]],
    );
    check_etcd(
        "      members: [{host: use1-a}]\n",
        expect![[r#"
        p.yaml:54:7: error[survival-impossible]: with region `us-east-1` the majority of etcd's members is lost, and with it deliberation
           54 |       members: [{host: use1-a}]
              |       ^
              = help: put the members into three regions, so that any one may be lost
    "#]],
    );
    check_etcd(
        "      prefix: a//b\n      archive: here\n      keepParts: 1\n",
        expect![[r#"
            p.yaml:53:5: error[invalid-value]: an etcd is named either by its `endpoints` or by the hosts of its `members`
               53 |     etcd:
                  |     ^
                  = help: write `endpoints: [https://etcd.example.com:2379]` for one that others run, or `members: [{host: …}]` for one that Mainstay runs
        "#]],
    );
}

#[test]
fn mistakes_about_the_archive_of_etcd_are_told_where_they_are() {
    check_etcd(
        "      members: [{host: use1-a}, {host: usw2-a}, {host: euw1-a}]\n      archive: s3://vault/journal\n      archiveOptions: {endpoint: 'http://10.0.0.9:9000'}\n",
        expect![[r#"
            p.yaml:56:34: error[invalid-value]: `http://10.0.0.9:9000` is spoken to in the clear
               56 |       archiveOptions: {endpoint: 'http://10.0.0.9:9000'}
                  |                                  ^
                  = help: write https://, or `allowHttp: true` beside it if that is meant
        "#]],
    );
    check_etcd(
        "      members: [{host: use1-a}, {host: usw2-a}, {host: euw1-a}]\n      archive: s3://k:v@vault/journal\n      archiveOptions: {region: eu-central-1}\n",
        expect![[r#"
            p.yaml:55:16: error[invalid-value]: `s3://k:v@vault/journal` is no place for the journal: a URL with a user, a key or a query would show them to whoever reads this file
               55 |       archive: s3://k:v@vault/journal
                  |                ^
                  = help: write an absolute path that every host reaches, or a bucket, such as s3://BUCKET/PREFIX (also gs://, az://)
            p.yaml:56:7: error[invalid-value]: only an `archive` in a bucket has options
               56 |       archiveOptions: {region: eu-central-1}
                  |       ^
                  = help: remove them, or name the bucket, such as `archive: s3://BUCKET/PREFIX`
        "#]],
    );
    check_etcd(
        "      members: [{host: use1-a}, {host: usw2-a}, {host: euw1-a}]\n      prefix: a//b\n      archive: here\n      keepParts: 1\n",
        expect![[r#"
            p.yaml:55:15: error[invalid-value]: `a//b` cannot be the beginning of keys
               55 |       prefix: a//b
                  |               ^
                  = help: write words of letters, digits, `-`, `_` and `.`, with `/` between them, such as `mainstay/exchange`
            p.yaml:56:16: error[invalid-value]: `here` is no place for the journal: it is neither an absolute path nor a URL
               56 |       archive: here
                  |                ^
                  = help: write an absolute path that every host reaches, or a bucket, such as s3://BUCKET/PREFIX (also gs://, az://)
            p.yaml:57:18: error[invalid-value]: a number of parts of 1 is out of bounds
               57 |       keepParts: 1
                  |                  ^
                  = help: choose from 16 to 4096
        "#]],
    );
}

#[test]
fn mistakes_of_form_are_all_found_at_once() {
    check(
        &[
            ("    production: false", "    prodution: false"),
            ("survive: region", "survive: regoin"),
            ("roundTrip: 0ms", "roundTrip: 30"),
            ("          port: 8100", "          port: http"),
            ("          period: 100ms", "          perod: 100ms"),
            ("methods: [GET, HEAD]", "methods: [GET, HAED]"),
            ("      home: us-east-1\n", ""),
            ("      replicas: 2\n", "      replicas: two\n"),
            ("        peer: 7432", "        peer: 74320"),
        ],
        expect![[r#"
            p.yaml:21:5: error[unknown-field]: the field `prodution` is not known here
               21 |     prodution: false
                  |     ^
                  = help: did you mean `production`?
            p.yaml:36:18: error[invalid-value]: `30` is not a length of time; write a whole number and a unit, such as `500ms`, `30s`, `5m`
               36 |       roundTrip: 30
                  |                  ^
            p.yaml:57:7: error[missing-field]: the field `home` is missing here
               57 |     - name: ledger
                  |       ^
            p.yaml:62:16: error[unknown-value]: `regoin` is not known here
               62 |       survive: regoin
                  |                ^
                  = help: did you mean `region`?
            p.yaml:78:15: error[wrong-type]: the number is out of bounds
               78 |         peer: 74320
                  |               ^
                  = help: choose from 0 to 65535
            p.yaml:91:17: error[wrong-type]: a whole number is expected here, not a text
               91 |           port: http
                  |                 ^
            p.yaml:113:11: error[unknown-field]: the field `perod` is not known here
              113 |           perod: 100ms
                  |           ^
                  = help: did you mean `period`?
            p.yaml:140:17: error[wrong-type]: a whole number is expected here, not a text
              140 |       replicas: two
                  |                 ^
            p.yaml:187:30: error[unknown-value]: `HAED` is not known here
              187 |               methods: [GET, HAED]
                  |                              ^
                  = help: did you mean `HEAD`?
        "#]],
    );
}

#[test]
fn mistakes_of_meaning_are_all_found_at_once() {
    check(
        &[
            ("      region: us-west-2", "      region: us-wset-2"),
            ("        - host: euw1-a", "        - host: use1-a"),
            ("          port: 8110", "          port: 8100"),
            ("        follows: ledger", "        follows: leger"),
            ("        time: 14s", "        time: 14m"),
        ],
        expect![[r#"
            p.yaml:29:13: error[missing]: region `us-west-2` has no host
               29 |     - name: us-west-2
                  |             ^
                  = help: declare a host in it under /spec/hosts, or remove the region
            p.yaml:48:15: error[unknown-reference]: there is no region `us-wset-2`
               48 |       region: us-wset-2
                  |               ^
                  = help: did you mean `us-west-2`?
            p.yaml:67:17: error[duplicate-name]: host `use1-a` has two replicas of this database
               67 |         - host: use1-a
                  |                 ^
                  = see p.yaml:65:17: - host: use1-a
                  = help: two copies on one host are lost together: use another host
            p.yaml:105:18: error[unknown-reference]: there is no database `leger`
              105 |         follows: leger
                  |                  ^
                  = help: did you mean `ledger`?
            p.yaml:137:17: error[port-clash]: port 8100 is taken by `http` of service `venue`
              137 |           port: 8100
                  |                 ^
                  = see p.yaml:92:17: port: 8100
                  = help: port 8101 is free
            p.yaml:185:23: error[invalid-value]: a hold of 840s is out of bounds
              185 |                 time: 14m
                  |                       ^
                  = help: choose from 1ms to 60s
            p.yaml:222:21: error[missing]: a drill costs a recovery, and it is not said how long one takes
              222 |         drillEvery: 30d
                  |                     ^
                  = help: give `recovery`, or name a route whose services have an `rto`
        "#]],
    );
    check(
        &[("        - host: euw1-a\n", "")],
        expect![[r#"
            p.yaml:63:16: error[survival-impossible]: `ledger` cannot survive the loss of region `us-west-2`: a commit needs 2 of 2 replicas on disk, and the loss takes 1 and leaves 1
               63 |       survive: region
                  |                ^
                  = see p.yaml:64:7: replicas:
                  = help: add a replica on `euw1-a` (region `eu-west-1`); what is needed is one replica in each of three regions
            p.yaml:221:21: error[missing]: a drill costs a recovery, and it is not said how long one takes
              221 |         drillEvery: 30d
                  |                     ^
                  = help: give `recovery`, or name a route whose services have an `rto`
        "#]],
    );
}

#[test]
fn broken_yaml_says_where() {
    check_text(
        "",
        expect![[r#"
        p.yaml:1:1: error[wrong-type]: a platform file is a mapping, not nothing
              = help: begin with `apiVersion: mainstay/v1` and `kind: Platform`
    "#]],
    );
    check_text(
        "- a\n- b\n",
        expect![[r#"
        p.yaml:1:1: error[wrong-type]: a platform file is a mapping, not a list
            1 | - a
              | ^
              = help: begin with `apiVersion: mainstay/v1` and `kind: Platform`
    "#]],
    );
    check_text(
        "a: [1, 2\nb: 3\n",
        expect![[r#"
        p.yaml:2:2: error[yaml]: this is not YAML: illegal placement of ':' indicator
            2 | b: 3
              |  ^
    "#]],
    );
    check_text(
        "kind: Platform\nkind: Platform\n",
        expect![[r#"
        p.yaml:2:1: error[duplicate-field]: the field `kind` is already given
            2 | kind: Platform
              | ^
              = help: remove one of the two: only one could take effect
    "#]],
    );
    check_text(
        "\tkind: Platform\n",
        expect![[r#"
        p.yaml:1:2: error[missing-field]: the field `apiVersion` is missing here
            1 |  kind: Platform
              |  ^
        p.yaml:1:2: error[missing-field]: the field `metadata` is missing here
            1 |  kind: Platform
              |  ^
        p.yaml:1:2: error[missing-field]: the field `spec` is missing here
            1 |  kind: Platform
              |  ^
    "#]],
    );
    check_text(
        "a: *nothing\n",
        expect![[r#"
        p.yaml:1:4: error[yaml]: this is not YAML: alias references unknown anchor
            1 | a: *nothing
              |    ^
    "#]],
    );
}

#[test]
fn another_kind_of_file_says_so() {
    check_text(
        "a: 1\n---\nb: 2\n",
        expect![[r#"
        p.yaml:2:1: error[yaml]: a second document begins here
            2 | ---
              | ^
              = help: a file describes one platform: remove `---` and what follows
    "#]],
    );
    check_text(
        "apiVersion: mainstay/v2\nkind: Deployment\n",
        expect![[r#"
        p.yaml:1:13: error[unknown-version]: `apiVersion: mainstay/v2` is not known here
            1 | apiVersion: mainstay/v2
              |             ^
              = help: write `apiVersion: mainstay/v1`
        p.yaml:2:7: error[unknown-kind]: `kind: Deployment` is not known here
            2 | kind: Deployment
              |       ^
              = help: write `kind: Platform`
    "#]],
    );
    check_text(
        "apiVersion: mainstay/v1\nkind: Platform\n",
        expect![[r#"
        p.yaml:1:1: error[missing-field]: the field `metadata` is missing here
            1 | apiVersion: mainstay/v1
              | ^
        p.yaml:1:1: error[missing-field]: the field `spec` is missing here
            1 | apiVersion: mainstay/v1
              | ^
    "#]],
    );
    check_text(
        "apiVersion: mainstay/v1\nkind: Platform\nmetadata: x\nspec:\n  regions: us\n",
        expect![[r#"
            p.yaml:3:11: error[wrong-type]: a mapping is expected here, not a text
                3 | metadata: x
                  |           ^
                  = help: known here: `name`
            p.yaml:5:3: error[missing-field]: the field `environment` is missing here
                5 |   regions: us
                  |   ^
            p.yaml:5:3: error[missing-field]: the field `hosts` is missing here
                5 |   regions: us
                  |   ^
            p.yaml:5:12: error[wrong-type]: a list is expected here, not a text
                5 |   regions: us
                  |            ^
                  = help: write a list of one: [us]
        "#]],
    );
}

#[test]
fn a_bomb_of_aliases_is_refused_in_time() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let inner = format!("*a{}", level - 1);
        let list = vec![inner; 10].join(",");
        text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    let diagnostics = load("p.yaml", &text).expect_err("refused");
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].code, "yaml");
    let long = " ".repeat(mainstay_manifest::FILE_BYTES_MAX + 1);
    assert_eq!(
        load("p.yaml", &long).expect_err("refused")[0].code,
        "too-long"
    );
    let deep = "[".repeat(5_000);
    assert_eq!(load("p.yaml", &deep).expect_err("refused").len(), 1);
}

#[test]
fn diagnostics_have_a_form_for_programs() {
    let diagnostics = load("p.yaml", "apiVersion: v1\nkind: Platform\n").expect_err("refused");
    let json = mainstay_manifest::render_json(&diagnostics);
    expect![[r#"{"diagnostics":[{"code":"unknown-version","column":13,"file":"p.yaml","help":"write `apiVersion: mainstay/v1`","line":1,"message":"`apiVersion: v1` is not known here","snippet":"apiVersion: v1"}],"version":1}"#]].assert_eq(&serde_json::to_string(&json).expect("writes"));
}

#[test]
fn parameters_are_taken_in_any_form_and_the_keepers_are_refused() {
    let with = |lines: &str| {
        let text = example("platform.yaml");
        text.replacen(
            "      home: us-east-1\n",
            &format!("      home: us-east-1\n{lines}"),
            1,
        )
    };
    let text = with(
        "      parameters: {work_mem: 8MB, max_connections: 200, jit: true, seq_page_cost: 1.5}\n",
    );
    let platform = load("p.yaml", &text).unwrap_or_else(|problems| panic!("{}", render(&problems)));
    let given = &platform.database("ledger").expect("declared").parameters;
    let given: Vec<String> = given
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(
        given.join(" "),
        "jit=on max_connections=200 seq_page_cost=1.5 work_mem=8MB"
    );
    check_text(
        &with("      parameters:\n        work_mem: [8MB]\n"),
        expect![[r#"
            p.yaml:61:19: error[invalid-value]: invalid type: sequence, expected a text, a number, or true or false
               61 |         work_mem: [8MB]
                  |                   ^
        "#]],
    );
    check_text(
        &with(
            "      parameters:\n        synchronous_commit: off\n        Work Mem: 8MB\n        max_connections: 5\n",
        ),
        expect![[r#"
            p.yaml:61:29: error[owned-parameter]: `synchronous_commit` belongs to the keeper: an acknowledged commit is safe only with the keeper's value
               61 |         synchronous_commit: off
                  |                             ^
                  = help: leave `synchronous_commit` out
            p.yaml:62:19: error[invalid-name]: "Work Mem" cannot be the name of a parameter of PostgreSQL
               62 |         Work Mem: 8MB
                  |                   ^
                  = help: write it as PostgreSQL does: lower-case letters, digits, '_' and '.'
            p.yaml:63:26: error[invalid-value]: `max_connections` leaves no connection for applications
               63 |         max_connections: 5
                  |                          ^
                  = help: write at least 25: keepers, replicas and backups use some
        "#]],
    );
}

#[test]
fn the_schema_names_and_explains_every_field() {
    let schema = schema();
    let mut unexplained = Vec::new();
    let mut fields = 0;
    for (name, definition) in schema["definitions"].as_object().expect("definitions") {
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            fields += 1;
            let explained = property.get("description").is_some()
                || property.get("$ref").is_some()
                || property.get("allOf").is_some()
                || property.get("anyOf").is_some()
                || [
                    "name", "http", "tcp", "roles", "members", "database", "service", "gateway",
                ]
                .contains(&field.as_str());
            if !explained {
                unexplained.push(format!("{name}.{field}"));
            }
        }
        if definition.get("properties").is_some() {
            assert_eq!(definition["additionalProperties"], false, "{name}");
        }
    }
    assert!(fields > 60, "{fields}");
    assert_eq!(unexplained, Vec::<String>::new());
}

#[test]
fn the_documentation_knows_every_code_and_permission() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/platform-file.md");
    let text = fs::read_to_string(path).expect("the page is there");
    for code in mainstay_model::Code::ALL {
        assert!(text.contains(&format!("`{code}`")), "{code}");
    }
    for permission in mainstay_model::people::Permission::ALL {
        assert!(text.contains(&format!("`{permission}`")), "{permission}");
    }
}

fn check_gates(gates: &str, expected: Expect) {
    let section = format!("  gates:\n{gates}  playbooks:\n");
    check(&[("  playbooks:\n", &section)], expected);
}

#[test]
fn gates_are_read() {
    check_gates(
        "    - name: standby-close
      before: [switchover, up]
      query: max(mainstay_keeper_lag_bytes) < 16e6
      reason: a switchover waited for a standby
      action: i3/a1
    - name: budget-left
      before: [upgrade, drill, experiment]
      budget: {objective: orders-answered, leftAtLeast: 0.25}
      reason: who has spent the month breaks nothing
",
        expect![[r#""#]],
    );
}

#[test]
fn mistakes_about_gates_are_told_where_they_are() {
    check_gates(
        "    - name: a
      before: [swichover]
      query: max(x
      reason: ''
    - name: a
      before: []
      budget: {objective: orders-answerd, leftAtLeast: 25}
      reason: r
      action: i3
    - name: c
      before: [up]
      reason: r
",
        expect![[r#"
            p.yaml:239:16: error[invalid-value]: a gate cannot stand before "swichover"
              239 |       before: [swichover]
                  |                ^
                  = help: known: up, upgrade, switchover, drill, experiment
            p.yaml:241:15: error[invalid-value]: a gate says in 1 to 1000 bytes why it stands there
              241 |       reason: ''
                  |               ^
                  = help: whoever is stopped by it reads this
            p.yaml:242:13: error[duplicate-name]: gate `a` is declared twice
              242 |     - name: a
                  |             ^
                  = see p.yaml:238:13: - name: a
                  = help: names must differ: rename or remove one of them
            p.yaml:243:7: error[missing]: a gate that stands before nothing stops nobody
              243 |       before: []
                  |       ^
                  = help: `before: [up]`, say
            p.yaml:244:27: error[unknown-reference]: there is no objective `orders-answerd`
              244 |       budget: {objective: orders-answerd, leftAtLeast: 25}
                  |                           ^
                  = help: did you mean `orders-answered`?
            p.yaml:244:56: error[invalid-value]: "25" is no share of a budget
              244 |       budget: {objective: orders-answerd, leftAtLeast: 25}
                  |                                                        ^
                  = help: write a number from 0 to 1 with six decimals at most, such as 0.25
            p.yaml:246:15: error[invalid-value]: "i3" is no action of an incident
              246 |       action: i3
                  |               ^
                  = help: `mainstay incident action list` shows them: i3/a1, say
            p.yaml:247:7: error[invalid-value]: a gate opens by one condition
              247 |     - name: c
                  |       ^
                  = help: give one of query, budget
        "#]],
    );
    // What only a reader of PromQL sees is told when everything else is right.
    check_gates(
        "    - {name: c, before: [up], query: max(x, reason: r}\n"
            .replace("max(x,", "'max(x',")
            .as_str(),
        expect![[r#"
            p.yaml:238:38: error[invalid-query]: this is not PromQL: unexpected end of input in function call, expected ","
              238 |     - {name: c, before: [up], query: 'max(x', reason: r}
                  |                                      ^
                  = help: `mainstay query` tries an expression
        "#]],
    );
}
