//! Templates of real rules, and what Prometheus makes of them.

use super::*;

fn check(text: &str, wanted: &str) {
    let labels = Labels::of(&[("instance", "db1.example.com:9100"), ("job", "db")]);
    let query = |query: &str| match query {
        "none" => Ok(Vec::new()),
        "two" => Ok(vec![
            (Labels::of(&[("x", "b")]), 2.0),
            (Labels::of(&[("x", "a")]), 1.5e6),
        ]),
        _ => Err("no such query".to_owned()),
    };
    let context = Context {
        labels: &labels,
        value: 0.0531,
        external_labels: &Labels::of(&[("region", "eu")]),
        external_url: "http://here/p",
        query: &query,
    };
    let found = Template::parse(text).map(|template| template.expand(&context));
    assert_eq!(found.as_deref().unwrap_or_else(|e| e), wanted, "{text}");
}

#[test]
fn what_rules_say_is_said_as_prometheus_says_it() {
    for (text, wanted) in [
        ("plain", "plain"),
        (
            "{{ $labels.instance }} of {{ .Labels.job }}{{ $labels.nothing }}",
            "db1.example.com:9100 of db",
        ),
        (
            "{{ $value }} {{ $value | humanizePercentage }} {{ .Value | humanize }}",
            "0.0531 5.31% 53.1m",
        ),
        (
            "{{ printf \"%.2f|%5.1f|%-4s|%d|%q\" $value 12.34 \"a\" 7 \"b\" }}",
            "0.05| 12.3|a   |7|\"b\"",
        ),
        (
            "{{ if gt $value 0.05 }}high{{ else if gt $value 0.01 }}mid{{ else }}low{{ end }}",
            "high",
        ),
        (
            "{{ with query \"two\" }}{{ . | first | value | humanize }}{{ end }}",
            "2",
        ),
        (
            "{{ range query \"two\" | sortByLabel \"x\" }}{{ .Labels.x }}={{ .Value }};{{ end }}",
            "a=1.5e+06;b=2;",
        ),
        (
            "{{ with query \"none\" }}x{{ else }}nobody{{ end }}",
            "nobody",
        ),
        ("{{ $x := $labels.job | toUpper -}}   {{ $x }}", "DB"),
        (
            "{{ range $i, $s := query \"two\" }}{{ $i }}:{{ $s | label \"x\" }} {{ end }}",
            "0:b 1:a ",
        ),
        ("{{ (query \"two\" | first).Value }}", "2"),
        (
            "{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }}",
            "db1.example.com db1:9100",
        ),
        (
            "{{ reReplaceAll \"d(b.)\" \"$1-\" \"db1 db2\" }}",
            "b1- b2-",
        ),
        (
            "{{ humanizeDuration 93784 }} {{ humanizeDuration 0.0012 }} {{ humanize1024 2048 }}",
            "1d 2h 3m 4s 1.2ms 2ki",
        ),
        (
            "{{ humanizeTimestamp 1435065584.128 }}",
            "2015-06-23 13:19:44.128 +0000 UTC",
        ),
        (
            "{{ $externalLabels.region }} {{ pathPrefix }} {{ title \"a b\" }}",
            "eu /p A B",
        ),
        ("{{/* said to nobody */}}x{{- \" y\" -}} z", "x yz"),
        (
            "{{ query \"bad\" }}",
            "<error expanding template: error calling query: no such query>",
        ),
        (
            "{{ first (query \"none\") }}",
            "<error expanding template: error calling first: first() called on vector with no elements>",
        ),
    ] {
        check(text, wanted);
    }
}

#[test]
fn what_cannot_be_parsed_is_refused() {
    for (text, wanted) in [
        ("{{ $labels.x", "unclosed action"),
        ("{{ if $value }}x", "unexpected EOF"),
        ("{{ nothing }}", "function \"nothing\" not defined"),
        ("{{ $foo }}", "undefined variable \"$foo\""),
        ("x {{ end }}", "unexpected {{end}}"),
        ("{{ }}", "missing value for command"),
    ] {
        check(text, wanted);
    }
}

#[test]
fn parts_are_defined_once_and_used_where_they_are_wanted() {
    for (text, wanted) in [
        (
            "{{ define \"who\" }}{{ .instance }} of {{ $.job }}{{ end }}{{ template \"who\" $labels }}, {{ template \"who\" .Labels }}",
            "db1.example.com:9100 of db, db1.example.com:9100 of db",
        ),
        (
            "{{ template \"later\" 3 }}{{ define `later` }}<{{ . }}>{{ end }}",
            "<3>",
        ),
        (
            "{{ block \"b\" $value }}[{{ . }}]{{ end }}{{ template \"b\" 1 }}",
            "[0.0531][1]",
        ),
        (
            "{{ define \"x\" }}{{ $value }}{{ end }}",
            "undefined variable \"$value\"",
        ),
        (
            "{{ template \"nobody\" . }}",
            "<error expanding template: template \"nobody\" not defined>",
        ),
        (
            "{{ define \"loop\" }}{{ template \"loop\" . }}{{ end }}{{ template \"loop\" . }}",
            "<error expanding template: more than 64 parts within each other>",
        ),
        (
            "{{ if true }}{{ define \"x\" }}{{ end }}{{ end }}",
            "unexpected {{define}}",
        ),
        ("{{ define x }}{{ end }}", "define needs a name in quotes"),
        ("{{ define \"x\" }}", "unexpected EOF"),
        (
            "{{ block \"x\" }}{{ end }}",
            "missing value for block clause",
        ),
        // What a part sets is its own.
        (
            "{{ define \"x\" }}{{ $y := 2 }}{{ end }}{{ $y := 1 }}{{ template \"x\" }}{{ $y }}",
            "1",
        ),
    ] {
        check(text, wanted);
    }
}

#[test]
fn a_range_can_be_left_and_an_item_passed_over() {
    for (text, wanted) in [
        (
            "{{ range query \"two\" }}{{ .Labels.x }}{{ break }}never{{ end }}!",
            "b!",
        ),
        (
            "{{ range query \"two\" }}{{ if eq .Labels.x \"b\" }}{{ continue }}{{ end }}{{ .Labels.x }}{{ end }}!",
            "a!",
        ),
        (
            "{{ range query \"two\" }}{{ range query \"two\" }}{{ .Labels.x }}{{ break }}{{ end }};{{ end }}",
            "b;b;",
        ),
        ("{{ break }}", "{{break}} outside {{range}}"),
        (
            "{{ if true }}{{ continue }}{{ end }}",
            "{{continue}} outside {{range}}",
        ),
        (
            "{{ range query \"two\" }}{{ else }}{{ break }}{{ end }}",
            "{{break}} outside {{range}}",
        ),
        (
            "{{ range query \"two\" }}{{ block \"x\" . }}{{ break }}{{ end }}{{ end }}",
            "{{break}} outside {{range}}",
        ),
    ] {
        check(text, wanted);
    }
}
