//! Parameters as a ConfigEpoch carries them: sorted dotted paths and their values as text.

use crate::{Duration, Fixed};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;

/// The longest name, id or text of a setting, in bytes: many of them fit one audit leaf.
pub const MAX_NAME: usize = 256;

/// Every parameter in force. In a path, a `.` inside a name stands as `%2E` and a `%` as `%25`.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    entries: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
}

/// Something wrong with a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The parameter's path.
    pub path: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Joins two parts of a path.
pub fn join(prefix: &str, name: &str) -> String {
    let name = name.replace('%', "%25").replace('.', "%2E");
    if prefix.is_empty() { name } else { format!("{prefix}.{name}") }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(entries: I) -> Self {
        Settings { entries: entries.into_iter().collect(), used: RefCell::default() }
    }
}

impl Settings {
    /// The value at a path.
    pub fn get(&self, path: &str) -> Option<&str> {
        let value = self.entries.get(path)?;
        self.used.borrow_mut().insert(path.into());
        Some(value)
    }

    /// All parameters, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(path, value)| (path.as_str(), value.as_str()))
    }

    /// Parameters at and under a path.
    pub fn under(&self, path: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{path}.");
        self.iter().filter(move |(at, _)| at.starts_with(&prefix))
    }

    /// Names right under a path, sorted; list items in their order.
    pub fn children(&self, path: &str) -> Vec<String> {
        let names: BTreeSet<&str> = self.under(path).filter_map(|(at, _)| at[path.len() + 1..].split('.').next()).collect();
        let mut names: Vec<String> = names.into_iter().map(|name| name.replace("%2E", ".").replace("%25", "%")).collect();
        names.sort_by_key(|name| name.parse::<u64>().unwrap_or(0));
        names
    }

    /// Paths that nobody asked for.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        self.entries.keys().filter(|path| !used.contains(*path)).cloned().collect()
    }
}

/// Reads parameters under one path and collects everything that is wrong.
pub struct Reader<'a> {
    settings: &'a Settings,
    path: String,
    /// What was wrong so far.
    pub problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Reads under `path`.
    pub fn new(settings: &'a Settings, path: &str) -> Reader<'a> {
        Reader { settings, path: path.into(), problems: Vec::new() }
    }

    /// A duration, `10m`.
    pub fn duration(&mut self, name: &str, default: Duration) -> Duration {
        self.read(name, default, Duration::parse, "a duration such as 500ms, 10s, 10m, 24h or 7d")
    }

    /// A decimal with up to 6 digits behind the point.
    pub fn fixed(&mut self, name: &str, default: Fixed) -> Fixed {
        self.read(name, default, Fixed::parse, "a decimal number")
    }

    /// A whole number, not negative.
    pub fn whole(&mut self, name: &str, default: u64) -> u64 {
        self.read(name, default, |text| text.parse().ok(), "a whole number, not negative")
    }

    /// true or false.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        self.read(name, default, |text| text.parse().ok(), "true or false")
    }

    /// A text of at most [`MAX_NAME`] bytes, not empty.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        let named = |text: &str| (1..=MAX_NAME).contains(&text.len()).then(|| text.to_string());
        self.read(name, default.to_string(), named, "a text of 1 to 256 bytes")
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, default: T, choices: &[(&str, T)]) -> T {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let find = |text: &str| choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        self.read(name, default, find, &format!("one of {}", words.join(", ")))
    }

    /// Notes that what stands at `name` must not be.
    pub fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: join(&self.path, name), message: message.into() });
    }

    fn read<T>(&mut self, name: &str, default: T, parse: impl Fn(&str) -> Option<T>, wanted: &str) -> T {
        match self.settings.get(&join(&self.path, name)) {
            None => default,
            Some(text) => match parse(text) {
                Some(value) => value,
                None => {
                    let shown: String = text.chars().take(64).collect();
                    self.refuse(name, format!("{shown:?} is not {wanted}"));
                    default
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_found_at_once() {
        let entry = |path: &str, value: &str| (path.to_string(), value.to_string());
        let settings: Settings =
            [entry("a.grace", "10 minutes"), entry("a.count", "-1"), entry("a.mode", "x"), entry("b", "1")].into_iter().collect();
        let mut reader = Reader::new(&settings, "a");
        assert_eq!(reader.duration("grace", Duration::MINUTE), Duration::MINUTE);
        reader.whole("count", 3);
        reader.choice("mode", 1, &[("one", 1), ("two", 2)]);
        assert_eq!(reader.problems.iter().map(|p| p.path.as_str()).collect::<Vec<_>>(), ["a.grace", "a.count", "a.mode"]);
        assert_eq!(settings.unused(), ["b"]);
    }

    #[test]
    fn names_may_hold_dots() {
        let path = join(&join("profiles", "v1.5"), "tiers");
        let settings: Settings = [(join(&path, "10"), "x".into()), (join(&path, "9"), "y".into())].into_iter().collect();
        assert_eq!(settings.children("profiles"), ["v1.5"]);
        assert_eq!(settings.children(&path), ["9", "10"]);
    }
}
