//! What a processor remembers: one value a key, decoded in memory, written out when a checkpoint asks.

use crate::{Fault, Key, Shape};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use hashbrown::HashTable;

/// A value that is stored as a few coarse rows, and knows which of them changed.
pub trait Row: Default {
    /// Name of the store.
    const STORE: &'static str;
    /// Schema of row `part`.
    fn shape(part: u32) -> &'static Shape;
    /// Gives each changed row to `put`; an empty one deletes. `scratch` is free to use.
    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8]));
    /// Takes a row back; `None` where it cannot be read.
    fn load(&mut self, part: u32, bytes: &[u8]) -> Option<()>;
    /// Recomputes what is not stored, after the last row.
    fn loaded(&mut self) {}
}

/// Stores a datum as the one row of its value.
#[macro_export]
macro_rules! datum_row {
    ($type:ident in $store:literal) => {
        impl $crate::Row for $type {
            const STORE: &'static str = $store;

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

/// A store of any value, for the runtime.
pub trait Store {
    /// Its name in `topology.toml`.
    fn name(&self) -> &'static str;
    /// Schema of row `part`.
    fn shape(&self, part: u32) -> &'static Shape;
    /// Writes every changed row.
    fn checkpoint(&mut self, put: PutRow<'_>);
    /// Takes a row back.
    fn restore(&mut self, key: &str, part: u32, bytes: &[u8]) -> Result<(), Fault>;
    /// Ends the restoring.
    fn restored(&mut self);
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
    dirty: bool,
    value: V,
}

/// One value a key.
pub struct Table<V> {
    index: HashTable<u32>,
    entries: Vec<Entry<V>>,
    dirty: Vec<u32>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { index: HashTable::new(), entries: Vec::new(), dirty: Vec::new() }
    }
}

impl<V: Row> Table<V> {
    /// The value of a key, made where there is none, and written at the next checkpoint.
    #[inline]
    pub fn entry(&mut self, key: &Key<'_>) -> &mut V {
        let at = self.slot(key);
        let entry = &mut self.entries[at as usize];
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(at);
        }
        &mut entry.value
    }

    /// The value of a key, where there is one.
    #[inline]
    pub fn read(&self, key: &Key<'_>) -> Option<&V> {
        let at = self.find(key)?;
        Some(&self.entries[at as usize].value)
    }

    /// Every key and value, in no order that may reach an output.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|entry| (entry.name.text(), &entry.value))
    }

    /// Every value, to change how it lies in memory but not what it says.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }

    fn find(&self, key: &Key<'_>) -> Option<u32> {
        let entries = &self.entries;
        self.index.find(key.hash, |at| entries[*at as usize].name.is(key.name)).copied()
    }

    fn slot(&mut self, key: &Key<'_>) -> u32 {
        if let Some(at) = self.find(key) {
            return at;
        }
        let at = self.entries.len() as u32;
        self.entries.push(Entry { name: Name::new(key.name), hash: key.hash, dirty: false, value: V::default() });
        let entries = &self.entries;
        self.index.insert_unique(key.hash, at, |at| entries[*at as usize].hash);
        at
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
        for at in self.dirty.drain(..) {
            let Entry { name, value, dirty, .. } = &mut self.entries[at as usize];
            value.save(&mut scratch, &mut |part, bytes| put(name.text(), part, bytes));
            *dirty = false;
        }
    }

    fn restore(&mut self, key: &str, part: u32, bytes: &[u8]) -> Result<(), Fault> {
        let at = self.slot(&Key::new(key));
        load(&mut self.entries[at as usize].value, key, part, bytes)
    }

    fn restored(&mut self) {
        self.entries.iter_mut().for_each(|entry| entry.value.loaded());
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

    fn restore(&mut self, key: &str, part: u32, bytes: &[u8]) -> Result<(), Fault> {
        load(&mut self.value, key, part, bytes)
    }

    fn restored(&mut self) {
        self.value.loaded();
    }
}

fn load<V: Row>(value: &mut V, key: &str, part: u32, bytes: &[u8]) -> Result<(), Fault> {
    value.load(part, bytes).ok_or_else(|| Fault(format!("row {part} of key {key:?} in store {:?} cannot be read", V::STORE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Datum;
    use std::collections::BTreeMap;
    use std::string::String;

    #[derive(Default)]
    struct Count(i64);

    impl Row for Count {
        const STORE: &'static str = "counts";
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

    #[test]
    fn a_checkpoint_holds_what_changed_and_restores_the_whole() {
        let mut table = Table::<Count>::default();
        let mut rows = BTreeMap::<String, Vec<u8>>::new();
        let mut changed = |table: &mut Table<Count>| {
            let before = rows.len();
            let mut count = 0;
            table.checkpoint(&mut |key, _, bytes| {
                rows.insert(key.into(), bytes.into());
                count += 1;
            });
            (count, rows.len() - before, rows.clone())
        };
        for name in ["a", "b", "a"] {
            table.entry(&Key::new(name)).0 += 1;
        }
        assert_eq!(changed(&mut table).0, 2);
        table.entry(&Key::new("b")).0 += 5;
        let (count, new, rows) = changed(&mut table);
        assert_eq!((count, new), (1, 0));

        let mut restored = Table::<Count>::default();
        rows.iter().for_each(|(key, row)| restored.restore(key, 0, row).expect("readable"));
        assert_eq!(restored.read(&Key::new("a")).map(|c| c.0), Some(2));
        assert_eq!(restored.read(&Key::new("b")).map(|c| c.0), Some(6));
        assert!(restored.read(&Key::new("c")).is_none());
        assert!(restored.restore("d", 0, &[]).is_err());
    }
}
