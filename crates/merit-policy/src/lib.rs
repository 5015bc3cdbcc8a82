//! Policy: the rules that can speak against an allocation, how severe each is, and the bundle of static ones.
//!
//! Typed rules, evaluated in native integer code: there is nothing that can fail while a request is judged.
//! Read in this order: [`rule`] (what can speak against a request), [`bundle`] (what operators set), [`command`] (what nobody judges), [`time`] (the ledger's clock).
//! It does not know pools, quotas or entities; those who hold them add their own findings.
#![cfg_attr(not(test), no_std)]
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

extern crate alloc;

pub mod bundle;
pub mod command;
pub mod rule;
pub mod time;

pub use bundle::Bundle;
pub use rule::{ALLOW, Cure, Finding, Gpus, Rule};
pub use time::LedgerTime;
