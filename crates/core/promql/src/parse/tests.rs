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
        "rate(a[-2 ^ 2 + max(step(), 5m)] offset -min(range(), 1h))",
        "rate(a[5m] anchored) / fill(0) rate(b[5m] smoothed @ end() offset 1m)",
        "a smoothed + on (x) group_right (y) fill_left(-1) fill_right(+Inf) b",
        "a </ 5 >/ -Inf + b",
        "anchored + smoothed{fill=\"fill_left\"}",
        "fill offset 5m - fill_right",
        "info(a, {b=~\".*\"})",
        "info(a, {})",
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
        (
            "a and fill(0) b",
            "filling in missing series not allowed for \"and\" operation",
        ),
        (
            "a + fill(0) 1",
            "filling in missing series only allowed between instant vectors",
        ),
        (
            "a + fill(0) fill_left(1) b",
            "fill_left may not be set where that side is filled in already",
        ),
        (
            "a + fill(x) b",
            "unexpected identifier \"x\" in fill, expected a number",
        ),
        (
            "1 </ 2",
            "operator \"</\" not allowed for Scalar operations, only for a histogram and a scalar",
        ),
        (
            "a[5m] anchored smoothed",
            "anchored and smoothed modifiers cannot be used together",
        ),
        (
            "a[5m:] smoothed",
            "smoothed modifier must be preceded by an instant vector selector or range vector selector, not by a subquery or another expression",
        ),
        (
            "sum({b=~\".*\"})",
            "vector selector must contain at least one non-empty matcher",
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
