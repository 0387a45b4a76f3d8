//! The journal on disk: create-only parts, signed checkpoints, verification, export.
