//! Brings the tables up to the log and keeps them there.

use super::key::{FORMAT, Key, Table};
use super::row::{PositionRow, RecordRow};
use super::scores::Places;
use super::{allocations, graph, promotions, scores};
use merit_core::{Datum, EventTime, Kind, Uuid};
use merit_runtime::RuntimeError;
use merit_runtime::embedded::Batches;
use merit_runtime::frame::{Frame, frames};
use merit_runtime::layout::Layout;
use merit_runtime::lineage::lineages;
use merit_runtime::store::Store;
use merit_runtime::tables::{Changes, Tables};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Topics that the tables are folded from.
const TOPICS: [&str; 6] =
    ["eval.scores", "eval.promotions", "eval.aggregate-scores", "eval.aggregate-promotions", "alloc.decisions", "alloc.applied"];

/// Records that are folded at once while the tables catch up.
const CATCH_UP_RECORDS: usize = 10_000;

/// A record on its way into the tables.
pub struct Folded<'a> {
    /// Number of its partition.
    pub partition: usize,
    /// Its offset.
    pub offset: u64,
    /// Its type.
    pub kind: Kind,
    /// Its frame.
    pub frame: Frame<'a>,
    /// Its id, made when it is asked for.
    ids: &'a Ids,
}

impl Folded<'_> {
    /// Its id.
    pub fn id(&self) -> Uuid {
        self.ids.of(self.frame.stream, self.frame.sequence)
    }

    /// Itself as a row.
    pub fn row(&self) -> RecordRow<'_> {
        let Frame { time, payload, .. } = self.frame;
        RecordRow { partition: self.partition as u32, offset: self.offset, kind: self.kind as u32, time, payload }
    }
}

/// Names of the streams, by which records have their ids.
pub struct Ids {
    layout: Arc<Layout>,
    lineages: Vec<String>,
}

impl Ids {
    /// Those of a log.
    fn new(store: &Store, layout: &Arc<Layout>) -> Result<Ids, RuntimeError> {
        let lineages = lineages(store, layout)?.into_iter().map(|lineage| lineage.name).collect();
        Ok(Ids { layout: Arc::clone(layout), lineages })
    }

    /// The id of a record.
    pub fn of(&self, stream: u32, sequence: u64) -> Uuid {
        let name = u16::try_from(stream).ok().and_then(|stream| self.layout.stream_name(stream, &self.lineages));
        Uuid::of_record(name.as_deref().unwrap_or_default(), sequence)
    }
}

/// Folds the log into the tables.
pub struct Fold {
    layout: Arc<Layout>,
    tables: Arc<Tables>,
    ids: Arc<Ids>,
    /// Offset of the next record, by partition; none where a partition is not folded.
    positions: Vec<Option<u64>>,
    places: Places,
}

impl Fold {
    /// Opens the tables of a log in `path` and brings them up to its end. Those of another format, those that are damaged, and
    /// those that are ahead of the log are folded anew; `progress` is told how many records were folded, and of how many. None where it
    /// breaks the work off, which the next opening goes on with.
    pub fn open(
        store: &Store,
        layout: &Arc<Layout>,
        path: &Path,
        mut progress: impl FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Option<Fold>, RuntimeError> {
        let anew = |path: &Path| {
            // What is not there needs no removing; what cannot be removed is told by the opening.
            let _ = std::fs::remove_dir_all(path);
            Tables::open(path)
        };
        let mut fold = Fold::of(Tables::open(path).or_else(|_| anew(path))?, store, layout)?;
        if !fold.fits(store)? {
            drop(fold);
            fold = Fold::of(anew(path)?, store, layout)?;
        }
        if fold.catch_up(store, &mut progress)?.is_break() {
            fold.tables.flush()?;
            return Ok(None);
        }
        Ok(Some(fold))
    }

    fn of(tables: Tables, store: &Store, layout: &Arc<Layout>) -> Result<Fold, RuntimeError> {
        let mut positions = vec![None; layout.partitions.len()];
        for at in TOPICS.iter().filter_map(|topic| layout.all_of(topic)).flatten() {
            let row = tables.get(&position_key(layout, at))?;
            positions[at] = Some(row.and_then(|row| PositionRow::decode(&row)).map_or(0, |row| row.offset));
        }
        Ok(Fold {
            layout: Arc::clone(layout),
            tables: Arc::new(tables),
            ids: Arc::new(Ids::new(store, layout)?),
            positions,
            places: Places::default(),
        })
    }

    /// Whether the tables are of this format and not ahead of the log.
    fn fits(&self, store: &Store) -> Result<bool, RuntimeError> {
        let format = self.tables.get(&format_key())?;
        let is_new = self.positions.iter().flatten().all(|position| *position == 0);
        if format.as_deref().and_then(u32::decode) != Some(FORMAT) && !is_new {
            return Ok(false);
        }
        for (at, position) in self.positions.iter().enumerate() {
            if position.is_some_and(|position| position > 0) && *position > Some(store.end(&self.layout.partitions[at])?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Names of the streams of the log.
    pub fn ids(&self) -> &Arc<Ids> {
        &self.ids
    }

    /// The tables.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    fn catch_up(&mut self, store: &Store, progress: &mut impl FnMut(u64, u64) -> ControlFlow<()>) -> Result<ControlFlow<()>, RuntimeError> {
        let layout = Arc::clone(&self.layout);
        let (mut folded, mut of) = (0, 0);
        for (position, partition) in self.positions.iter().zip(&layout.partitions) {
            if let Some(position) = position {
                of += store.end(partition)?.saturating_sub((*position).max(store.start(partition)));
            }
        }
        self.tables.change(|changes| {
            changes.put(&format_key(), &FORMAT);
            Ok(())
        })?;
        for at in 0..self.positions.len() {
            let Some(mut position) = self.positions[at] else { continue };
            let partition = &layout.partitions[at];
            position = position.max(store.start(partition));
            let mut records = store.read(partition, position);
            let mut is_read = false;
            while !is_read {
                if progress(folded, of).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                self.change(|folding| {
                    for _ in 0..CATCH_UP_RECORDS {
                        let Some((offset, frame)) = records.next()? else {
                            is_read = true;
                            break;
                        };
                        folding.fold(at, offset, frame)?;
                        folded += 1;
                    }
                    Ok(())
                })?;
            }
        }
        Ok(progress(folded, of))
    }

    /// Folds what was committed.
    pub fn take(&mut self, batches: &Batches) -> Result<(), RuntimeError> {
        self.change(|folding| {
            for (at, base, _, body) in batches {
                for (offset, frame) in (*base..).zip(frames(body)) {
                    if let Some(frame) = frame {
                        folding.fold(*at, offset, frame)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Folds some records, and notes where the fold of their partitions stands now.
    fn change(&mut self, work: impl FnOnce(&mut Folding<'_, '_>) -> Result<(), RuntimeError>) -> Result<(), RuntimeError> {
        let Fold { layout, tables, ids, positions, places } = self;
        tables.change(|rows| {
            let before = positions.clone();
            work(&mut Folding { ids, positions, places, rows })?;
            for (at, position) in positions.iter().enumerate().filter(|(at, position)| before[*at] != **position) {
                position.iter().for_each(|offset| rows.put(&position_key(layout, at), &PositionRow { offset: *offset }));
            }
            Ok(())
        })
    }
}

/// A fold at work.
struct Folding<'f, 't> {
    ids: &'f Ids,
    positions: &'f mut Vec<Option<u64>>,
    places: &'f mut Places,
    rows: &'f mut Changes<'t>,
}

impl Folding<'_, '_> {
    /// Folds a record where it is one of those that the tables are made of, and was not folded before.
    fn fold(&mut self, partition: usize, offset: u64, frame: Frame<'_>) -> Result<(), RuntimeError> {
        let Folding { ids, positions, places, rows } = self;
        if positions[partition].is_none_or(|position| offset < position) {
            return Ok(());
        }
        positions[partition] = Some(offset + 1);
        let Some(kind) = frame.kind() else { return Ok(()) };
        let record = Folded { partition, offset, kind, frame, ids };
        match kind {
            Kind::ScoreUpdated => scores::fold(&record, rows, places),
            Kind::PromotionProposed | Kind::DemotionProposed | Kind::Held | Kind::ReviewRequired => {
                promotions::fold(&record, rows);
                graph::fold(&record, rows);
                Ok(())
            }
            Kind::PolicyDecided => {
                graph::fold(&record, rows);
                Ok(())
            }
            _ => {
                graph::fold(&record, rows);
                allocations::fold(&record, rows)
            }
        }
    }
}

fn position_key(layout: &Layout, at: usize) -> Vec<u8> {
    let partition = &layout.partitions[at];
    Key::of(Table::Position).name(&partition.name).number(partition.partition.into()).end()
}

fn format_key() -> Vec<u8> {
    Key::of(Table::Position).end()
}

/// The time of a minute of event time.
pub(crate) fn minute(time: EventTime) -> u64 {
    time.0.div_euclid(60_000).max(0) as u64
}
