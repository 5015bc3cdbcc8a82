//! The services: evaluation and allocation, as seeds 000 and 001 write them.
//!
//! A call that changes something becomes a command in the log. What it led to comes back as records, and the answer is made of
//! these and of the read models, once they have folded them: nothing is decided here.

mod allocation;
mod app;
pub mod code;
mod command;
mod evaluation;
mod list;
mod trace;
mod wire;

pub use allocation::allocation;
pub use app::{App, Calls};
pub use evaluation::evaluation;
