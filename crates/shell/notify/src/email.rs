//! Mail to a submission server, by `lettre`. A connection carries one message, and is encrypted unless the channel says
//! otherwise; a server that does not offer that gets nothing.

use std::time::Duration;

use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor, transport};
use mainstay_model::oncall::{Email, EmailTls};
use mainstay_notify::Notice;
use mainstay_rt::error::chain;
use mainstay_rt::secret;

use crate::Sent;
use crate::words::{cut, incident_key, key, line, lines};

/// For each step of the dialogue.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// Certificates of authorities are short.
const AUTHORITY_BYTES_MAX: u64 = 1 << 20;
/// What this host calls itself: servers ask for a name, and nobody rests on it.
const OWN_NAME: &str = "mainstay.invalid";

#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("{0} is no address: HOST:PORT is wanted")]
    Server(String),
    #[error("{text} is no mail address")]
    Address {
        text: String,
        source: lettre::address::AddressError,
    },
    #[error("compose the message")]
    Message(#[from] lettre::error::Error),
    #[error("read {path}")]
    Authority {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
    #[error(transparent)]
    Smtp(#[from] transport::smtp::Error),
}

impl MailError {
    /// Codes from 500 upwards are for good; so is what the configuration says, and what the server does not offer.
    fn is_final(&self) -> bool {
        match self {
            Self::Smtp(error) => error.is_permanent() || error.is_client(),
            _ => true,
        }
    }

    /// What `lettre` says of an error names its cause already.
    fn in_words(&self) -> String {
        match self {
            Self::Smtp(error) => error.to_string(),
            other => chain(other),
        }
    }
}

pub async fn send(email: &Email, platform: &str, notice: &Notice) -> Sent {
    match deliver(email, platform, notice).await {
        Ok(detail) => Sent::Said { detail },
        Err(error) => {
            let why = error.in_words();
            match error.is_final() {
                true => Sent::Refused { why },
                false => Sent::Later { why },
            }
        }
    }
}

async fn deliver(email: &Email, platform: &str, notice: &Notice) -> Result<String, MailError> {
    let message = message(email, platform, notice)?;
    let answer = transport(email)?.send(message).await?;
    let said: Vec<&str> = answer.message().collect();
    Ok(cut(&said.join(" "), 200))
}

fn transport(email: &Email) -> Result<AsyncSmtpTransport<Tokio1Executor>, MailError> {
    let wrong = || MailError::Server(email.server.clone());
    let (host, port) = email.server.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = host.trim_matches(['[', ']']);
    let tls = match email.tls {
        EmailTls::Off => Tls::None,
        EmailTls::Starttls => Tls::Required(parameters(email, host)?),
        EmailTls::Implicit => Tls::Wrapper(parameters(email, host)?),
    };
    // Dangerous is what `Tls::None` would be for a server elsewhere; the platform file does not let that pass.
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
        .port(port)
        .tls(tls)
        .hello_name(ClientId::Domain(OWN_NAME.to_owned()))
        .timeout(Some(STEP_LIMIT));
    if let (Some(user), Some(file)) = (&email.user, &email.password_file) {
        let password = secret::read(file)?;
        builder = builder
            .credentials(Credentials::new(user.clone(), password))
            .authentication(vec![Mechanism::Plain, Mechanism::Login]);
    }
    Ok(builder.build())
}

fn parameters(email: &Email, host: &str) -> Result<TlsParameters, MailError> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &email.authority_file {
        let pem = mainstay_rt::files::read_limited(path.as_ref(), AUTHORITY_BYTES_MAX);
        let pem = pem.map_err(|source| MailError::Authority {
            path: path.clone(),
            source,
        })?;
        builder = builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.build_rustls()?)
}

/// In base64, so that no server on the way has to change anything, and no line of it means anything to one.
fn message(email: &Email, platform: &str, notice: &Notice) -> Result<Message, MailError> {
    let plain = |text: String| -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        text.chars()
            .map(|c| if fits(c) { c } else { '.' })
            .collect()
    };
    let place = email.from.rsplit_once('@').map_or("", |(_, place)| place);
    let own = plain(key(platform, notice));
    let thread = plain(incident_key(platform, notice));
    let automatic = HeaderValue::new(
        HeaderName::new_from_ascii_str("Auto-Submitted"),
        "auto-generated".to_owned(),
    );
    let mut builder = Message::builder()
        .from(mailbox(&email.from)?)
        .subject(cut(&line(platform, notice), 300))
        .message_id(Some(format!("<notice.{own}@{place}>")))
        .references(format!("<{thread}@{place}>"))
        .raw_header(automatic)
        .header(ContentType::TEXT_PLAIN);
    for to in &email.to {
        builder = builder.to(mailbox(to)?);
    }
    let text = lines(platform, notice).into_bytes();
    let encoding = ContentTransferEncoding::Base64;
    // Whatever it is, it can be said in base64.
    let body = Body::new_with_encoding(text, encoding).unwrap_or_else(Body::new);
    Ok(builder.body(body)?)
}

fn mailbox(address: &str) -> Result<Mailbox, MailError> {
    let parsed: Result<Address, _> = address.parse();
    let address = parsed.map_err(|source| MailError::Address {
        text: address.to_owned(),
        source,
    })?;
    Ok(Mailbox::new(None, address))
}
