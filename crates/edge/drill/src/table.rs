//! A table of recovery objectives as people keep it, in Markdown.
//!
//! | System component | RTO (recovery time objective) | RPO (recovery point objective) |
//! |---|---|---|
//! | Trading Engine | < 1 minute | < 1 transaction |
//!
//! The columns are found by their headings. `< 5 minutes of orders` is a time; `< 1 transaction` is a count.

use std::time::Duration;

use crate::document::{Loss, Objective};

/// What of a table cannot be read, with its line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableProblem {
    pub line: usize,
    pub problem: String,
}

/// # Errors
/// The first line that is not understood, or that there is no table.
pub fn read(text: &str) -> Result<Vec<Objective>, TableProblem> {
    let mut columns: Option<[usize; 3]> = None;
    let mut objectives = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let cells = cells(line);
        let Some([component, rto, rpo]) = columns else {
            columns = headings(&cells);
            continue;
        };
        let is_rule = |cell: &&str| cell.chars().all(|c| matches!(c, '-' | ':' | ' '));
        if cells.is_empty() {
            break;
        }
        if cells.iter().all(is_rule) {
            continue;
        }
        let refuse = |problem: String| TableProblem {
            line: number + 1,
            problem,
        };
        let cell = |place: usize| cells.get(place).copied().unwrap_or("");
        let rto = match limit(cell(rto)).map_err(refuse)? {
            Some(Loss::Time(time)) => Some(time),
            Some(Loss::Transactions(_)) => {
                return Err(refuse(format!("{:?} is no recovery time", cell(rto))));
            }
            None => None,
        };
        let rpo = limit(cell(rpo)).map_err(refuse)?;
        objectives.push(Objective {
            service: cell(component).to_owned(),
            rto,
            rpo,
            unmeasured: None,
        });
    }
    if objectives.is_empty() {
        return Err(TableProblem {
            line: 1,
            problem: "there is no table whose headings name RTO and RPO".to_owned(),
        });
    }
    Ok(objectives)
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim();
    let Some(inner) = line.strip_prefix('|') else {
        return Vec::new();
    };
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner.split('|').map(str::trim).collect()
}

fn headings(cells: &[&str]) -> Option<[usize; 3]> {
    let of = |word: &str| cells.iter().position(|cell| cell.starts_with(word));
    let (rto, rpo) = (of("RTO")?, of("RPO")?);
    let component = (0..cells.len()).find(|place| ![rto, rpo].contains(place))?;
    Some([component, rto, rpo])
}

/// `< 5 minutes of orders`; empty or `-` is no objective.
///
/// # Errors
/// When it is neither a time nor a count of transactions.
pub fn limit(text: &str) -> Result<Option<Loss>, String> {
    let bare = text.trim().trim_start_matches('<').trim();
    if matches!(bare, "" | "-" | "none") {
        return Ok(None);
    }
    if let Ok(time) = crate::time(bare) {
        return Ok(Some(Loss::Time(time)));
    }
    let mut words = bare.split_whitespace();
    let number = words.next().and_then(|word| word.parse::<u64>().ok());
    let unit = words.next().map(|word| word.trim_end_matches('s'));
    let (Some(number), Some(unit)) = (number, unit) else {
        return Err(format!(
            "{text:?} is no objective: write `< 5 minutes` or `< 1 transaction`"
        ));
    };
    let seconds = match unit {
        "transaction" => return Ok(Some(Loss::Transactions(number))),
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return Err(format!("{text:?}: {unit:?} is no unit of an objective")),
    };
    let seconds = number.checked_mul(seconds);
    let time = seconds.ok_or_else(|| format!("{text:?} is too long"))?;
    Ok(Some(Loss::Time(Duration::from_secs(time))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops where an unwrap fails")]
mod tests {
    use super::*;

    #[test]
    fn a_table_as_people_keep_it() {
        let text = "# Objectives\n\n| System component | RTO (recovery time) | RPO (recovery point) |\n|---|:--|---|\n\
                    | Trading Engine | < 1 minute | < 1 transaction |\n| Orders | < 5 minutes | < 5 minutes of orders |\n\
                    | Reports | < 4 hours | - |\nUptime: 99.999 %\n";
        let found = read(text).unwrap();
        let minutes = |n: u64| Duration::from_secs(n * 60);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].rto, Some(minutes(1)));
        assert_eq!(found[0].rpo, Some(Loss::Transactions(1)));
        assert_eq!(found[1].rpo, Some(Loss::Time(minutes(5))));
        assert_eq!((found[2].rto, found[2].rpo), (Some(minutes(240)), None));
    }

    #[test]
    fn what_is_no_table_is_said_with_its_line() {
        assert_eq!(read("nothing").unwrap_err().line, 1);
        let bad = "|What|RTO|RPO|\n|---|---|---|\n|x|soon|-|\n";
        let problem = read(bad).unwrap_err();
        assert_eq!(problem.line, 3);
        assert!(problem.problem.contains("soon"), "{problem:?}");
        let swapped = "|What|RTO|RPO|\n|---|---|---|\n|x|< 1 transaction|-|\n";
        assert_eq!(read(swapped).unwrap_err().line, 3);
    }
}
