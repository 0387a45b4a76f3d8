//! A report as parts, before it is written in some form. Texts in it are as people and programs gave them: whoever
//! writes a form escapes them.

use crate::plot::Plot;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Span {
    Plain(String),
    Strong(String),
    /// Something that a program reads.
    Code(String),
    /// A place elsewhere. Only `http` and `https` lead anywhere; the rest is shown.
    Link(String),
    /// An entry of the journal, by its position.
    Entry(u64),
}

pub type Spans = Vec<Span>;

#[derive(Clone, Debug)]
pub enum Block {
    Heading(String),
    Text(Spans),
    List(Vec<Spans>),
    Table {
        head: Vec<String>,
        rows: Vec<Vec<Spans>>,
    },
    Plot(Plot),
    /// Position, kind and hash of each entry that is named above.
    Evidence(Vec<(u64, String, String)>),
}

#[derive(Clone, Debug)]
pub struct Document {
    pub title: String,
    pub blocks: Vec<Block>,
}

impl Span {
    pub fn plain(text: impl Into<String>) -> Self {
        Self::Plain(text.into())
    }
}

/// Whether a link may be followed: a page cannot be made to run anything by it.
pub(crate) fn leads(link: &str) -> bool {
    let is_web = link.starts_with("https://") || link.starts_with("http://");
    is_web
        && link
            .chars()
            .all(|letter| !letter.is_control() && letter != ' ')
}

/// What cannot stand in a document of any form, replaced.
pub(crate) fn printable(letter: char) -> char {
    match letter {
        '\n' | '\r' | '\t' => ' ',
        // Controls, marks that turn the direction of text around, and what XML does not know.
        letter if letter.is_control() => '\u{fffd}',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        letter => letter,
    }
}
