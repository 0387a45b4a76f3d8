//! What the surroundings tell the venue: environment variables only, so that a supervisor can start any number.
//!
//! The password is looked up in the file that `PGPASSFILE` names (PostgreSQL's own format), never taken from an
//! argument, and never logged.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

#[derive(Clone, Debug)]
pub struct Settings {
    pub cell: String,
    pub instance: String,
    pub listen: SocketAddr,
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
    pub password: Option<String>,
    pub application_name: String,
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

    pub fn config(&self) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(&self.name)
            .application_name(&self.application_name)
            .connect_timeout(Self::CONNECT)
            .tcp_user_timeout(Self::SILENCE);
        if let Some(password) = &self.password {
            config.password(password);
        }
        config
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
            (Some(path), _) => {
                password_from(Path::new(&path), &[&host, &port_text(port), &name, &user])?
            }
            (None, password) => password,
        };
        let application_name = format!("exchange-venue/{instance}");
        Ok(Self {
            cell,
            instance,
            listen,
            lease_file: lookup("MAINSTAY_LEASE_FILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            database: Database {
                host,
                port,
                user,
                name,
                password,
                application_name,
            },
        })
    }
}

fn port_text(port: u16) -> String {
    port.to_string()
}

/// The first line of a password file whose four fields match `wanted`; no match means no password.
fn password_from(path: &Path, wanted: &[&str; 4]) -> anyhow::Result<Option<String>> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "the password file {} (PGPASSFILE) cannot be read",
            path.display()
        )
    })?;
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let fields = split_fields(line);
        let [host, port, name, user, password] = fields.as_slice() else {
            bail!(
                "{}: a line is not host:port:database:user:password",
                path.display()
            );
        };
        let matches = [host, port, name, user]
            .iter()
            .zip(wanted)
            .all(|(field, wanted)| *field == "*" || field == wanted);
        if matches {
            return Ok(Some(password.clone()));
        }
    }
    Ok(None)
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

    #[test]
    fn the_password_file_is_read_as_postgresql_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pgpass");
        std::fs::write(
            &path,
            "# comment\nother:*:*:*:no\n127.0.0.1:*:cell:venue:a\\:b\\\\c\n",
        )
        .unwrap();
        let found = password_from(&path, &["127.0.0.1", "5432", "cell", "venue"]).unwrap();
        assert_eq!(found.as_deref(), Some("a:b\\c"));
        assert_eq!(
            password_from(&path, &["127.0.0.1", "5432", "cell", "else"]).unwrap(),
            None
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
