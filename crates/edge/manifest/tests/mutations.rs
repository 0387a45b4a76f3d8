//! Spoiled files, many and seeded: whatever the text, there is an answer and never a panic.

use std::fs;
use std::path::Path;

use mainstay_manifest::load;
use proptest::prelude::*;

/// An own small generator, so that a failing number names the same file for ever (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or(0)
    }
}

const PIECES: [&str; 24] = [
    "",
    "\n",
    "  ",
    ":",
    "-",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "~",
    "null",
    "true",
    "1e400",
    "-1",
    "99999999999999999999",
    "\"",
    "'",
    "|\n",
    "\u{7f}é🦀",
];

fn example() -> Vec<String> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/exchange/platform-80ms.yaml");
    let text = fs::read_to_string(path).expect("the example is there");
    text.lines().map(str::to_owned).collect()
}

/// One to four spoiled places: lines dropped, doubled, swapped, indented; words replaced or cut.
fn spoil(random: &mut Random, lines: &[String]) -> String {
    let mut lines = lines.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(lines.len());
        let other = random.below(lines.len());
        match random.below(7) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => lines[at].insert_str(0, "  "),
            4 => lines[at] = lines[at].trim_start().to_owned(),
            5 => {
                let line = &mut lines[at];
                let place = random.below(line.len() + 1);
                let place = (0..=place)
                    .rev()
                    .find(|p| line.is_char_boundary(*p))
                    .unwrap_or(0);
                line.insert_str(place, PIECES[random.below(PIECES.len())]);
            }
            _ => {
                let words: Vec<&str> = lines[at].split(' ').collect();
                let word = random.below(words.len());
                let piece = PIECES[random.below(PIECES.len())];
                let spoiled: Vec<&str> = words
                    .iter()
                    .enumerate()
                    .map(|(place, old)| if place == word { piece } else { *old })
                    .collect();
                lines[at] = spoiled.join(" ");
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.join("\n")
}

#[test]
fn spoiled_files_are_answered() {
    let lines = example();
    let (mut sound, mut refused) = (0, 0);
    for seed in 0..1_500 {
        let text = spoil(&mut Random(seed), &lines);
        match load("p.yaml", &text) {
            Ok(_) => sound += 1,
            Err(diagnostics) => {
                refused += 1;
                assert!(!diagnostics.is_empty(), "seed {seed}");
                let count = u32::try_from(text.lines().count()).expect("few lines") + 1;
                for diagnostic in diagnostics {
                    let place = &diagnostic.place;
                    assert!(
                        (1..=count).contains(&place.line),
                        "seed {seed}: {diagnostic:?}"
                    );
                    assert!(place.column >= 1, "seed {seed}: {diagnostic:?}");
                    assert!(!diagnostic.message.is_empty(), "seed {seed}");
                }
            }
        }
    }
    assert!(
        sound > 20 && refused > 500,
        "{sound} sound, {refused} refused"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}|[ \\-:\\[\\]{}&*!|>'\"\n\ta-c]{0,120}") {
        prop_assert!(load("p.yaml", &text).is_err());
    }
}
