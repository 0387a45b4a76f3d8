//! An HTTP call that a step makes from a host.

use alloc::format;
use alloc::string::String;

use crate::value::{FillError, Values, fill, fill_escaped};

/// What is called, and which answers mean that it was done. Texts may hold `${parameter}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Whose node calls.
    pub host: String,
    /// `http://…` or `https://…`. A value in it is escaped, so that it stays one part of a path or one argument.
    pub url: String,
    pub method: Method,
    /// JSON. A value in it is escaped as within a text.
    pub body: Option<String>,
    /// A file of mode 0600 on the host, with a header on each line: what must not stand in the journal.
    pub headers_file: Option<String>,
    /// A file on the host (PEM): whom the called must be certified by, instead of whom the system trusts.
    pub authority_file: Option<String>,
    /// The first and the last status that mean that it was done.
    pub expect: (u16, u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub const ALL: [Self; 6] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == text)
    }
}

impl Call {
    pub(crate) fn filled(&self, values: &Values) -> Result<Self, FillError> {
        let body = self.body.as_ref();
        Ok(Self {
            host: fill(&self.host, values)?,
            url: fill_escaped(&self.url, values, in_url)?,
            method: self.method,
            body: body
                .map(|body| fill_escaped(body, values, in_json))
                .transpose()?,
            headers_file: self.headers_file.clone(),
            authority_file: self.authority_file.clone(),
            expect: self.expect,
        })
    }
}

impl core::fmt::Display for Call {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (first, last) = self.expect;
        write!(
            f,
            "on {}: {} {}, expecting {first} to {last}",
            self.host,
            self.method.as_str(),
            self.url
        )
    }
}

/// Every byte that is not plain, as `%20`.
fn in_url(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            true => escaped.push(char::from(byte)),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// As it stands between the quotes of a text. Values have no control characters.
fn in_json(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, '"' | '\\') {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_one_part_of_an_url_and_one_text_of_a_body() {
        let call = Call {
            host: "${host}".into(),
            url: "https://api.example/hosts/${host}?why=${why}".into(),
            method: Method::Post,
            body: Some("{\"why\": \"${why}\"}".into()),
            headers_file: Some("/etc/headers".into()),
            authority_file: Some("/etc/roots.pem".into()),
            expect: (200, 299),
        };
        let values = Values::from([
            ("host".into(), "../h1".into()),
            ("why".into(), "a \"b\" & \\c".into()),
        ]);
        let filled = call.filled(&values).unwrap();
        assert_eq!(filled.host, "../h1");
        assert_eq!(
            filled.url,
            "https://api.example/hosts/..%2Fh1?why=a%20%22b%22%20%26%20%5Cc"
        );
        assert_eq!(filled.body.unwrap(), r#"{"why": "a \"b\" & \\c"}"#);
    }
}
