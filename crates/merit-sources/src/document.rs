//! TOML read key by key, with everything that is wrong collected by line.

use merit_core::Fixed;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is wrong with a document.
pub(crate) struct Problems<'t> {
    text: &'t str,
    found: Vec<(usize, String)>,
}

impl<'t> Problems<'t> {
    /// Parses a document. A text that is no TOML has one problem, and nothing else is known of it.
    pub(crate) fn parse(text: &'t str) -> Result<(Spanned<DeTable<'t>>, Problems<'t>), Vec<String>> {
        let mut problems = Problems { text, found: Vec::new() };
        match DeTable::parse(text) {
            Ok(table) => Ok((table, problems)),
            Err(fault) => {
                problems.add(fault.span().map_or(0, |span| span.start), fault.message());
                Err(problems.lines())
            }
        }
    }

    /// Notes a problem at a byte of the text.
    pub(crate) fn add(&mut self, at: usize, message: impl Into<String>) {
        self.found.push((at, message.into()));
    }

    /// The value, if nothing is wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<String>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(self.lines()),
        }
    }

    fn lines(self) -> Vec<String> {
        let newlines: Vec<usize> = self.text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at| 1 + newlines.partition_point(|newline| *newline < at);
        let mut found: Vec<_> = self.found.into_iter().map(|(at, message)| (line(at), message)).collect();
        found.sort_by_key(|(line, _)| *line);
        found.into_iter().map(|(line, message)| format!("line {line}: {message}")).collect()
    }
}

/// A table of a document.
#[derive(Clone, Copy)]
pub(crate) struct Section<'d, 't> {
    table: &'d DeTable<'t>,
    /// Where it starts in the text.
    pub(crate) at: usize,
}

impl<'d, 't> Section<'d, 't> {
    pub(crate) fn root(document: &'d Spanned<DeTable<'t>>) -> Section<'d, 't> {
        Section { table: document.get_ref(), at: 0 }
    }

    /// Every key with where it stands, in the order of the text.
    pub(crate) fn keys(&self) -> Vec<(&'d str, usize)> {
        let mut keys: Vec<_> = self.table.keys().map(|key| (key.get_ref().as_ref(), key.span().start)).collect();
        keys.sort_by_key(|(_, at)| *at);
        keys
    }

    /// Refuses all keys but these.
    pub(crate) fn allow(&self, allowed: &[&str], problems: &mut Problems<'_>) {
        for (key, at) in self.keys().into_iter().filter(|(key, _)| !allowed.contains(key)) {
            problems.add(at, format!("unknown key `{key}`, expected one of {}", allowed.join(", ")));
        }
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the value of a key stands, else the table.
    pub(crate) fn at(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.at, |value| value.span().start)
    }

    /// A text, not empty.
    pub(crate) fn text(&self, key: &str, problems: &mut Problems<'_>) -> Option<&'d str> {
        self.read(key, "a text, not empty", |value| value.as_str().filter(|text| !text.is_empty()), problems)
    }

    /// A decimal, exact from its text.
    pub(crate) fn number(&self, key: &str, problems: &mut Problems<'_>) -> Option<Fixed> {
        self.read(key, "a decimal number", decimal, problems)
    }

    /// A whole number, not negative.
    pub(crate) fn whole(&self, key: &str, problems: &mut Problems<'_>) -> Option<u64> {
        self.read(key, "a whole number, not negative", whole, problems)
    }

    /// true or false.
    pub(crate) fn flag(&self, key: &str, problems: &mut Problems<'_>) -> Option<bool> {
        self.read(key, "true or false", DeValue::as_bool, problems)
    }

    /// A list of texts, none empty, at least one.
    pub(crate) fn texts(&self, key: &str, problems: &mut Problems<'_>) -> Option<Vec<&'d str>> {
        let text = |item: &'d Spanned<DeValue<'t>>| item.get_ref().as_str().filter(|text| !text.is_empty());
        let texts = |value: &'d DeValue<'t>| value.as_array()?.iter().map(text).collect::<Option<Vec<_>>>();
        self.read(key, "a list of texts, not empty", |value| texts(value).filter(|texts| !texts.is_empty()), problems)
    }

    /// A table.
    pub(crate) fn section(&self, key: &str, problems: &mut Problems<'_>) -> Option<Section<'d, 't>> {
        let at = self.at(key);
        self.read(key, "a table", |value| Some(Section { table: value.as_table()?, at }), problems)
    }

    /// A list of tables, at least one.
    pub(crate) fn sections(&self, key: &str, problems: &mut Problems<'_>) -> Option<Vec<Section<'d, 't>>> {
        let section = |item: &'d Spanned<DeValue<'t>>| Some(Section { table: item.get_ref().as_table()?, at: item.span().start });
        let sections = |value: &'d DeValue<'t>| value.as_array()?.iter().map(section).collect::<Option<Vec<_>>>();
        self.read(key, "a list of tables, not empty", |value| sections(value).filter(|sections| !sections.is_empty()), problems)
    }

    /// Notes that a key must be there; `None`, for the value that it would have had.
    pub(crate) fn missing<T>(&self, key: &str, problems: &mut Problems<'_>) -> Option<T> {
        if !self.has(key) {
            problems.add(self.at, format!("`{key}` is missing"));
        }
        None
    }

    fn read<T>(&self, key: &str, wanted: &str, read: impl Fn(&'d DeValue<'t>) -> Option<T>, problems: &mut Problems<'_>) -> Option<T> {
        let value = self.table.get(key)?;
        let found = read(value.get_ref());
        if found.is_none() {
            problems.add(value.span().start, format!("`{key}` must be {wanted}"));
        }
        found
    }
}

fn decimal(value: &DeValue<'_>) -> Option<Fixed> {
    match value {
        DeValue::Integer(integer) if integer.radix() == 10 => Fixed::parse(integer.as_str()),
        DeValue::Float(float) => Fixed::parse(float.as_str()),
        _ => None,
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
