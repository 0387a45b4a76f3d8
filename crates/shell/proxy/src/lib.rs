//! The gateway process: listeners, connections and upstream pools around the gateway core.
