//! The second path: PostgreSQL's own `archive_command` hands finished segments of the log to the archiver beside the server.
//!
//! The first path is a connection (`pg_receivewal`) and slots. Where there is no place left for a walsender, or where a slot was given
//! up and its log removed, there is this one: a script copies each finished segment that no store has yet into a folder, and a
//! receiver that starts takes from there what follows the archive ([`crate::spool::prepare`] judges it like everything that was
//! received). While all is well nothing is copied: the script waits a moment, and sees that the segment was received or is stored.
//!
//! The script always ends well. PostgreSQL keeps what a failing command did not take, without any limit, and a server whose archive
//! stands still must not fill its disk; what the script cannot hand over, the slots still keep as far as they may.

use std::io;
use std::path::{Path, PathBuf};

use mainstay_archive::{Segment, SegmentSize};
use mainstay_record::backup::HAND_OVER;
use mainstay_units::Lsn;

use crate::archive::{Archive, ArchiveError};
use crate::spool;

/// Where the segments lie.
const FOLDER: &str = "handed";
/// In that folder: the newest segment that a store has.
const STORED: &str = "stored";

fn folder(archive: &Archive) -> PathBuf {
    archive.config.folder.join(FOLDER)
}

/// Makes folder and script; until then the server's command does nothing.
pub fn install(archive: &Archive) -> Result<(), ArchiveError> {
    let folder = folder(archive);
    std::fs::create_dir_all(&folder)
        .and_then(|()| archive.programs.give(&folder))
        .map_err(ArchiveError::io("make", &folder))?;
    let path = archive.config.folder.join(HAND_OVER);
    let limit = archive.config.limits.backlog_bytes;
    let text = script(&folder, &spool::path(archive), limit);
    // The server's user runs it, and does not own it.
    mainstay_rt::files::write_atomic_mode(&path, text.as_bytes(), 0o755)
        .map_err(ArchiveError::io("write", &path))
}

fn script(folder: &Path, spool: &Path, limit_bytes: u64) -> String {
    let quoted = |path: &Path| path.display().to_string().replace('\'', r"'\''");
    let (folder, spool) = (quoted(folder), quoted(spool));
    let limit_kib = limit_bytes / 1_024;
    format!(
        r#"#!/bin/sh
# Written by the archiver; edits are lost. PostgreSQL's archive_command: PATH NAME.
# It always ends well: a server keeps what a failing command did not take, without any limit.
path=$PWD/$1
name=$2
# A copy must not hold up the end of the server.
cd /
folder='{folder}'
spool='{spool}'
limit_kib={limit_kib}
LC_ALL=C
PATH=/usr/bin:/bin
export LC_ALL PATH
umask 077

say() {{ echo "hand-over of $name: $1" >&2; }}

# Histories, and beginnings of segments, come to the archive by another way.
case $name in *[!0-9A-F]*) exit 0 ;; esac
[ "${{#name}}" -eq 24 ] || exit 0

# Received: a segment gets its name there when all of it is on disk. Or stored: the archiver says up to where, and on which timeline.
is_safe() {{
    [ -e "$spool/$name" ] && return 0
    stored=$(cat "$folder/{STORED}" 2>/dev/null) || return 1
    [ "${{stored%????????????????}}" = "${{name%????????????????}}" ] || return 1
    ! expr "x$name" \> "x$stored" >/dev/null
}}

# Something waits already.
is_behind() {{
    for one in "$folder"/0*[0-9A-F]; do
        [ -e "$one" ] && return 0
    done
    return 1
}}

tries=0
while ! is_safe; do
    if is_behind || [ "$tries" -ge 20 ]; then
        used_kib=$(du -sk "$folder" | cut -f 1)
        if [ "${{used_kib:-0}}" -ge "$limit_kib" ]; then
            say "$used_kib KiB wait for the archiver already: it is not kept twice"
            exit 0
        fi
        if cp "$path" "$folder/$name.part" && sync "$folder/$name.part" &&
            mv "$folder/$name.part" "$folder/$name" && sync "$folder"; then
            exit 0
        fi
        rm -f "$folder/$name.part"
        say "could not be copied: it is not kept twice"
        exit 0
    fi
    tries=$((tries + 1))
    sleep 0.1
done
exit 0
"#
    )
}

/// Full segments that were handed over, in order.
fn segments(archive: &Archive, size: SegmentSize) -> Vec<(Segment, PathBuf)> {
    let entries = std::fs::read_dir(folder(archive)).into_iter().flatten();
    let mut found: Vec<(Segment, PathBuf)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let segment = Segment::parse(entry.file_name().to_str()?, size)?;
            let is_whole = entry.metadata().ok()?.len() == size.bytes();
            is_whole.then(|| (segment, entry.path()))
        })
        .collect();
    found.sort();
    found
}

/// Whether exactly this one was handed over.
pub fn has(archive: &Archive, segment: Segment, size: SegmentSize) -> bool {
    let handed = segments(archive, size);
    handed.iter().any(|(one, _)| *one == segment)
}

/// Moves everything into the spool that is not there, for a receiver that is about to start.
pub fn take(archive: &Archive, size: SegmentSize) -> Result<(), ArchiveError> {
    let spool = spool::path(archive);
    for (segment, path) in segments(archive, size) {
        let into = spool.join(segment.name(size));
        if !into.exists() {
            std::fs::rename(&path, &into).map_err(ArchiveError::io("move", &path))?;
        }
    }
    Ok(())
}

/// Tells the script what need not be handed over any more, and forgets what waited for that.
pub fn note_stored(
    archive: &Archive,
    stored: Segment,
    size: SegmentSize,
) -> Result<(), ArchiveError> {
    let path = folder(archive).join(STORED);
    let name = stored.name(size);
    mainstay_rt::files::swap_for(&path, name.as_bytes(), |path| archive.programs.give(path))
        .map_err(ArchiveError::io("write", &path))?;
    forget_before(archive, stored.end(size), size)
}

/// What ends here or before is in a store, on whatever timeline it was written.
pub fn forget_before(
    archive: &Archive,
    stored: Lsn,
    size: SegmentSize,
) -> Result<(), ArchiveError> {
    let handed = segments(archive, size).into_iter();
    for (_, path) in handed.filter(|(segment, _)| segment.end(size) <= stored) {
        remove(&path).map_err(ArchiveError::io("remove", &path))?;
    }
    Ok(())
}

/// After a hole nothing of this leads anywhere.
pub fn clear(archive: &Archive, size: SegmentSize) -> Result<(), ArchiveError> {
    for (_, path) in segments(archive, size) {
        remove(&path).map_err(ArchiveError::io("remove", &path))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const ONE: &str = "000000020000000000000009";
    const NEXT: &str = "00000002000000000000000A";

    struct Hand {
        folder: tempfile::TempDir,
    }

    impl Hand {
        fn new(limit_bytes: u64) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let handed = folder.path().join("it's handed");
            std::fs::create_dir(&handed).unwrap();
            std::fs::create_dir(folder.path().join("log")).unwrap();
            for name in [ONE, NEXT] {
                std::fs::write(folder.path().join("log").join(name), name.repeat(1_000)).unwrap();
            }
            let text = script(&handed, &folder.path().join("spool"), limit_bytes);
            std::fs::write(folder.path().join("script"), text).unwrap();
            Self { folder }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.folder.path().join("it's handed").join(name)
        }

        fn over(&self, name: &str) -> String {
            let done = Command::new("/bin/sh")
                .arg(self.folder.path().join("script"))
                .arg(format!("log/{name}"))
                .arg(name)
                .current_dir(self.folder.path())
                .output()
                .unwrap();
            assert!(done.status.success(), "{done:?}");
            String::from_utf8(done.stderr).unwrap()
        }

        fn files(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.at("")).unwrap();
            let mut names: Vec<String> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn what_no_store_has_is_handed_over() {
        let hand = Hand::new(1 << 30);
        assert_eq!(hand.over(NEXT), "");
        let copied = std::fs::read(hand.at(NEXT)).unwrap();
        assert_eq!(copied, NEXT.repeat(1_000).as_bytes());
        // The first waits: the next is not waited for. A store has one of them only, and none of another timeline.
        std::fs::write(hand.at(STORED), "000000010000000000000009").unwrap();
        assert_eq!(hand.over(ONE), "");
        assert_eq!(hand.files(), [ONE, NEXT, STORED]);
    }

    #[test]
    fn what_was_received_or_stored_is_not_copied() {
        let hand = Hand::new(1 << 30);
        std::fs::create_dir(hand.folder.path().join("spool")).unwrap();
        std::fs::write(hand.folder.path().join("spool").join(NEXT), "").unwrap();
        assert_eq!(hand.over(NEXT), "");
        std::fs::remove_dir_all(hand.folder.path().join("spool")).unwrap();
        std::fs::write(hand.at(STORED), ONE).unwrap();
        assert_eq!(hand.over(ONE), "");
        assert_eq!(hand.over("00000002.history"), "");
        assert_eq!(hand.over(&format!("{NEXT}.partial")), "");
        assert_eq!(hand.files(), [STORED]);
        std::fs::write(hand.at(STORED), NEXT).unwrap();
        assert_eq!(hand.over(ONE), "");
        assert_eq!(hand.over(NEXT), "");
        assert_eq!(hand.files(), [STORED]);
    }

    #[test]
    fn the_server_never_keeps_log_for_it() {
        let hand = Hand::new(4_096);
        std::fs::write(hand.at("00000002000000000000000F"), vec![1; 20_000]).unwrap();
        assert!(hand.over(ONE).contains("not kept twice"));
        // Nor when the copy fails.
        let hand = Hand::new(1 << 30);
        assert!(
            hand.over("0000000200000000000000FF")
                .contains("could not be copied")
        );
        assert_eq!(hand.files(), [""; 0]);
    }
}
