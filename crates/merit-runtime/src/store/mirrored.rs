//! Whose copy a log is.
//!
//! A log that is copied from Kafka keeps the offsets that its records have there, so offsets are missing in it where Kafka has
//! markers of transactions and what was aborted. Only such a log may lack offsets, and nothing is appended to it here.

use super::{Commit, Store, Sync};
use crate::RuntimeError;
use crate::layout::Layout;
use merit_core::{Datum, datum};
use std::fmt;
use std::path::Path;

datum! {
    /// That row.
    MirroredRow<'a> {
        /// Id of the cluster.
        cluster: &'a str,
        /// Name of the application there.
        application: &'a str,
    }
}

/// The log that a directory has a copy of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrored {
    /// Id of its cluster, as the cluster names itself.
    pub cluster: String,
    /// Name of its application there.
    pub application: String,
}

impl Mirrored {
    /// The row of the meta family that says so.
    pub(crate) const ROW: &str = "cluster";

    /// What that row says, if there is one.
    pub(crate) fn decode(row: Option<&[u8]>) -> Result<Option<Mirrored>, RuntimeError> {
        let unreadable = || RuntimeError::Store { attempt: "read", cause: "the row of the cluster is not one".into() };
        let row = row.map(|row| MirroredRow::decode(row).ok_or_else(unreadable)).transpose()?;
        Ok(row.map(|MirroredRow { cluster, application }| Mirrored { cluster: cluster.into(), application: application.into() }))
    }

    /// Rows of the meta family that make a log its copy.
    pub(crate) fn rows(&self, layout: &Layout) -> Vec<(String, Vec<u8>)> {
        let mut row = Vec::new();
        MirroredRow { cluster: &self.cluster, application: &self.application }.put(&mut row);
        vec![(Mirrored::ROW.into(), row), ("layout".into(), layout.structure().into_bytes())]
    }
}

impl fmt::Display for Mirrored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application {:?} on Kafka cluster {:?}", self.application, self.cluster)
    }
}

impl Store {
    /// Opens a directory whose log is written here alone; refused where it is a copy of one on Kafka.
    pub fn open_own(path: &Path, sync: Sync) -> Result<Store, RuntimeError> {
        let store = Store::open(path, sync)?;
        store.expect_own()?;
        Ok(store)
    }

    /// Opens a directory to read the log in it.
    pub fn open_log(path: &Path) -> Result<Store, RuntimeError> {
        let store = Store::open_to_read(path)?;
        store.expect_log()?;
        Ok(store)
    }

    /// Refuses a log that is a copy of one on Kafka.
    pub fn expect_own(&self) -> Result<(), RuntimeError> {
        let refused = |of: &Mirrored| Err(RuntimeError::IsMirror { path: self.path.clone(), of: of.to_string() });
        self.mirrored().map_or(Ok(()), refused)
    }

    /// Refuses the directory of a copy on Kafka that has nothing of the log.
    pub fn expect_log(&self) -> Result<(), RuntimeError> {
        match self.mirrored() {
            Some(of) if self.meta("ends")?.is_none() => Err(RuntimeError::WithoutLog { path: self.path.clone(), of: of.to_string() }),
            _ => Ok(()),
        }
    }

    /// Whose copy the log is; none where it is nobody's.
    pub fn mirrored(&self) -> Option<&Mirrored> {
        self.mirrored.get()
    }

    /// Makes an empty log a copy of that one; refused where it is another's, or has records of its own.
    pub fn mirror(&self, of: &Mirrored, layout: &Layout) -> Result<(), RuntimeError> {
        layout.check(self)?;
        let other = |found: String| RuntimeError::OtherLog { path: self.path.clone(), found, wanted: of.to_string() };
        match self.mirrored() {
            Some(found) if found == of => Ok(()),
            Some(found) => Err(other(found.to_string())),
            None if self.meta("ends")?.is_some() => Err(other("a log that was written here".into())),
            None => {
                self.commit(&mut Commit { meta: of.rows(layout), ..Commit::default() }, &layout.partitions)?;
                self.mirrored.get_or_init(|| of.clone());
                Ok(())
            }
        }
    }

    pub(super) fn with_mirrored(self) -> Result<Store, RuntimeError> {
        if let Some(of) = Mirrored::decode(self.meta(Mirrored::ROW)?.as_deref())? {
            self.mirrored.get_or_init(|| of);
        }
        Ok(self)
    }
}
