//! Mail to a submission server: as much of SMTP (RFC 5321, 3207, 4954) as one message needs.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mainstay_model::oncall::{Email, EmailTls};
use mainstay_notify::Notice;
use mainstay_rt::error::chain;
use mainstay_rt::secret;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::Sent;
use crate::words::{cut, incident_key, key, line, lines};

const STEP_LIMIT: Duration = Duration::from_secs(10);
const LINES_MAX: usize = 100;
const LINE_BYTES_MAX: usize = 2_000;
/// RFC 5322 asks for lines of at most 78 characters.
const FOLD: usize = 76;

#[derive(Debug, thiserror::Error)]
enum MailError {
    #[error("connect to {0}")]
    Connect(String, #[source] std::io::Error),
    #[error("speak with the mail server")]
    Io(#[from] std::io::Error),
    #[error("the mail server did not answer in time")]
    Late,
    #[error("the mail server's answer has no form")]
    Form,
    #[error("the mail server does not offer {0}")]
    Lacks(&'static str),
    #[error("{step}: {code} {text}")]
    Answer {
        step: &'static str,
        code: u16,
        text: String,
    },
    #[error("set TLS up: {0}")]
    Tls(String),
    #[error(transparent)]
    Secret(#[from] secret::SecretError),
}

impl MailError {
    /// Codes from 500 upwards are for good; so is what the configuration says.
    const fn is_final(&self) -> bool {
        match self {
            Self::Answer { code, .. } => *code >= 500,
            Self::Lacks(_) | Self::Tls(_) | Self::Secret(_) => true,
            Self::Connect(..) | Self::Io(_) | Self::Late | Self::Form => false,
        }
    }
}

pub async fn send(email: &Email, platform: &str, notice: &Notice) -> Sent {
    match deliver(email, platform, notice).await {
        Ok(detail) => Sent::Said { detail },
        Err(error) => {
            let why = chain(&error);
            match error.is_final() {
                true => Sent::Refused { why },
                false => Sent::Later { why },
            }
        }
    }
}

async fn deliver(email: &Email, platform: &str, notice: &Notice) -> Result<String, MailError> {
    let connecting = TcpStream::connect(&email.server);
    let stream = timeout(STEP_LIMIT, connecting)
        .await
        .map_err(|_| MailError::Late)?
        .map_err(|error| MailError::Connect(email.server.clone(), error))?;
    let message = message(email, platform, notice);
    match email.tls {
        EmailTls::Off => {
            let mut session = Session::new(stream);
            session.greeted().await?;
            let offers = session.hello().await?;
            session.hand_over(email, &offers, &message).await
        }
        EmailTls::Implicit => {
            let mut session = Session::new(secured(email, stream).await?);
            session.greeted().await?;
            let offers = session.hello().await?;
            session.hand_over(email, &offers, &message).await
        }
        EmailTls::Starttls => {
            let mut session = Session::new(stream);
            session.greeted().await?;
            let offers = session.hello().await?;
            if !offers.iter().any(|offer| offer == "STARTTLS") {
                return Err(MailError::Lacks("STARTTLS"));
            }
            session.say("starttls", "STARTTLS", 220).await?;
            // What was sent before the handshake does not count.
            if !session.stream.buffer().is_empty() {
                return Err(MailError::Form);
            }
            let stream = session.stream.into_inner();
            let mut session = Session::new(secured(email, stream).await?);
            let offers = session.hello().await?;
            session.hand_over(email, &offers, &message).await
        }
    }
}

async fn secured(
    email: &Email,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, MailError> {
    let tls = |error: &dyn std::error::Error| MailError::Tls(chain(error));
    let host = email.server.rsplit_once(':').map_or("", |(host, _)| host);
    let host = host.trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(|error| tls(&error))?;
    let config = config(email)?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let secured = timeout(STEP_LIMIT, connecting).await;
    Ok(secured.map_err(|_| MailError::Late)??)
}

fn config(email: &Email) -> Result<ClientConfig, MailError> {
    let tls = |error: &dyn std::error::Error| MailError::Tls(chain(error));
    let Some(path) = &email.authority_file else {
        return ClientConfig::with_platform_verifier().map_err(|error| tls(&error));
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(path).map_err(|error| tls(&error))? {
        let root = root.map_err(|error| tls(&error))?;
        roots.add(root).map_err(|error| tls(&error))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

struct Session<S> {
    stream: BufReader<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    async fn greeted(&mut self) -> Result<(), MailError> {
        self.expect("greeting", 220).await.map(|_| ())
    }

    /// What the server offers, upper case.
    async fn hello(&mut self) -> Result<Vec<String>, MailError> {
        let lines = self.say("hello", "EHLO mainstay.invalid", 250).await?;
        Ok(lines.iter().map(|line| line.to_uppercase()).collect())
    }

    async fn hand_over(
        &mut self,
        email: &Email,
        offers: &[String],
        message: &str,
    ) -> Result<String, MailError> {
        if let (Some(user), Some(file)) = (&email.user, &email.password_file) {
            let password = secret::read(file)?;
            self.authenticate(user, &password, offers).await?;
        }
        self.say("sender", &format!("MAIL FROM:<{}>", email.from), 250)
            .await?;
        for to in &email.to {
            self.say("recipient", &format!("RCPT TO:<{to}>"), 250)
                .await?;
        }
        self.say("data", "DATA", 354).await?;
        let taken = self.say("message", &format!("{message}\r\n."), 250).await?;
        // It is taken; whether the farewell is heard makes no difference.
        self.say("farewell", "QUIT", 221).await.ok();
        Ok(cut(&taken.join(" "), 200))
    }

    /// In one step where the server offers that or does not say; by question and answer, as some know nothing else.
    async fn authenticate(
        &mut self,
        user: &str,
        password: &str,
        offers: &[String],
    ) -> Result<(), MailError> {
        const STEP: &str = "authentication";
        let ways = offers.iter().find_map(|offer| offer.strip_prefix("AUTH "));
        let offered = |way: &str| ways.is_none_or(|ways| ways.split(' ').any(|one| one == way));
        if offered("PLAIN") {
            let proof = BASE64.encode(format!("\0{user}\0{password}"));
            self.say(STEP, &format!("AUTH PLAIN {proof}"), 235).await?;
        } else if offered("LOGIN") {
            self.say(STEP, "AUTH LOGIN", 334).await?;
            self.say(STEP, &BASE64.encode(user), 334).await?;
            self.say(STEP, &BASE64.encode(password), 235).await?;
        } else {
            return Err(MailError::Lacks("AUTH PLAIN or AUTH LOGIN"));
        }
        Ok(())
    }

    async fn say(
        &mut self,
        step: &'static str,
        line: &str,
        wanted: u16,
    ) -> Result<Vec<String>, MailError> {
        let saying = async {
            let stream = self.stream.get_mut();
            stream.write_all(format!("{line}\r\n").as_bytes()).await?;
            stream.flush().await
        };
        timeout(STEP_LIMIT, saying)
            .await
            .map_err(|_| MailError::Late)??;
        self.expect(step, wanted).await
    }

    /// The lines of an answer, without their codes.
    async fn expect(&mut self, step: &'static str, wanted: u16) -> Result<Vec<String>, MailError> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let code = line.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code.ok_or(MailError::Form)?;
            let rest = line.get(3..).unwrap_or_default();
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if lines.len() > LINES_MAX {
                return Err(MailError::Form);
            }
            if rest.starts_with('-') {
                continue;
            }
            if code != wanted {
                let text = cut(&lines.join(" "), 200);
                return Err(MailError::Answer { step, code, text });
            }
            return Ok(lines);
        }
    }

    async fn line(&mut self) -> Result<String, MailError> {
        let mut bytes = Vec::new();
        let reading = self.stream.read_until(b'\n', &mut bytes);
        timeout(STEP_LIMIT, reading)
            .await
            .map_err(|_| MailError::Late)??;
        if bytes.is_empty() {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        if bytes.len() > LINE_BYTES_MAX {
            return Err(MailError::Form);
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// Headers and body. Everything that is not ASCII is encoded, so no line begins with a dot and none can be smuggled in.
fn message(email: &Email, platform: &str, notice: &Notice) -> String {
    let plain = |text: String| -> String {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        text.chars()
            .map(|c| if fits(c) { c } else { '.' })
            .collect()
    };
    let place = email.from.rsplit_once('@').map_or("", |(_, place)| place);
    let own = plain(key(platform, notice));
    let thread = plain(incident_key(platform, notice));
    let subject = encoded(&cut(&line(platform, notice), 300));
    let body = BASE64.encode(lines(platform, notice));
    let body: Vec<&str> = folded(&body).collect();
    [
        format!("From: <{}>", email.from),
        format!("To: {}", addresses(&email.to)),
        format!("Subject: {subject}"),
        format!("Message-ID: <notice.{own}@{place}>"),
        format!("References: <{thread}@{place}>"),
        "Auto-Submitted: auto-generated".to_owned(),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: base64".to_owned(),
        String::new(),
        body.join("\r\n"),
    ]
    .join("\r\n")
}

fn addresses(to: &[String]) -> String {
    let each: Vec<String> = to.iter().map(|to| format!("<{to}>")).collect();
    each.join(",\r\n ")
}

/// Encoded words of RFC 2047, each of whole characters.
fn encoded(text: &str) -> String {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = cut(rest, 42);
        rest = &rest[word.len()..];
        words.push(format!("=?utf-8?B?{}?=", BASE64.encode(word)));
    }
    words.join("\r\n ")
}

fn folded(text: &str) -> impl Iterator<Item = &str> {
    let ends = (0..text.len()).step_by(FOLD);
    ends.map(|begin| &text[begin..text.len().min(begin + FOLD)])
}
