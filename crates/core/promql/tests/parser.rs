//! Our parser beside another one, and both it and the evaluator beside nonsense.
//!
//! `promql-parser` is the second opinion: what it takes, ours takes, and both mean the same by it. It knows
//! less of the language (no arithmetic over durations, for one), so the reverse is not asked.

use std::path::Path;

use mainstay_promql::eval::{Limits, Options, instant, range};
use mainstay_promql::labels::Labels;
use mainstay_promql::parse::parse;
use mainstay_promql::sample::Value;
use mainstay_promql::store::Memory;
use proptest::prelude::*;

fn expressions() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["tests/data", "tests/data/prometheus-3.5"] {
        let entries = std::fs::read_dir(root.join(folder)).expect("a folder of scripts");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        for path in paths.filter(|path| path.extension().is_some_and(|name| name == "test")) {
            let text = std::fs::read_to_string(path).expect("a script");
            for line in text
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("eval"))
            {
                let words = if line.contains(" instant ") { 4 } else { 8 };
                let expression = line
                    .split_whitespace()
                    .skip(words)
                    .collect::<Vec<_>>()
                    .join(" ");
                all.push(expression);
            }
        }
    }
    all
}

#[test]
fn the_other_parser_means_the_same() {
    let (mut compared, mut refused) = (0, 0);
    for text in expressions() {
        let Ok(theirs) = promql_parser::parser::parse(&text) else {
            refused += 1;
            continue;
        };
        let ours = parse(&text)
            .unwrap_or_else(|fault| panic!("{text}: {fault}"))
            .to_string();
        let again = promql_parser::parser::parse(&ours);
        let again = again.unwrap_or_else(|problem| panic!("{text} printed as {ours}: {problem}"));
        assert_eq!(
            theirs.to_string(),
            again.to_string(),
            "{text} printed as {ours}"
        );
        compared += 1;
    }
    println!("{compared} expressions mean the same; {refused} the other parser refuses");
    assert!(compared > 500, "only {compared}");
}

fn shelf() -> Memory {
    let mut store = Memory::default();
    for (name, job) in [("a", "x"), ("a", "y"), ("b", "x"), ("c_bucket", "x")] {
        for at in 0..20 {
            let labels = Labels::of(&[("__name__", name), ("job", job), ("le", "1")]);
            let value = if at % 7 == 6 {
                Value::stale()
            } else {
                Value::Float(f64::from(at) * 1.5)
            };
            let at = i64::from(at) * 15_000;
            store.append_since(&labels, at, value, at - at % 60_000);
        }
    }
    store
}

const WORDS: &[&str] = &[
    "a",
    "b",
    "c_bucket",
    "{job=~\"x|y\"}",
    "[5m]",
    "[1m:15s]",
    "[5m:]",
    " offset 1m",
    " @ 100",
    " @ end()",
    "(",
    ")",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "==",
    ">",
    " bool ",
    " and ",
    " or ",
    " unless ",
    " on (job) ",
    " ignoring (le) ",
    " group_left ",
    " fill(0) ",
    " fill_left(-1) ",
    " fill_right(Inf) ",
    " anchored",
    " smoothed",
    "</",
    ">/",
    "[step()]",
    " offset (-2 ^ 2)",
    " offset min(range(), 5m)",
    "info",
    "start_timestamp",
    "sum",
    "avg",
    "topk",
    "quantile",
    " by (job) ",
    " without (le) ",
    "rate",
    "increase",
    "deriv",
    "histogram_quantile",
    "label_replace",
    "absent",
    "time()",
    "vector",
    "scalar",
    "1",
    "0.5",
    "1e308",
    "Inf",
    "NaN",
    "5m",
    ",",
    "\"x\"",
    "\"$1\"",
    "\"(.*)\"",
    "clamp",
    "sort",
    "timestamp",
    "min_over_time",
    "double_exponential_smoothing",
    "predict_linear",
    "count_values",
    "histogram_fraction",
    "year",
    "info",
    "{",
    "}",
    "é",
    "\u{0}",
    "`",
    "'",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 1..14)) {
        ask(&words.concat());
    }

    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        ask(&text);
        let _ = mainstay_promql::notation::series(&text);
        let _ = mainstay_promql::notation::values(&text);
    }

    #[test]
    fn no_nesting_of_what_parses_makes_it_panic(
        outer in prop::sample::select(&["sum(X)", "rate(X[5m:15s])", "X / X", "topk(2, X)", "-X", "X > bool 2",
            "histogram_quantile(0.9, X)", "absent(X)", "X or X", "sum by (job) (X)", "max_over_time(X[1m:1s] offset -1m)",
            "label_replace(X, \"le\", \"$1\", \"job\", \"(.)\")", "count_values(\"v\", X)", "predict_linear(X[2m:], 1e300)", "X + fill(0) b", "X </ 3", "X >/ -Inf", "info(X)",
            "X * on (job) group_left () fill_left(1) fill_right(2) a", "start_timestamp(X)", "histogram_count(X)"][..]),
        middle in prop::sample::select(&["X * 1e308", "rate(X[1m:15s])", "clamp(X, -Inf, NaN)", "X % 0", "ln(X)", "X @ 9e14", "X smoothed",
            "rate(X[1m] smoothed)", "increase(X[1m] anchored)", "resets(X[1m] anchored offset 1m)"][..]),
        inner in prop::sample::select(&["a", "{job=\"x\"}", "c_bucket", "vector(time())", "nothing"][..]),
    ) {
        ask(&outer.replace('X', &middle.replace('X', inner)));
    }
}

fn ask(text: &str) {
    let Ok(expr) = parse(text) else { return };
    let printed = expr.to_string();
    let again =
        parse(&printed).unwrap_or_else(|fault| panic!("{text:?} printed as {printed:?}: {fault}"));
    assert_eq!(printed, again.to_string(), "{text:?}");
    let limits = Limits {
        samples: 20_000,
        steps: 500,
    };
    for newest in [false, true] {
        let options = Options {
            limits,
            delayed_names: newest,
            start_times: newest,
            ..Options::default()
        };
        let store = shelf();
        let _ = instant(&expr, &store, 120_000, &options);
        let _ = range(&expr, &store, (0, 300_000, 60_000), &options);
    }
}
