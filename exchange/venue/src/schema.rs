//! The tables of a cell, created on the first activation with the privileges of the venue's own role.
//!
//! A row in `exchange.migrations` per step that ran, all in one transaction; a database with more steps than this
//! program knows is refused, because a newer program has been here.

/// Steps in order; never changed once released, only added to.
pub const STEPS: &[&str] = &[r"
create schema exchange;
create table exchange.migrations (version int primary key, applied_at timestamptz not null default now());
create table exchange.epochs (
    epoch bigint primary key,
    term bigint not null,
    instance text not null,
    first_sequence bigint not null,
    activated_ms bigint not null
);
create table exchange.commands (
    sequence bigint primary key,
    epoch bigint not null,
    recorded_ms bigint not null,
    account bigint not null,
    reference bigint not null,
    kind text not null,
    request text not null,
    outcome text not null,
    hash bytea not null,
    unique (account, reference)
);
create table exchange.postings (
    sequence bigint not null,
    line int not null,
    account bigint not null,
    bucket text not null,
    asset text not null,
    amount numeric(38, 0) not null,
    primary key (sequence, line)
);
create table exchange.trades (
    sequence bigint not null,
    line int not null,
    instrument text not null,
    price bigint not null,
    quantity bigint not null,
    buy_account bigint not null,
    buy_reference bigint not null,
    sell_account bigint not null,
    sell_reference bigint not null,
    primary key (sequence, line)
);
create table exchange.orders (
    account bigint not null,
    reference bigint not null,
    sequence bigint not null,
    status text not null,
    side text not null,
    type text not null,
    price bigint,
    quantity bigint not null,
    filled bigint not null,
    primary key (account, reference)
) with (fillfactor = 80);
create table exchange.balances (
    account bigint not null,
    bucket text not null,
    asset text not null,
    amount numeric(38, 0) not null,
    primary key (account, bucket, asset)
) with (fillfactor = 50);
create table exchange.snapshots (
    sequence bigint primary key,
    state bytea not null,
    state_hash bytea not null
);
alter table exchange.snapshots alter column state set storage external;
"];

/// True if the schema is there at all, without a notice either way.
pub const EXISTS: &str = "select to_regclass('exchange.migrations') is not null";
pub const VERSION: &str = "select coalesce(max(version), 0) from exchange.migrations";
pub const APPLIED: &str = "insert into exchange.migrations (version) values ($1)";
