//! The shell on Apache Kafka: the copy of [`crate::copy`] over transactions, a consumer group and changelogs.
//!
//! Read in this order: [`wire`] (a record as a message), [`client`] (what is asked of librdkafka), [`topics`] (what lies where),
//! [`reader`] (partitions from a position on), [`mirror`] (the whole log, copied),
//! [`restore`] (a copy, written back).

mod client;
mod error;
mod gathered;
mod group;
pub mod mirror;
pub mod reader;
pub mod restore;
pub mod topics;
pub mod wire;

pub use client::Cluster;
pub use error::ClusterError;
pub use mirror::Mirror;
