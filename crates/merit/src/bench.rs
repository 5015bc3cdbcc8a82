//! `merit bench`.
use crate::failure::Failure;
use crate::output::Output;
use clap::Args;

#[derive(Args)]
pub(crate) struct Bench {
    /// Reports.
    #[arg(long, default_value_t = 2_000_000)]
    reports: u64,
}

impl Bench {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        out.line(self.reports.to_string())
    }
}
