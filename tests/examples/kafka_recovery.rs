//! How fast a copy on Kafka is ready again: behind `kill -9` with its disk, and behind the loss of its disk.
//!
//! `scripts/bench_recovery.sh` runs it. Arguments: agents (default 500,000), reports (default 1,000,000). One broker, one copy.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use merit::bench::load::{self, Format};
use merit_tests::copies::{Application, Sent};
use merit_tests::directory::{Directory, Profile};
use merit_tests::kafka::Kafka;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let argument = |at: usize, default| std::env::args().nth(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (agents, reports): (u64, u64) = (argument(1, 500_000), argument(2, 1_000_000));
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Default));
    let copy = application.copy("a");
    let begun = Instant::now();
    application.fill((0..reports).map(|number| report(&application, agents, number)));
    let sent = begun.elapsed();
    application.wait_drained();
    println!(
        "{reports} reports of {agents} agents: sent in {:.1} s, drained {:.1} s later",
        sent.as_secs_f64(),
        (begun.elapsed() - sent).as_secs_f64()
    );
    copy.kill();
    println!("state on the copy's disk {:.0} MB, changelogs {:.0} MB", megabytes(&application.data("a"), "sst"), changelogs(&kafka));
    for (next, (name, lost)) in (reports..).zip([("kill -9", false), ("kill -9", false), ("its disk lost", true)]) {
        if lost {
            std::fs::remove_dir_all(application.data("a")).expect("our own directory");
        }
        let size = changelogs(&kafka);
        let begun = Instant::now();
        let copy = application.copy("a");
        application.send(&[report(&application, agents, next)], Duration::ZERO);
        application.wait_consumed();
        let took = begun.elapsed().as_secs_f64();
        println!("behind {name}: first record committed after {took:.2} s; {:.0} MB of changelogs, {:.0} MB/s", size, size / took);
        copy.kill();
    }
}

fn report(application: &Application, agents: u64, number: u64) -> Sent {
    let (report, mut payload) = (load::report(number, agents), Vec::new());
    report.write(Format::Avro, &mut payload);
    application.encoded(report.agent(), report.time, payload)
}

fn changelogs(kafka: &Kafka) -> f64 {
    let data = kafka.folder().join("broker-1/data");
    let folders = std::fs::read_dir(data).into_iter().flatten().flatten();
    let of = |folder: &std::fs::DirEntry| folder.file_name().to_string_lossy().contains("-changelog-");
    folders.filter(of).map(|folder| megabytes(&folder.path(), "log")).sum()
}

/// Bytes of the files of a folder with that ending, in millions.
fn megabytes(folder: &Path, ending: &str) -> f64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = files.filter(|file| file.path().extension().is_some_and(|found| found == ending));
    files.filter_map(|file| file.metadata().ok()).map(|file| file.len() as f64 / 1e6).sum()
}
