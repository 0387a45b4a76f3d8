//! Settings by which somebody's commits would not wait, or not tell that they did not.
//!
//! `synchronous_commit` and `client_min_messages` may be set by anybody for himself: no privilege of PostgreSQL's
//! keeps a role from it. What is kept somewhere can be seen and is looked for here: defaults of a role, of a database, of a
//! role in a database, and what a superuser put over the server's configuration. What a session says for itself
//! (`SET`, or options as it connects) is seen by no other session; whoever rests on his commits sets it himself and
//! asks for it, as the exchange does.

use std::time::Duration;

use crate::sql::{Question, Row, Session, SqlError};

/// At most so many are told.
const TOLD_MAX: usize = 20;

/// Who, in which database, and what. Rows of `postgresql.auto.conf` have neither.
const OF_WHOM: &str = "SELECT coalesce(r.rolname::text, ''), coalesce(d.datname::text, ''), c \
    FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c \
    LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase \
    WHERE c LIKE 'synchronous\\_commit=%' OR c LIKE 'client\\_min\\_messages=%'";
const BY_ALTER_SYSTEM: &str = "SELECT '', '', name || '=' || coalesce(setting, '') FROM pg_file_settings \
    WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name IN ('synchronous_commit', 'client_min_messages', \
        'synchronous_standby_names', 'fsync', 'full_page_writes', 'restart_after_crash', 'primary_conninfo')";

/// Prepared in the session that is asked.
pub type Questions = [Question; 2];

/// # Errors
/// When the server does not answer.
pub async fn prepare(session: &Session, limit: Duration) -> Result<Questions, SqlError> {
    let action = "ask who weakens commits";
    Ok([
        session.prepare(action, OF_WHOM, limit).await?,
        session.prepare(action, BY_ALTER_SYSTEM, limit).await?,
    ])
}

/// What weakens whose commits, in words.
///
/// # Errors
/// When the server does not answer.
pub async fn look(
    session: &Session,
    questions: &Questions,
    limit: Duration,
) -> Result<Vec<String>, SqlError> {
    let mut rows = Vec::new();
    for question in questions {
        rows.extend(session.ask_again(question, limit).await?);
    }
    Ok(rows.iter().filter_map(told).take(TOLD_MAX).collect())
}

fn told(row: &Row) -> Option<String> {
    let column = |at: usize| row.get(at).and_then(|value| value.as_deref());
    let (role, database, setting) = (column(0)?, column(1)?, column(2)?);
    let (name, value) = setting.split_once('=')?;
    let whose = match (role, database) {
        ("", "") => {
            return Some(format!(
                "ALTER SYSTEM set {name} = {value} over the keeper's"
            ));
        }
        ("", database) => format!("database {database}"),
        (role, "") => format!("role {role}"),
        (role, database) => format!("role {role} in database {database}"),
    };
    is_weak(name, value).then(|| format!("{whose} has {name} = {value}"))
}

/// Whatever is not known to be strong is weak.
fn is_weak(name: &str, value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let strong: &[&str] = match name {
        "synchronous_commit" => &["on", "true", "yes", "1", "remote_apply"],
        "client_min_messages" => &[
            "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "info",
            "warning",
        ],
        _ => &[],
    };
    !strong.contains(&value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(row: [&str; 3], expected: Option<&str>) {
        let row: Row = row.iter().map(|value| Some((*value).to_owned())).collect();
        assert_eq!(told(&row).as_deref(), expected, "{row:?}");
    }

    #[test]
    fn what_is_weak_is_told_with_its_name() {
        check(
            ["shop", "", "synchronous_commit=off"],
            Some("role shop has synchronous_commit = off"),
        );
        check(
            ["", "orders", "client_min_messages=ERROR"],
            Some("database orders has client_min_messages = ERROR"),
        );
        check(
            ["shop", "orders", "synchronous_commit=remote_write"],
            Some("role shop in database orders has synchronous_commit = remote_write"),
        );
        check(["shop", "", "synchronous_commit=On"], None);
        check(["shop", "", "synchronous_commit=remote_apply"], None);
        check(["shop", "", "client_min_messages=warning"], None);
        check(
            ["", "", "fsync=off"],
            Some("ALTER SYSTEM set fsync = off over the keeper's"),
        );
    }
}
