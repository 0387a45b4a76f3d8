//! From text to nodes: `{{ … }}` with trimming dashes, blocks closed by `end`, pipelines of terms.

use std::collections::BTreeMap;

use super::{Node, Pipeline, Term, Value, functions};

/// Deepest nesting of blocks and parentheses.
const DEPTH_MAX: usize = 32;

/// What a text defines for itself: parts by their names.
pub(super) type Definitions = BTreeMap<String, Vec<Node>>;

pub(super) fn parse(text: &str) -> Result<(Vec<Node>, Definitions), String> {
    let mut parser = Parser {
        parts: parts(text)?.into_iter(),
        variables: ["$", "$labels", "$value", "$externalLabels", "$externalURL"]
            .map(str::to_owned)
            .to_vec(),
        definitions: Definitions::new(),
        ranges: 0,
    };
    let (nodes, closed) = parser.block(0)?;
    match closed {
        None => Ok((nodes, parser.definitions)),
        Some(word) => Err(format!("unexpected {{{{{word}}}}}")),
    }
}

enum Part {
    Text(String),
    Action(String),
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some(open) = rest.find("{{") {
        let (before, inside) = rest.split_at(open);
        let inside = inside.get(2..).unwrap_or("");
        let end = close(inside).ok_or("unclosed action")?;
        let (mut action, after) = inside.split_at(end);
        let mut before = if trim { before.trim_start() } else { before };
        if let Some(trimmed) = action.strip_prefix("- ") {
            action = trimmed;
            before = before.trim_end();
        }
        trim = action.ends_with(" -");
        let action = action.strip_suffix(" -").unwrap_or(action).trim();
        parts.push(Part::Text(before.to_owned()));
        if !action.starts_with("/*") {
            parts.push(Part::Action(action.to_owned()));
        }
        rest = after.get(2..).unwrap_or("");
    }
    parts.push(Part::Text(
        (if trim { rest.trim_start() } else { rest }).to_owned(),
    ));
    Ok(parts)
}

/// Where the action ends: at braces that are not within quotes.
fn close(text: &str) -> Option<usize> {
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                }
                escaped = c == '\\' && !escaped && open != '`';
            }
            None if matches!(c, '"' | '`') => quote = Some(c),
            None if c == '}' && text.get(at..).is_some_and(|t| t.starts_with("}}")) => {
                return Some(at);
            }
            None => {}
        }
    }
    None
}

struct Parser {
    parts: std::vec::IntoIter<Part>,
    variables: Vec<String>,
    definitions: Definitions,
    /// How many `range` the present place is within.
    ranges: usize,
}

impl Parser {
    /// Nodes up to `end` or `else`, which are given back with what follows the word.
    fn block(&mut self, depth: usize) -> Result<(Vec<Node>, Option<String>), String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let mut nodes = Vec::new();
        while let Some(part) = self.parts.next() {
            let action = match part {
                Part::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Part::Action(action) => action,
            };
            let (word, rest) = action
                .split_once(char::is_whitespace)
                .unwrap_or((&action, ""));
            let known = self.variables.len();
            match word {
                "end" | "else" => return Ok((nodes, Some(action))),
                "if" => {
                    nodes.push(self.branches(rest, depth)?);
                    self.variables.truncate(known);
                }
                "with" | "range" => {
                    nodes.push(self.scope(word, rest, depth)?);
                    self.variables.truncate(known);
                }
                "break" | "continue" => nodes.push(self.leave(word, rest)?),
                "define" if depth > 0 => return Err(format!("unexpected {{{{{word}}}}}")),
                "define" => {
                    let (name, after) = name_of(word, rest)?;
                    if !after.is_empty() {
                        return Err(format!("unexpected {after:?} in define clause"));
                    }
                    self.define(name, depth)?;
                }
                "template" => {
                    let (name, data) = name_of(word, rest)?;
                    nodes.push(Node::Template(name, self.data(&data)?));
                }
                "block" => {
                    let (name, data) = name_of(word, rest)?;
                    let data = self.data(&data)?;
                    if data.is_none() {
                        return Err("missing value for block clause".to_owned());
                    }
                    self.define(name.clone(), depth)?;
                    nodes.push(Node::Template(name, data));
                }
                _ => nodes.push(Node::Print(pipeline(&action, &mut self.variables, false)?)),
            }
        }
        if depth > 0 {
            return Err("unexpected EOF".to_owned());
        }
        Ok((nodes, None))
    }

    fn branches(&mut self, condition: &str, depth: usize) -> Result<Node, String> {
        let mut all = Vec::new();
        let mut condition = pipeline(condition, &mut self.variables, false)?;
        loop {
            let (nodes, closed) = self.block(depth + 1)?;
            all.push((condition, nodes));
            let closed = closed.ok_or("if without end")?;
            if closed == "end" {
                return Ok(Node::If(all, Vec::new()));
            }
            if let Some(next) = closed.strip_prefix("else if ") {
                condition = pipeline(next, &mut self.variables, false)?;
                continue;
            }
            let (otherwise, closed) = self.block(depth + 1)?;
            return match closed.as_deref() {
                Some("end") => Ok(Node::If(all, otherwise)),
                _ => Err("expected end".to_owned()),
            };
        }
    }

    /// `with` and `range`.
    fn scope(&mut self, word: &str, rest: &str, depth: usize) -> Result<Node, String> {
        let is_range = word == "range";
        let pipeline = pipeline(rest, &mut self.variables, is_range)?;
        self.ranges += usize::from(is_range);
        let (inner, closed) = self.block(depth + 1)?;
        self.ranges -= usize::from(is_range);
        let mut otherwise = Vec::new();
        match closed.as_deref() {
            Some("end") => {}
            Some("else") => {
                let (nodes, closed) = self.block(depth + 1)?;
                if closed.as_deref() != Some("end") {
                    return Err("unexpected EOF".to_owned());
                }
                otherwise = nodes;
            }
            _ => return Err(format!("{word} without end")),
        }
        Ok(if is_range {
            Node::Range(pipeline, inner, otherwise)
        } else {
            Node::With(pipeline, inner, otherwise)
        })
    }

    fn leave(&self, word: &str, rest: &str) -> Result<Node, String> {
        if !rest.trim().is_empty() {
            return Err(format!("unexpected {rest:?} in {{{{{word}}}}}"));
        }
        match (self.ranges, word) {
            (0, _) => Err(format!("{{{{{word}}}}} outside {{{{range}}}}")),
            (_, "break") => Ok(Node::Break),
            (_, _) => Ok(Node::Continue),
        }
    }

    /// A part with a name of its own. It knows what it is given, and none of the variables around it.
    fn define(&mut self, name: String, depth: usize) -> Result<(), String> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (nodes, closed) = self.block(depth + 1)?;
        (self.variables, self.ranges) = (variables, ranges);
        if closed.as_deref() != Some("end") {
            return Err(format!("{name:?} is not closed by end"));
        }
        self.definitions.insert(name, nodes);
        Ok(())
    }

    /// What a part is given; nothing where nothing is written.
    fn data(&mut self, text: &str) -> Result<Option<Pipeline>, String> {
        let known = self.variables.len();
        let data = match text.is_empty() {
            true => None,
            false => Some(pipeline(text, &mut self.variables, false)?),
        };
        self.variables.truncate(known);
        Ok(data)
    }
}

/// The quoted name after a word, and what follows it.
fn name_of(word: &str, rest: &str) -> Result<(String, String), String> {
    let rest = rest.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '`'));
    let quote = quote.ok_or_else(|| format!("{word} needs a name in quotes"))?;
    let (name, length) = quoted(rest, quote)?;
    let after = rest.get(length..).unwrap_or("").trim();
    Ok((name, after.to_owned()))
}

fn pipeline(text: &str, variables: &mut Vec<String>, is_range: bool) -> Result<Pipeline, String> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let mut names = Vec::new();
    let defines = tokens
        .iter()
        .position(|token| matches!(token, Token::Define));
    if let Some(defines) = defines {
        for token in tokens.get(..defines).unwrap_or(&[]) {
            match token {
                Token::Variable(name, path) if path.is_empty() => names.push(name.clone()),
                Token::Comma if is_range => {}
                _ => return Err("unexpected := in operand".to_owned()),
            }
        }
        if names.is_empty() || names.len() > if is_range { 2 } else { 1 } {
            return Err("too many declarations".to_owned());
        }
        at = defines + 1;
    }
    let pipeline = commands(&tokens, &mut at, variables, names.clone(), 0)?;
    if at < tokens.len() {
        return Err("unexpected right paren".to_owned());
    }
    variables.extend(names);
    Ok(pipeline)
}

fn commands(
    tokens: &[Token],
    at: &mut usize,
    known: &[String],
    variables: Vec<String>,
    depth: usize,
) -> Result<Pipeline, String> {
    if depth > DEPTH_MAX {
        return Err(format!("nested deeper than {DEPTH_MAX}"));
    }
    let mut commands: Vec<Vec<Term>> = vec![Vec::new()];
    while let Some(token) = tokens.get(*at) {
        let term = match token {
            Token::Close => break,
            Token::Pipe => {
                commands.push(Vec::new());
                *at += 1;
                continue;
            }
            Token::Open => {
                *at += 1;
                let inner = commands_nested(tokens, at, known, depth)?;
                let path = match tokens.get(*at) {
                    Some(Token::Close) => Vec::new(),
                    Some(Token::CloseFields(path)) => path.clone(),
                    _ => return Err("unclosed left paren".to_owned()),
                };
                Term::Nested(inner, path)
            }
            Token::CloseFields(_) => break,
            Token::Dot => Term::Dot,
            Token::Fields(path) => Term::Fields(path.clone()),
            Token::Variable(name, path) => {
                if !known.contains(name) {
                    return Err(format!("undefined variable {name:?}"));
                }
                Term::Variable(name.clone(), path.clone())
            }
            Token::Name(name) => {
                if !functions::is_known(name) {
                    return Err(format!("function {name:?} not defined"));
                }
                Term::Name(name.clone())
            }
            Token::Literal(value) => Term::Literal(value.clone()),
            Token::Define | Token::Comma => return Err("unexpected token in operand".to_owned()),
        };
        *at += 1;
        if let Some(command) = commands.last_mut() {
            command.push(term);
        }
    }
    if commands.iter().any(Vec::is_empty) {
        return Err("missing value for command".to_owned());
    }
    Ok(Pipeline {
        variables,
        commands,
    })
}

fn commands_nested(
    tokens: &[Token],
    at: &mut usize,
    known: &[String],
    depth: usize,
) -> Result<Pipeline, String> {
    commands(tokens, at, known, Vec::new(), depth + 1)
}

#[derive(Clone, Debug)]
enum Token {
    Open,
    Close,
    /// `).a.b`
    CloseFields(Vec<String>),
    Pipe,
    Define,
    Comma,
    Dot,
    Fields(Vec<String>),
    Variable(String, Vec<String>),
    Name(String),
    Literal(Value),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word_end = rest.find(|c: char| {
            c.is_whitespace() || "()|,\"`".contains(c) || (c == ':' && rest.contains(":="))
        });
        let word = rest.get(..word_end.unwrap_or(rest.len())).unwrap_or(rest);
        let (token, length) = match first {
            '(' => (Token::Open, 1),
            ')' => {
                let after = rest.get(1..).unwrap_or("");
                let end = after.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.'));
                let tail = after.get(..end.unwrap_or(after.len())).unwrap_or("");
                match tail.strip_prefix('.') {
                    Some(path) => (Token::CloseFields(fields(path)), 1 + tail.len()),
                    None => (Token::Close, 1),
                }
            }
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Define, 2),
            '"' | '`' => {
                let (text, length) = quoted(rest, first)?;
                (Token::Literal(Value::Text(text)), length)
            }
            '.' if word == "." => (Token::Dot, 1),
            '.' if word.chars().nth(1).is_some_and(|c| !c.is_ascii_digit()) => (
                Token::Fields(fields(word.get(1..).unwrap_or(""))),
                word.len(),
            ),
            '$' => {
                let (name, path) = word.split_once('.').unwrap_or((word, ""));
                (Token::Variable(name.to_owned(), fields(path)), word.len())
            }
            c if c.is_alphabetic() || c == '_' => (named(word), word.len()),
            _ => (number(word)?, word.len().max(1)),
        };
        tokens.push(token);
        rest = rest.get(length..).unwrap_or("").trim_start();
    }
    Ok(tokens)
}

fn named(word: &str) -> Token {
    match word {
        "true" => Token::Literal(Value::Bool(true)),
        "false" => Token::Literal(Value::Bool(false)),
        "nil" => Token::Literal(Value::Nothing),
        _ => Token::Name(word.to_owned()),
    }
}

fn fields(path: &str) -> Vec<String> {
    path.split('.')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn number(word: &str) -> Result<Token, String> {
    if let Ok(value) = word.parse::<i64>() {
        return Ok(Token::Literal(Value::Int(value)));
    }
    match mainstay_promql::number::parse(word) {
        Some(value) => Ok(Token::Literal(Value::Float(value))),
        None => Err(format!("unexpected {word:?} in command")),
    }
}

fn quoted(text: &str, quote: char) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => return Ok((value, at + 1)),
            '\\' if quote == '"' => match characters.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                _ => return Err("invalid escape in string".to_owned()),
            },
            c => value.push(c),
        }
    }
    Err("unterminated quoted string".to_owned())
}
