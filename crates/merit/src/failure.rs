//! How a command fails: a code, one line, a detail and a hint.

use crate::code;
use crate::output::printable;
use merit_core::Code;
use merit_runtime::RuntimeError;
use merit_runtime::kafka::ClusterError;
use std::error::Error;
use std::io::Write;

/// A command that did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// Which of the errors it is.
    pub(crate) code: &'static Code,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
}

impl Failure {
    /// What its code says, with what was found.
    pub(crate) fn new(code: &'static Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), detail: None, hint: None }
    }

    /// With the cause beneath.
    pub(crate) fn because(self, detail: impl Into<String>) -> Failure {
        Failure { detail: Some(detail.into()), ..self }
    }

    /// With a hint that knows more than that of the code.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// Tells standard error, unless nobody is to be told.
    pub(crate) fn report(&self, json: bool) -> u8 {
        let Code { name, exit, happened, remedy, .. } = *self.code;
        let (detail, hint) = (self.detail.as_deref().unwrap_or(happened), self.hint.as_deref().unwrap_or(remedy));
        if exit != 0 {
            let mut err = std::io::stderr().lock();
            let written = if json {
                let value = serde_json::json!({ "error": self.message, "code": name, "detail": detail, "hint": hint });
                writeln!(err, "{value}")
            } else {
                let text = format!("error: {} [{name}]\ndetail: {detail}\nhint: {hint}", self.message);
                writeln!(err, "{}", printable(&text))
            };
            // Nobody is left to be told that standard error is closed.
            let _ = written;
        }
        exit
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Failure {
        let detail = error.detail().or_else(|| error.source().map(ToString::to_string));
        Failure { detail, ..Failure::new(error.code(), error.to_string()) }
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Failure {
        RuntimeError::from(error).into()
    }
}

impl From<merit_sources::SourceError> for Failure {
    fn from(error: merit_sources::SourceError) -> Failure {
        Failure { detail: error.source().map(ToString::to_string), ..Failure::new(error.code(), error.to_string()) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::new(code::OUTPUT_CLOSED, "");
        }
        Failure::new(code::OUTPUT_FAILED, "could not write the output").because(error.to_string())
    }
}
