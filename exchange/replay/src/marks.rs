//! Marks: what somebody else did to the platform while the flow ran, and when.
//!
//! A caller (the fault tests, say) appends a line `{"wall_ms": 1700000000000, "name": "postmaster killed"}` whenever it
//! does something. The file is read when the run is over; each mark then owns the time up to the next.

use std::path::Path;

use serde::Deserialize;

use crate::ReplayError;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    pub wall_ms: u64,
    pub name: String,
}

/// All marks in order of time; none if the file does not exist, since nobody may have marked anything.
pub fn read(path: &Path) -> Result<Vec<Mark>, ReplayError> {
    let failed = |line: usize, problem: String| ReplayError::Marks {
        path: path.display().to_string(),
        line,
        problem,
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(0, error.to_string())),
    };
    // A last line without its end is still being written.
    let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut marks = Vec::new();
    for (index, line) in complete
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let mark: Mark =
            serde_json::from_str(line).map_err(|error| failed(index + 1, error.to_string()))?;
        marks.push(mark);
    }
    marks.sort_by_key(|mark| mark.wall_ms);
    Ok(marks)
}

#[cfg(test)]
mod tests {
    #[test]
    fn marks_are_read_in_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        assert!(super::read(&path).unwrap().is_empty());
        std::fs::write(
            &path,
            "{\"wall_ms\":9,\"name\":\"b\"}\n\n{\"wall_ms\":4,\"name\":\"a\"}\n",
        )
        .unwrap();
        let names: Vec<_> = super::read(&path)
            .unwrap()
            .into_iter()
            .map(|mark| mark.name)
            .collect();
        assert_eq!(names, ["a", "b"]);
        std::fs::write(&path, "{\"wall_ms\":9,\"name\":\"b\"}\nnonsense\n").unwrap();
        assert!(
            super::read(&path)
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
    }
}
