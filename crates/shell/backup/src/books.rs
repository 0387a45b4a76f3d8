//! The application's books: what they say at a mark, and whether a restored copy still says so.
//!
//! Known are the books of the reference exchange (schema `exchange`): a command log in which each entry's hash covers
//! all before it, postings that must be balanced, balances that must be the postings' sums. They only ever grow, so what
//! was noted at a mark can be found again in any later state. Of other databases nothing is known, and nothing said.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::programs::Programs;
use crate::source::{Place, SourceError, ask, ask_for, only, value};

/// What is noted with a mark.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Totals {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exchange: Option<Exchange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Exchange {
    /// The last command.
    sequence: u64,
    /// Its hash, hexadecimal.
    hash: String,
}

const IS_EXCHANGE: &str = "SELECT to_regclass('exchange.commands') IS NOT NULL \
    AND to_regclass('exchange.postings') IS NOT NULL AND to_regclass('exchange.balances') IS NOT NULL";

async fn is_exchange(
    programs: &Programs,
    place: &Place,
    database: &str,
) -> Result<bool, SourceError> {
    let action = "look for books that are known";
    Ok(value(programs, place, database, action, IS_EXCHANGE).await? == "t")
}

/// What the books say now, as JSON.
///
/// # Errors
/// When the server cannot be asked.
pub async fn totals(
    programs: &Programs,
    place: &Place,
    database: &str,
) -> Result<String, SourceError> {
    let mut totals = Totals::default();
    if is_exchange(programs, place, database).await? {
        let sql = "SELECT sequence, encode(hash, 'hex') FROM exchange.commands \
                   ORDER BY sequence DESC LIMIT 1";
        let action = "read the last command";
        let rows = ask(programs, place, database, action, sql).await?;
        if let Some([sequence, hash]) = rows.first().map(Vec::as_slice) {
            totals.exchange = Some(Exchange {
                sequence: sequence.parse().unwrap_or(0),
                hash: hash.clone(),
            });
        }
    }
    Ok(serde_json::to_string(&totals).unwrap_or_default())
}

/// Each query counts what is wrong; the sentence says what holds when it is nothing.
const CHECKS: &[(&str, &str)] = &[
    (
        "the command log has no hole",
        "SELECT CASE WHEN count(*) = 0 THEN 0 ELSE abs(max(sequence) - count(*)) + abs(min(sequence) - 1) END \
         FROM exchange.commands",
    ),
    (
        "postings are balanced, command by command",
        "SELECT count(*) FROM (SELECT FROM exchange.postings GROUP BY sequence, asset \
         HAVING sum(amount) <> 0) AS unbalanced",
    ),
    (
        "each balance is the sum of its postings",
        "SELECT count(*) FROM (SELECT account, bucket, asset, sum(amount) AS amount \
             FROM exchange.postings GROUP BY account, bucket, asset) AS posted \
         FULL JOIN exchange.balances AS kept USING (account, bucket, asset) \
         WHERE coalesce(posted.amount, 0) <> coalesce(kept.amount, 0)",
    ),
];

/// Compares a restored copy with what was noted, and with itself, in `limit` for each question: they read whole tables. Returns
/// what holds and what does not.
///
/// # Errors
/// When the copy cannot be asked.
pub async fn compare(
    limit: Duration,
    programs: &Programs,
    place: &Place,
    database: &str,
    noted: &str,
) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let (mut holds, mut broken) = (Vec::new(), Vec::new());
    let noted: Totals = serde_json::from_str(noted).unwrap_or_default();
    if !is_exchange(programs, place, database).await? {
        if noted.exchange.is_some() {
            broken.push("the exchange's tables are gone".to_owned());
        }
        return Ok((holds, broken));
    }
    for (sentence, sql) in CHECKS {
        let action = "check the books";
        let counted = ask_for(limit, programs, place, database, action, sql).await?;
        let wrong = only(counted, action)?;
        if wrong == "0" {
            holds.push((*sentence).to_owned());
        } else {
            broken.push(format!("it does not hold that {sentence} ({wrong} wrong)"));
        }
    }
    if let Some(Exchange { sequence, hash }) = noted.exchange {
        let sql = format!(
            "SELECT encode(hash, 'hex') FROM exchange.commands WHERE sequence = {sequence}"
        );
        let found = value(programs, place, database, "find a noted command", &sql).await?;
        if found == hash {
            holds.push(format!("command {sequence} has the hash that was noted"));
        } else {
            broken.push(format!(
                "command {sequence} has hash {found:?}, and {hash} was noted"
            ));
        }
    }
    Ok((holds, broken))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::programs::ProgramError;

    /// Whoever asks for the books of a large ledger waits as long as the proof does, not as long as for a mark.
    #[tokio::test]
    async fn books_are_read_for_as_long_as_is_given() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("postgres", "exit 0"),
            ("pg_basebackup", "exit 0"),
            ("pg_verifybackup", "exit 0"),
            // The exchange's tables are there, and every check counts nothing wrong, or never ends.
            (
                "psql",
                "case \"$*\" in *to_regclass*) echo t ;; *) [ -e \"$0.slow\" ] && exec sleep 600; echo 0 ;; esac",
            ),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let passwords = folder.path().join("passwords");
        let user = rustix::process::geteuid().is_root().then_some("root");
        let programs = Programs::find(Some(folder.path()), user, passwords).unwrap();
        let place = Place::Socket(folder.path().to_owned(), 1);
        let compare = |limit| compare(limit, &programs, &place, "db", "{}");
        let (holds, broken) = compare(Duration::from_secs(600)).await.unwrap();
        assert_eq!((holds.len(), broken.len()), (CHECKS.len(), 0));
        std::fs::write(folder.path().join("psql.slow"), "").unwrap();
        let late = compare(Duration::ZERO).await;
        let is_late = matches!(
            late,
            Err(SourceError::Sql {
                source: ProgramError::Late {
                    limit: Duration::ZERO,
                    ..
                },
                ..
            })
        );
        assert!(is_late, "{late:?}");
    }
}
