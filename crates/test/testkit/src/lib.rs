//! What tests with real processes share: slots, waiting for conditions, cleaning up.
