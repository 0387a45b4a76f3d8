//! What a question carries: from the address, and from the body of a form.

/// Most fields of one question.
const FIELDS_MAX: usize = 1_000;

#[derive(Clone, Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// Fields of the body come first, as in Prometheus.
    pub fn read(query: &str, body: &[u8]) -> Result<Self, String> {
        let body = std::str::from_utf8(body)
            .map_err(|error| format!("the form in the body is not UTF-8: {error}"))?;
        let mut fields = Vec::new();
        for field in body.split('&').chain(query.split('&')) {
            if field.is_empty() {
                continue;
            }
            if fields.len() >= FIELDS_MAX {
                return Err(format!("more than {FIELDS_MAX} fields"));
            }
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            fields.push((unescape(name)?, unescape(value)?));
        }
        Ok(Self(fields))
    }

    /// As the part of an address after the question mark.
    pub fn encoded(&self) -> String {
        mainstay_scraper::server::encoded(&self.0)
    }

    /// An empty field is as good as none.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Of a part of an address, or of a field.
pub fn unescape(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let escaped = high.zip(low).map(|(high, low)| high * 16 + low);
                escaped
                    .and_then(|number| u8::try_from(number).ok())
                    .ok_or_else(|| format!("invalid escape in {text:?}"))?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| format!("{text:?} is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let form = Form::read(
            "a=1&b=x%7B%22+%22%7d&match[]=q&empty=",
            b"a=2&match%5B%5D=p&flag",
        )
        .expect("read");
        assert_eq!(form.one("a"), Some("2"));
        assert_eq!(form.one("b"), Some("x{\" \"}"));
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["p", "q"]);
        assert_eq!((form.one("empty"), form.one("flag")), (None, None));
        for bad in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert!(Form::read(bad, b"").is_err(), "{bad}");
        }
        assert!(Form::read("", b"\xff").is_err());
    }
}
