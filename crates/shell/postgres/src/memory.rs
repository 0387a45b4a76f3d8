//! The thread that writes promises, so that a slow disk delays nothing but the promise itself.

use mainstay_keeper::{Durable, Input};
use tokio::sync::mpsc;

use crate::commands::chain;
use crate::convert;
use crate::promise::{PromiseError, PromiseFile};
use crate::setup::Setup;

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error(transparent)]
    Promise(#[from] PromiseError),
    #[error("understand what the promise file holds")]
    Form(#[from] serde_json::Error),
    #[error("understand what the promise file holds")]
    Content(#[from] convert::ConvertError),
}

/// Opens the file and reads what the keeper knew.
///
/// # Errors
/// When the file is damaged or of another version: the keeper must not start without its promises.
pub fn recall(setup: &Setup) -> Result<(PromiseFile, Option<Durable>), MemoryError> {
    let (file, content) = PromiseFile::open(&setup.layout.promise)?;
    let durable = match content {
        Some(content) => Some(convert::durable_in(&serde_json::from_slice(&content)?)?),
        None => None,
    };
    Ok((file, durable))
}

/// Stores each record in turn and says so; ends after the first failure, of which it also speaks.
pub fn keep(
    mut file: PromiseFile,
    mut records: mpsc::UnboundedReceiver<(u64, Durable)>,
    report: &mpsc::UnboundedSender<Input>,
) {
    while let Some((sequence, durable)) = records.blocking_recv() {
        let stored = serde_json::to_vec(&convert::durable_out(&durable))
            .map_err(MemoryError::from)
            .and_then(|bytes| Ok(file.store(&bytes)?));
        let input = match &stored {
            Ok(()) => Input::Persisted { sequence },
            Err(error) => {
                tracing::error!(error = chain(error), "a promise is not on disk");
                Input::PersistFailed { sequence }
            }
        };
        if report.send(input).is_err() || stored.is_err() {
            return;
        }
    }
}
