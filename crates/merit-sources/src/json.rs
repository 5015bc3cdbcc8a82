//! One line of JSON read as a report: one pass, no tree, no floating point, no recursion.
//!
//! A report's fields have known types, so a value of another type is refused at its first byte and nesting never deepens.
//! Of several faults the first in the text is named; a field that is missing, after all others.

use crate::report::{self, Draft, Field, Unreadable, shown, text_of};
use crate::time::rfc3339;
use merit_core::record::EvalReport;
use merit_core::{Code, Fixed};

/// Reads reports from lines of JSON, one after another, in memory that it uses again.
#[derive(Default)]
pub struct JsonReports {
    draft: Draft,
    name: String,
    value: String,
}

impl JsonReports {
    /// Reads the body of `POST /eval/submit` (seed 001), with `id`, `divisionId`, `productId` and `window` where they are known.
    /// `metricSet` stands for `metrics` and `entityId` for `agentId` (K2, K3). An optional field that is null or empty is absent.
    pub fn parse<'a>(&'a mut self, line: &[u8]) -> Result<EvalReport<'a>, Unreadable> {
        self.read(line)?;
        self.finish()
    }

    /// Reads a line.
    pub(crate) fn read(&mut self, line: &[u8]) -> Result<(), Unreadable> {
        self.draft.clear();
        let mut scanner = Scanner { text: text_of(line)?, at: 0 };
        let mut seen = 0_u16;
        let mut entries = scanner.open_object()?;
        while let Some(key) = scanner.next_key(&mut entries)? {
            let key = key.read(&mut self.name)?;
            let part = part(key).ok_or_else(|| Unreadable::new(report::FIELD_UNKNOWN, format!("a report has no field {}", shown(key))))?;
            let bit = 1 << part.number();
            if seen & bit != 0 {
                return Err(Unreadable::new(report::KEY_DUPLICATE, format!("{} is there twice, or beside its other name", shown(key))));
            }
            seen |= bit;
            if !scanner.skip_null() {
                self.read_part(part, &mut scanner)?;
            }
        }
        scanner.end()
    }

    /// The report that was read.
    pub(crate) fn finish(&self) -> Result<EvalReport<'_>, Unreadable> {
        self.draft.finish()
    }

    fn read_part(&mut self, part: Part, scanner: &mut Scanner<'_>) -> Result<(), Unreadable> {
        match part {
            Part::Text(field) => self.draft.set(field, scanner.string(report::FIELD_TYPE)?.read(&mut self.value)?),
            Part::Timestamp => self.read_timestamp(scanner)?,
            Part::Metrics => self.read_metrics(scanner)?,
            Part::Tags => self.read_tags(scanner)?,
        }
        Ok(())
    }

    fn read_timestamp(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Unreadable> {
        let text = scanner.string(report::TIMESTAMP_INVALID)?.read(&mut self.value)?;
        if !text.is_empty() {
            let invalid = || Unreadable::new(report::TIMESTAMP_INVALID, format!("{} is not RFC 3339 within 1970 to 9999", shown(text)));
            self.draft.set_timestamp(rfc3339(text).ok_or_else(invalid)?);
        }
        Ok(())
    }

    fn read_metrics(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Unreadable> {
        let mut entries = scanner.open_object_field()?;
        while let Some(key) = scanner.next_key(&mut entries)? {
            let value = scanner.number()?;
            let name = key.read(&mut self.name)?;
            self.draft.add_metric(name, metric_value(name, value)?)?;
        }
        Ok(())
    }

    fn read_tags(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Unreadable> {
        let mut entries = scanner.open_object_field()?;
        while let Some(key) = scanner.next_key(&mut entries)? {
            let value = scanner.string(report::FIELD_TYPE)?;
            self.draft.add_tag(key.read(&mut self.name)?, value.read(&mut self.value)?)?;
        }
        Ok(())
    }
}

/// A field of the body.
#[derive(Clone, Copy)]
enum Part {
    Text(Field),
    Timestamp,
    Metrics,
    Tags,
}

impl Part {
    fn number(self) -> u8 {
        match self {
            Part::Text(field) => field as u8,
            Part::Timestamp => 8,
            Part::Metrics => 9,
            Part::Tags => 10,
        }
    }
}

fn part(key: &str) -> Option<Part> {
    Some(match key {
        "id" => Part::Text(Field::Id),
        "agentId" | "entityId" => Part::Text(Field::Agent),
        "divisionId" => Part::Text(Field::Division),
        "productId" => Part::Text(Field::Product),
        "source" => Part::Text(Field::Source),
        "window" => Part::Text(Field::Window),
        "timestamp" => Part::Timestamp,
        "metrics" | "metricSet" => Part::Metrics,
        "tags" => Part::Tags,
        _ => return None,
    })
}

/// A metric's value, exact from its text.
pub(crate) fn metric_value(name: &str, text: &str) -> Result<Fixed, Unreadable> {
    Fixed::parse(text).ok_or_else(|| {
        let whole = number_length(text.as_bytes()) == Some(text.len());
        let (rule, fault) =
            if whole { (report::METRIC_RANGE, "does not fit") } else { (report::METRIC_NOT_A_NUMBER, "is not a decimal number") };
        Unreadable::new(rule, format!("metric {} = {} {fault}", shown(name), shown(text)))
    })
}

/// The length of the JSON number at the start.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |length| from + length);
    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut end = digits(start);
    // No digits, or one that a zero leads.
    if end == start || (end > start + 1 && bytes[start] == b'0') {
        return None;
    }
    if bytes.get(end) == Some(&b'.') {
        let point = end + 1;
        end = digits(point);
        if end == point {
            return None;
        }
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let exponent = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        end = digits(exponent);
        if end == exponent {
            return None;
        }
    }
    Some(end)
}

/// A string between its quotes, as the text has it.
#[derive(Clone, Copy)]
struct Raw<'t> {
    text: &'t str,
    escaped: bool,
    at: usize,
}

impl<'t> Raw<'t> {
    /// What it says, from the text itself or, where it has escapes, from `scratch`.
    fn read<'s>(self, scratch: &'s mut String) -> Result<&'s str, Unreadable>
    where
        't: 's,
    {
        if !self.escaped {
            return Ok(self.text);
        }
        self.unescape_into(scratch)?;
        Ok(scratch)
    }

    fn unescape_into(self, scratch: &mut String) -> Result<(), Unreadable> {
        scratch.clear();
        let mut rest = self.text;
        while let Some(at) = rest.find('\\') {
            scratch.push_str(&rest[..at]);
            let (character, length) = unescape(&rest[at + 1..]).ok_or_else(|| invalid("a false escape in the string", self.at))?;
            scratch.push(character);
            rest = &rest[at + 1 + length..];
        }
        scratch.push_str(rest);
        Ok(())
    }
}

/// The character that the text behind a backslash stands for, and that text's length.
fn unescape(text: &str) -> Option<(char, usize)> {
    let character = match text.as_bytes().first()? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unescape_unicode(text),
        _ => return None,
    };
    Some((character, 1))
}

/// `u00e9`, or a pair of surrogates: `ud83d\ude00`.
fn unescape_unicode(text: &str) -> Option<(char, usize)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix('u')?.get(..4)?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let first = unit(text)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 5));
    }
    let second = unit(text.get(5..)?.strip_prefix('\\')?)?;
    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + low)?, 11))
}

fn invalid(what: &str, at: usize) -> Unreadable {
    Unreadable::new(report::JSON_INVALID, format!("{what} at byte {at}"))
}

/// Where the entries of an object stand.
#[derive(PartialEq)]
enum Entries {
    First,
    Later,
}

struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Scanner<'t> {
    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.as_bytes().get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), Unreadable> {
        if self.peek() != Some(byte) {
            return Err(invalid(&format!("no {:?}", char::from(byte)), self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn open_object(&mut self) -> Result<Entries, Unreadable> {
        self.expect(b'{')?;
        Ok(Entries::First)
    }

    fn open_object_field(&mut self) -> Result<Entries, Unreadable> {
        match self.peek() {
            Some(b'{') => self.open_object(),
            next => Err(self.other_type(next, report::FIELD_TYPE, "an object")),
        }
    }

    /// The next key of an object, its colon taken, or none behind its closing brace.
    fn next_key(&mut self, entries: &mut Entries) -> Result<Option<Raw<'t>>, Unreadable> {
        let next = self.peek();
        if next == Some(b'}') {
            self.at += 1;
            return Ok(None);
        }
        if *entries == Entries::Later {
            self.expect(b',')?;
        }
        *entries = Entries::Later;
        if self.peek() != Some(b'"') {
            return Err(invalid("no key", self.at));
        }
        let key = self.string(report::JSON_INVALID)?;
        self.expect(b':')?;
        Ok(Some(key))
    }

    /// A string; `rule` is broken by a value of another type.
    fn string(&mut self, rule: &'static Code) -> Result<Raw<'t>, Unreadable> {
        let next = self.peek();
        if next != Some(b'"') {
            return Err(self.other_type(next, rule, "a string"));
        }
        let start = self.at + 1;
        let mut escaped = false;
        let mut end = start;
        loop {
            let rest = self.text.as_bytes().get(end..).unwrap_or_default();
            let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let stop = stop.ok_or_else(|| invalid("a string without an end", self.at))?;
            end += stop;
            match rest[stop] {
                b'"' => break,
                b'\\' => (escaped, end) = (true, end + 2),
                _ => return Err(invalid("a control character in a string", end)),
            }
        }
        self.at = end + 1;
        Ok(Raw { text: &self.text[start..end], escaped, at: start })
    }

    /// The text of a metric's number.
    fn number(&mut self) -> Result<&'t str, Unreadable> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => {
                let length = number_length(&self.text.as_bytes()[self.at..]).ok_or_else(|| invalid("a false number", self.at))?;
                let text = &self.text[self.at..self.at + length];
                self.at += length;
                Ok(text)
            }
            next => Err(self.other_type(next, report::METRIC_NOT_A_NUMBER, "a number")),
        }
    }

    fn skip_null(&mut self) -> bool {
        let null = self.peek() == Some(b'n') && self.text.as_bytes()[self.at..].starts_with(b"null");
        self.at += if null { 4 } else { 0 };
        null
    }

    fn end(&mut self) -> Result<(), Unreadable> {
        if self.peek().is_some() { Err(invalid("more text after the object", self.at)) } else { Ok(()) }
    }

    /// The fault of a value that starts with `next` where `wanted` should stand.
    fn other_type(&self, next: Option<u8>, rule: &'static Code, wanted: &str) -> Unreadable {
        let rest = &self.text.as_bytes()[self.at..];
        let value = match next {
            Some(b'"' | b'{' | b'[' | b'-' | b'0'..=b'9') => true,
            _ => [&b"true"[..], b"false", b"null"].iter().any(|word| rest.starts_with(word)),
        };
        let rule = if value { rule } else { report::JSON_INVALID };
        Unreadable::new(rule, format!("not {wanted} at byte {}", self.at))
    }
}
