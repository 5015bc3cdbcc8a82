//! What a processor remembers: one value a key, decoded in memory, written out when a checkpoint asks, left on disk while it is
//! not needed.

use crate::index::Index;
use crate::processor::{Depth, DynProcessor};
use crate::{Fault, Key, Shape, prefetch};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A value that is stored as a few coarse rows, and knows which of them changed.
pub trait Row: Default {
    /// Name of the store.
    const STORE: &'static str;
    /// Whether a value is row 0 alone, which is found faster than rows of any number.
    const IS_ONE_ROW: bool = false;
    /// What values of one table have in common, kept once.
    type Shared: Default;
    /// Schema of row `part`.
    fn shape(part: u32) -> &'static Shape;
    /// Gives each changed row to `put`; an empty one deletes. `scratch` is free to use.
    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8]));
    /// Takes a row back; `None` where it cannot be read.
    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()>;
    /// Recomputes what is not stored, after the last row.
    fn loaded(&mut self, _shared: &mut Self::Shared) {}
    /// Bytes that it keeps outside of itself, about.
    fn heap(&self) -> usize {
        0
    }
    /// Asks memory for what lies outside of it and is touched with it.
    fn warm(&self) {}
}

/// Stores a datum as the one row of its value.
#[macro_export]
macro_rules! datum_row {
    ($type:ident in $store:literal) => {
        impl $crate::Row for $type {
            const STORE: &'static str = $store;
            const IS_ONE_ROW: bool = true;
            type Shared = ();

            fn shape(_: u32) -> &'static $crate::Shape {
                <$type as $crate::Datum>::SHAPE
            }

            fn save(&mut self, scratch: &mut $crate::datum::Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
                scratch.clear();
                $crate::Datum::put(self, scratch);
                put(0, scratch);
            }

            fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
                *self = <$type as $crate::Datum>::decode(bytes)?;
                Some(())
            }
        }
    };
}

/// Receives changed rows: key, part, bytes.
pub type PutRow<'a> = &'a mut dyn FnMut(&str, u32, &[u8]);

/// Takes a row that was read: key, part, bytes.
pub type TakeRow<'a> = &'a mut dyn FnMut(&str, u32, &[u8]) -> Result<(), Fault>;

/// The rows of one task as its last finished checkpoint left them.
pub trait Rows: Send + Sync {
    /// Gives row 0 of one key of a store, where there is one.
    fn first_of_key(&self, store: &str, key: &str, take: TakeRow<'_>) -> Result<(), Fault>;
    /// Gives every row of one key of a store.
    fn of_key(&self, store: &str, key: &str, take: TakeRow<'_>) -> Result<(), Fault>;
    /// Gives every row of a store, key by key.
    fn of_store(&self, store: &str, take: TakeRow<'_>) -> Result<(), Fault>;
}

/// Rows in memory, for a simulated log and for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowMap(pub BTreeMap<(String, String, u32), Vec<u8>>);

impl RowMap {
    /// Puts a changed row; an empty one deletes.
    pub fn put(&mut self, store: &str, key: &str, part: u32, bytes: &[u8]) {
        let place = (store.into(), key.into(), part);
        match bytes.is_empty() {
            true => self.0.remove(&place),
            false => self.0.insert(place, bytes.into()),
        };
    }

    /// Writes a checkpoint of a store.
    pub fn checkpoint(&mut self, store: &mut dyn Store) {
        let name = store.name();
        store.checkpoint(&mut |key, part, bytes| self.put(name, key, part, bytes));
    }

    /// Writes a checkpoint of a processor, which then keeps nothing in memory that it can read again.
    pub fn checkpoint_and_evict(&mut self, processor: &mut dyn DynProcessor) {
        processor.stores(&mut |store| self.checkpoint(store));
        let rows: Arc<dyn Rows> = Arc::new(self.clone());
        processor.stores(&mut |store| {
            store.evict(0, &rows);
        });
    }

    /// Lets a new processor go on from these rows.
    pub fn restore(&self, processor: &mut dyn DynProcessor) -> Result<(), Fault> {
        let rows: Arc<dyn Rows> = Arc::new(self.clone());
        let mut restored = Ok(());
        processor.stores(&mut |store| {
            if restored.is_ok() {
                restored = store.restore(Arc::clone(&rows));
            }
        });
        restored
    }
}

impl Rows for RowMap {
    fn first_of_key(&self, store: &str, key: &str, take: TakeRow<'_>) -> Result<(), Fault> {
        self.0.get(&(store.into(), key.into(), 0)).map_or(Ok(()), |row| take(key, 0, row))
    }

    fn of_key(&self, store: &str, key: &str, take: TakeRow<'_>) -> Result<(), Fault> {
        let mut parts = self.0.range((store.into(), key.into(), 0)..=(store.into(), key.into(), u32::MAX));
        parts.try_for_each(|((_, key, part), bytes)| take(key, *part, bytes))
    }

    fn of_store(&self, store: &str, take: TakeRow<'_>) -> Result<(), Fault> {
        let from = self.0.range((store.into(), String::new(), 0)..);
        from.take_while(|((name, ..), _)| name == store).try_for_each(|((_, key, part), bytes)| take(key, *part, bytes))
    }
}

/// A store of any value, for the runtime.
pub trait Store {
    /// Its name in `topology.toml`.
    fn name(&self) -> &'static str;
    /// Schema of row `part`.
    fn shape(&self, part: u32) -> &'static Shape;
    /// Writes every changed row.
    fn checkpoint(&mut self, put: PutRow<'_>);
    /// Forgets everything and goes on from these rows, which hold what it wrote.
    fn restore(&mut self, rows: Arc<dyn Rows>) -> Result<(), Fault>;
    /// Reads every value that is not in memory, in one pass: where most are needed, that is far cheaper than one by one.
    fn load(&mut self) -> Result<(), Fault>;
    /// Values that changed since the last checkpoint.
    fn changed(&self) -> usize;
    /// Bytes that it keeps in memory, about.
    fn bytes(&self) -> usize;
    /// Forgets values that were not used lately until no more than `limit` bytes are kept, and reads them again from these rows
    /// when they are needed. What changed since the last checkpoint stays. Returns how many it forgot.
    fn evict(&mut self, limit: usize, rows: &Arc<dyn Rows>) -> u64;
}

/// A key in its entry, or beside it where it is long: most look-ups compare without another cache miss.
enum Name {
    Short(u8, [u8; Name::SHORT]),
    Long(Box<str>),
}

impl Name {
    const SHORT: usize = 22;

    fn new(name: &str) -> Name {
        let mut bytes = [0; Name::SHORT];
        match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name.as_bytes());
                Name::Short(name.len() as u8, bytes)
            }
            None => Name::Long(name.into()),
        }
    }

    #[inline]
    fn is(&self, name: &str) -> bool {
        match self {
            Name::Short(length, bytes) => bytes[..usize::from(*length)] == *name.as_bytes(),
            Name::Long(own) => **own == *name,
        }
    }

    fn text(&self) -> &str {
        match self {
            Name::Short(length, bytes) => core::str::from_utf8(&bytes[..usize::from(*length)]).expect("it was made of a text"),
            Name::Long(own) => own,
        }
    }
}

struct Entry<V> {
    name: Name,
    hash: u64,
    /// Changed since the last checkpoint.
    dirty: bool,
    /// Used since the hand of eviction last passed.
    used: bool,
    /// What the table counts for it; 0 where the place is free.
    bytes: u32,
    value: V,
}

impl<V: Row> Entry<V> {
    /// Bytes of an entry with nothing outside of it, its place in the index included.
    const SIZE: usize = size_of::<Self>() + Index::PLACE;

    fn new(key: &Key<'_>) -> Self {
        let name = Name::new(key.name);
        Entry { name, hash: key.hash, dirty: false, used: true, bytes: Self::SIZE as u32, value: V::default() }
    }

    /// Counts it again; gives what it was counted for and what it is now.
    fn weigh(&mut self) -> (usize, usize) {
        let now = Self::SIZE + self.value.heap();
        (core::mem::replace(&mut self.bytes, now as u32) as usize, now)
    }
}

/// How many values before one is saved memory is asked for what it points to, and twice that for itself.
const AHEAD: usize = 4;

/// One value a key.
pub struct Table<V: Row> {
    index: Index,
    entries: Vec<Entry<V>>,
    dirty: Vec<u32>,
    /// Free places.
    vacant: Vec<u32>,
    shared: V::Shared,
    bytes: usize,
    /// Where the values are that are not in memory; none while there are none.
    cold: Option<Arc<dyn Rows>>,
    /// Where eviction goes on.
    hand: usize,
}

impl<V: Row> Default for Table<V> {
    fn default() -> Self {
        Table {
            index: Index::default(),
            entries: Vec::new(),
            dirty: Vec::new(),
            vacant: Vec::new(),
            shared: V::Shared::default(),
            bytes: 0,
            cold: None,
            hand: 0,
        }
    }
}

impl<V: Row> Table<V> {
    /// The value of a key, made where there is none, and written at the next checkpoint.
    #[inline]
    pub fn entry(&mut self, key: &Key<'_>) -> Result<&mut V, Fault> {
        self.entry_and_shared(key).map(|(value, _)| value)
    }

    /// As [`Table::entry`], with what the values have in common.
    #[inline]
    pub fn entry_and_shared(&mut self, key: &Key<'_>) -> Result<(&mut V, &mut V::Shared), Fault> {
        let at = match self.locate(key)? {
            Some(at) => at,
            None => self.insert(Entry::new(key)),
        };
        let entry = &mut self.entries[at];
        entry.used = true;
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(at as u32);
        }
        Ok((&mut entry.value, &mut self.shared))
    }

    /// The value of a key, where there is one.
    #[inline]
    pub fn read(&mut self, key: &Key<'_>) -> Result<Option<&V>, Fault> {
        let Some(at) = self.locate(key)? else { return Ok(None) };
        let entry = &mut self.entries[at];
        entry.used = true;
        Ok(Some(&entry.value))
    }

    /// Asks memory for where a key is looked for, then for its value, then for what that points to.
    #[inline]
    pub fn warm(&self, key: &Key<'_>, depth: Depth) {
        let entry = || self.index.find(key.hash, |_| true).map(|at| &self.entries[at]);
        match depth {
            Depth::Index => self.index.warm(key.hash),
            Depth::Value => entry().map_or((), prefetch::value),
            Depth::Pointed => entry().map_or((), |entry| entry.value.warm()),
        }
    }

    /// Every key and value, in no order that may reach an output; for tables of few keys.
    pub fn iter(&mut self) -> Result<impl Iterator<Item = (&str, &V)>, Fault> {
        Store::load(self)?;
        let values = self.entries.iter().filter(|entry| entry.bytes > 0);
        Ok(values.map(|entry| (entry.name.text(), &entry.value)))
    }

    #[inline]
    fn find(&self, key: &Key<'_>) -> Option<usize> {
        self.index.find(key.hash, |at| self.entries[at].name.is(key.name))
    }

    #[inline]
    fn locate(&mut self, key: &Key<'_>) -> Result<Option<usize>, Fault> {
        match self.find(key) {
            None if self.cold.is_some() => self.fetch(key),
            found => Ok(found),
        }
    }

    /// Brings a value back to memory, where it has rows.
    #[cold]
    fn fetch(&mut self, key: &Key<'_>) -> Result<Option<usize>, Fault> {
        let mut entry = Entry::<V>::new(key);
        let mut found = false;
        if let Some(cold) = &self.cold {
            let take: TakeRow<'_> = &mut |name, part, bytes| {
                found = true;
                load(&mut entry.value, name, part, bytes)
            };
            match V::IS_ONE_ROW {
                true => cold.first_of_key(V::STORE, key.name, take)?,
                false => cold.of_key(V::STORE, key.name, take)?,
            }
        }
        if !found {
            return Ok(None);
        }
        entry.value.loaded(&mut self.shared);
        Ok(Some(self.insert(entry)))
    }

    /// Takes a value that was read, unless it is in memory and may have changed there.
    fn take_back(&mut self, read: Option<Entry<V>>) {
        let known = |entry: &Entry<V>| self.find(&Key { name: entry.name.text(), hash: entry.hash }).is_some();
        if let Some(mut entry) = read.filter(|entry| !known(entry)) {
            entry.value.loaded(&mut self.shared);
            self.insert(entry);
        }
    }

    fn insert(&mut self, mut entry: Entry<V>) -> usize {
        self.bytes += entry.weigh().1;
        let hash = entry.hash;
        let at = match self.vacant.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at as usize
            }
            None => {
                self.entries.push(entry);
                self.entries.len() - 1
            }
        };
        let kept = self.entries.len() - self.vacant.len();
        match self.index.has_room(kept) {
            true => self.index.insert(hash, at),
            false => {
                let entries = self.entries.iter().enumerate().filter(|(_, entry)| entry.bytes > 0);
                self.index = Index::new(kept, entries.map(|(at, entry)| (entry.hash, at)));
            }
        }
        at
    }

    /// Takes a value out of memory; its place is free for another.
    fn remove(&mut self, at: usize) {
        let empty = Entry { bytes: 0, ..Entry::new(&Key { name: "", hash: 0 }) };
        let removed = core::mem::replace(&mut self.entries[at], empty);
        self.bytes -= removed.bytes as usize;
        self.index.remove(removed.hash, at);
        self.vacant.push(at as u32);
    }
}

impl<V: Row> Store for Table<V> {
    fn name(&self) -> &'static str {
        V::STORE
    }

    fn shape(&self, part: u32) -> &'static Shape {
        V::shape(part)
    }

    fn checkpoint(&mut self, put: PutRow<'_>) {
        let mut scratch = Vec::new();
        for (number, at) in self.dirty.iter().enumerate() {
            if let Some(soon) = self.dirty.get(number + 2 * AHEAD) {
                prefetch::value(&self.entries[*soon as usize]);
            }
            if let Some(soon) = self.dirty.get(number + AHEAD) {
                self.entries[*soon as usize].value.warm();
            }
            let entry = &mut self.entries[*at as usize];
            let name = &entry.name;
            entry.value.save(&mut scratch, &mut |part, bytes| {
                assert!(part == 0 || !V::IS_ONE_ROW, "store {:?} has a row {part} that would never be read", V::STORE);
                put(name.text(), part, bytes);
            });
            entry.dirty = false;
            let (before, now) = entry.weigh();
            self.bytes = self.bytes - before + now;
        }
        self.dirty.clear();
    }

    fn restore(&mut self, rows: Arc<dyn Rows>) -> Result<(), Fault> {
        *self = Table { cold: Some(rows), ..Table::default() };
        Ok(())
    }

    fn load(&mut self) -> Result<(), Fault> {
        let Some(cold) = self.cold.take() else { return Ok(()) };
        let mut read: Option<Entry<V>> = None;
        cold.of_store(V::STORE, &mut |name, part, bytes| {
            if read.as_ref().is_none_or(|entry| !entry.name.is(name)) {
                let next = Entry::new(&Key::new(name));
                self.take_back(read.replace(next));
            }
            read.as_mut().map_or(Ok(()), |entry| load(&mut entry.value, name, part, bytes))
        })?;
        self.take_back(read);
        Ok(())
    }

    fn changed(&self) -> usize {
        self.dirty.len()
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    /// Second chance: a value that was used since the hand last passed is passed once more.
    fn evict(&mut self, limit: usize, rows: &Arc<dyn Rows>) -> u64 {
        let before = self.vacant.len();
        if self.bytes > limit {
            self.cold = Some(Arc::clone(rows));
        }
        let mut steps = 2 * self.entries.len();
        while self.bytes > limit && steps > 0 {
            steps -= 1;
            self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
            let entry = &mut self.entries[self.hand];
            let used = core::mem::take(&mut entry.used);
            if !used && !entry.dirty && entry.bytes > 0 {
                self.remove(self.hand);
            }
        }
        (self.vacant.len() - before) as u64
    }
}

/// One value for the whole partition, stored under the empty key.
#[derive(Default)]
pub struct Single<V> {
    value: V,
    dirty: bool,
}

impl<V: Row> Single<V> {
    /// The value.
    pub fn read(&self) -> &V {
        &self.value
    }

    /// The value, written at the next checkpoint.
    #[inline]
    pub fn write(&mut self) -> &mut V {
        self.dirty = true;
        &mut self.value
    }
}

impl<V: Row> Store for Single<V> {
    fn name(&self) -> &'static str {
        V::STORE
    }

    fn shape(&self, part: u32) -> &'static Shape {
        V::shape(part)
    }

    fn checkpoint(&mut self, put: PutRow<'_>) {
        if core::mem::take(&mut self.dirty) {
            self.value.save(&mut Vec::new(), &mut |part, bytes| put("", part, bytes));
        }
    }

    fn restore(&mut self, rows: Arc<dyn Rows>) -> Result<(), Fault> {
        *self = Single::default();
        rows.of_key(V::STORE, "", &mut |key, part, bytes| load(&mut self.value, key, part, bytes))?;
        self.value.loaded(&mut V::Shared::default());
        Ok(())
    }

    fn load(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn changed(&self) -> usize {
        usize::from(self.dirty)
    }

    fn bytes(&self) -> usize {
        size_of::<V>() + self.value.heap()
    }

    fn evict(&mut self, _: usize, _: &Arc<dyn Rows>) -> u64 {
        0
    }
}

fn load<V: Row>(value: &mut V, key: &str, part: u32, bytes: &[u8]) -> Result<(), Fault> {
    value.load(part, bytes).ok_or_else(|| Fault(format!("row {part} of key {key:?} in store {:?} cannot be read", V::STORE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datum;

    #[derive(Default)]
    struct Count(i64);

    impl Row for Count {
        const STORE: &'static str = "counts";
        type Shared = ();
        fn shape(_: u32) -> &'static Shape {
            i64::SHAPE
        }
        fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
            scratch.clear();
            self.0.put(scratch);
            put(0, scratch);
        }
        fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
            self.0 = i64::decode(bytes)?;
            Some(())
        }
    }

    fn count(table: &mut Table<Count>, name: &str) -> Option<i64> {
        table.read(&Key::new(name)).expect("readable").map(|count| count.0)
    }

    fn add(table: &mut Table<Count>, name: &str, value: i64) {
        table.entry(&Key::new(name)).expect("readable").0 += value;
    }

    #[test]
    fn a_checkpoint_holds_what_changed_and_restores_the_whole() {
        let mut table = Table::<Count>::default();
        let mut rows = RowMap::default();
        ["a", "b", "a"].iter().for_each(|name| add(&mut table, name, 1));
        let mut written = 0;
        table.checkpoint(&mut |key, part, bytes| {
            written += 1;
            rows.put("counts", key, part, bytes);
        });
        assert_eq!(written, 2);
        add(&mut table, "b", 5);
        table.checkpoint(&mut |key, part, bytes| {
            written += 1;
            rows.put("counts", key, part, bytes);
        });
        assert_eq!((written, rows.0.len()), (3, 2));

        rows.put("counts", "d", 0, &[0x80]);
        let mut restored = Table::<Count>::default();
        restored.restore(Arc::new(rows)).expect("readable");
        assert_eq!((count(&mut restored, "a"), count(&mut restored, "b"), count(&mut restored, "c")), (Some(2), Some(6), None));
        assert!(restored.read(&Key::new("d")).is_err(), "an unreadable row stops");
    }

    #[test]
    fn what_is_evicted_comes_back_and_what_changed_stays() {
        let names: Vec<String> = (0..1_000).map(|at| format!("key-{at}")).collect();
        let mut table = Table::<Count>::default();
        let mut rows = RowMap::default();
        names.iter().enumerate().for_each(|(at, name)| add(&mut table, name, at as i64));
        let all = table.bytes();
        rows.checkpoint(&mut table);
        add(&mut table, "key-7", 100);
        let rows: Arc<dyn Rows> = Arc::new(rows);
        table.evict(all / 10, &rows);
        assert!(table.bytes() <= all / 10, "{} of {all}", table.bytes());
        assert_eq!(table.find(&Key::new("key-7")).map(|at| table.entries[at].value.0), Some(107));
        let gone = names.iter().filter(|name| table.find(&Key::new(name)).is_none()).count();
        assert_eq!(gone, table.vacant.len());
        for (at, name) in names.iter().enumerate().filter(|(at, _)| *at != 7) {
            assert_eq!(count(&mut table, name), Some(at as i64), "{name}");
        }
        assert_eq!((table.bytes(), table.vacant.len(), table.entries.len()), (all, 0, 1_000), "places are used again");
        assert_eq!(table.iter().expect("readable").count(), 1_000);
        assert_eq!(count(&mut table, "nobody"), None);
    }
}
