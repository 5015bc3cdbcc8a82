//! JSON as encoded values: the inverse of [`write_json`](crate::write_json()).

use crate::schema::camel_case;
use merit_core::{Datum, EventTime, Fixed, Shape, Uuid, datum::Field};
use serde_json::{Map, Value};

/// The canonical encoding of a JSON value in the form that [`write_json`](crate::write_json()) gives; an optional field may be absent.
///
/// A decimal beyond six places is rounded half away from zero; the least of all, -2^63 units, is refused as [`Fixed::parse`] does.
///
/// # Errors
/// The path of the first value that does not fit, and what was expected there.
pub fn from_json(shape: &Shape, value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    match put(shape, value, &mut out) {
        Ok(()) => Ok(out),
        Err(problem) => Err(problem.trim_start_matches(['.', ':', ' ']).to_owned()),
    }
}

/// Problems begin with the path from here on: `.metrics[0].value: expected a decimal, found "x"`.
fn put(shape: &Shape, value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    let expected = |what: &str| format!(": expected {what}, found {value}");
    match shape {
        Shape::Boolean => value.as_bool().ok_or_else(|| expected("true or false"))?.put(out),
        Shape::Long => value.as_i64().ok_or_else(|| expected("a whole number of 64 bits"))?.put(out),
        Shape::Double => read_double(value).ok_or_else(|| expected("a number"))?.put(out),
        Shape::Fixed => read_fixed(value).ok_or_else(|| expected("a decimal"))?.put(out),
        Shape::Time => read_time(value).ok_or_else(|| expected("a time like 2025-01-17T18:00:00.000Z"))?.put(out),
        Shape::Text => value.as_str().ok_or_else(|| expected("text"))?.put(out),
        Shape::Bytes => read_bytes(value).ok_or_else(|| expected("text or hex"))?.as_slice().put(out),
        Shape::Octets(size) => {
            let octets = value.as_str().and_then(read_hex).filter(|octets| octets.len() == *size);
            out.extend(octets.ok_or_else(|| expected(&format!("{size} bytes of hex")))?);
        }
        Shape::Uuid => value.as_str().and_then(Uuid::parse).ok_or_else(|| expected("a uuid"))?.put(out),
        Shape::Enum(_, symbols) => {
            let at = symbols.iter().position(|symbol| value == symbol);
            (at.ok_or_else(|| expected(&format!("one of {}", symbols.join(", "))))? as u64).put(out);
        }
        Shape::Record(_, fields) => put_record(fields, value.as_object().ok_or_else(|| expected("an object"))?, out)?,
        Shape::List(item) => put_list(item, value.as_array().ok_or_else(|| expected("an array"))?, out)?,
        Shape::Optional(inner) => {
            (!value.is_null() as u64).put(out);
            if !value.is_null() {
                put(inner, value, out)?;
            }
        }
    }
    Ok(())
}

fn put_record(fields: &[Field], members: &Map<String, Value>, out: &mut Vec<u8>) -> Result<(), String> {
    let names: Vec<String> = fields.iter().map(|field| camel_case(field.name).collect()).collect();
    if let Some(stranger) = members.keys().find(|member| !names.contains(member)) {
        return Err(format!(".{stranger}: no such field"));
    }
    for (field, name) in fields.iter().zip(&names) {
        let member = match (members.get(name), field.shape) {
            (Some(member), _) => member,
            (None, Shape::Optional(_)) => &Value::Null,
            (None, _) => return Err(format!(".{name}: missing")),
        };
        put(field.shape, member, out).map_err(|problem| format!(".{name}{problem}"))?;
    }
    Ok(())
}

fn put_list(item: &Shape, items: &[Value], out: &mut Vec<u8>) -> Result<(), String> {
    if !items.is_empty() {
        (items.len() as u64).put(out);
        for (at, value) in items.iter().enumerate() {
            put(item, value, out).map_err(|problem| format!("[{at}]{problem}"))?;
        }
    }
    out.push(0);
    Ok(())
}

fn read_double(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

fn read_fixed(value: &Value) -> Option<Fixed> {
    match value.as_str() {
        Some(text) => Fixed::parse(text),
        None => Fixed::parse(&value.as_number()?.to_string()),
    }
}

/// The one form that [`EventTime`] shows, or milliseconds.
fn read_time(value: &Value) -> Option<EventTime> {
    let Some(text) = value.as_str() else { return value.as_i64().map(EventTime) };
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let seconds = (number(11, 13)? * 60 + number(14, 16)?) * 60 + number(17, 19)?;
    let time = EventTime((days * 86_400 + seconds) * 1_000 + number(20, 23)?);
    // Separators, ranges and the days of the month are right where the time shows as the same text.
    (merit_core::time::rfc3339(time) == text).then_some(time)
}

/// Days from 1970-01-01 to a day of the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn read_bytes(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Object(members) if members.len() == 1 => read_hex(members.get("hex")?.as_str()?),
        Value::Object(_) | Value::Array(_) | Value::Number(_) | Value::Bool(_) | Value::Null => None,
    }
}

fn read_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}
