//! `merit import`: reports from files, exactly once.

use crate::code;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Place, session, summary};
use clap::Args;
use merit_core::record::{RawReport, Tick};
use merit_core::{Datum, EventTime, Key, Payload, datum};
use merit_runtime::{Engine, Failpoint, Input, Options};
use merit_sources::{Mapping, Merge, Position, Source};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Rows between two Ticks; design 4.
pub(crate) const TICK_ROWS: u64 = 10_000;

#[derive(Args)]
pub(crate) struct Import {
    /// JSON lines or CSV, plain or gzip; `-` is standard input. Several files are merged by event time.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// How CSV columns become a report.
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,
    /// Names the source; by default the SHA-256 of its first row and mapping does.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Read everything into memory and sort it by event time first.
    #[arg(long)]
    sort: bool,
    /// The emitter key; made at DIR/audit.key by default.
    #[arg(long, value_name = "FILE")]
    audit_key: Option<PathBuf>,
    /// Commit after exactly so many rows, for tests; by default a commit takes what came while the last one synced.
    #[arg(long, value_name = "ROWS", hide = true)]
    commit_rows: Option<u64>,
    /// Checkpoint after so many inputs, for tests.
    #[arg(long, value_name = "INPUTS", hide = true)]
    checkpoint_inputs: Option<u64>,
}

datum! {
    /// What was taken from one source, in the commit of its last row.
    SourceRow<'a> {
        /// Its name.
        name: &'a str,
        /// Rows taken.
        rows: u64,
        /// Running SHA-256 of these rows.
        digest: [u8; 32],
        /// Whether its end was reached and told.
        finished: bool,
    }
}

impl Import {
    pub(crate) fn run(self, out: &mut Output) -> Result<(), Failure> {
        let started = Instant::now();
        session::refuse_in_use(&self.place)?;
        let mapping = self.mapping()?;
        let topology = session::topology(self.place.topology.as_deref())?;
        let (ingest, _) = ingest::params::Params::read(&topology.settings);
        let mut sources = Vec::new();
        for file in &self.files {
            let mut source = Source::open(file, mapping.as_ref(), self.source.as_deref())?;
            source.refuse_future(ingest.future);
            if self.sort {
                source.sort()?;
            }
            sources.push(source);
        }
        let options = Options { commit_records: self.commit_rows, checkpoint_inputs: self.checkpoint_inputs, ..Options::default() };
        let mut engine = session::open(&self.place, &topology, self.audit_key.as_ref(), options)?;
        let (known, finished) = positions(&engine)?;
        let mut merge = Merge::new(sources, &known)?;
        let before: u64 = merge.positions().iter().map(|position| position.rows).sum();
        Failpoint::ImportPositioned.pass();
        let all_finished = merge.positions().iter().all(|position| finished.contains(&position.name));
        let rows = take_rows(&mut engine, &mut merge, before, out)?;
        Failpoint::ImportTaken.pass();
        let meta = if rows > before || !all_finished {
            tick(&mut engine)?;
            Failpoint::ImportFinished.pass();
            source_rows(&merge, true)
        } else {
            Vec::new()
        };
        let (refolded, evicted) = (engine.refolded, engine.evicted);
        let layout = Arc::clone(engine.layout());
        let store = engine.close(meta)?;
        Failpoint::ImportClosed.pass();
        out.progress("");
        let run = summary::Run {
            rows: rows - before,
            before,
            refolded,
            evicted,
            elapsed: started.elapsed(),
            data_dir: &self.place.data_dir,
            sorted: self.sort,
        };
        summary::print(&store, &layout, &run, out)
    }

    fn mapping(&self) -> Result<Option<Arc<Mapping>>, Failure> {
        let Some(path) = &self.mapping else { return Ok(None) };
        let text = session::read(path, code::MAPPING_READ)?;
        let invalid = |problems: Vec<String>| {
            let name = path.display();
            let lines: Vec<String> = problems.iter().map(|problem| format!("{name}: {problem}")).collect();
            Failure::new(code::MAPPING_INVALID, summary::problems(lines.len(), &name.to_string())).because(lines.join("\n"))
        };
        Mapping::parse(&text).map(|mapping| Some(Arc::new(mapping))).map_err(invalid)
    }
}

/// What was taken from every source so far, and the names of those that were finished.
fn positions(engine: &Engine) -> Result<(Vec<Position>, Vec<String>), Failure> {
    let mut positions = Vec::new();
    let mut finished = Vec::new();
    for (_, bytes) in engine.store().meta_under("source/")? {
        let Some(row) = SourceRow::decode(&bytes) else {
            return Err(Failure::new(merit_runtime::code::LOG_CORRUPT, "the position of a source cannot be read"));
        };
        positions.push(Position { name: row.name.into(), rows: row.rows, digest: row.digest });
        if row.finished {
            finished.push(row.name.into());
        }
    }
    Ok((positions, finished))
}

fn source_rows(merge: &Merge, finished: bool) -> Vec<(String, Vec<u8>)> {
    let row = |position: Position| {
        let mut bytes = Vec::new();
        SourceRow { name: &position.name, rows: position.rows, digest: position.digest, finished }.put(&mut bytes);
        (format!("source/{}", position.name), bytes)
    };
    merge.positions().into_iter().map(row).collect()
}

/// Takes every row that is left; returns the rows taken from these sources since ever.
fn take_rows(engine: &mut Engine, merge: &mut Merge, before: u64, out: &mut Output) -> Result<u64, Failure> {
    let labels: Vec<String> = merge.sources().iter().map(|source| source.path().to_owned()).collect();
    let mut rows = before;
    loop {
        let row = match merge.take() {
            Ok(Some(row)) => row,
            Ok(None) => return Ok(rows),
            // What came before it is kept.
            Err(error) => {
                engine.commit(source_rows(merge, false))?;
                engine.settle()?;
                return Err(error.into());
            }
        };
        rows += 1;
        match row.report {
            Ok(report) => {
                let key = Key::new(report.agent_id);
                let partition = engine.report_partition(&key);
                engine.take(&Input { partition, key, time: report.timestamp, payload: Payload::EvalReport(&report), headers: None })?;
            }
            Err((unreadable, bytes)) => {
                let source = labels[row.source].as_str();
                let raw = RawReport { source, rule: unreadable.rule.name, detail: &unreadable.detail, bytes };
                let key = Key::new(source);
                let (partition, time) = (engine.report_partition(&key), engine.newest().max(EventTime::EPOCH));
                engine.take(&Input { partition, key, time, payload: Payload::RawReport(&raw), headers: None })?;
            }
        }
        if rows.is_multiple_of(TICK_ROWS) {
            tick(engine)?;
            Failpoint::ImportTicked.pass();
            out.progress(&format!("{rows} rows"));
        }
        if engine.commit_due() {
            Failpoint::ImportCommits.pass();
            engine.commit(source_rows(merge, false))?;
        }
    }
}

/// Tells every partition the largest event time so far.
pub(crate) fn tick(engine: &mut Engine) -> Result<(), Failure> {
    let time = engine.newest().max(EventTime::EPOCH);
    let layout = Arc::clone(engine.layout());
    for topic in ["eval.reports", "alloc.requests"] {
        for partition in layout.all_of(topic).into_iter().flatten() {
            engine.take(&Input { partition, key: Key::new("tick"), time, payload: Payload::Tick(&Tick { time }), headers: None })?;
        }
    }
    Ok(())
}
