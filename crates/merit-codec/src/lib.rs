//! Schemas against records.
