//! Keys of the tables: one byte that names the table, then parts that sort as they should.

use merit_core::{EventTime, Fixed, Uuid};

/// A table; its number is the first byte of its keys and never changes its meaning within one [`FORMAT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// Where the fold of each partition stands, and the format.
    Position = 0,
    /// The last score of an agent.
    Score,
    /// Agents by division, from the highest score down, ties by id.
    Board,
    /// Scores of an agent by minute, but for the minute of its last one.
    History,
    /// Proposals by id.
    Promotion,
    /// Ids of proposals by time.
    PromotionTime,
    /// Allocations by id.
    Allocation,
    /// Ids of allocations by time.
    AllocationTime,
    /// The allocation that a promotion asked for.
    AllocationOf,
    /// Pools by name.
    Pool,
    /// Quotas by pool and division.
    Quota,
    /// Retrain jobs by id.
    Job,
    /// Decisions by id.
    Node,
    /// Decisions by the record that they rest on.
    Child,
}

/// The form of keys and rows; tables of another one are folded anew.
pub const FORMAT: u32 = 4;

/// Builds a key.
pub struct Key(Vec<u8>);

impl Key {
    /// A key of that table.
    pub fn of(table: Table) -> Key {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(table as u8);
        Key(bytes)
    }

    /// With a name, which ends at a zero byte: names hold none, or sort behind those that do not.
    pub fn name(mut self, name: &str) -> Key {
        for (at, part) in name.as_bytes().split(|byte| *byte == 0).enumerate() {
            if at > 0 {
                self.0.extend([0, 255]);
            }
            self.0.extend_from_slice(part);
        }
        self.0.extend([0, 0]);
        self
    }

    /// With an id.
    pub fn id(mut self, id: Uuid) -> Key {
        self.0.extend(id.0);
        self
    }

    /// With a number.
    pub fn number(mut self, number: u64) -> Key {
        self.0.extend(number.to_be_bytes());
        self
    }

    /// With a time, from the earliest.
    pub fn time(self, time: EventTime) -> Key {
        let shifted = (time.0 as u64) ^ (1 << 63);
        self.number(shifted)
    }

    /// With a score, from the highest.
    pub fn descending(self, score: Fixed) -> Key {
        let shifted = (score.0 as u64) ^ (1 << 63);
        self.number(!shifted)
    }

    /// The key.
    pub fn end(self) -> Vec<u8> {
        self.0
    }
}

/// The name at the front of what is left of a key.
pub fn take_name(rest: &mut &[u8]) -> Option<String> {
    let mut name = Vec::new();
    loop {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        if byte != 0 {
            name.push(byte);
            continue;
        }
        let (&next, behind) = rest.split_first()?;
        *rest = behind;
        match next {
            0 => return String::from_utf8(name).ok(),
            _ => name.push(0),
        }
    }
}

/// The id at the end of a key.
pub fn last_id(key: &[u8]) -> Option<Uuid> {
    let at = key.len().checked_sub(16)?;
    key[at..].try_into().ok().map(Uuid)
}

/// Behind every key that begins with this one.
pub fn behind(mut prefix: Vec<u8>) -> Vec<u8> {
    while let Some(last) = prefix.pop() {
        if last < 255 {
            prefix.push(last + 1);
            break;
        }
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_what_they_are_made_of() {
        let names = ["", "a", "a\0", "a\0b", "aa", "b", "\u{10ffff}"];
        let keys: Vec<Vec<u8>> = names.iter().map(|name| Key::of(Table::Score).name(name).number(7).end()).collect();
        let mut sorted = keys.clone();
        sorted.sort();
        assert_eq!(keys, sorted);
        for (name, key) in names.iter().zip(&keys) {
            let mut rest = &key[1..];
            assert_eq!(take_name(&mut rest).as_deref(), Some(*name));
            assert_eq!(rest, 7_u64.to_be_bytes());
        }
        let scores = [1_000_000, 920_000, 0, -5, i64::MIN].map(|score| Key::of(Table::Board).descending(Fixed(score)).end());
        assert!(scores.is_sorted());
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(|time| Key::of(Table::PromotionTime).time(EventTime(time)).end());
        assert!(times.is_sorted());
        assert_eq!(behind(vec![1, 255, 255]), [2]);
    }
}
