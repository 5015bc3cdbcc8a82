//! The program.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// That of its C libraries, too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    merit::main()
}
