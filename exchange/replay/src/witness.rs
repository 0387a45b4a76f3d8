//! The witness log: what one client intended, tried and was told, in its own file.
//!
//! One JSON object a line. An intent and its first attempt are handed to the operating system *before* anything is sent:
//! whatever happens to this process afterwards, there is no request in the world without its line on file (a crash of
//! the whole machine is not covered; the platform under test runs on the same one). A process killed while writing
//! leaves at most one incomplete last line.
//!
//! The file `files` beside them names all files of a run.
//!
//! | event | meaning |
//! |---|---|
//! | `intent` | what is wanted, with the request's body as it will be sent, each time byte for byte the same |
//! | `attempt` | number n is about to be sent through a gateway |
//! | `answer` | an HTTP answer to attempt n, of any status, with its body (a string when it was not JSON) |
//! | `broken` | attempt n ended without a whole answer; evidence for people, nothing is concluded from it |
//! | `unanswered` | the deadline passed; the outcome is unknown to this client |

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::ReplayError;

/// Every line says which form it has.
const VERSION: u8 = 1;
/// Names the files of a run, one a line.
const LIST: &str = "files";

#[derive(Debug, Serialize)]
pub struct IntentLine<'a> {
    pub cell: &'a str,
    pub kind: &'a str,
    pub account: u64,
    pub reference: u64,
    pub request: &'a RawValue,
    pub planned_wall_ms: u64,
    pub deadline_wall_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct AttemptLine<'a> {
    pub account: u64,
    pub reference: u64,
    pub attempt: u32,
    pub gateway: &'a str,
    pub wall_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct AnswerLine<'a> {
    pub account: u64,
    pub reference: u64,
    pub attempt: u32,
    pub gateway: &'a str,
    pub status: u16,
    pub body: &'a RawValue,
    pub wall_ms: u64,
    /// From the planned time.
    pub latency_us: u64,
}

#[derive(Debug, Serialize)]
pub struct BrokenLine<'a> {
    pub account: u64,
    pub reference: u64,
    pub attempt: u32,
    pub gateway: &'a str,
    pub reason: &'a str,
    pub wall_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct UnansweredLine {
    pub account: u64,
    pub reference: u64,
    pub attempts: u32,
    pub wall_ms: u64,
}

#[derive(Serialize)]
struct Line<'a, T> {
    v: u8,
    event: &'a str,
    #[serde(flatten)]
    content: T,
}

/// One client's file.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    file: File,
    pending: Vec<u8>,
}

/// Makes sure that a folder exists and holds nothing: evidence of two runs is never mixed.
pub fn prepare(folder: &Path) -> Result<(), ReplayError> {
    let failed = |source| ReplayError::Witness {
        path: folder.display().to_string(),
        source,
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    if std::fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(ReplayError::WitnessNotEmpty(folder.display().to_string()));
    }
    Ok(())
}

/// Writes down which files a run has, when all of them are there and before anything is sent: a file that is lost later is
/// then missed, also if its rows in the books are lost with it.
pub fn list(folder: &Path, witnesses: &[Witness]) -> Result<(), ReplayError> {
    let path = folder.join(LIST);
    let names = witnesses
        .iter()
        .filter_map(|witness| witness.path.file_name());
    let mut text = String::new();
    for name in names {
        text.push_str(&name.to_string_lossy());
        text.push('\n');
    }
    // Under another name until it is whole.
    let part = folder.join(format!("{LIST}.part"));
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, &path))
        .map_err(|source| ReplayError::Witness {
            path: path.display().to_string(),
            source,
        })
}

impl Witness {
    pub fn create(folder: &Path, client: u32) -> Result<Self, ReplayError> {
        let path = folder.join(format!("client-{client:04}.jsonl"));
        let file = File::create_new(&path).map_err(|source| ReplayError::Witness {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self {
            path,
            file,
            pending: Vec::with_capacity(4_096),
        })
    }

    /// Adds a line; [`Self::flush`] hands all lines so far to the operating system.
    pub fn add<T: Serialize>(&mut self, event: &str, content: T) {
        let line = Line {
            v: VERSION,
            event,
            content,
        };
        // Writing plain structs of numbers and strings to memory has no way to fail.
        serde_json::to_writer(&mut self.pending, &line).expect("a witness line has a JSON form");
        self.pending.push(b'\n');
    }

    pub fn flush(&mut self) -> Result<(), ReplayError> {
        let written = self.file.write_all(&self.pending);
        self.pending.clear();
        written.map_err(|source| ReplayError::Witness {
            path: self.path.display().to_string(),
            source,
        })
    }
}

/// An answer's body as one line of JSON: itself if it is JSON, otherwise a string of it.
#[must_use]
pub fn body_as_json(body: &Bytes) -> Box<RawValue> {
    let text = String::from_utf8_lossy(body);
    if !text.contains(['\n', '\r'])
        && let Ok(raw) = serde_json::from_str::<Box<RawValue>>(&text)
    {
        return raw;
    }
    let value = serde_json::from_str::<serde_json::Value>(&text)
        .unwrap_or_else(|_| serde_json::Value::String(text.into_owned()));
    serde_json::value::to_raw_value(&value).expect("a JSON value has a JSON form")
}

#[cfg(test)]
mod tests {
    use super::{AttemptLine, UnansweredLine, Witness, body_as_json, list, prepare};

    #[test]
    fn a_run_says_which_files_it_has() {
        let folder = tempfile::tempdir().unwrap();
        let create = |client| Witness::create(folder.path(), client).unwrap();
        list(folder.path(), &[create(0), create(1)]).unwrap();
        let text = std::fs::read_to_string(folder.path().join("files")).unwrap();
        assert_eq!(text, "client-0000.jsonl\nclient-0001.jsonl\n");
    }

    #[test]
    fn lines_are_on_file_after_a_flush() {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path()).unwrap();
        let mut witness = Witness::create(folder.path(), 3).unwrap();
        witness.add(
            "attempt",
            AttemptLine {
                account: 1,
                reference: 2,
                attempt: 1,
                gateway: "127.0.0.1:1",
                wall_ms: 5,
            },
        );
        witness.add(
            "unanswered",
            UnansweredLine {
                account: 1,
                reference: 2,
                attempts: 1,
                wall_ms: 6,
            },
        );
        witness.flush().unwrap();
        let text = std::fs::read_to_string(folder.path().join("client-0003.jsonl")).unwrap();
        expect_test::expect![[r#"
            {"v":1,"event":"attempt","account":1,"reference":2,"attempt":1,"gateway":"127.0.0.1:1","wall_ms":5}
            {"v":1,"event":"unanswered","account":1,"reference":2,"attempts":1,"wall_ms":6}
        "#]]
        .assert_eq(&text);
        assert!(prepare(folder.path()).is_err(), "a used folder is refused");
    }

    #[test]
    fn bodies_stay_one_line() {
        for (body, expected) in [
            (r#"{"a": 1.50}"#, r#"{"a": 1.50}"#),
            ("{\n \"a\": 1\n}", r#"{"a":1}"#),
            ("bad\ngateway", r#""bad\ngateway""#),
            ("", r#""""#),
        ] {
            assert_eq!(
                body_as_json(&bytes::Bytes::from_static(body.as_bytes())).get(),
                expected
            );
        }
    }
}
