//! Runs scripts in the form of Prometheus's `promqltest` against the evaluator.
//!
//! Our own scripts stand in `tests/data`, those of Prometheus 3.5 in a folder there. `MAINSTAY_PROMQLTEST` names a
//! folder with those of another version, to be run instead.
//! Besides what a script says, every instant query is asked again as the middle step of a range, and with
//! `@` pinned from other moments; the answer must be the same.

mod check;
mod script;
mod starts;

use std::path::{Path, PathBuf};

use mainstay_promql::histogram::Bounds;

use check::{Stage, Style};

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "test"))
        .collect();
    paths.sort();
    paths
}

/// Scripts older than Prometheus 3.6 say with `eval_warn` what is doubtful, and mean by a plain `eval` that
/// nothing is; later ones say `expect`. In the same time, different bounds of custom buckets were refused.
fn style(texts: &[String]) -> Style {
    let count = |words: [&str; 2]| -> usize {
        let each = |text: &String| {
            words
                .iter()
                .map(|word| text.matches(word).count())
                .sum::<usize>()
        };
        texts.iter().map(each).sum()
    };
    if count(["eval_warn", "eval_info"]) > count(["expect warn", "expect info"]) {
        Style {
            strict: true,
            bounds: Bounds::Refuse,
        }
    } else {
        Style {
            strict: false,
            bounds: Bounds::Reconcile,
        }
    }
}

fn run(folder: &Path) -> usize {
    let paths = scripts(folder);
    let texts: Vec<String> = paths
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("a script"))
        .collect();
    let style = style(&texts);
    let mut failures = Vec::new();
    for (path, text) in paths.iter().zip(&texts) {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut stage = Stage::new(style);
        let (mut passed, mut total) = (0, 0);
        for (line, command) in script::parse(text) {
            match command.map_or_else(|problem| Some(Err(problem)), |command| stage.act(&command)) {
                None => {}
                Some(Ok(())) => {
                    passed += 1;
                    total += 1;
                }
                Some(Err(problem)) => {
                    total += 1;
                    failures.push(format!("{name}:{line}: {problem}"));
                }
            }
        }
        println!("{passed:5} of {total:5}  {name}");
    }
    for failure in failures.iter().take(200) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} cases failed", failures.len());
    paths.len()
}

#[test]
fn our_own_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    assert!(run(&folder) > 0);
}

#[test]
fn cases_of_prometheus() {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/prometheus-3.5");
    let given = std::env::var_os("MAINSTAY_PROMQLTEST").map(PathBuf::from);
    let least = if given.is_some() { 1 } else { 13 };
    let folder = given.unwrap_or_else(own);
    let found = run(&folder);
    assert!(found >= least, "{found} scripts in {}", folder.display());
}

/// The judge is judged: wrong expectations must be found.
#[test]
fn wrong_expectations_are_found() {
    let style = Style {
        strict: true,
        bounds: Bounds::Reconcile,
    };
    for wrong in [
        "load 1m\n  a 1 2\n\neval instant at 1m a\n  a 3\n",
        "load 1m\n  a 1 2\n\neval instant at 1m a\n  b 2\n",
        "load 1m\n  a 1 2\n\neval instant at 1m a\n",
        "load 1m\n  a 1 2\n\neval instant at 1m rate(a[2m])\n  {} 0.016666666666666666\n",
        "eval_fail instant at 1m vector(1)\n",
        "eval instant at 1m rate(a)\n",
        "load 1m\n  a 1 2\n  b 2 1\n\neval_ordered instant at 1m sort(a or b)\n  a 2\n  b 1\n",
        "load 1m\n  a 1 2\n\neval range from 0 to 1m step 1m a\n  a 1 _\n",
    ] {
        let mut stage = Stage::new(style);
        let found = script::parse(wrong)
            .into_iter()
            .filter_map(|(_, command)| stage.act(&command.expect("a command")))
            .any(|o| o.is_err());
        assert!(found, "{wrong}");
    }
}
