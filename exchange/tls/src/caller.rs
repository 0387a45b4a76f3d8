//! Who came through a door, for those behind it who do not do everything for everybody.

use std::sync::{Arc, OnceLock};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;

use crate::Guarded;

/// Whoever holds the other end of a connection. Nothing is known of them in the clear, nor before they have proven
/// anything; by the time that a request has been read, they have.
#[derive(Clone, Debug, Default)]
pub struct Caller(Arc<OnceLock<CertificateDer<'static>>>);

impl Caller {
    /// Whether the caller has proven to have this name.
    pub fn is(&self, name: &str) -> bool {
        let Some(certificate) = self.0.get() else {
            return false;
        };
        let parsed = ParsedCertificate::try_from(certificate);
        match (parsed, ServerName::try_from(name)) {
            (Ok(parsed), Ok(name)) => verify_server_name(&parsed, &name).is_ok(),
            _ => false,
        }
    }

    /// Once only: a connection has one caller.
    pub(crate) fn proved(&self, certificates: Option<&[CertificateDer<'static>]>) {
        if let Some(own) = certificates.and_then(<[_]>::first) {
            self.0.get_or_init(|| own.clone());
        }
    }
}

impl<L> Connected<IncomingStream<'_, Guarded<L>>> for Caller
where
    L: Listener,
    L::Io: 'static,
{
    fn connect_info(stream: IncomingStream<'_, Guarded<L>>) -> Self {
        stream.io().caller()
    }
}
