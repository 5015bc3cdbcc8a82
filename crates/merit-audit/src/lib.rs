//! Audit leaves: how they are written, chained, signed and verified. Bytes in, bytes out.
//!
//! Every decision is an [`Entry`] that a [`Chain`] turns into a [`Leaf`]: an [`Envelope`] (one canonical JSON object that names
//! the record, commits to its bytes and to the envelope before it) and at most one signature. A signature covers, through
//! `prev`, every leaf of its chain before it. [`LogVerifier`] needs the leaves and the public keys, and nothing else of Merit.
//!
//! This crate knows no topic, file or clock, and decides nothing about what deserves a leaf.
//! Read in this order: [`leaf`] (the byte formats), [`envelope`], [`chain`], [`verify`].
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod chain;
pub mod envelope;
mod json;
pub mod key;
pub mod leaf;
pub mod rule;
mod running;
pub mod verify;

pub use chain::{Chain, ChainHead, Entry, Leaf, Unwritable};
pub use envelope::{Envelope, Misshapen, Source, leaf_type};
pub use key::{EmitterKey, NoKey, Signature, Signer, key_id};
pub use leaf::{ParsedLeaf, leaf_hash, payload_commit};
pub use running::{Running, RunningState};
pub use verify::{AuditFault, LogVerifier, Verified};
