//! The shell on Apache Kafka: the copy of [`crate::copy`] over transactions, a consumer group and changelogs.
//!
//! Read in this order: [`wire`] (a record as a message), [`access`] and [`client`] (what is asked of librdkafka), [`topics`] (what lies
//! where), [`native`] and [`reader`] (partitions from a position on), [`member`] (which tasks are this copy's), [`producer`] (transactions), [`connection`]
//! (the copy's transport), [`disk`] (its state), [`worker`] (the thread that runs it), [`pulse`] (whether its calls come back),
//! [`watch`] (whether the topics are those that it read). Beside the copies: [`admin`] and [`settings`] (topics are made and compared),
//! [`in_force`] and [`append`] (configurations are found and appended), [`commands`] (what is sent by itself), [`registry`], [`schemas`] and [`foreign`] (ids of schemas, and what other programs send), [`reach`] and
//! [`acl`] (who is let in, and may do what), [`mirror`] and [`restore`] (the whole log, copied and written back), [`live`] (what
//! services work with), [`clock`] (the time, by the copy that owns the ledger).

mod access;
pub mod acl;
pub mod admin;
pub mod append;
mod client;
pub mod clock;
pub mod commands;
mod connection;
mod disk;
mod error;
pub mod foreign;
mod gathered;
mod group;
pub mod in_force;
pub mod live;
mod member;
pub mod mirror;
mod native;
mod producer;
mod pulse;
pub mod reach;
pub mod reader;
mod registry;
pub mod restore;
pub mod schemas;
pub mod settings;
pub mod topics;
pub mod watch;
pub mod wire;
pub mod worker;

pub use access::Access;
pub use client::{Cluster, Role};
pub use error::ClusterError;
pub use mirror::Mirror;
pub use worker::{Event, Worker};
