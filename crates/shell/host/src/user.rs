//! Which user a workload runs as.
//!
//! Only `/etc/passwd` is read: server programs run as users that their packages created there, and a
//! name service over the network is nothing a supervisor may wait for.

use std::fs;
use std::io;

/// User and primary group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub user: u32,
    pub group: u32,
}

/// # Errors
/// When the file cannot be read or does not name the user.
pub fn find(name: &str) -> io::Result<User> {
    parse(&fs::read_to_string("/etc/passwd")?, name).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            format!("/etc/passwd does not name a user {name:?}"),
        )
    })
}

fn parse(passwd: &str, name: &str) -> Option<User> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some(User {
        user: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_name_is_compared() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:104:106::/:/bin/sh\nbroken:x:a:b\n";
        assert_eq!(
            parse(passwd, "postgres"),
            Some(User {
                user: 104,
                group: 106
            })
        );
        assert_eq!(parse(passwd, "post"), None);
        assert_eq!(parse(passwd, "broken"), None);
    }
}
