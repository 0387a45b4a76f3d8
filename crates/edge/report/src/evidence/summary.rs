//! The items for people.

use super::controls::Control;
use super::items::{Item, Status};
use super::scope::Subject;
use crate::document::{Block, Document, Span};
use crate::markdown::markdown;
use crate::time::day_and_time;

/// Entries that a line names; `items.json` has all.
const NAMED_MAX: usize = 8;

fn plain(text: String) -> Vec<Span> {
    vec![Span::Plain(text)]
}

pub(crate) fn summary(
    subject: &Subject,
    made_ms: u64,
    items: &[Item],
    controls: &[Control],
) -> String {
    let count = |status| items.iter().filter(|item| item.status() == status).count();
    let mut blocks = vec![
        Block::Text(plain(format!(
            "Made {}. Of fifteen items {} are shown, {} are stale, {} are missing, each in all of its parts or in some.",
            day_and_time(made_ms),
            count(Status::Shown),
            count(Status::Stale),
            count(Status::Missing)
        ))),
        Block::Text(vec![
            Span::plain(
                "This says what is shown, and by which entries of the log. What follows from that under any rule is for people to say. ",
            ),
            Span::Code("mainstay evidence verify".to_owned()),
            Span::plain(" makes this page again from the entries, and compares."),
        ]),
    ];
    blocks.extend(items.iter().flat_map(|item| told(item, controls)));
    let document = Document {
        title: format!("Evidence of {} {}", subject.kind(), subject.id()),
        blocks,
    };
    markdown(&document, None)
}

fn told(item: &Item, controls: &[Control]) -> Vec<Block> {
    let status = item.status().as_str();
    let rows = item.parts.iter().map(|part| {
        vec![
            plain(part.name.to_owned()),
            plain(part.status.as_str().to_owned()),
            plain(part.told.clone()),
            named(&part.entries),
        ]
    });
    let head = ["part", "status", "what is shown, or why not", "entries"];
    let mut blocks = vec![
        Block::Heading(format!("{}. {}: {status}", item.number, item.title)),
        Block::Table {
            head: head.map(ToOwned::to_owned).to_vec(),
            rows: rows.collect(),
        },
    ];
    let asked = controls
        .iter()
        .filter(|control| control.item == item.number);
    let asked: Vec<Vec<Span>> = asked
        .map(|control| {
            plain(format!(
                "{}, {} ({}): {}",
                control.rule, control.reference, control.source, control.shows
            ))
        })
        .collect();
    if !asked.is_empty() {
        blocks.push(Block::Text(plain("Asked for by:".to_owned())));
        blocks.push(Block::List(asked));
    }
    blocks
}

fn named(positions: &[u64]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (place, position) in positions.iter().take(NAMED_MAX).enumerate() {
        if place > 0 {
            spans.push(Span::plain(", "));
        }
        spans.push(Span::Entry(*position));
    }
    if positions.len() > NAMED_MAX {
        spans.push(Span::plain(format!(
            " and {} more",
            positions.len() - NAMED_MAX
        )));
    }
    spans
}
