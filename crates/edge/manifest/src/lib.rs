//! The platform file: YAML in, a validated platform or a list of diagnostics out.
//!
//! Reading happens in three passes, and a file is told everything that one pass finds before the next
//! begins. First the text becomes a tree in which every value knows its line and column ([`tree`]): here
//! YAML itself may be broken. Then the tree is given its form ([`file`], [`decode`]): unknown fields, wrong
//! types, missing fields. At last the model judges what the file means and answers with paths, which the
//! tree turns back into lines and columns.
//!
//! Why not simply let serde read the text: it stops at the first mistake, and loses the place of whatever
//! is only wrong in combination.

mod decode;
mod diagnostic;
mod draft;
mod file;
mod gates;
mod playbook;
mod playbook_critic;
mod playbook_file;
mod playbook_times;
mod playbooks_named;
mod quantity;
mod routes;
mod tree;

use mainstay_model::Platform;

pub use diagnostic::{Diagnostic, Place, Related, render, render_json};
pub use playbook::{load_playbook, playbook_schema};
pub use playbook_critic::{criticise_playbook, render_criticism, unknown_alerts};
pub use playbook_times::due_times;
pub use playbooks_named::{NamedPlaybook, named_playbooks};

/// The longest platform file, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// The only version and kind there is.
pub const API_VERSION: &str = "mainstay/v1";
pub const KIND: &str = "Platform";

/// Reads a platform file. `path` is only for the messages.
///
/// Never panics, whatever the text. At most [`diagnostic::DIAGNOSTICS_MAX`] diagnostics come back, in the
/// order of the text.
pub fn load(path: &str, text: &str) -> Result<Platform, Vec<Diagnostic>> {
    let reader = diagnostic::Source::new(path, text);
    let tree = tree::parse(text).map_err(|fault| reader.one(fault))?;
    let document = decode::Document {
        kind: KIND,
        name: "platform file",
        root: "PlatformFile",
        schema: &schema(),
    };
    let form = decode::document(&tree, &document).map_err(|faults| reader.all(faults))?;
    let draft = draft::from_file(&form);
    let platform = Platform::from_draft(&draft).map_err(|violations| {
        let faults = violations
            .iter()
            .map(|violation| draft::fault(&tree, violation));
        reader.all(faults.collect())
    })?;
    let mut faults = gates::unreadable(&tree, &platform);
    faults.extend(routes::hidden(&tree, &platform));
    match faults.is_empty() {
        true => Ok(platform),
        false => Err(reader.all(faults)),
    }
}

/// The JSON Schema of the platform file, for editors.
pub fn schema() -> serde_json::Value {
    let generator = schemars::generate::SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<file::PlatformFile>();
    let title = serde_json::Value::from("Mainstay platform file");
    schema.insert("title".to_owned(), title);
    schema.to_value()
}
