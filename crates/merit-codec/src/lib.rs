//! Avro schemas of Merit's records, and records as JSON.
//!
//! The shapes that `merit-core` puts on records are the source: [`schema`] writes them as Avro, and `schemas/` keeps that text, one
//! file a record type, so that other people's tools can read Merit's topics. Tests compare the two in both directions and hold every
//! schema against every version ever released.
//! [`write_json`] and [`from_json`] turn any encoded value, state rows too, into text for people and back.
//!
//! It knows no file, topic or registry, and it does not translate the bytes of an older version.
//! Read on in `schemas/README.md` and `merit_core::datum`.
#![warn(missing_docs, clippy::wildcard_enum_match_arm)]

mod compatibility;
mod fingerprint;
mod from_json;
mod schema;
mod write_json;

#[cfg(test)]
mod tests;

pub use compatibility::incompatibilities;
pub use fingerprint::{canonical_form, fingerprint};
pub use from_json::from_json;
pub use schema::schema;
pub use write_json::{to_json, write_json};
