//! Whatever a target answers, the reader stands.

use mainstay_scrape::exposition::{Format, Limits, parse};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_makes_it_panic(lines in prop::collection::vec(
        "(a|#| |\t|\\{|\\}|\"|\\\\|=|,|le|1|\\.5|NaN|TYPE|HELP|EOF|é|\n){0,12}", 0..6
    )) {
        let body = lines.join("\n");
        let strict = body.clone() + "\n# EOF\n";
        let text = parse(Format::Text, &body, &Limits::default());
        let _ = parse(Format::OpenMetrics, &strict, &Limits::default());
        if let Ok(exposition) = text {
            for sample in exposition.samples {
                prop_assert!(sample.labels.is_sorted());
                prop_assert!(sample.labels.iter().any(|(name, _)| name == "__name__"));
            }
        }
    }
}
