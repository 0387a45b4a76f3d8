//! The authority: a key, the roots that are believed, and leaves.
//!
//! The folder holds `key.pem` (the secret), `authority.json` (which roots are believed, and since when they
//! issue nothing any more) and `roots.pem` (the same roots, for whoever verifies). A new root is in the record and
//! in `roots.pem` before its key is on disk, so no leaf can exist whose root nobody knows. A crash between the two
//! leaves a root without a key, which is retired like a lost one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_record::identity::{AUTHORITY_VERSION, AuthorityRecord, RootRecord};
use mainstay_rt::files;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// How long a leaf is good for.
pub const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Clocks of two hosts may differ by this much.
const CLOCK_SLACK: Duration = Duration::from_secs(3600);
const ROOT_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
const FILE_LIMIT: u64 = 1 << 20;
const KEY_FILE: &str = "key.pem";
const RECORD_FILE: &str = "authority.json";
const ROOTS_FILE: &str = "roots.pem";

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("use the authority's {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "read the authority's key {}: it is no private key; move it away, and another one is made", path.display()
    )]
    Key { path: PathBuf, source: rcgen::Error },
    #[error(
        "read the authority's record {}; move it away, and it is written anew from the key", path.display()
    )]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "use the authority in {}: its record has version {found}, this program knows {AUTHORITY_VERSION}", folder.display()
    )]
    Version { folder: PathBuf, found: u32 },
    #[error("use the authority in {}: it is of the platform {there}", folder.display())]
    OtherPlatform { folder: PathBuf, there: String },
    #[error("make a certificate for {name}")]
    Certificate { name: String, source: rcgen::Error },
}

/// A private key and its certificate; it has no `Debug`, so that no log can hold it.
pub struct Leaf {
    /// PEM: the key first, then the certificate.
    pub pem: String,
    /// Which key signed it.
    pub signer: String,
}

/// Whom the authority signs with, and whom it believes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    pub signer: String,
    /// Every key whose leaves are believed, the signer's among them.
    pub believed: Vec<String>,
}

/// The authority of one platform, in its folder. Every call opens it anew, under a lock.
#[derive(Clone, Debug)]
pub struct Authority {
    folder: PathBuf,
    platform: String,
}

impl Authority {
    pub fn new(folder: &Path, platform: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            platform: platform.to_owned(),
        }
    }

    /// The roots that are believed, PEM.
    pub fn roots(&self) -> PathBuf {
        self.folder.join(ROOTS_FILE)
    }

    pub fn key(&self) -> PathBuf {
        self.folder.join(KEY_FILE)
    }

    /// Makes the authority if there is none, another one if its key is gone, and forgets roots whose last leaf has
    /// ended.
    ///
    /// # Errors
    /// When the folder cannot be written, or what is in it cannot be used.
    pub fn keep(&self, now_wall_ms: u64) -> Result<Trust, AuthorityError> {
        let _lock = self.lock()?;
        let (_, signer) = self.open(now_wall_ms)?;
        let roots = self.record()?.roots.into_iter();
        let believed = roots.map(|root| root.key).collect();
        Ok(Trust { signer, believed })
    }

    /// Issues a leaf for one name.
    ///
    /// # Errors
    /// As [`Authority::keep`].
    pub fn issue(&self, name: &str, now_wall_ms: u64) -> Result<Leaf, AuthorityError> {
        self.issue_for(name, &[], now_wall_ms)
    }

    /// Issues a leaf for a name, and for further names and addresses.
    ///
    /// # Errors
    /// As [`Authority::keep`].
    pub fn issue_for(
        &self,
        name: &str,
        also: &[String],
        now_wall_ms: u64,
    ) -> Result<Leaf, AuthorityError> {
        let _lock = self.lock()?;
        let (key, signer) = self.open(now_wall_ms)?;
        let failed = |source| AuthorityError::Certificate {
            name: name.to_owned(),
            source,
        };
        let issuer = Issuer::new(root_params(&signer, now_wall_ms), key);
        let own = KeyPair::generate().map_err(failed)?;
        let params = leaf_params(name, also, now_wall_ms).map_err(failed)?;
        let certificate = params.signed_by(&own, &issuer).map_err(failed)?;
        Ok(Leaf {
            pem: own.serialize_pem() + &certificate.pem(),
            signer,
        })
    }

    fn open(&self, now_wall_ms: u64) -> Result<(KeyPair, String), AuthorityError> {
        let mut record = self.record()?;
        let Some(key) = self.read_key()? else {
            if !record.roots.is_empty() {
                let key = self.key();
                tracing::warn!(key = %key.display(), "the authority's key is gone: another one is made, and the old root is believed until its leaves have ended");
            }
            return self.renew(record, now_wall_ms);
        };
        let signer = fingerprint(&key);
        let before = record.clone();
        let known = record.roots.iter_mut().find(|root| root.key == signer);
        match known {
            Some(root) => root.retired_wall_ms = None,
            None => record.roots.push(root(&key, now_wall_ms)?),
        }
        retire(&mut record, &signer, now_wall_ms);
        if record != before || !self.roots().exists() {
            self.write(&record)?;
        }
        Ok((key, signer))
    }

    fn renew(
        &self,
        mut record: AuthorityRecord,
        now_wall_ms: u64,
    ) -> Result<(KeyPair, String), AuthorityError> {
        let name = || format!("the authority of {}", self.platform);
        let key = KeyPair::generate().map_err(|source| AuthorityError::Certificate {
            name: name(),
            source,
        })?;
        let signer = fingerprint(&key);
        record.roots.push(root(&key, now_wall_ms)?);
        retire(&mut record, &signer, now_wall_ms);
        self.write(&record)?;
        let path = self.key();
        files::write_atomic(&path, key.serialize_pem().as_bytes()).map_err(at(&path))?;
        Ok((key, signer))
    }

    fn read_key(&self) -> Result<Option<KeyPair>, AuthorityError> {
        let path = self.key();
        let text = match files::read_limited(&path, FILE_LIMIT) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(AuthorityError::Io { path, source }),
        };
        let mode = std::fs::metadata(&path).map_err(at(&path))?.permissions();
        if mode.mode() & 0o077 != 0 {
            tracing::warn!(key = %path.display(), mode = format!("{:o}", mode.mode() & 0o777), "others could read the authority's key; if any did, replace it");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, private).map_err(at(&path))?;
        }
        KeyPair::from_pem(&text)
            .map(Some)
            .map_err(|source| AuthorityError::Key { path, source })
    }

    fn record(&self) -> Result<AuthorityRecord, AuthorityError> {
        let path = self.folder.join(RECORD_FILE);
        let bytes = match files::read_limited(&path, FILE_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(AuthorityRecord {
                    version: AUTHORITY_VERSION,
                    platform: self.platform.clone(),
                    roots: Vec::new(),
                });
            }
            Err(source) => return Err(AuthorityError::Io { path, source }),
        };
        let record: AuthorityRecord = serde_json::from_slice(&bytes)
            .map_err(|source| AuthorityError::Record { path, source })?;
        let folder = self.folder.clone();
        if record.version != AUTHORITY_VERSION {
            let found = record.version;
            return Err(AuthorityError::Version { folder, found });
        }
        if record.platform != self.platform {
            let there = record.platform;
            return Err(AuthorityError::OtherPlatform { folder, there });
        }
        Ok(record)
    }

    fn write(&self, record: &AuthorityRecord) -> Result<(), AuthorityError> {
        let path = self.folder.join(RECORD_FILE);
        let bytes = serde_json::to_vec_pretty(record).map_err(|source| AuthorityError::Record {
            path: path.clone(),
            source,
        })?;
        files::write_atomic(&path, &bytes).map_err(at(&path))?;
        let roots: String = (record.roots.iter())
            .map(|root| root.certificate.as_str())
            .collect();
        let path = self.roots();
        files::write_atomic(&path, roots.as_bytes()).map_err(at(&path))
    }

    /// Of several nodes on one machine one makes the authority, and all see the same.
    fn lock(&self) -> Result<File, AuthorityError> {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        made.map_err(at(&self.folder))?;
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(at(&path))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| at(&path)(error.into()))?;
        Ok(file)
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io { path, source }
}

/// Every root but the signer's issues nothing from now on, and goes when its last leaf has ended.
fn retire(record: &mut AuthorityRecord, signer: &str, now_wall_ms: u64) {
    for root in &mut record.roots {
        if root.key != signer && root.retired_wall_ms.is_none() {
            root.retired_wall_ms = Some(now_wall_ms);
        }
    }
    let overlap = millis(LEAF_LIFETIME + CLOCK_SLACK);
    record.roots.retain(|root| {
        (root.retired_wall_ms).is_none_or(|retired| now_wall_ms < retired.saturating_add(overlap))
    });
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn fingerprint(key: &KeyPair) -> String {
    let digest = Sha256::digest(key.der_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn root(key: &KeyPair, now_wall_ms: u64) -> Result<RootRecord, AuthorityError> {
    let signer = fingerprint(key);
    let certificate = root_params(&signer, now_wall_ms)
        .self_signed(key)
        .map_err(|source| AuthorityError::Certificate {
            name: "the authority itself".to_owned(),
            source,
        })?;
    Ok(RootRecord {
        key: signer,
        certificate: certificate.pem(),
        retired_wall_ms: None,
    })
}

/// Everything that leaves refer to follows from the key alone.
fn root_params(signer: &str, now_wall_ms: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let short: String = signer.chars().take(16).collect();
    params.distinguished_name = common_name(&format!("Mainstay authority {short}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = instant(now_wall_ms) - Duration::from_secs(24 * 3600);
    params.not_after = instant(now_wall_ms) + ROOT_LIFETIME;
    params
}

/// What reads as an address is put down as one.
fn leaf_params(
    name: &str,
    also: &[String],
    now_wall_ms: u64,
) -> Result<CertificateParams, rcgen::Error> {
    let mut names = vec![name.to_owned()];
    names.extend_from_slice(also);
    let mut params = CertificateParams::new(names)?;
    // The name proper stands in the extension; this one is for people, and has 64 bytes at most.
    let short: String = name.chars().take(64).collect();
    params.distinguished_name = common_name(&short);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.not_before = instant(now_wall_ms) - CLOCK_SLACK;
    params.not_after = instant(now_wall_ms) + LEAF_LIFETIME;
    Ok(params)
}

fn common_name(text: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, text);
    name
}

fn instant(wall_ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(wall_ms / 1_000).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
