//! One PostgreSQL replica driven by the keeper core.
