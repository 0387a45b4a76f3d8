//! What parses prints and parses again to the same; what does not is named with its place.

use super::*;

fn message(text: &str) -> String {
    parse(text).map_or_else(|fault| fault.message, |expr| format!("parsed {expr}"))
}

#[test]
fn what_is_parsed_prints_and_parses_again_to_the_same() {
    for text in [
        "1 + 2 * 3 ^ 2 ^ 2",
        "-2 ^ -1 * 3",
        "sum by (job) (rate(http_requests_total{code=~\"5..\"}[5m] offset 1h @ end()))",
        "a / on (x) group_left (y) (b + c)",
        "a and ignoring (l) b unless c or d",
        "max_over_time(rate(a[1m])[1h:30s] offset -5m)",
        "topk(3, {\"with.dot\", \"label.dot\"=\"x\"})",
        "quantile without (a, b) (0.9, x == bool 1)",
        "sum(offset{by=\"without\"}) + sum",
        "rate(a[2 * 5m + 30s])",
    ] {
        let once = message(text);
        let again = message(once.strip_prefix("parsed ").unwrap_or(&once));
        assert!(once.starts_with("parsed "), "{text}: {once}");
        assert_eq!(once, again, "{text}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, wanted) in [
        ("", "no expression found in input"),
        ("sum(", "unexpected end of input"),
        (
            "{}",
            "vector selector must contain at least one non-empty matcher",
        ),
        (
            "rate(a)",
            "expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "1 == 1",
            "comparisons between scalars must use BOOL modifier",
        ),
        (
            "a[5m] offset",
            "unexpected end of input, expected a duration",
        ),
        ("nothing(a)", "unknown function with name \"nothing\""),
        ("a[0s]", "duration must be greater than 0"),
        (
            "a{b=\"c\"",
            "unexpected end of input in label matching, expected \",\" or \"}\"",
        ),
    ] {
        assert_eq!(message(text), wanted, "{text}");
    }
}

#[test]
fn depth_is_bounded() {
    assert!(message(&"(".repeat(5_000)).contains("nested deeper"));
    assert!(message(&"-".repeat(5_000)).contains("nested deeper"));
    let chain = alloc::vec!["1"; 5_000].join("+");
    assert!(message(&chain).contains("deeper than"));
}
