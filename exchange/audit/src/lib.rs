//! The auditor: classes every intent from witness logs and database alone.
