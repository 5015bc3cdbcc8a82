//! topology.toml: parse, check, draw.
