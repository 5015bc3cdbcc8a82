//! The part of RFC 8785 that an envelope uses: one object of texts, whole numbers and arrays of ids, keys in ASCII.
//!
//! Writer and reader mirror each other call by call. The reader takes keys in the one order in which they are written, so a
//! missing, doubled, unknown or misplaced key, whitespace, `null` and floats all fail at the first byte that differs.

use crate::envelope::Misshapen;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use merit_core::{Digest, Uuid};

/// The largest whole number that every JSON reader keeps exactly: 2^53 - 1.
pub(crate) const MAX_INTEGER: u64 = (1 << 53) - 1;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes one object onto the end of a buffer.
pub(crate) struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    separator: u8,
}

impl<'o> ObjectWriter<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> ObjectWriter<'o> {
        ObjectWriter { out, separator: b'{' }
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        escape(value, self.out);
        self.out.push(b'"');
    }

    pub(crate) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        self.display(value);
    }

    pub(crate) fn digest(&mut self, key: &str, value: &Digest) {
        self.key(key);
        self.out.push(b'"');
        hex(value, self.out);
        self.out.push(b'"');
    }

    pub(crate) fn uuid(&mut self, key: &str, value: Uuid) {
        self.key(key);
        uuid(value, self.out);
    }

    pub(crate) fn uuids(&mut self, key: &str, values: &[Uuid]) {
        self.key(key);
        self.out.push(b'[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            uuid(*value, self.out);
        }
        self.out.push(b']');
    }

    /// A text whose characters need no escape.
    pub(crate) fn plain(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        self.out.push(b'"');
        self.display(value);
        self.out.push(b'"');
    }

    fn key(&mut self, key: &str) {
        self.out.push(self.separator);
        self.separator = b',';
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn display(&mut self, value: impl fmt::Display) {
        struct Bytes<'v>(&'v mut Vec<u8>);
        impl fmt::Write for Bytes<'_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        // Writing to a Vec cannot fail.
        let _ = fmt::write(&mut Bytes(self.out), format_args!("{value}"));
    }
}

/// RFC 8785 section 3.2.2.2: the two-character escapes where JSON has one, `\u00xx` for the other control characters.
fn escape(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match ESCAPES.iter().find(|(_, plain)| *plain == byte) {
            Some((letter, _)) => out.extend_from_slice(&[b'\\', *letter]),
            None => {
                out.extend_from_slice(b"\\u00");
                hex(&[byte], out);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

const ESCAPES: [(u8, u8); 7] = [(b'"', b'"'), (b'\\', b'\\'), (b'b', 8), (b't', 9), (b'n', 10), (b'f', 12), (b'r', 13)];

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
}

fn uuid(value: Uuid, out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, part) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if at > 0 {
            out.push(b'-');
        }
        hex(&value.0[part], out);
    }
    out.push(b'"');
}

/// Reads one object that takes up a whole text.
pub(crate) struct ObjectReader<'a> {
    text: &'a str,
    at: usize,
    separator: u8,
}

impl<'a> ObjectReader<'a> {
    pub(crate) fn new(text: &'a str) -> ObjectReader<'a> {
        ObjectReader { text, at: 0, separator: b'{' }
    }

    pub(crate) fn end(mut self) -> Result<(), Misshapen> {
        self.token(b"}", "}")?;
        if self.at == self.text.len() { Ok(()) } else { self.refuse("the end") }
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Result<Cow<'a, str>, Misshapen> {
        self.key(key)?;
        self.quoted(key)
    }

    /// A text whose key may be missing.
    pub(crate) fn optional_text(&mut self, key: &'static str) -> Result<Option<Cow<'a, str>>, Misshapen> {
        let mut ahead = ObjectReader { ..*self };
        if ahead.key(key).is_err() {
            return Ok(None);
        }
        self.text(key).map(Some)
    }

    pub(crate) fn number(&mut self, key: &'static str) -> Result<u64, Misshapen> {
        self.key(key)?;
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        match rest[..length].parse() {
            Ok(value) if value <= MAX_INTEGER => {
                self.at += length;
                Ok(value)
            }
            _ => self.refuse(key),
        }
    }

    pub(crate) fn digest(&mut self, key: &'static str) -> Result<Digest, Misshapen> {
        self.parsed(key, |text| digest(text.as_bytes()))
    }

    pub(crate) fn uuid(&mut self, key: &'static str) -> Result<Uuid, Misshapen> {
        self.parsed(key, |text| Uuid::parse(&text))
    }

    pub(crate) fn uuids(&mut self, key: &'static str) -> Result<Vec<Uuid>, Misshapen> {
        self.key(key)?;
        self.token(b"[", key)?;
        let mut values = Vec::new();
        while self.token(b"]", key).is_err() {
            if !values.is_empty() {
                self.token(b",", key)?;
            }
            let text = self.quoted(key)?;
            values.push(Uuid::parse(&text).ok_or(Misshapen { at: self.at, expected: key })?);
        }
        Ok(values)
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(&mut self, key: &'static str, parse: impl FnOnce(Cow<'a, str>) -> Option<T>) -> Result<T, Misshapen> {
        let text = self.text(key)?;
        parse(text).ok_or(Misshapen { at: self.at, expected: key })
    }

    fn key(&mut self, key: &'static str) -> Result<(), Misshapen> {
        self.token(&[self.separator, b'"'], key)?;
        self.token(key.as_bytes(), key)?;
        self.token(b"\":", key)?;
        self.separator = b',';
        Ok(())
    }

    fn token(&mut self, token: &[u8], expected: &'static str) -> Result<(), Misshapen> {
        if !self.text.as_bytes()[self.at..].starts_with(token) {
            return self.refuse(expected);
        }
        self.at += token.len();
        Ok(())
    }

    fn quoted(&mut self, expected: &'static str) -> Result<Cow<'a, str>, Misshapen> {
        self.token(b"\"", expected)?;
        let mut unescaped = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.bytes().position(|byte| matches!(byte, 0..=0x1f | b'"' | b'\\')).unwrap_or(rest.len());
            self.at += plain;
            if self.token(b"\"", expected).is_ok() {
                return Ok(if unescaped.is_empty() { Cow::Borrowed(&rest[..plain]) } else { Cow::Owned(unescaped + &rest[..plain]) });
            }
            unescaped.push_str(&rest[..plain]);
            unescaped.push(self.escaped(expected)?);
        }
    }

    fn escaped(&mut self, expected: &'static str) -> Result<char, Misshapen> {
        self.token(b"\\", expected)?;
        let rest = &self.text.as_bytes()[self.at..];
        let (length, plain) = match rest {
            [b'u', b'0', b'0', high, low, ..] => (5, nibbles(*high, *low)),
            [letter, ..] => (1, ESCAPES.iter().find(|(escape, _)| escape == letter).map(|(_, plain)| *plain)),
            [] => (0, None),
        };
        match plain {
            Some(byte) if byte.is_ascii() => {
                self.at += length;
                Ok(char::from(byte))
            }
            _ => self.refuse(expected),
        }
    }

    fn refuse<T>(&self, expected: &'static str) -> Result<T, Misshapen> {
        Err(Misshapen { at: self.at, expected })
    }
}

/// Reads 64 hexadecimal digits.
pub(crate) fn digest(text: &[u8]) -> Option<Digest> {
    let (pairs, rest) = text.as_chunks::<2>();
    let mut digest = Digest::default();
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        *byte = nibbles(*high, *low)?;
    }
    Some(digest)
}

fn nibbles(high: u8, low: u8) -> Option<u8> {
    let nibble = |byte| char::from(byte).to_digit(16);
    u8::try_from(nibble(high)? << 4 | nibble(low)?).ok()
}
