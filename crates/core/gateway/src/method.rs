//! Request methods, as far as routing and repeating care about them.

/// A method token, folded to what a decision needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Head,
    Options,
    Put,
    Delete,
    Post,
    Patch,
    /// Any other token. Matches only routes that accept every method, and is never repeated.
    Other,
}

impl Method {
    /// Methods are case-sensitive (RFC 9110, 9.1).
    pub fn parse(token: &str) -> Self {
        match token {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "OPTIONS" => Self::Options,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// Which methods a route takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodSet(u8);

impl MethodSet {
    pub const ALL: Self = Self(0xFF);

    pub const NONE: Self = Self(0);

    /// An empty list means every method.
    pub fn of(methods: &[Method]) -> Self {
        if methods.is_empty() {
            return Self::ALL;
        }
        Self(
            methods
                .iter()
                .fold(0, |set, method| set | 1 << (*method as u8)),
        )
    }

    pub const fn contains(self, method: Method) -> bool {
        self.0 & (1 << (method as u8)) != 0
    }

    pub const fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// As `Allow` lists them (RFC 9110, 10.2.1).
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let named = [
            (Method::Get, "GET"),
            (Method::Head, "HEAD"),
            (Method::Options, "OPTIONS"),
            (Method::Put, "PUT"),
            (Method::Delete, "DELETE"),
            (Method::Post, "POST"),
            (Method::Patch, "PATCH"),
        ];
        named
            .into_iter()
            .filter_map(move |(method, name)| self.contains(method).then_some(name))
    }
}
