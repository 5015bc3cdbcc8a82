//! `merit explain`.
use crate::failure::Failure;
use crate::output::Output;
use crate::Place;
use clap::Args;

#[derive(Args)]
pub(crate) struct Explain {
    /// The id of a promotion, allocation, report or agent.
    id: String,
    #[command(flatten)]
    place: Place,
}

impl Explain {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        out.line(format!("{} {}", self.id, self.place.data_dir.display()))
    }
}
