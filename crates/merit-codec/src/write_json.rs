//! Encoded values as JSON.
//!
//! | [`Shape`] | JSON |
//! |---|---|
//! | `Boolean`, `Long` | boolean, number |
//! | `Double` | shortest number that reads back as the same bits; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `Fixed` | the exact decimal: a number below 2^33, text from there on, where a reader's double would lose digits |
//! | `Time` | RFC 3339 in UTC with milliseconds; the number of milliseconds outside the years 0 to 9999 |
//! | `Text`, `Enum` | text |
//! | `Bytes` | text where they are printable UTF-8, else `{"hex": "00ff"}` |
//! | `Octets`, `Uuid` | lowercase hexadecimal; hyphenated |
//! | `Record` | object, names in camel case, every field there |
//! | `List`, `Optional` | array; null or the value |
//!
//! Two encodings never give one JSON text, but for the payloads of a NaN.

use crate::schema::camel_case;
use merit_core::id::Hex;
use merit_core::{Datum, EventTime, Fixed, Shape, Uuid};
use serde_json::Value;
use std::fmt::{Display, Write};

/// From 2^33 on doubles lie further apart than 1e-6.
const FIXED_AS_NUMBER: u64 = (1 << 33) * Fixed::ONE.0 as u64;

/// The years that RFC 3339 can write, in milliseconds: 0000-01-01T00:00:00.000Z to 9999-12-31T23:59:59.999Z.
const RFC_3339: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=EventTime::LATEST.0;

/// Appends an encoded value as JSON text without white space.
/// `None` where the bytes are not one canonical encoding of `shape`, and then nothing is appended.
///
/// It judges by the shape alone: a negative number passes where the Rust field is unsigned.
pub fn write_json(shape: &Shape, mut bytes: &[u8], out: &mut String) -> Option<()> {
    let start = out.len();
    let written = write(shape, &mut bytes, out).filter(|()| bytes.is_empty());
    if written.is_none() {
        out.truncate(start);
    }
    written
}

/// An encoded value as a JSON value, the same that [`write_json`] writes.
pub fn to_json(shape: &Shape, bytes: &[u8]) -> Option<Value> {
    let mut text = String::new();
    write_json(shape, bytes, &mut text)?;
    serde_json::from_str(&text).ok()
}

fn write(shape: &Shape, bytes: &mut &[u8], out: &mut String) -> Option<()> {
    match shape {
        Shape::Boolean => show(bool::get(bytes)?, out),
        Shape::Long => show(i64::get(bytes)?, out),
        Shape::Double => write_double(f64::get(bytes)?, out),
        Shape::Fixed => write_fixed(Fixed::get(bytes)?, out),
        Shape::Time => write_time(EventTime::get(bytes)?, out),
        Shape::Text => write_text(<&str>::get(bytes)?, out),
        Shape::Bytes => write_bytes(<&[u8]>::get(bytes)?, out),
        Shape::Octets(size) => {
            let (value, rest) = bytes.split_at_checked(*size)?;
            *bytes = rest;
            quote(Hex(value), out);
        }
        Shape::Uuid => quote(Uuid::get(bytes)?, out),
        Shape::Enum(_, symbols) => {
            let at = usize::try_from(i64::get(bytes)?).ok()?;
            quote(symbols.get(at)?, out);
        }
        Shape::Record(_, fields) => {
            out.push('{');
            for (at, field) in fields.iter().enumerate() {
                out.push_str(if at == 0 { "\"" } else { ",\"" });
                out.extend(camel_case(field.name));
                out.push_str("\":");
                write(field.shape, bytes, out)?;
            }
            out.push('}');
        }
        Shape::List(item) => write_list(item, bytes, out)?,
        Shape::Optional(inner) => match i64::get(bytes)? {
            0 => out.push_str("null"),
            1 => write(inner, bytes, out)?,
            _ => return None,
        },
    }
    Some(())
}

/// One block of items and the empty block that ends every array, or that alone.
fn write_list(item: &Shape, bytes: &mut &[u8], out: &mut String) -> Option<()> {
    let count = u64::get(bytes)?;
    out.push('[');
    for at in 0..count {
        if at > 0 {
            out.push(',');
        }
        write(item, bytes, out)?;
    }
    out.push(']');
    (count == 0 || u64::get(bytes)? == 0).then_some(())
}

fn write_double(value: f64, out: &mut String) {
    match value {
        _ if value.is_finite() => show(format_args!("{value:?}"), out), // Debug is the shortest form, and JSON
        _ if value.is_nan() => quote("NaN", out),
        _ => quote(if value > 0.0 { "Infinity" } else { "-Infinity" }, out),
    }
}

fn write_fixed(value: Fixed, out: &mut String) {
    if value.0.unsigned_abs() < FIXED_AS_NUMBER { show(value, out) } else { quote(value, out) }
}

fn write_time(time: EventTime, out: &mut String) {
    if RFC_3339.contains(&time.0) { quote(time, out) } else { show(time.0, out) }
}

fn write_bytes(bytes: &[u8], out: &mut String) {
    let printable = |text: &&str| !text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'));
    match std::str::from_utf8(bytes).ok().filter(printable) {
        Some(text) => write_text(text, out),
        None => show(format_args!("{{\"hex\":\"{}\"}}", Hex(bytes)), out),
    }
}

/// A JSON string (RFC 8259, section 7): quotation mark, backslash and control characters below U+0020 are escaped.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|letter: char| letter < ' ' || letter == '"' || letter == '\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            byte @ (b'"' | b'\\') => out.extend(['\\', char::from(byte)]),
            byte => show(format_args!("\\u{byte:04x}"), out),
        }
        rest = &rest[at + 1..]; // the escaped characters are one byte each
    }
    out.push_str(rest);
    out.push('"');
}

fn quote(value: impl Display, out: &mut String) {
    show(format_args!("\"{value}\""), out);
}

fn show(value: impl Display, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{value}");
}
