//! How a command fails: a code, one line, a detail and a hint.

use merit_runtime::RuntimeError;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// A command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Exit code of the process; 0 where the reader of our output went away.
    pub(crate) exit: u8,
    code: &'static str,
    message: String,
    detail: Option<String>,
    hint: String,
}

impl Failure {
    /// The world failed.
    pub(crate) fn world(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { exit: 1, code, message: message.into(), detail: None, hint: hint.into() }
    }

    /// The call is wrong.
    pub(crate) fn call(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { exit: 2, ..Failure::world(code, message, hint) }
    }

    /// A check found a fault.
    pub(crate) fn check(code: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure { exit: 3, ..Failure::world(code, message, hint) }
    }

    /// With the cause beneath.
    pub(crate) fn because(self, detail: impl Into<String>) -> Failure {
        Failure { detail: Some(detail.into()), ..self }
    }

    /// Tells standard error.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let mut err = std::io::stderr().lock();
        let written = if json {
            let value = serde_json::json!({ "error": self.message, "code": self.code, "detail": self.detail, "hint": self.hint });
            writeln!(err, "{value}")
        } else {
            let detail = self.detail.as_ref().map(|detail| format!("\ndetail: {detail}")).unwrap_or_default();
            writeln!(err, "error: {} [{}]{detail}\nhint: {}", self.message, self.code, self.hint)
        };
        // Nobody is left to be told that standard error is closed.
        let _ = written;
        ExitCode::from(self.exit)
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Failure {
        let (exit, code) = match &error {
            RuntimeError::Open { .. } => (1, "directory_open"),
            RuntimeError::InUse { .. } => (1, "directory_in_use"),
            RuntimeError::Missing { .. } => (1, "directory_missing"),
            RuntimeError::Format { .. } => (1, "directory_format"),
            RuntimeError::Topology { .. } => (1, "topology_differs"),
            RuntimeError::Store { .. } => (1, "store_failed"),
            RuntimeError::Key { .. } => (1, "audit_key"),
            RuntimeError::KeyDiffers => (1, "audit_key_differs"),
            RuntimeError::Corrupt { .. } => (3, "log_corrupt"),
            RuntimeError::Pruned { .. } => (2, "offset_pruned"),
            RuntimeError::Difference(_) => (3, "log_differs"),
            RuntimeError::Stopped { .. } => (1, "stopped"),
        };
        Failure { exit, code, message: error.to_string(), detail: error.source().map(ToString::to_string), hint: error.hint().into() }
    }
}

impl From<merit_sources::SourceError> for Failure {
    fn from(error: merit_sources::SourceError) -> Failure {
        let hint = match error.code() {
            "source_differs" => "pass --source NAME with another name to import it as a new source",
            "mapping_missing" => "pass --mapping FILE, which says how columns become a report",
            "source_name_taken" => "--source names one file; leave it out to name each by its content",
            "source_cut_short" => "what came before was kept; get the whole file and run the command again",
            _ => "check the path and its permissions",
        };
        Failure {
            exit: 1,
            code: error.code(),
            message: error.to_string(),
            detail: error.source().map(ToString::to_string),
            hint: hint.into(),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure { exit: 0, ..Failure::world("output_closed", "", "") };
        }
        Failure::world("output_failed", "could not write the output", "check the disk that it goes to").because(error.to_string())
    }
}
