//! Finding and reading the books.
//!
//! Connection settings come from a URL without a password, or from the environment that PostgreSQL's own programs
//! use (PGHOST, PGPORT, PGUSER, PGDATABASE, PGPASSFILE, PGSSLMODE, PGSSLROOTCERT); a password comes only from a password file that nobody else
//! may read. Everything is read in one repeatable-read transaction, so an audit of a running cell judges one moment.
//!
//! Nothing is waited for without end: a server that stands still, or a way to it that is cut, gets no verdict.

use std::collections::VecDeque;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, Portal, Row, Transaction};

use crate::AuditError;
use crate::epochs::EpochRow;
use crate::rows::{BalanceRow, CommandRow, OrderRow, PostingRow, TradeRow};
use crate::tls;

/// Rows fetched at a time.
const FETCH: i32 = 5_000;
/// A door may hold a connection until there is a primary.
const CONNECT_MAX: Duration = Duration::from_secs(30);
/// For one answer. The first rows of a large table may be sorted before they come.
const ANSWER_MAX: Duration = Duration::from_secs(300);
/// A peer that is silent for so long is asked whether it is still there, and given up after as many probes.
const IDLE: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// The settings: `url` if given, otherwise the environment.
pub fn settings(url: Option<&str>) -> Result<Config, AuditError> {
    let wrong = |problem: String| AuditError::Settings(problem);
    let mut config = match url {
        Some(url) => url
            .parse::<Config>()
            .map_err(|error| wrong(format!("'{url}': {error}")))?,
        None => Config::new(),
    };
    if config.get_password().is_some() {
        return Err(wrong(
            "give no password on the command line; name a password file in PGPASSFILE".to_owned(),
        ));
    }
    if url.is_none() {
        from_environment(&mut config)?;
    }
    // An address that does not say either leaves it to the environment, as PostgreSQL's own programs do.
    if config.get_ssl_mode() == SslMode::Prefer {
        tls::settings(&mut config)?;
    }
    if config.get_hosts().is_empty() {
        return Err(wrong("no host: give --database or set PGHOST".to_owned()));
    }
    if config.get_user().is_none() {
        config.user("postgres");
    }
    if let Some(password) = password(&config)? {
        config.password(password);
    }
    config
        .application_name("exchange-audit")
        .keepalives_idle(IDLE)
        .keepalives_interval(IDLE)
        .keepalives_retries(PROBES)
        .tcp_user_timeout(IDLE * (PROBES + 1));
    Ok(config)
}

fn from_environment(config: &mut Config) -> Result<(), AuditError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(host) = variable("PGHOST") {
        config.host(host);
    }
    if let Some(port) = variable("PGPORT") {
        let port = port
            .parse()
            .map_err(|_| AuditError::Settings(format!("PGPORT '{port}' is no port")))?;
        config.port(port);
    }
    if let Some(user) = variable("PGUSER") {
        config.user(user);
    }
    if let Some(database) = variable("PGDATABASE") {
        config.dbname(database);
    }
    Ok(())
}

/// The password for these settings from the file in PGPASSFILE, in its documented form
/// (`host:port:database:user:password`, `*` for any, backslash before `:` and `\`; manual, section 34.16).
fn password(config: &Config) -> Result<Option<String>, AuditError> {
    let Some(path) = std::env::var_os("PGPASSFILE") else {
        return Ok(None);
    };
    let path = Path::new(&path);
    let failed = |problem: String| {
        AuditError::Settings(format!("password file {}: {problem}", path.display()))
    };
    let metadata = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(failed("others may read it; chmod 600".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let port = config
        .get_ports()
        .first()
        .copied()
        .unwrap_or(5432)
        .to_string();
    let user = config.get_user().unwrap_or_default().to_owned();
    let database = config.get_dbname().unwrap_or(&user).to_owned();
    let wanted = [host, port, database, user];
    Ok(text.lines().find_map(|line| {
        let fields = fields(line);
        let [line_wanted @ .., password] = &fields[..] else {
            return None;
        };
        let fits = line_wanted.len() == wanted.len()
            && line_wanted
                .iter()
                .zip(&wanted)
                .all(|(given, wanted)| given == "*" || given == wanted);
        fits.then(|| password.clone())
    }))
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields
                .last_mut()
                .into_iter()
                .for_each(|field| field.extend(characters.next())),
            other => fields
                .last_mut()
                .into_iter()
                .for_each(|field| field.push(other)),
        }
    }
    fields
}

/// Connects; the connection ends with the client.
pub async fn connect(config: &Config) -> Result<Client, AuditError> {
    let proof = tls::connector(config)?;
    let (client, connection) = within(CONNECT_MAX, "connect", config.connect(proof)).await?;
    // Its error also reaches whoever waits for an answer.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// An answer of the database to what is being done.
pub async fn answer<T>(
    operation: &'static str,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, AuditError> {
    within(ANSWER_MAX, operation, answer).await
}

async fn within<T>(
    limit: Duration,
    operation: &'static str,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, AuditError> {
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(failed(operation)),
        Err(_) => Err(AuditError::Silent {
            operation,
            seconds: limit.as_secs(),
        }),
    }
}

/// For `map_err`: what was being done.
pub fn failed(operation: &'static str) -> impl Fn(tokio_postgres::Error) -> AuditError {
    move |source| AuditError::Database { operation, source }
}

/// The books at one moment.
pub struct Books<'a> {
    transaction: Transaction<'a>,
}

/// Rows of one table in order, fetched in pieces.
pub struct Cursor<T> {
    portal: Portal,
    fetched: VecDeque<Row>,
    ended: bool,
    read: fn(&Row) -> Result<T, AuditError>,
}

impl<'a> Books<'a> {
    pub async fn open(client: &'a mut Client) -> Result<Self, AuditError> {
        let begin = client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start();
        let transaction = answer("begin a transaction", begin).await?;
        let question = "select to_regclass('exchange.commands') is not null";
        let present = transaction.query_one(question, &[]);
        let present = answer("look for the schema", present).await?;
        if !present.get::<_, bool>(0) {
            return Err(AuditError::NoSchema);
        }
        Ok(Self { transaction })
    }

    pub async fn epochs(&self) -> Result<Vec<EpochRow>, AuditError> {
        let query = "select epoch, term, first_sequence from exchange.epochs order by epoch";
        let rows = answer("read epochs", self.transaction.query(query, &[])).await?;
        let epoch = |row: &Row| EpochRow {
            epoch: row.get(0),
            term: row.get(1),
            first_sequence: row.get(2),
        };
        Ok(rows.iter().map(epoch).collect())
    }

    pub async fn commands(&self) -> Result<Cursor<CommandRow>, AuditError> {
        let query = "select sequence, epoch, recorded_ms, account, reference, kind, request, outcome, hash \
                     from exchange.commands order by sequence, hash";
        self.cursor(query, |row| {
            Ok(CommandRow {
                sequence: row.get(0),
                epoch: row.get(1),
                recorded_ms: row.get(2),
                account: row.get(3),
                reference: row.get(4),
                kind: row.get(5),
                request: row.get(6),
                outcome: row.get(7),
                hash: row.get(8),
            })
        })
        .await
    }

    pub async fn postings(&self) -> Result<Cursor<PostingRow>, AuditError> {
        let query = "select sequence, line, account, bucket, asset, amount::text \
                     from exchange.postings order by sequence, line";
        self.cursor(query, |row| {
            Ok(PostingRow {
                sequence: row.get(0),
                line: row.get(1),
                account: row.get(2),
                bucket: row.get(3),
                asset: row.get(4),
                amount: amount("postings", row.get(5), || {
                    format!("{}/{}", row.get::<_, i64>(0), row.get::<_, i32>(1))
                })?,
            })
        })
        .await
    }

    pub async fn trades(&self) -> Result<Cursor<TradeRow>, AuditError> {
        let query = "select sequence, line, instrument, price, quantity, buy_account, buy_reference, sell_account, \
                     sell_reference from exchange.trades order by sequence, line";
        self.cursor(query, |row| {
            Ok(TradeRow {
                sequence: row.get(0),
                line: row.get(1),
                instrument: row.get(2),
                price: row.get(3),
                quantity: row.get(4),
                buy: (row.get(5), row.get(6)),
                sell: (row.get(7), row.get(8)),
            })
        })
        .await
    }

    pub async fn orders(&self) -> Result<Cursor<OrderRow>, AuditError> {
        let query = "select account, reference, sequence, status, side, type, price, quantity, filled \
                     from exchange.orders order by account, reference";
        self.cursor(query, |row| {
            Ok(OrderRow {
                key: (row.get(0), row.get(1)),
                sequence: row.get(2),
                status: row.get(3),
                side: row.get(4),
                order_type: row.get(5),
                price: row.get(6),
                quantity: row.get(7),
                filled: row.get(8),
            })
        })
        .await
    }

    pub async fn balances(&self) -> Result<Cursor<BalanceRow>, AuditError> {
        let query = "select account, bucket, asset, amount::text from exchange.balances order by account, bucket, asset";
        self.cursor(query, |row| {
            let account: i64 = row.get(0);
            Ok(BalanceRow {
                account,
                bucket: row.get(1),
                asset: row.get(2),
                amount: amount("balances", row.get(3), || format!("of account {account}"))?,
            })
        })
        .await
    }

    async fn cursor<T>(
        &self,
        query: &str,
        read: fn(&Row) -> Result<T, AuditError>,
    ) -> Result<Cursor<T>, AuditError> {
        let portal = answer("open a cursor", self.transaction.bind(query, &[])).await?;
        Ok(Cursor {
            portal,
            fetched: VecDeque::new(),
            ended: false,
            read,
        })
    }

    /// The next row of a cursor.
    pub async fn next<T>(&self, cursor: &mut Cursor<T>) -> Result<Option<T>, AuditError> {
        if cursor.fetched.is_empty() && !cursor.ended {
            let rows = self.transaction.query_portal(&cursor.portal, FETCH);
            let rows = answer("read rows", rows).await?;
            cursor.ended = rows.is_empty();
            cursor.fetched.extend(rows);
        }
        cursor
            .fetched
            .pop_front()
            .map(|row| (cursor.read)(&row))
            .transpose()
    }
}

fn amount(table: &'static str, text: &str, row: impl Fn() -> String) -> Result<i128, AuditError> {
    let problem = format!("amount '{text}' is no whole number");
    text.parse().map_err(|_| AuditError::Row {
        table,
        row: row(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_postgres::config::SslMode;

    use super::{fields, settings, tls, within};

    /// A server that takes connections and says nothing, as one that was stopped does.
    #[test]
    fn a_silent_server_gets_no_verdict_and_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("postgres://nobody@{address}/none?sslmode=disable");
        let config = settings(Some(&url)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let limit = Duration::from_millis(50);
        let error = runtime
            .block_on(async {
                let proof = tls::connector(&config)?;
                within(limit, "connect", config.connect(proof)).await
            })
            .map(drop)
            .unwrap_err();
        assert!(error.to_string().contains("no answer within"), "{error}");
    }

    #[test]
    fn an_address_leaves_tls_to_the_environment_and_never_to_the_server() {
        let mode = |url: &str| settings(Some(url)).unwrap().get_ssl_mode();
        assert_ne!(mode("postgres://user@127.0.0.1/db"), SslMode::Prefer);
        let said = "postgres://user@127.0.0.1/db?sslmode=require";
        assert_eq!(mode(said), SslMode::Require);
    }

    #[test]
    fn a_password_on_the_command_line_is_refused() {
        let error = settings(Some("postgres://user:secret@127.0.0.1/db"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("PGPASSFILE") && !error.contains("secret"),
            "{error}"
        );
    }

    #[test]
    fn fields_of_a_password_file() {
        assert_eq!(fields(r"h:1:d\:x:u:p\\w"), ["h", "1", "d:x", "u", r"p\w"]);
    }
}
