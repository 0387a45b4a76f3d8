//! Processes, shims, wires and faults of one host.
