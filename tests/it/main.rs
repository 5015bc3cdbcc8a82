//! Integration tests: the built program on real data.
//!
//! One file a topic. Build the program first: `cargo build --release --workspace`.

mod answers;
mod api_page;
mod backup;
mod bad_input;
mod beside;
mod browser;
mod commands;
mod configuration;
mod crash_matrix;
mod crash_recovery;
mod damage;
mod docker;
mod equality;
mod errors;
mod http_acceptance;
mod http_models;
mod http_once;
mod http_operations;
mod http_stall;
mod import;
mod kafka_apply;
mod kafka_clients;
mod kafka_copies;
mod kafka_faults;
mod kafka_guide;
mod kafka_http;
mod kafka_log;
mod kafka_registry;
mod kafka_scenarios;
mod kafka_script;
mod kafka_security;
mod kill;
mod lineage;
mod oracle;
mod replay;
mod retention;
mod seed_001;
mod simulation;
mod sync;
mod topology;
