//! A report as Markdown, in the dialect that knows tables.

use std::fmt::Write;

use crate::document::{Block, Document, Span, leads, printable};

/// Pictures are files beside it: their names follow `stem`, and are links. Without one, they are left out.
pub fn markdown(document: &Document, stem: Option<&str>) -> String {
    let mut text = format!("# {}\n", escaped(&document.title));
    for block in &document.blocks {
        text.push('\n');
        write(&mut text, block, stem);
    }
    text
}

/// Writing into a string does not fail.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {
        let _ = writeln!($text, $($argument)*);
    };
}

fn write(text: &mut String, block: &Block, stem: Option<&str>) {
    match block {
        Block::Heading(heading) => {
            line!(text, "## {}", escaped(heading));
        }
        Block::Text(spans) => {
            line!(text, "{}", inline(spans));
        }
        Block::List(items) => {
            for item in items {
                line!(text, "- {}", inline(item));
            }
        }
        Block::Table { head, rows } => {
            let head: Vec<String> = head.iter().map(|cell| escaped(cell)).collect();
            line!(text, "| {} |", head.join(" | "));
            line!(text, "|{}", " --- |".repeat(head.len()));
            for row in rows {
                let row: Vec<String> = row.iter().map(|cell| inline(cell)).collect();
                line!(text, "| {} |", row.join(" | "));
            }
        }
        Block::Plot(plot) => match stem {
            Some(stem) => {
                line!(
                    text,
                    "![{}]({stem}-{}.svg)",
                    escaped(&plot.caption),
                    plot.name
                );
            }
            None => {
                line!(
                    text,
                    "{}: drawn where the report is written into a file.",
                    escaped(&plot.caption)
                );
            }
        },
        Block::Evidence(entries) => {
            line!(text, "| entry | kind | leaf hash |");
            line!(text, "| --- | --- | --- |");
            for (position, kind, hash) in entries {
                line!(text, "| {position} | {} | `{hash}` |", escaped(kind));
            }
        }
    }
}

fn inline(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        match span {
            Span::Plain(plain) => text.push_str(&escaped(plain)),
            Span::Strong(strong) => {
                let _ = write!(text, "**{}**", escaped(strong));
            }
            Span::Code(code) => text.push_str(&verbatim(code)),
            Span::Link(link) if leads(link) && !link.contains(['<', '>', '|', '\\']) => {
                let _ = write!(text, "<{link}>");
            }
            Span::Link(link) => text.push_str(&verbatim(link)),
            Span::Entry(position) => {
                let _ = write!(text, "entry {position}");
            }
        }
    }
    text
}

/// Text that nothing in is markup. An ampersand would begin a character reference.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars().map(printable) {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' | '$' => {
                safe.push('\\');
                safe.push(letter);
            }
            letter => safe.push(letter),
        }
    }
    safe
}

/// Between backquotes, if nothing in it could end them, or a cell of a table, or pass for a tag in a careless reader.
fn verbatim(text: &str) -> String {
    let text: String = text.chars().map(printable).collect();
    if text.contains(['|', '`', '<', '>', '&']) || text.trim() != text || text.is_empty() {
        return escaped(&text);
    }
    format!("`{text}`")
}
