//! audit-sealer
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;
