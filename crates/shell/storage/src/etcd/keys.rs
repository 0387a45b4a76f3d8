//! The names under which a platform's journal stands in etcd.
//!
//! ```text
//! PREFIX/head                                   the position behind the last part
//! PREFIX/parts/00000000000000000042             the part from position 42 on, or where its pieces are
//! PREFIX/pieces/00000000000000000042/NONCE/0000 a piece of a part that is too large for one value
//! PREFIX/beats/HOST                             what HOST says, under a lease
//! ```

use mainstay_units::Position;

use super::wire::Bytes;

/// Begins with `/`, and does not end with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    pub fn new(prefix: &str) -> Self {
        Self {
            prefix: format!("/{}", prefix.trim_matches('/')),
        }
    }

    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub fn head(&self) -> Bytes {
        Bytes::of(format!("{}/head", self.prefix))
    }

    pub fn parts(&self) -> String {
        format!("{}/parts/", self.prefix)
    }

    pub fn part(&self, position: Position) -> Bytes {
        Bytes::of(format!("{}{:020}", self.parts(), position.0))
    }

    /// The position of the part under this key.
    pub fn position(&self, key: &Bytes) -> Result<Position, String> {
        let name = key.text().and_then(|key| key.strip_prefix(&self.parts()));
        let position = name.and_then(|name| name.parse().ok()).map(Position);
        position
            .filter(|position| self.part(*position) == *key)
            .ok_or_else(|| String::from_utf8_lossy(&key.0).into_owned())
    }

    pub fn pieces(&self) -> String {
        format!("{}/pieces/", self.prefix)
    }

    pub fn pieces_from(&self, position: Position) -> Bytes {
        Bytes::of(format!("{}{:020}/", self.pieces(), position.0))
    }

    pub fn piece(&self, position: Position, nonce: &str, number: usize) -> Bytes {
        Bytes::of(format!(
            "{}{:020}/{nonce}/{number:04}",
            self.pieces(),
            position.0
        ))
    }

    pub fn beats(&self) -> String {
        format!("{}/beats/", self.prefix)
    }

    pub fn beat(&self, node: &str) -> Bytes {
        Bytes::of(format!("{}{node}", self.beats()))
    }
}

/// Behind every key that begins so. Ours are ASCII.
pub fn behind(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    Bytes(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_one_name() {
        let keys = Keys::new("mainstay/exchange");
        let key = keys.part(Position(42));
        assert_eq!(
            key.text(),
            Some("/mainstay/exchange/parts/00000000000000000042")
        );
        assert_eq!(keys.position(&key), Ok(Position(42)));
        for foreign in ["/mainstay/exchange/parts/42", "/mainstay/exchange/parts/x"] {
            assert!(keys.position(&Bytes::of(foreign)).is_err());
        }
        assert!(key < behind(&keys.parts()));
    }
}
