//! Lists, a page at a time.

use super::app::{App, failed};
use crate::call::Call;
use crate::model::key::behind;
use crate::parameter::{Kind, Parameter, Place, hex};
use crate::refusal::Refusal;
use merit_runtime::tables::Direction;
use std::ops::ControlFlow;

/// Entries of a page where nothing else is said.
const PAGE: u64 = 100;

/// Rows that one page looks at, whatever it finds: a page may be short, or empty, and there is more behind its cursor.
const LOOKED_AT: usize = 10_000;

pub(super) const LIMIT: Parameter = Parameter {
    name: "limit",
    place: Place::Query,
    required: false,
    kind: Kind::Count { least: 1, most: 1_000 },
    description: "Entries of a page, 100 by default.",
};

pub(super) const CURSOR: Parameter = Parameter {
    name: "cursor",
    place: Place::Query,
    required: false,
    kind: Kind::Hex { longest: 64 },
    description: "The `nextCursor` of the page before.",
};

/// Some rows of a table, and where it goes on.
pub(super) struct Page<R> {
    pub(super) items: Vec<R>,
    pub(super) next_cursor: Option<String>,
}

/// Which rows a page shows.
pub(super) struct Range {
    /// What their keys begin with.
    pub(super) prefix: Vec<u8>,
    /// The first key, or the last where it goes back; by default that of the prefix.
    pub(super) from: Option<Vec<u8>>,
    /// Behind the last key, where it goes forward.
    pub(super) to: Option<Vec<u8>>,
    pub(super) direction: Direction,
}

impl App {
    /// Reads a page: `take` makes an entry of a row, or none where the row is not wanted.
    pub(super) fn page<R>(
        &self,
        call: &Call,
        range: &Range,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<Option<R>, Refusal>,
    ) -> Result<Page<R>, Refusal> {
        let limit = limit(call);
        let end = behind(range.prefix.clone());
        let cursor = call.text("cursor").and_then(hex).map(|rest| [range.prefix.as_slice(), &rest].concat());
        let first = match range.direction {
            Direction::Forward => range.prefix.clone(),
            Direction::Reverse => end.clone(),
        };
        let from = cursor.or_else(|| range.from.clone()).unwrap_or(first);
        let last = range.to.as_ref().unwrap_or(&end);
        let (mut items, mut next, mut looked_at, mut refused) = (Vec::new(), None, 0, None);
        let scanned = self.tables.scan(&from, range.direction, |key, row| {
            if range.direction == Direction::Reverse && *key >= *end {
                return ControlFlow::Continue(());
            }
            if !key.starts_with(&range.prefix) || *key >= **last {
                return ControlFlow::Break(());
            }
            if items.len() >= limit || looked_at >= LOOKED_AT {
                next = Some(key.to_vec());
                return ControlFlow::Break(());
            }
            looked_at += 1;
            match take(key, row) {
                Ok(item) => items.extend(item),
                Err(refusal) => {
                    refused = Some(refusal);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        scanned.map_err(|error| failed(&error))?;
        match refused {
            Some(refusal) => Err(refusal),
            None => Ok(Page { items, next_cursor: next.map(|key| write_cursor(&key, &range.prefix)) }),
        }
    }
}

/// Entries of the page that a call asks for.
pub(super) fn limit(call: &Call) -> usize {
    call.count("limit").unwrap_or(PAGE) as usize
}

/// What is behind the prefix of a key, in hexadecimal.
pub(super) fn write_cursor(key: &[u8], prefix: &[u8]) -> String {
    key[prefix.len()..].iter().map(|byte| format!("{byte:02x}")).collect()
}
