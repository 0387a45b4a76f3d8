//! Who this gateway is to those whom it calls: keepers, and instances of services that want to know.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_identity::{Identity, IdentityError};
use mainstay_record::identity::IdentityFiles;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The gateway's identity, read when it is first needed: one that is not there yet is looked for again.
#[derive(Debug)]
pub struct Caller {
    files: Option<IdentityFiles>,
    identity: Mutex<Option<Arc<Identity>>>,
}

/// A connection to an instance.
#[derive(Debug)]
pub enum Line {
    Clear(TcpStream),
    Proven(Box<TlsStream<TcpStream>>),
}

impl Caller {
    pub fn new(files: Option<IdentityFiles>) -> Self {
        Self {
            files,
            identity: Mutex::default(),
        }
    }

    /// `None`: whoever demands no proof is asked in the clear, and nobody else can be.
    pub fn identity(&self) -> Result<Option<Arc<Identity>>, IdentityError> {
        let Some(files) = &self.files else {
            return Ok(None);
        };
        let mut known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() {
            *known = Some(Identity::open(files.clone())?);
        }
        Ok(known.clone())
    }

    /// Shakes hands over a connection to an instance, with one that must prove a name.
    pub async fn greet(&self, stream: TcpStream, name: Option<&str>) -> io::Result<Line> {
        stream.set_nodelay(true).ok();
        let Some(name) = name else {
            return Ok(Line::Clear(stream));
        };
        let identity = self.identity().map_err(io::Error::other)?;
        let identity = identity.ok_or(io::ErrorKind::PermissionDenied)?;
        let proven = identity.reconnect(stream, name).await;
        let refused = |error: &io::Error| {
            tracing::debug!(name, %error, "no proof of an instance");
        };
        Ok(Line::Proven(Box::new(proven.inspect_err(refused)?)))
    }
}
