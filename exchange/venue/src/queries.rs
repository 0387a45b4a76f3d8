//! Questions: orders, book, balances, readiness, and answers too old for memory.
//!
//! All of them show only what is cleanly committed. Book and balances come from the published picture; what
//! is read from tables passes the barrier before it is shown.

use std::fmt::Write;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use exchange_engine::book::LevelView;
use exchange_engine::command::Command;
use exchange_engine::decimal;
use exchange_engine::outcome::Bucket;
use exchange_engine::units::{Account, Asset, Price, Quantity, Reference};
use serde::Deserialize;
use tokio_postgres::Row;

use crate::answer;
use crate::chain::Hash;
use crate::failure::Problem;
use crate::http::{App, json, may_serve};
use crate::inactive::Inactive;
use crate::openapi;
use crate::reader::Unread;
use crate::request::{Invalid, shown_digits};
use crate::shared::Shared;
use crate::view::{Active, DEPTH_MAX, Deactivated, Phase};

const DEPTH_DEFAULT: usize = 20;
/// How long what was read from a table waits for the batch in flight.
const SETTLE_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BookQuery {
    depth: Option<usize>,
}

/// The second check, right before an answer leaves: the lease, and that it is the one that was read under. A
/// process that slept while the primary left and came back finds a valid lease of another term.
pub fn still_serves(shared: &Shared, term: u64) -> Result<(), Problem> {
    let lease = shared.lease.check();
    if !lease.allows() {
        return Err(Problem::LeaseExpired);
    }
    if lease.term() != term {
        return Err(Problem::NotActive(Inactive::TermChanged));
    }
    Ok(())
}

pub fn active(shared: &Shared, cell: &str) -> Result<Active, Problem> {
    if cell != shared.cell {
        return Err(Problem::UnknownCell);
    }
    may_serve(shared)?;
    shared.published.active().map_err(Problem::NotActive)
}

fn path_error(_: PathRejection) -> Problem {
    Problem::Invalid(Invalid::new(
        "path",
        "account or reference is not a number",
        "use whole numbers from 1",
    ))
}

/// The book's levels from the best outwards.
#[utoipa::path(get, path = "/v1/cells/{cell}/book", tag = "queries",
    params(("cell" = String, Path), ("depth" = Option<usize>, Query, description = "levels per side, 1 to 200")),
    responses((status = 200, body = openapi::Book), (status = 503, body = crate::failure::Failure)))]
pub async fn book(
    State(shared): App,
    Path(cell): Path<String>,
    query: Result<Query<BookQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let wrong = || {
        Invalid::new(
            "depth",
            "not a number of levels",
            format!("use 1 to {DEPTH_MAX}"),
        )
    };
    let Query(query) = query.map_err(|_| wrong())?;
    let depth = query.depth.unwrap_or(DEPTH_DEFAULT);
    if !(1..=DEPTH_MAX).contains(&depth) {
        return Err(wrong().into());
    }
    let active = active(&shared, &cell)?;
    let picture = &active.picture;
    let mut out = format!(
        "{{\"cell\":\"{cell}\",\"instrument\":\"BTC-USD\",\"sequence\":{},\"epoch\":{}",
        picture.sequence, active.epoch
    );
    for (name, levels) in [("bids", &picture.bids), ("asks", &picture.asks)] {
        let _ = write!(out, ",\"{name}\":[");
        for (at, level) in levels.iter().take(depth).enumerate() {
            if at > 0 {
                out.push(',');
            }
            write_level(&mut out, level);
        }
        out.push(']');
    }
    out.push('}');
    still_serves(&shared, active.term)?;
    Ok(json(out))
}

fn write_level(out: &mut String, level: &LevelView) {
    out.push_str("{\"price\":\"");
    answer::write_price(out, level.price);
    out.push_str("\",\"quantity\":\"");
    decimal::write(out, level.quantity, Quantity::SCALE, Quantity::SCALE);
    let _ = write!(out, "\",\"orders\":{}}}", level.orders);
}

/// What an account has, free and behind open orders.
#[utoipa::path(get, path = "/v1/cells/{cell}/balances/{account}", tag = "queries",
    params(("cell" = String, Path), ("account" = u64, Path)),
    responses((status = 200, body = openapi::BalancesOf), (status = 503, body = crate::failure::Failure)))]
pub async fn balances(
    State(shared): App,
    path: Result<Path<(String, u64)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((cell, number)) = path.map_err(path_error)?;
    let account = match number {
        0 => Account::OUTSIDE,
        _ => Account::customer(number).ok_or(Problem::NotFound("account"))?,
    };
    let active = active(&shared, &cell)?;
    let balances = shared
        .published
        .balances(account)
        .ok_or(Problem::LeaseExpired)?;
    let mut out = format!(
        "{{\"cell\":\"{cell}\",\"account\":{number},\"sequence\":{},\"epoch\":{},\"balances\":[",
        active.picture.sequence, active.epoch
    );
    for (at, asset) in Asset::ALL.into_iter().enumerate() {
        out.push_str(if at == 0 { "{" } else { ",{" });
        let _ = write!(out, "\"asset\":\"{}\"", asset.name());
        for bucket in Bucket::ALL {
            let _ = write!(out, ",\"{}\":\"", bucket.name());
            decimal::write(
                &mut out,
                balances.get(bucket, asset).units(),
                asset.scale(),
                shown_digits(asset),
            );
            out.push('"');
        }
        out.push('}');
    }
    out.push_str("]}");
    // Balances and picture are published one after the other; the same life of the writer is what matters.
    if shared.published.active().map(|now| now.epoch) != Ok(active.epoch) {
        return Err(Problem::NotActive(Inactive::Deactivated));
    }
    still_serves(&shared, active.term)?;
    Ok(json(out))
}

/// An order, or any other command, by the client's own reference: its answer and, of an order, its present state.
#[utoipa::path(get, path = "/v1/cells/{cell}/orders/{account}/{reference}", tag = "queries",
    params(("cell" = String, Path), ("account" = u64, Path), ("reference" = u64, Path)),
    responses((status = 200, body = openapi::OrderOf), (status = 404, body = crate::failure::Failure),
        (status = 503, body = crate::failure::Failure)))]
pub async fn order(
    State(shared): App,
    path: Result<Path<(String, u64, u64)>, PathRejection>,
) -> Result<Response, Problem> {
    let Path((cell, account, reference)) = path.map_err(path_error)?;
    let account = Account::customer(account).ok_or(Problem::NotFound("account"))?;
    let reference = Reference::new(reference).ok_or(Problem::NotFound("reference"))?;
    let active = active(&shared, &cell)?;
    let (key, own) = (column(account.number()), column(reference.number()));
    let found = active
        .reader
        .row(
            "select c.sequence, c.kind, c.outcome, c.hash, o.status, o.side, o.type, o.price, o.quantity, o.filled \
             from exchange.commands c left join exchange.orders o using (account, reference) \
             where c.account = $1 and c.reference = $2",
            (key, own),
        )
        .await;
    let row = settled(&shared, active.epoch, found)
        .await?
        .ok_or(Problem::NotFound("command"))?;
    let sequence: i64 = row.get(0);
    let (kind, outcome): (&str, &str) = (row.get(1), row.get(2));
    let hash = hash_of(row.get(3))?;
    let mut out = format!(
        "{{\"cell\":\"{cell}\",\"account\":{key},\"reference\":{own},\"sequence\":{sequence},\"kind\":\"{kind}\""
    );
    if let Some(status) = row.get::<_, Option<&str>>(4) {
        let (side, terms): (&str, &str) = (row.get(5), row.get(6));
        let _ = write!(
            out,
            ",\"status\":\"{status}\",\"side\":\"{side}\",\"type\":\"{terms}\""
        );
        if let Some(cents) = row.get::<_, Option<i64>>(7) {
            out.push_str(",\"price\":\"");
            decimal::write(&mut out, i128::from(cents), Price::SCALE, Price::SCALE);
            out.push('"');
        }
        for (name, units) in [
            ("quantity", row.get::<_, i64>(8)),
            ("filled", row.get::<_, i64>(9)),
        ] {
            let _ = write!(out, ",\"{name}\":\"");
            decimal::write(
                &mut out,
                i128::from(units),
                Quantity::SCALE,
                Quantity::SCALE,
            );
            out.push('"');
        }
    }
    let _ = write!(out, ",\"answer\":{}}}", answer::sent(outcome, &hash, true));
    still_serves(&shared, active.term)?;
    Ok(json(out))
}

fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn hash_of(bytes: &[u8]) -> Result<Hash, Problem> {
    Hash::try_from(bytes).map_err(|_| Problem::NotActive(Inactive::LogDamaged))
}

/// A row read from a table, once nothing unsettled can be in it.
async fn settled<T>(shared: &Shared, epoch: u64, found: Result<T, Unread>) -> Result<T, Problem> {
    let found = found.map_err(|unread| match unread {
        Unread::Crowded => Problem::Overloaded("the log is being read for too many others"),
        Unread::Failed(reason) => Problem::NotActive(reason),
    })?;
    match tokio::time::timeout(SETTLE_MAX, shared.published.barrier(epoch)).await {
        Ok(Ok(())) => Ok(found),
        Ok(Err(Deactivated)) => Err(Problem::NotActive(Inactive::Deactivated)),
        Err(_) => Err(Problem::NotActive(Inactive::CommitUnsettled)),
    }
}

/// The answer to a command whose reference is not above the highest and whose answer is no longer in memory.
pub async fn older(
    shared: &Shared,
    epoch: u64,
    command: &Command,
    canonical: &str,
    highest: u64,
) -> Result<String, Problem> {
    // Its reference is used up, most likely by itself: what cannot be read is not known, and not undone.
    let unknown = |_| Problem::OutcomeUnknown("the log could not be read");
    let row = used(shared, epoch, command).await.map_err(unknown)?;
    let row = row.ok_or(Problem::ReferenceNotAbove { highest })?;
    if row.get::<_, &str>(0) != canonical {
        return Err(Problem::Conflict);
    }
    let hash = hash_of(row.get(2)).map_err(unknown)?;
    Ok(answer::sent(row.get(1), &hash, true))
}

/// What the log has under the command's reference.
async fn used(shared: &Shared, epoch: u64, command: &Command) -> Result<Option<Row>, Problem> {
    let active = active(shared, &shared.cell)?;
    if active.epoch != epoch {
        return Err(Problem::NotActive(Inactive::Deactivated));
    }
    let key = (
        column(command.account.number()),
        column(command.reference.number()),
    );
    let found = active
        .reader
        .row(
            "select request, outcome, hash from exchange.commands where account = $1 and reference = $2",
            key,
        )
        .await;
    let row = settled(shared, epoch, found).await?;
    still_serves(shared, active.term)?;
    Ok(row)
}

/// 200 only on the active instance, and while its commits come to an end.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses((status = 200, body = openapi::Ready), (status = 503)))]
pub async fn ready(State(shared): App) -> Response {
    let cell = &shared.cell;
    let not_ready = |reason: &str| {
        let text = format!("{{\"active\":false,\"cell\":\"{cell}\",\"reason\":\"{reason}\"}}");
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::CONTENT_TYPE, "application/json")],
            text,
        )
            .into_response()
    };
    if shared.published.is_commit_overdue(shared.intake.len()) {
        return not_ready(Inactive::CommitOverdue.name());
    }
    match (may_serve(&shared), shared.published.phase()) {
        (Ok(_), Phase::Active(active)) => json(format!(
            "{{\"active\":true,\"cell\":\"{cell}\",\"epoch\":{},\"term\":{},\"sequence\":{}}}",
            active.epoch, active.term, active.picture.sequence
        )),
        (Err(Problem::NotActive(reason)), _) => not_ready(reason.name()),
        (Err(_), _) => not_ready("lease_expired"),
        (Ok(_), Phase::Standby(reason)) => not_ready(reason.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::LeaseFile;
    use crate::request::{self, Kind};

    /// The writer has said that the reference is used; that this instance has ceased to serve since undoes nothing.
    #[tokio::test]
    async fn of_a_reference_that_is_used_nobody_hears_that_nothing_was_done() {
        let lease = LeaseFile::new(None);
        let shared = Shared::new("cell".to_owned(), "only".to_owned(), lease);
        let body = r#"{"account":1,"reference":1,"asset":"USD","amount":"1","deadline_ms":9}"#;
        let command = request::parse(Kind::Deposit, body).unwrap();
        let said = older(&shared, 1, &command, "", 7).await;
        assert_eq!(said.unwrap_err().code(), "outcome_unknown");
    }
}
