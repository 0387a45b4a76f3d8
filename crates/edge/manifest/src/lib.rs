//! The platform file: YAML to model, with line and column for whatever is wrong.
