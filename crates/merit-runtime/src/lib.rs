//! The runtime: the one place with effects.
//!
//! [`layout`] turns the topology into tasks and routes, [`task`] runs the processors of a task over a record, [`embedded`] drives
//! tasks on a directory that is log and state, [`sim`] on a simulated broker where everything fails, [`backup`] copies such a
//! directory, [`tables`] keeps what is read by others than the pipeline. It does not know what any processor does.

pub mod archive;
pub mod backup;
pub mod code;
pub mod copy;
pub mod embedded;
pub mod epoch;
mod error;
pub mod failpoint;
pub mod frame;
pub mod kafka;
pub mod key;
pub mod layout;
pub mod lineage;
pub mod processed;
pub mod pruned;
pub mod sim;
pub mod store;
pub mod tables;
pub mod task;

pub use embedded::{Appender, Engine, Input, LOGIC_VERSION, Options, live};
pub use error::{Difference, RuntimeError};
pub use failpoint::Failpoint;
pub use layout::Registered;
