//! Lists, a page at a time.

use super::app::{App, failed};
use crate::call::Call;
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
    /// Reads a page: `take` makes an entry of what is behind the prefix of a key and of its row, or none where it is not wanted.
    pub(super) fn page<R>(
        &self,
        call: &Call,
        range: &Range,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<Option<R>, Refusal>,
    ) -> Result<Page<R>, Refusal> {
        let limit = limit(call);
        let cursor = call.text("cursor").and_then(hex).map(|rest| [range.prefix.as_slice(), &rest].concat());
        let from = cursor.as_ref().or(range.from.as_ref());
        let to = range.to.as_ref().map(|to| &to[range.prefix.len()..]);
        let (mut items, mut next_cursor, mut looked_at, mut refused) = (Vec::new(), None, 0, None);
        let walked = self.tables.under(&range.prefix, from.map(Vec::as_slice), range.direction, |rest, row| {
            if to.is_some_and(|to| to <= rest) {
                return ControlFlow::Break(());
            }
            if items.len() >= limit || looked_at >= LOOKED_AT {
                next_cursor = Some(write_cursor(rest));
                return ControlFlow::Break(());
            }
            looked_at += 1;
            match take(rest, row) {
                Ok(item) => items.extend(item),
                Err(refusal) => {
                    refused = Some(refusal);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        walked.map_err(|error| failed(&error))?;
        match refused {
            Some(refusal) => Err(refusal),
            None => Ok(Page { items, next_cursor }),
        }
    }
}

/// Entries of the page that a call asks for.
pub(super) fn limit(call: &Call) -> usize {
    call.count("limit").unwrap_or(PAGE) as usize
}

/// What is behind the prefix of a key, in hexadecimal.
pub(super) fn write_cursor(rest: &[u8]) -> String {
    rest.iter().map(|byte| format!("{byte:02x}")).collect()
}
