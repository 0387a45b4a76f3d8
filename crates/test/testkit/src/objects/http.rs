//! Requests, read one after the other from a connection.

use std::collections::BTreeMap;
use std::io::BufRead;

use anyhow::{Context, Result, bail};

#[derive(Default)]
pub(super) struct Request {
    pub method: String,
    /// As it was sent; what is signed.
    pub raw_path: String,
    pub path: String,
    pub query: BTreeMap<String, String>,
    /// By names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name).map(String::as_str);
        value.with_context(|| format!("{} {}: no {name}", self.method, self.path))
    }

    /// Nothing where it is not given.
    pub fn given(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }
}

pub(super) enum Answer {
    Close,
    Say(u16, Vec<(&'static str, String)>, Vec<u8>),
}

/// A request without its body; `None` where the connection has ended.
pub(super) fn head(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        bail!("no request: {line:?}");
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (
                decode(&name.replace('+', " ")),
                decode(&value.replace('+', " ")),
            )
        });
    let mut request = Request {
        method: method.to_owned(),
        raw_path: path.to_owned(),
        path: decode(path),
        query: query.collect(),
        ..Request::default()
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(request));
        }
        let (name, value) = line.split_once(':').context("a header")?;
        let value = value.trim().to_owned();
        request.headers.insert(name.to_ascii_lowercase(), value);
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut place) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(place) {
        let digits = text.get(place + 1..place + 3);
        let coded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (byte, coded) {
            (b'%', Some(coded)) => {
                decoded.push(coded);
                place += 3;
            }
            _ => {
                decoded.push(*byte);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
