//! The program.

use std::io::Write;
use tikv_jemallocator::Jemalloc;

/// That of its C libraries, too.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

#[expect(unsafe_code, reason = "the standard library runs the handlers of C libraries as a process ends")]
fn main() -> ! {
    let exit = merit::main();
    // Nobody is left to be told that standard output is closed.
    let _ = std::io::stdout().flush();
    // Everything of ours is closed. Clients of a cluster end in threads of their own, which may be in the middle of OpenSSL when its
    // handler takes it down; RocksDB's globals are as mortal.
    // SAFETY: it does not return, and touches no memory of the process.
    unsafe { libc::_exit(exit.into()) }
}
