//! What the surroundings tell the venue: environment variables only, so that a supervisor can start any number.
//!
//! The password is looked up in the file that `PGPASSFILE` names (PostgreSQL's own format), never taken from an
//! argument, and never logged.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use exchange_tls::Identity;
use tokio_postgres::config::SslMode;

use crate::tls::Trust;

#[derive(Clone, Debug)]
pub struct Settings {
    pub cell: String,
    pub instance: String,
    pub listen: SocketAddr,
    /// What is shown to callers, who must show theirs; nothing: they are spoken to in the clear.
    pub identity: Option<Arc<Identity>>,
    /// Names whose owners may change the mode.
    pub controllers: Vec<String>,
    pub lease_file: Option<PathBuf>,
    pub database: Database,
}

#[derive(Clone)]
pub struct Database {
    /// A name, an address, or the folder of a Unix socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub name: String,
    pub password: Password,
    pub trust: Trust,
    pub application_name: String,
}

/// Where the password comes from. A file is read for every connection, so it may appear late and change.
#[derive(Clone)]
pub enum Password {
    None,
    Given(String),
    File(PathBuf),
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.name)
    }
}

impl Database {
    /// How long a connection attempt to the local server may take.
    const CONNECT: Duration = Duration::from_secs(1);
    /// Unacknowledged bytes to the local server break the connection after this.
    const SILENCE: Duration = Duration::from_secs(5);

    /// Everything needed to connect, the password included.
    pub fn config(&self) -> io::Result<tokio_postgres::Config> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.name)
            .ssl_mode(match self.trust {
                Trust::Nothing => SslMode::Disable,
                Trust::Roots(_) => SslMode::Require,
            })
            .application_name(&self.application_name)
            .connect_timeout(Self::CONNECT)
            .tcp_user_timeout(Self::SILENCE);
        match &self.password {
            Password::None => {}
            Password::Given(password) => {
                config.password(password);
            }
            Password::File(path) => {
                if let Some(password) = self.find_password(&std::fs::read_to_string(path)?) {
                    config.password(password);
                }
            }
        }
        Ok(config)
    }

    /// The password of the first line of a password file that matches this database; no match means no password.
    fn find_password(&self, text: &str) -> Option<String> {
        // A socket's folder stands in such a file as this name.
        let host = if self.host.starts_with('/') {
            "localhost"
        } else {
            &self.host
        };
        let port = self.port.to_string();
        let wanted = [host, &port, &self.name, &self.user];
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(split_fields);
        lines
            .filter(|fields| fields.len() == wanted.len() + 1)
            .find_map(|mut fields| {
                let matches = fields
                    .iter()
                    .zip(wanted)
                    .all(|(field, wanted)| field == "*" || field == wanted);
                matches.then(|| fields.pop()).flatten()
            })
    }
}

impl Settings {
    pub fn from_environment() -> anyhow::Result<Self> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// `lookup` stands for the environment.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let required = |name: &str| {
            let value = lookup(name).filter(|value| !value.is_empty());
            value.with_context(|| {
                format!("the environment variable {name} is not set: see exchange-venue --help")
            })
        };
        let cell = required("MAINSTAY_CELL")?;
        ensure!(
            !cell.is_empty()
                && cell
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
            "MAINSTAY_CELL may hold letters, digits, '-', '_' and '.' only: {cell:?}"
        );
        let instance =
            lookup("MAINSTAY_INSTANCE").unwrap_or_else(|| format!("venue-{}", std::process::id()));
        let listen = required("MAINSTAY_LISTEN")?;
        let listen = listen
            .parse()
            .with_context(|| format!("MAINSTAY_LISTEN is not address:port: {listen:?}"))?;
        let host = lookup("PGHOST").unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = lookup("PGPORT").unwrap_or_else(|| "5432".to_owned());
        let port = port
            .parse()
            .with_context(|| format!("PGPORT is not a port number: {port:?}"))?;
        let user = required("PGUSER")?;
        let name = lookup("PGDATABASE").unwrap_or_else(|| user.clone());
        let password = match (lookup("PGPASSFILE"), lookup("PGPASSWORD")) {
            (Some(path), _) => Password::File(PathBuf::from(path)),
            (None, Some(password)) => Password::Given(password),
            (None, None) => Password::None,
        };
        let application_name = format!("exchange-venue/{instance}");
        Ok(Self {
            cell,
            instance,
            listen,
            identity: Identity::from_lookup(lookup)?,
            controllers: names(&lookup("MAINSTAY_CONTROLLERS").unwrap_or_default()),
            lease_file: lookup("MAINSTAY_LEASE_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            database: Database {
                host,
                port,
                user,
                name,
                password,
                trust: Trust::from_lookup(lookup)?,
                application_name,
            },
        })
    }
}

/// Names between commas.
fn names(text: &str) -> Vec<String> {
    let names = text.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Fields between colons; a backslash takes the next character as it is.
fn split_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match (character, fields.last_mut()) {
            (':', _) => fields.push(String::new()),
            ('\\', Some(field)) => field.extend(characters.next()),
            (other, Some(field)) => field.push(other),
            (_, None) => {}
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(host: &str, user: &str) -> Database {
        Database {
            host: host.to_owned(),
            port: 5432,
            user: user.to_owned(),
            name: "cell".to_owned(),
            password: Password::None,
            trust: Trust::Nothing,
            application_name: String::new(),
        }
    }

    #[test]
    fn the_password_file_is_read_as_postgresql_reads_it() {
        let text = "# comment\n\nnot a line\nother:*:*:*:no\n127.0.0.1:*:cell:venue:a\\:b\\\\c\nlocalhost:5432:*:venue:socket\n";
        let found = |host, user| database(host, user).find_password(text);
        assert_eq!(found("127.0.0.1", "venue").as_deref(), Some("a:b\\c"));
        assert_eq!(found("/run/mainstay/1", "venue").as_deref(), Some("socket"));
        assert_eq!(found("127.0.0.1", "else"), None);
    }

    #[test]
    fn a_password_file_that_is_not_there_is_an_error_of_the_connection_only() {
        let password = Password::File(PathBuf::from("/nonexistent/pgpass"));
        assert!(
            Database {
                password,
                ..database("127.0.0.1", "venue")
            }
            .config()
            .is_err()
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Settings::from_lookup(&|_| None).unwrap_err();
        assert!(error.to_string().contains("MAINSTAY_CELL"));
        let full = |name: &str| {
            Some(match name {
                "MAINSTAY_CELL" => "cell-us".to_owned(),
                "MAINSTAY_LISTEN" => "127.0.0.1:0".to_owned(),
                "PGUSER" => "venue".to_owned(),
                _ => return None,
            })
        };
        let settings = Settings::from_lookup(&full).unwrap();
        assert_eq!(settings.database.port, 5432);
        assert!(settings.lease_file.is_none());
    }
}
