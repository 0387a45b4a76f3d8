//! Google Cloud Storage by its XML: tokens that a service account signs itself, `x-goog-if-generation-match`, lists as S3's.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::Shared;
use super::http::{Answer, Request};
use super::s3;

const EMAIL: &str = "archiver@test.iam.gserviceaccount.com";
const LINE: usize = 64;

/// Who may speak to the service: an account with an RSA key of its own.
pub struct ServiceAccount {
    /// PKCS#8, in the clear.
    pub key: String,
    public: Vec<u8>,
}

impl ServiceAccount {
    /// # Errors
    /// When no key can be made.
    pub fn draw() -> Result<Self> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok();
        let pair = pair.context("make an RSA key")?;
        let private = pair.as_der().ok().context("write an RSA key")?;
        let lines = STANDARD.encode(private.as_ref());
        let lines: Vec<&str> = lines
            .as_bytes()
            .chunks(LINE)
            .map(|line| std::str::from_utf8(line).unwrap_or_default())
            .collect();
        let key = lines.join("\n");
        Ok(Self {
            key: format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"),
            public: pair.public_key().as_ref().to_vec(),
        })
    }

    /// The file that a cloud hands out for it.
    #[must_use]
    pub fn file(&self) -> String {
        json!({
            "type": "service_account",
            "private_key": self.key,
            "private_key_id": "1",
            "client_email": EMAIL,
        })
        .to_string()
    }

    pub(super) fn verifier(&self) -> Verifier {
        Verifier {
            public: self.public.clone(),
        }
    }
}

pub(super) struct Verifier {
    public: Vec<u8>,
}

impl Verifier {
    /// The token is the account's, and signed by its key.
    pub fn check(&self, request: &Request) -> Result<()> {
        let token = request.header("authorization")?.strip_prefix("Bearer ");
        let token = token.context("another proof than a bearer's token")?;
        let (signed, signature) = token.rsplit_once('.').context("no signature")?;
        let (head, claims) = signed.split_once('.').context("no claims")?;
        let read = |part: &str| -> Result<Value> {
            Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
        };
        let (head, claims) = (read(head)?, read(claims)?);
        ensure!(head["alg"] == "RS256" && head["kid"] == "1", "{head}");
        ensure!(
            claims["iss"] == EMAIL
                && claims["scope"]
                    .as_str()
                    .is_some_and(|scope| scope.contains("devstorage") || scope.contains("cloud")),
            "{claims}"
        );
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public);
        let signature = URL_SAFE_NO_PAD.decode(signature)?;
        let verified = key.verify(signed.as_bytes(), &signature).ok();
        verified.context("the token is not signed by the account's key")
    }
}

pub(super) fn answer(shared: &Shared, name: &str, request: &Request) -> Answer {
    match request.method.as_str() {
        "GET" if name.is_empty() => s3::list(shared, request),
        "GET" | "HEAD" => shared.get(name),
        "PUT" => {
            // Generation 0 is that of an object that does not exist.
            let bound = request.headers.get("x-goog-if-generation-match");
            let bound = bound.is_some_and(|generation| generation == "0");
            let taken = shared.error(412, "PreconditionFailed");
            match shared.put(name, request, bound, taken) {
                Answer::Say(201, mut headers, body) => {
                    headers.push(("x-goog-generation", "1".to_owned()));
                    Answer::Say(200, headers, body)
                }
                other => other,
            }
        }
        "DELETE" if shared.remove(name) => Answer::Say(204, Vec::new(), Vec::new()),
        "DELETE" => shared.error(404, "NoSuchKey"),
        _ => shared.error(405, "MethodNotAllowed"),
    }
}
