//! Which rule asks for which item: a table, as data. Nothing is concluded from it.

use thiserror::Error;

/// The table that is shipped; a pack carries the one that it was made with.
pub const SHIPPED: &str = include_str!("controls.tsv");
const ROWS_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    pub item: u8,
    pub rule: String,
    pub reference: String,
    /// Where the wording was taken from, and how surely.
    pub source: String,
    /// What the item shows of it.
    pub shows: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct ControlsError {
    pub line: usize,
    pub what: &'static str,
}

/// Lines of five columns with tabs between them: item, rule, reference, source, what the item shows. `#` begins a
/// remark.
///
/// # Errors
/// When a line is something else.
pub fn read(text: &str) -> Result<Vec<Control>, ControlsError> {
    let mut controls = Vec::new();
    for (line, row) in (1..).zip(text.lines()) {
        if row.trim().is_empty() || row.starts_with('#') {
            continue;
        }
        let fault = |what| ControlsError { line, what };
        let cells: Vec<&str> = row.split('\t').map(str::trim).collect();
        let [item, rule, reference, source, shows] = cells[..] else {
            return Err(fault("a row has five columns with tabs between them"));
        };
        let item: u8 = item
            .parse()
            .map_err(|_| fault("the first column is the number of an item"))?;
        if !(1..=15).contains(&item) {
            return Err(fault("items have the numbers from 1 to 15"));
        }
        if [rule, reference, source, shows].contains(&"") {
            return Err(fault("no column is empty"));
        }
        if controls.len() >= ROWS_MAX {
            return Err(fault("there are more than 1,000 rows"));
        }
        controls.push(Control {
            item,
            rule: rule.to_owned(),
            reference: reference.to_owned(),
            source: source.to_owned(),
            shows: shows.to_owned(),
        });
    }
    Ok(controls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_speaks_of_every_item_and_of_every_rule() {
        let controls = read(SHIPPED).unwrap();
        for item in 1..=15 {
            assert!(
                controls.iter().any(|control| control.item == item),
                "{item}"
            );
        }
        for rule in ["DORA", "PCI DSS", "SOX", "UK SYSC", "Reg SCI", "FFIEC"] {
            assert!(
                controls
                    .iter()
                    .any(|control| control.rule.starts_with(rule)),
                "{rule}"
            );
        }
        // Whether anybody complies is not for a table to say.
        assert!(!SHIPPED.to_lowercase().contains("complian"));
    }

    #[test]
    fn a_row_that_is_none_is_named() {
        for text in [
            "16\ta\tb\tc\td",
            "1\ta\tb\tc",
            "x\ta\tb\tc\td",
            "1\ta\t\tc\td",
        ] {
            let error = read(&format!("# remark\n{text}\n")).unwrap_err();
            assert_eq!(error.line, 2, "{text}");
        }
    }
}
