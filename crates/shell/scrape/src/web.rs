//! Targets over TLS that are not of the platform.
//!
//! A target is reached at one address and certified under a name that may be another one. So it is asked for by its name,
//! and where that name is, is answered here: nobody else is asked. A name that is itself an address is asked there.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use hyper::body::Bytes;
use mainstay_rt::error::chain;
use mainstay_scrape::exposition::Format;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Response, header, redirect};

use crate::server::authorities;
use crate::{Answer, Endpoint, NoAnswer, headers};

/// A file of an authority that cannot be used is trouble of its target, which is asked again at the next beat; so is one that
/// was changed since.
#[derive(Clone, Debug)]
pub struct Web {
    address: String,
    /// `https://NAME:PORT`
    root: String,
    authority_file: Option<PathBuf>,
    client: Arc<Mutex<Option<Client>>>,
}

impl Web {
    /// `address` is `HOST:PORT`. The target must be certified to be `server_name`, by whom stands in the file, or by whom
    /// the system trusts.
    pub fn new(address: &str, server_name: &str, authority_file: Option<PathBuf>) -> Self {
        let (_, port) = address.rsplit_once(':').unwrap_or((address, "443"));
        let host = match server_name.contains(':') {
            true => format!("[{server_name}]"),
            false => server_name.to_owned(),
        };
        Self {
            address: address.to_owned(),
            root: format!("https://{host}:{port}"),
            authority_file,
            client: Arc::default(),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    pub(crate) async fn ask(&self, endpoint: &Endpoint) -> Result<Answer, NoAnswer> {
        let client = self.client().map_err(NoAnswer::Web)?;
        let request = client.get(format!("{}{}", self.root, endpoint.path));
        let response = request.headers(headers(endpoint)?).send().await;
        let response = response.map_err(|error| {
            // Its authority may be another one by now.
            *self.kept() = None;
            told(error)
        })?;
        read(endpoint, response).await
    }

    fn kept(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<Client, String> {
        let mut kept = self.kept();
        if let Some(client) = kept.as_ref() {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(Place(self.address.clone())))
            .user_agent("mainstay");
        if let Some(path) = &self.authority_file {
            builder = builder.tls_certs_only(authorities(path)?);
        }
        let client = builder.build().map_err(|error| chain(&error))?;
        Ok(kept.insert(client).clone())
    }
}

fn told(error: reqwest::Error) -> NoAnswer {
    NoAnswer::Web(chain(&error.without_url()))
}

async fn read(endpoint: &Endpoint, mut response: Response) -> Result<Answer, NoAnswer> {
    if response.status() != StatusCode::OK {
        return Err(NoAnswer::Status(response.status()));
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let format = Format::of_content_type(kind);
    let mut body = Vec::new();
    while let Some(part) = response.chunk().await.map_err(told)? {
        body.extend_from_slice(&part);
        if body.len() > endpoint.limits.bytes {
            let why = format!("it has more than {} bytes", endpoint.limits.bytes);
            return Err(NoAnswer::Body(why));
        }
    }
    let body = Bytes::from(body);
    Ok(Answer { format, body })
}

/// Where the target is, whatever it is called.
#[derive(Debug)]
struct Place(String);

impl Resolve for Place {
    fn resolve(&self, _name: Name) -> Resolving {
        let address = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host(address).await?.collect();
            Ok::<Addrs, Box<dyn Error + Send + Sync>>(Box::new(found.into_iter()))
        })
    }
}
