//! A gateway: where clients of the platform enter.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::name::{DatabaseName, GatewayName, HostName, PortName, RegionName, ServiceName};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub name: GatewayName,
    pub regions: Vec<RegionName>,
    /// Every host of those regions; each runs one process of the gateway.
    pub hosts: Vec<HostName>,
    /// Where it tells its figures to whoever proves to be of the platform; other hosts reach it through doors, so
    /// it counts upwards in a region as ports of services do.
    pub metrics_port: Option<u16>,
    pub http: Vec<HttpListener>,
    pub tcp: Vec<TcpListener>,
}

/// Ports of listeners are the same on every host: clients come to a host's own address, through no door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpListener {
    pub name: PortName,
    pub port: u16,
    pub tls: DoorTls,
    /// The most specific match wins, not the first.
    pub routes: Vec<Route>,
}

/// How clients speak to an HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorTls {
    /// In the clear, and nobody has said that it shall be so.
    Unsaid,
    /// In the clear, as the file says.
    Nothing,
    /// The gateway shows its leaf of the platform's authority.
    Platform { clients: Clients },
    /// The gateway shows what these files of its host hold (PEM, absolute paths).
    Files {
        certificate: String,
        key: String,
        clients: Clients,
    },
}

/// Who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    Everybody,
    /// Who has a certificate of the platform's authority.
    Platform,
    /// Who has a certificate by a root of this file (PEM, an absolute path).
    Roots(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Host header without port, lower case; any if absent.
    pub host: Option<String>,
    pub path: PathPrefix,
    /// Any if empty.
    pub methods: Vec<Method>,
    pub target: Target,
    /// With this header, a repeated request is answered as the first was, so the gateway may repeat it.
    pub idempotency_header: Option<String>,
}

/// A prefix of whole segments: first exact ones, then any number of `{name}`, each of which matches any one
/// segment. Begins with `/`; what comes after the prefix does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPrefix {
    text: String,
}

impl PathPrefix {
    /// The caller has checked the text with [`PathPrefix::fault`].
    pub(crate) fn checked(text: &str) -> Self {
        debug_assert!(Self::fault(text).is_none());
        Self { text: text.into() }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Segments between slashes; a final slash adds none.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        segments(&self.text)
    }

    /// Place of the segment `{name}`, from 0.
    pub fn part(&self, name: &str) -> Option<usize> {
        self.segments()
            .position(|segment| segment == Segment::Any(name))
    }

    /// Why a text is not a path prefix.
    pub fn fault(text: &str) -> Option<&'static str> {
        let inner = text.strip_prefix('/');
        let Some(inner) = inner else {
            return Some("a path begins with '/'");
        };
        if text.len() > 1024 {
            return Some("a path has at most 1024 bytes");
        }
        let is_root = inner.is_empty();
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if !is_root && inner.split('/').any(str::is_empty) {
            return Some("a path has no empty segment");
        }
        if inner.split('/').any(|s| s == "." || s == "..") {
            return Some("a path has no '.' or '..' segment");
        }
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '%' | '\\');
        if !inner.chars().all(plain) {
            return Some(
                "a path has only visible ASCII characters and none of '?', '#', '%', '\\'",
            );
        }
        let bad_part = segments(text).any(|segment| match segment {
            Segment::Exact(exact) => exact.contains(['{', '}']),
            Segment::Any(name) => crate::name::check(name).is_err(),
        });
        if bad_part {
            return Some("'{' and '}' enclose a whole segment with a name in it, such as {cell}");
        }
        let after_part = segments(text)
            .skip_while(|segment| matches!(segment, Segment::Exact(_)))
            .any(|segment| matches!(segment, Segment::Exact(_)));
        after_part.then_some("parts such as {cell} stand at the end of the path")
    }

    /// The exact segments that the path begins with: `/v1/cells` of `/v1/cells/{cell}`, `/` if there are none.
    pub fn literal(&self) -> String {
        let mut literal = String::new();
        for segment in self.segments() {
            match segment {
                Segment::Exact(exact) => {
                    literal.push('/');
                    literal.push_str(exact);
                }
                Segment::Any(_) => break,
            }
        }
        if literal.is_empty() {
            literal.push('/');
        }
        literal
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment<'a> {
    Exact(&'a str),
    Any(&'a str),
}

fn segments(text: &str) -> impl Iterator<Item = Segment<'_>> {
    text.split('/')
        .filter(|segment| !segment.is_empty())
        .map(|segment| {
            match segment
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'))
            {
                Some(name) => Segment::Any(name),
                None => Segment::Exact(segment),
            }
        })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any ready instance.
    Service {
        service: ServiceName,
        port: PortName,
    },
    /// The active instance of the cell that the request's key names. A cell bears its database's name.
    Cell {
        key: CellKey,
        /// Not empty.
        members: Vec<CellMember>,
        hold: Hold,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellKey {
    Header(String),
    /// The segment `{name}` of the route's path, and its place from 0.
    PathPart {
        name: String,
        segment: usize,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellMember {
    pub database: DatabaseName,
    /// Follows the database.
    pub service: ServiceName,
    pub port: PortName,
}

/// How much may wait, and how long, while a cell fails over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub requests: u32,
    pub bytes: u64,
    pub time: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpListener {
    pub name: PortName,
    pub port: u16,
    pub database: DatabaseName,
    pub role: ReplicaRole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplicaRole {
    /// The primary; its sessions are cut when it is demoted.
    Primary,
    /// Any healthy replica, for reading; the nearest first.
    Replica,
}

impl ReplicaRole {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_prefixes_of_whole_segments() {
        for good in ["/", "/v1/", "/v1/cells/{cell}", "/a-b_c/~d"] {
            assert_eq!(PathPrefix::fault(good), None, "{good}");
        }
        for bad in [
            "", "v1", "//", "/a//b", "/a?b", "/{a", "/x{a}", "/{A}", "/../x", "/a b", "/ü",
            "/{a}/b",
        ] {
            assert!(PathPrefix::fault(bad).is_some(), "{bad}");
        }
        let path = PathPrefix::checked("/v1/cells/{cell}/");
        assert_eq!(path.literal(), "/v1/cells");
        assert_eq!(PathPrefix::checked("/{a}").literal(), "/");
        assert_eq!(path.part("cell"), Some(2));
        assert_eq!(path.part("cells"), None);
    }
}
