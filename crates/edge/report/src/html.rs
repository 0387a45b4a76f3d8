//! A report as one page: well-formed as XML too, with its pictures and colours inside, and nothing that runs.

use std::fmt::Write;

use crate::document::{Block, Document, Span, leads, printable};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--faint:#667;--rule:#d5d9e0;--wash:#f4f6f8;--one:#1f6feb;--two:#c2410c;--three:#7c3aed}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--paper:#14171b;--faint:#9aa4b2;--rule:#333a44;--wash:#1c2127;--one:#6ea8fe;--two:#fb923c;--three:#b794f6}}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem;overflow-wrap:anywhere}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem;border-bottom:1px solid var(--rule)}\
table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;vertical-align:top;padding:.25rem .5rem;border-bottom:1px solid var(--rule)}\
th{background:var(--wash)}code{font-family:ui-monospace,monospace;font-size:.85em}a{color:var(--one)}\
figure{margin:1rem 0}figcaption{color:var(--faint);font-size:.85rem}svg{width:100%;height:auto}";

pub fn html(document: &Document) -> String {
    let title = escaped(&document.title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    for block in &document.blocks {
        write(&mut text, block);
    }
    text.push_str("</body>\n</html>\n");
    text
}

/// Writing into a string does not fail.
macro_rules! line {
    ($text:expr, $($argument:tt)*) => {
        let _ = writeln!($text, $($argument)*);
    };
}

fn write(text: &mut String, block: &Block) {
    match block {
        Block::Heading(heading) => {
            line!(text, "<h2>{}</h2>", escaped(heading));
        }
        Block::Text(spans) => {
            line!(text, "<p>{}</p>", inline(spans));
        }
        Block::List(items) => {
            line!(text, "<ul>");
            for item in items {
                line!(text, "<li>{}</li>", inline(item));
            }
            line!(text, "</ul>");
        }
        Block::Table { head, rows } => {
            let head: String = head
                .iter()
                .map(|cell| format!("<th>{}</th>", escaped(cell)))
                .collect();
            line!(text, "<table>\n<thead><tr>{head}</tr></thead>\n<tbody>");
            for row in rows {
                let row: String = row
                    .iter()
                    .map(|cell| format!("<td>{}</td>", inline(cell)))
                    .collect();
                line!(text, "<tr>{row}</tr>");
            }
            line!(text, "</tbody>\n</table>");
        }
        Block::Plot(plot) => {
            line!(
                text,
                "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>",
                plot.svg,
                escaped(&plot.caption)
            );
        }
        Block::Evidence(entries) => evidence(text, entries),
    }
}

fn evidence(text: &mut String, entries: &[(u64, String, String)]) {
    line!(
        text,
        "<table>\n<thead><tr><th>entry</th><th>kind</th><th>leaf hash</th></tr></thead>\n<tbody>"
    );
    for (position, kind, hash) in entries {
        line!(
            text,
            "<tr id=\"entry-{position}\"><td>{position}</td><td>{}</td><td><code>{}</code></td></tr>",
            escaped(kind),
            escaped(hash)
        );
    }
    line!(text, "</tbody>\n</table>");
}

fn inline(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        let _ = match span {
            Span::Plain(plain) => write!(text, "{}", escaped(plain)),
            Span::Strong(strong) => write!(text, "<strong>{}</strong>", escaped(strong)),
            Span::Code(code) => write!(text, "<code>{}</code>", escaped(code)),
            Span::Link(link) if leads(link) => {
                let link = escaped(link);
                write!(
                    text,
                    "<a href=\"{link}\" rel=\"noreferrer noopener\">{link}</a>"
                )
            }
            Span::Link(link) => write!(text, "<code>{}</code>", escaped(link)),
            Span::Entry(position) => {
                write!(text, "<a href=\"#entry-{position}\">entry {position}</a>")
            }
        };
    }
    text
}

/// For text between tags and for values in quotes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars().map(printable) {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}
