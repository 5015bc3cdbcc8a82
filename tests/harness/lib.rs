//! What the integration tests share.
//!
//! [`process`] runs the program, [`directory`] gives it a data directory, [`server`] calls its HTTP services, [`dump`] reads every record
//! of a directory, [`reports`] makes inputs, [`random`] draws from a seed, [`copies`] runs copies of Merit on a cluster, [`kafka`]
//! brings up brokers, [`copy`] fills them with a log, [`front`] stands before a schema registry. It calls the libraries of Merit to look
//! at a log, never to decide what a log should hold.
#![warn(missing_docs)]

pub mod copies;
pub mod copy;
pub mod directory;
pub mod dump;
pub mod front;
pub mod kafka;
pub mod process;
pub mod random;
pub mod reports;
pub mod server;

use std::io::Read;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The real trace.
pub fn trace() -> PathBuf {
    repository("examples/genai_requests.csv.gz")
}

/// Its text, header first.
pub fn text_of_trace() -> String {
    let file = std::fs::File::open(trace()).expect("the trace is in the repository");
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("the trace is gzip");
    text
}

/// The mapping that makes it reports.
pub fn trace_mapping() -> PathBuf {
    repository("examples/genai_requests.toml")
}

/// Reads a text file of a test.
pub fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()))
}

/// Writes a file of a test.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::write(path, bytes).unwrap_or_else(|error| panic!("could not write {}: {error}", path.display()));
}
