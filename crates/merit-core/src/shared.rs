//! Values that many entities have in common, kept once in memory.
//!
//! A thousand agents that send the same metrics would each drag their own copy of the names through the cache at every report.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;

/// Names in the order in which they first appeared.
pub type Names = Arc<[Box<str>]>;

/// The one copy of each value.
#[derive(Clone, Debug)]
pub struct Shared<T: ?Sized>(BTreeSet<Arc<T>>);

impl<T: ?Sized + Ord> Default for Shared<T> {
    fn default() -> Self {
        Shared(BTreeSet::new())
    }
}

impl<T: ?Sized + Ord> Shared<T> {
    /// Puts the one copy in place of an equal value.
    pub fn share(&mut self, value: &mut Arc<T>) {
        match self.0.get(value) {
            Some(one) => *value = Arc::clone(one),
            None => {
                self.0.insert(Arc::clone(value));
            }
        }
    }
}

/// These names and one more.
pub fn with(names: &Names, name: &str) -> Names {
    names.iter().cloned().chain([name.into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_in_memory() {
        let mut shared = Shared::default();
        let (mut one, mut other) = (with(&Names::default(), "a"), with(&Names::default(), "a"));
        assert!(!Arc::ptr_eq(&one, &other));
        shared.share(&mut one);
        shared.share(&mut other);
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(*with(&one, "b"), ["a".into(), "b".into()]);
    }
}
