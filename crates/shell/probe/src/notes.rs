//! What the writer notes: a witness log, handed to the operating system before anything is sent.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

pub(crate) struct Notes(File);

impl Notes {
    /// In a folder of its own: evidence of two writers is never mixed.
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let path = folder.join("writes.jsonl");
        let file = File::create_new(&path);
        Ok(Self(
            file.with_context(|| format!("create {}", path.display()))?,
        ))
    }

    pub(crate) fn intent(&mut self, number: u64, due_us: u64) -> Result<()> {
        self.add(&json!({"v": 1, "event": "intent", "number": number, "planned_wall_us": due_us}))
    }

    pub(crate) fn acknowledged(&mut self, number: u64, at_us: u64) -> Result<()> {
        self.add(
            &json!({"v": 1, "event": "answer", "number": number, "status": 200, "wall_us": at_us}),
        )
    }

    pub(crate) fn failed(&mut self, number: u64, at_us: u64, why: &str) -> Result<()> {
        self.add(
            &json!({"v": 1, "event": "failed", "number": number, "wall_us": at_us, "why": why}),
        )
    }

    fn add(&mut self, line: &serde_json::Value) -> Result<()> {
        // In one piece: whoever is killed leaves whole lines, but for the last.
        let text = format!("{line}\n");
        self.0.write_all(text.as_bytes()).context("write a note")
    }
}
