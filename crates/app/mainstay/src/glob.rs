//! Which files a pattern means, as promtool reads `rule_files`: `*` and `?` within a name, `[a-z]`, `[^a-z]`, and `\` before
//! what is meant literally.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Most files of one pattern.
const FOUND_MAX: usize = 10_000;
const SPECIAL: &[char] = &['*', '?', '[', '\\'];

/// The files in the order of their names; a path without a pattern is itself, whether or not it is there.
pub fn expand(path: &Path) -> io::Result<Vec<PathBuf>> {
    let is_pattern = |text: &str| text.contains(SPECIAL);
    if path.exists() || !path.to_str().is_some_and(is_pattern) {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = vec![PathBuf::new()];
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name.to_str().filter(|name| is_pattern(name)),
            _ => None,
        };
        let mut next = Vec::new();
        for folder in found {
            match name {
                None => next.push(folder.join(component)),
                Some(pattern) => next.extend(matching(&folder, pattern)?),
            }
            if next.len() > FOUND_MAX {
                let why = format!("{} means more than {FOUND_MAX} files", path.display());
                return Err(io::Error::other(why));
            }
        }
        found = next;
    }
    found.retain(|path| path.exists());
    found.sort();
    Ok(found)
}

/// What lies in the folder and fits; nothing where it is none.
fn matching(folder: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let pattern: Vec<char> = pattern.chars().collect();
    let here = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let entries = match std::fs::read_dir(here) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let letters: Option<Vec<char>> = name.to_str().map(|name| name.chars().collect());
        if letters.is_some_and(|letters| fits(&pattern, &letters)) {
            found.push(folder.join(name));
        }
    }
    Ok(found)
}

/// Whether a name fits a pattern: where a `*` took too little, it takes one letter more.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut next) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while next < name.len() {
        let rest = pattern.get(at..).unwrap_or(&[]);
        let letter = name.get(next).copied().unwrap_or_default();
        if rest.first() == Some(&'*') {
            at += 1;
            star = Some((at, next));
        } else if let Some(length) = one(rest, letter) {
            at += length;
            next += 1;
        } else if let Some((after, taken)) = star {
            (at, next) = (after, taken + 1);
            star = Some((after, taken + 1));
        } else {
            return false;
        }
    }
    let rest = pattern.get(at..).unwrap_or(&[]);
    rest.iter().all(|letter| *letter == '*')
}

/// How long the part of the pattern is that stands for this letter; nothing if it stands for another.
fn one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', literal, ..] => (*literal == letter).then_some(2),
        ['[', class @ ..] => {
            // A bracket that comes first is a letter like others.
            let negated = class.first() == Some(&'^');
            let begin = usize::from(negated);
            let length = class.iter().skip(begin + 1).position(|c| *c == ']')? + begin + 1;
            let letters = class.get(begin..length)?;
            (within(letters, letter) != negated).then_some(length + 2)
        }
        [literal, ..] => (*literal == letter).then_some(1),
        [] => None,
    }
}

fn within(class: &[char], letter: char) -> bool {
    match class {
        [from, '-', to, rest @ ..] => (*from..=*to).contains(&letter) || within(rest, letter),
        [one, rest @ ..] => *one == letter || within(rest, letter),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_as_in_go() {
        for (pattern, name, wanted) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("*", "", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("?.y", "a.y", true),
            ("?.y", ".y", false),
            ("[a-c]1", "b1", true),
            ("[a-c]1", "d1", false),
            ("[^a-c]1", "d1", true),
            ("[^a-c]1", "b1", false),
            ("[]x]", "]", true),
            ("\\*.y", "*.y", true),
            ("\\*.y", "a.y", false),
            ("[a", "a", false),
        ] {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            let found = fits(&letters(pattern), &letters(name));
            assert_eq!(found, wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_is_the_files_that_fit_it_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["b", "a", "c"] {
            std::fs::create_dir(at(name)).expect("made");
            std::fs::write(at(name).join("rules.yaml"), "").expect("written");
        }
        std::fs::write(at("d"), "no folder").expect("written");
        let found = expand(&at("[abd]/*.yaml")).expect("read");
        assert_eq!(found, [at("a/rules.yaml"), at("b/rules.yaml")]);
        assert_eq!(expand(&at("x*/y")).expect("read"), [] as [PathBuf; 0]);
        assert_eq!(expand(&at("gone.yaml")).expect("read"), [at("gone.yaml")]);
    }
}
