//! Rule files: texts that are adopted, and watches that say what they follow.

use expect_test::expect;
use mainstay_kernel::{Ask, RULES_PART_BYTES_MAX, RulesText, Signal, State};

use crate::stage::{Stage, actor, command, desired, name, owner};

fn text(file: &str, digest: &str, (part, parts): (u32, u32)) -> RulesText {
    RulesText {
        file: file.to_string(),
        digest: digest.repeat(64),
        part,
        parts,
        text: "groups: []\n".to_string(),
    }
}

fn adopt(text: RulesText) -> Signal {
    command(owner(), Ask::AdoptRules(text))
}

fn follows(watch: &str, digest: &str) -> Signal {
    Signal::RulesTold {
        watch: name(watch),
        at_ms: 900,
        files: [("a.yaml".to_string(), digest.repeat(64))].into(),
    }
}

#[test]
fn a_text_is_adopted_once_and_whoever_follows_it_says_so() {
    let mut stage = Stage::with(desired());
    stage
        // Nobody was told of rules yet: versions before would not know the word.
        .at(2_000, &follows("h1", "a"))
        .at(2_000, &adopt(text("a.yaml", "a", (1, 1))))
        .at(2_000, &adopt(text("a.yaml", "a", (1, 1))))
        .at(2_100, &follows("h1", "a"))
        .at(2_100, &follows("h1", "a"))
        .at(2_100, &follows("h3", "a"))
        // Interrupted after the first part, and begun again.
        .at(2_200, &adopt(text("a.yaml", "b", (2, 2))))
        .at(2_200, &adopt(text("a.yaml", "b", (1, 2))))
        .at(2_300, &adopt(text("a.yaml", "b", (1, 2))))
        .at(2_300, &adopt(text("b.yaml", "b", (2, 2))))
        .at(2_300, &adopt(text("a.yaml", "b", (2, 2))))
        .at(2_400, &follows("h1", "b"));
    expect![[r#"
        2000 > the watch on h1 follows 1 files
             nothing: recorded already
        2000 > uid 1000 asks: rules adopt
             #8 rules a.yaml aaaaaa part 1 of 1 by owner
        2000 > uid 1000 asks: rules adopt
             #9 refused rules adopt: this text of a.yaml is in force already (rules_in_force)
        2100 > the watch on h1 follows 1 files
             #10 the watch on h1 follows a.yaml aaaaaa since 900
        2100 > the watch on h1 follows 1 files
             nothing: recorded already
        2100 > the watch on h3 follows 1 files
             nothing: the platform file has no watch on that host
        2200 > uid 1000 asks: rules adopt
             #11 refused rules adopt: that cannot be adopted: the part before it is not here (rules)
        2200 > uid 1000 asks: rules adopt
             #12 rules a.yaml bbbbbb part 1 of 2 by owner
        2300 > uid 1000 asks: rules adopt
             #13 rules a.yaml bbbbbb part 1 of 2 by owner
        2300 > uid 1000 asks: rules adopt
             #14 refused rules adopt: that cannot be adopted: the part before it is not here (rules)
        2300 > uid 1000 asks: rules adopt
             #15 rules a.yaml bbbbbb part 2 of 2 by owner
        2400 > the watch on h1 follows 1 files
             #16 the watch on h1 follows a.yaml bbbbbb since 900
    "#]]
    .assert_eq(&stage.script());
    let mut again = State::default();
    for record in &stage.records {
        again.apply(record);
    }
    assert_eq!(again, stage.state);
}

#[test]
fn what_is_no_part_of_a_rule_file_is_refused() {
    let mut stage = Stage::with(desired());
    let whole = text("a.yaml", "a", (1, 1));
    let stranger = command(actor(4_242, "eve"), Ask::AdoptRules(whole.clone()));
    stage
        .at(2_000, &stranger)
        .at(2_000, &adopt(text("../a.yaml", "a", (1, 1))))
        .at(2_000, &adopt(text("a.yaml", "x", (1, 1))))
        .at(2_000, &adopt(text("a.yaml", "a", (0, 1))))
        .at(
            2_000,
            &adopt(RulesText {
                text: "\n".repeat(RULES_PART_BYTES_MAX / 2 + 1),
                ..whole
            }),
        );
    expect![[r#"
        2000 > uid 4242 asks: rules adopt
             #8 refused rules adopt: operator breaker does not have platform.apply (not_permitted)
        2000 > uid 1000 asks: rules adopt
             #9 refused rules adopt: that cannot be adopted: it needs the name of a file (rules)
        2000 > uid 1000 asks: rules adopt
             #10 refused rules adopt: that cannot be adopted: its digest is none (rules)
        2000 > uid 1000 asks: rules adopt
             #11 refused rules adopt: that cannot be adopted: its parts are counted from 1 to 256 (rules)
        2000 > uid 1000 asks: rules adopt
             #12 refused rules adopt: that cannot be adopted: a part has at most 48 KiB (rules)
    "#]].assert_eq(&stage.script());
}
