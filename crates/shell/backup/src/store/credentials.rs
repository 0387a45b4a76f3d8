//! What proves us to a store in a cloud: from a file that nobody else may read, or from the environment, and from nowhere else.
//!
//! ```text
//! # for every store
//! AWS_ACCESS_KEY_ID=…
//! AWS_SECRET_ACCESS_KEY=…
//! # for one of them only
//! [gs://bucket/prefix]
//! GOOGLE_SERVICE_ACCOUNT=/etc/mainstay/google.json
//! ```
//!
//! A URL cannot carry a key, because URLs are printed; so they are refused wherever they come from. No error here repeats a
//! value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILE_LIMIT: u64 = 256 << 10;

/// What a file or the environment may say, for any cloud. Regions and endpoints can stand here too, for a restore without a
/// platform file.
const NAMES: &[&str] = &[
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ALLOW_HTTP",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
];

/// One of these sets is needed.
const SUFFICIENT: &[(&str, &[&[&str]])] = &[
    (
        "s3",
        &[
            &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
            &["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"],
            &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
            &["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        ],
    ),
    (
        "gs",
        &[&["GOOGLE_SERVICE_ACCOUNT"], &["GOOGLE_SERVICE_ACCOUNT_KEY"]],
    ),
    (
        "az",
        &[
            &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY"],
            &["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_SAS_KEY"],
            &[
                "AZURE_STORAGE_ACCOUNT_NAME",
                "AZURE_STORAGE_CLIENT_ID",
                "AZURE_STORAGE_CLIENT_SECRET",
                "AZURE_STORAGE_TENANT_ID",
            ],
            // Without client and tenant the file would not be looked at, and the machine's own identity asked for.
            &[
                "AZURE_STORAGE_ACCOUNT_NAME",
                "AZURE_STORAGE_CLIENT_ID",
                "AZURE_STORAGE_TENANT_ID",
                "AZURE_FEDERATED_TOKEN_FILE",
            ],
        ],
    ),
];

#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("read the credentials {}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("use the credentials {}: others may read them; chmod 600 the file", path.display())]
    Open { path: PathBuf },
    #[error("understand line {line} of the credentials {}: {why}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        why: String,
    },
    #[error(
        "find credentials for {store}: {looked} has none that suffice; it takes {}",
        needed(store)
    )]
    Missing { store: String, looked: String },
}

type Values = BTreeMap<String, String>;

/// Has no `Debug`, so that no log can hold it.
pub struct Credentials {
    everywhere: Values,
    only: BTreeMap<String, Values>,
    /// Where they are from, for errors.
    from: String,
}

impl Credentials {
    /// From the file, if there is one; else from the environment.
    ///
    /// # Errors
    /// When others may read the file, or it is not understood.
    pub fn find(file: Option<&Path>) -> Result<Self, CredentialsError> {
        match file {
            Some(path) if path.exists() => Self::read(path),
            looked => {
                let known = |name: &&str| Some((name.to_string(), std::env::var(name).ok()?));
                let from = match looked {
                    Some(path) => format!("there is no {}, and the environment", path.display()),
                    None => "the environment".to_owned(),
                };
                Ok(Self {
                    everywhere: NAMES.iter().filter_map(known).collect(),
                    only: BTreeMap::new(),
                    from,
                })
            }
        }
    }

    fn read(path: &Path) -> Result<Self, CredentialsError> {
        use std::os::unix::fs::PermissionsExt;
        let own = || path.to_owned();
        let read = |source| CredentialsError::Read {
            path: own(),
            source,
        };
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(CredentialsError::Open { path: own() });
        }
        let bytes = mainstay_rt::files::read_limited(path, FILE_LIMIT).map_err(read)?;
        let mut credentials = Self {
            everywhere: Values::new(),
            only: BTreeMap::new(),
            from: path.display().to_string(),
        };
        credentials
            .take(&String::from_utf8_lossy(&bytes))
            .map_err(|(line, why)| CredentialsError::Line {
                path: own(),
                line,
                why,
            })?;
        Ok(credentials)
    }

    /// # Errors
    /// The line that is not understood, and why.
    fn take(&mut self, text: &str) -> Result<(), (usize, String)> {
        let mut section: Option<String> = None;
        for (number, line) in text.lines().enumerate() {
            let (number, line) = (number + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(store) = line.strip_prefix('[') {
                let store = store.strip_suffix(']');
                let store = store.ok_or((number, "the bracket is not closed".to_owned()))?;
                section = Some(store.trim().trim_end_matches('/').to_owned());
                continue;
            }
            let form = || (number, "it is not NAME=VALUE".to_owned());
            let (name, value) = line.split_once('=').ok_or_else(form)?;
            let name = name.trim();
            if !NAMES.contains(&name) {
                let known = NAMES.join(", ");
                return Err((number, format!("no such name is known; known are {known}")));
            }
            let values = match &section {
                Some(store) => self.only.entry(store.clone()).or_default(),
                None => &mut self.everywhere,
            };
            values.insert(name.to_owned(), value.trim().to_owned());
        }
        Ok(())
    }

    /// What applies to a store of a scheme.
    ///
    /// # Errors
    /// When it does not suffice to be let in.
    pub fn of(&self, store: &str, scheme: &str) -> Result<Values, CredentialsError> {
        let mut values = self.everywhere.clone();
        if let Some(own) = self.only.get(store.trim_end_matches('/')) {
            values.extend(own.clone());
        }
        let has = |name: &&str| values.get(*name).is_some_and(|value| !value.is_empty());
        let suffices = ways(scheme).iter().any(|way| way.iter().all(has));
        match suffices {
            true => Ok(values),
            false => Err(CredentialsError::Missing {
                store: store.to_owned(),
                looked: self.from.clone(),
            }),
        }
    }
}

fn ways(scheme: &str) -> &'static [&'static [&'static str]] {
    let found = SUFFICIENT.iter().find(|(known, _)| *known == scheme);
    found.map(|(_, ways)| *ways).unwrap_or_default()
}

fn needed(store: &str) -> String {
    let scheme = store.split("://").next().unwrap_or_default();
    let each: Vec<String> = ways(scheme).iter().map(|way| way.join(" and ")).collect();
    each.join(", or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_store_is_given_its_own_and_what_is_everybodys() {
        let text = "# ours\nAWS_ACCESS_KEY_ID = one\nAWS_SECRET_ACCESS_KEY=two\n\n[s3://other/x/]\nAWS_ACCESS_KEY_ID=three\n";
        let (_folder, path) = file(text, 0o600);
        let credentials = Credentials::find(Some(&path)).unwrap();
        let id = |store: &str| credentials.of(store, "s3").unwrap()["AWS_ACCESS_KEY_ID"].clone();
        assert_eq!(id("s3://bucket"), "one");
        assert_eq!(id("s3://other/x"), "three");
        let refused = credentials.of("gs://bucket", "gs").err().unwrap();
        let said = refused.to_string();
        assert!(
            said.contains("GOOGLE_SERVICE_ACCOUNT") && said.contains("gs://bucket"),
            "{said}"
        );
    }

    #[test]
    fn what_others_may_read_or_nobody_understands_is_refused_without_being_repeated() {
        let (_folder, path) = file("AWS_ACCESS_KEY_ID=geheim\n", 0o640);
        let refused = Credentials::find(Some(&path)).err().unwrap().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        for text in [
            "AWS_ACCESS_KEY_ID geheim",
            "PASSWORD=geheim",
            "[s3://geheim",
        ] {
            let (_folder, path) = file(&format!("# one\n{text}\n"), 0o600);
            let refused = Credentials::find(Some(&path)).err().unwrap().to_string();
            assert!(refused.contains("line 2"), "{refused}");
            assert!(!refused.contains("geheim"), "{refused}");
        }
    }
}
