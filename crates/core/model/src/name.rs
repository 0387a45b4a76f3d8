//! Names of the things in a platform, one type per kind of thing.
//!
//! A name becomes a folder, a socket's file name, a metric label and a part of an address line, so it keeps
//! to what all of those accept, and is short enough that a socket path stays under its 107 bytes.

use alloc::borrow::{Borrow, ToOwned};
use alloc::string::String;
use core::fmt;

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 32;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong,
    FirstNotLetter,
    LastNotLetterOrDigit,
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a name may not be empty"),
            Self::TooLong => write!(f, "a name has at most {NAME_BYTES_MAX} bytes"),
            Self::FirstNotLetter => f.write_str("a name begins with a lower-case letter"),
            Self::LastNotLetterOrDigit => {
                f.write_str("a name ends with a lower-case letter or digit")
            }
            Self::Character(character) => write!(
                f,
                "{character:?} cannot stand in a name; lower-case letters, digits and '-' can"
            ),
        }
    }
}

impl core::error::Error for NameError {}

/// Checks the rule that all names share.
pub fn check(text: &str) -> Result<(), NameError> {
    let Some(first) = text.chars().next() else {
        return Err(NameError::Empty);
    };
    let allowed = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '-';
    if let Some(bad) = text.chars().find(|c| !allowed(c)) {
        return Err(NameError::Character(bad));
    }
    if !first.is_ascii_lowercase() {
        return Err(NameError::FirstNotLetter);
    }
    if text.ends_with('-') {
        return Err(NameError::LastNotLetterOrDigit);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    Ok(())
}

/// The nearest text that is a name, for a suggestion; `None` if nothing usable remains.
pub fn mend(text: &str) -> Option<String> {
    let mut mended = String::new();
    for character in text.chars() {
        let lower = character.to_ascii_lowercase();
        let usable = lower.is_ascii_lowercase() || (lower.is_ascii_digit() && !mended.is_empty());
        if usable {
            mended.push(lower);
        } else if !mended.is_empty() && !mended.ends_with('-') {
            mended.push('-');
        }
    }
    mended.truncate(NAME_BYTES_MAX);
    let mended = mended.trim_end_matches('-').to_owned();
    check(&mended).is_ok().then_some(mended)
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.to_owned()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name!(
    /// A platform, `metadata.name` of its file.
    PlatformName
);
name!(
    /// An environment: development, staging, production.
    EnvironmentName
);
name!(
    /// A region: what is lost together when a site is lost.
    RegionName
);
name!(
    /// A host: what is lost together when a machine is lost.
    HostName
);
name!(
    /// A database with its replicas; also the name of the cell that it holds.
    DatabaseName
);
name!(
    /// A workload.
    ServiceName
);
name!(
    /// A gateway; the same name stands for its process on every host that runs it.
    GatewayName
);
name!(
    /// A port of a service, or a listener of a gateway.
    PortName
);
name!(
    /// A person or program that may give commands.
    OperatorName
);
name!(
    /// A set of permissions.
    RoleName
);
name!(
    /// An objective of the watch.
    ObjectiveName
);
name!(
    /// Something that must be well before something is done.
    GateName
);
name!(
    /// A way to reach people.
    ChannelName
);
name!(
    /// Turns of people.
    RotationName
);
name!(
    /// A ladder of people to call.
    PolicyName
);
name!(
    /// A risk that somebody accepted with a reason.
    WaiverName
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_what_folders_sockets_and_labels_accept() {
        for good in ["a", "us-east-1", "ledger", "a9"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check(""), Err(NameError::Empty));
        assert_eq!(check("9a"), Err(NameError::FirstNotLetter));
        assert_eq!(check("a-"), Err(NameError::LastNotLetterOrDigit));
        assert_eq!(check("A"), Err(NameError::Character('A')));
        assert_eq!(check("a/b"), Err(NameError::Character('/')));
        assert_eq!(check(&"a".repeat(33)), Err(NameError::TooLong));
    }

    #[test]
    fn a_mended_name_is_a_name_or_nothing() {
        assert_eq!(mend("US East_1").as_deref(), Some("us-east-1"));
        assert_eq!(mend("1st"), Some("st".to_owned()));
        assert_eq!(mend("../.."), None);
        assert_eq!(mend("---"), None);
    }
}
