//! etcd's v3 messages in the JSON of its gateway: numbers of 64 bits are texts, bytes are base64, and what has its
//! zero value is left out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Bytes of a key or a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    pub fn of(text: impl AsRef<[u8]>) -> Self {
        Self(text.as_ref().to_vec())
    }

    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Range {
    pub key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys_only: Option<bool>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Put {
    pub key: Bytes,
    pub value: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Delete {
    pub key: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<Bytes>,
}

#[derive(Clone, Debug, Serialize)]
pub enum Request {
    #[serde(rename = "request_range")]
    Range(Range),
    #[serde(rename = "request_put")]
    Put(Put),
    #[serde(rename = "request_delete_range")]
    Delete(Delete),
}

/// What must hold for a transaction to go the way of success.
#[derive(Clone, Debug, Serialize)]
pub struct Compare {
    key: Bytes,
    target: &'static str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Bytes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_revision: Option<&'static str>,
}

impl Compare {
    pub fn value_is(key: Bytes, value: impl AsRef<[u8]>) -> Self {
        Self {
            key,
            target: "VALUE",
            result: "EQUAL",
            value: Some(Bytes::of(value)),
            create_revision: None,
        }
    }

    pub fn is_absent(key: Bytes) -> Self {
        Self {
            key,
            target: "CREATE",
            result: "EQUAL",
            value: None,
            create_revision: Some("0"),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Txn {
    pub compare: Vec<Compare>,
    pub success: Vec<Request>,
    pub failure: Vec<Request>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct KeyValue {
    pub key: Bytes,
    #[serde(default)]
    pub value: Bytes,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct RangeAnswer {
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
    #[serde(default)]
    pub more: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct Response {
    pub response_range: Option<RangeAnswer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct TxnAnswer {
    #[serde(default)]
    pub succeeded: bool,
    #[serde(default)]
    pub responses: Vec<Response>,
}

impl TxnAnswer {
    /// What the range at this place of the branch found first.
    pub fn found(&self, place: usize) -> Option<&KeyValue> {
        let range = self.responses.get(place)?.response_range.as_ref()?;
        range.kvs.first()
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct LeaseGrant {
    #[serde(rename = "TTL")]
    pub ttl: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub struct LeaseAnswer {
    #[serde(rename = "ID")]
    pub id: String,
    /// Absent where the lease is over.
    #[serde(rename = "TTL")]
    pub ttl: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct LeaseId {
    #[serde(rename = "ID")]
    pub id: String,
}

/// One message of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Streamed<T> {
    pub result: Option<T>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Watch {
    pub create_request: Range,
}

/// What the gateway says when it has no answer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Refusal {
    #[serde(default)]
    pub error: String,
    #[serde(default)]
    pub code: i64,
}

/// Answers that carry nothing we need.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Nothing {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_reads_as_the_gateway_wants_it() {
        let txn = Txn {
            compare: vec![
                Compare::value_is(Bytes::of("head"), "7"),
                Compare::is_absent(Bytes::of("p")),
            ],
            success: vec![Request::Put(Put {
                key: Bytes::of("p"),
                value: Bytes::of("x"),
                lease: None,
            })],
            failure: vec![Request::Range(Range {
                key: Bytes::of("head"),
                ..Range::default()
            })],
        };
        let text = serde_json::to_string(&txn).unwrap();
        assert_eq!(
            text,
            r#"{"compare":[{"key":"aGVhZA==","target":"VALUE","result":"EQUAL","value":"Nw=="},{"key":"cA==","target":"CREATE","result":"EQUAL","create_revision":"0"}],"success":[{"request_put":{"key":"cA==","value":"eA=="}}],"failure":[{"request_range":{"key":"aGVhZA=="}}]}"#
        );
    }

    #[test]
    fn answers_leave_out_what_is_zero() {
        let answer: TxnAnswer = serde_json::from_str(
            r#"{"header":{"revision":"2"},"responses":[{"response_range":{"kvs":[{"key":"aGVhZA==","mod_revision":"2","value":"MQ=="}],"count":"1"}},{"response_range":{}}]}"#,
        )
        .unwrap();
        assert!(!answer.succeeded);
        assert_eq!(answer.found(0).unwrap().value, Bytes::of("1"));
        assert!(answer.found(1).is_none());
        assert!(answer.found(2).is_none());
    }
}
