//! JSON without room for two readings: a key once, bounded depth and strings, and nothing that the type does not know.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use hyper::StatusCode;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::code;
use crate::refusal::Refusal;

/// Arrays and objects within each other.
const DEPTH: u32 = 32;

/// Bytes of a string or key, behind its escapes.
const STRING_BYTES: usize = 4096;

/// What a message shows of a field's name.
const SHOWN_CHARS: usize = 64;

/// Reads a body.
///
/// Unknown fields are refused where `T` says `deny_unknown_fields`.
///
/// # Errors
/// 400 `json_invalid` for what is no JSON (NaN, bytes that are no UTF-8, text behind the end), a key twice in an object, depth over 32 and
/// strings over 4 KiB; 422 `field_unknown` and `value_invalid` for JSON that is no `T`, with the path to the fault.
pub fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let text = str::from_utf8(body).map_err(|error| invalid(format!("the body is no UTF-8 behind byte {}", error.valid_up_to())))?;
    check(text).map_err(|error| invalid(format!("the body is refused: {error}")))?;
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => misfit::<T>(text),
        Category::Syntax | Category::Eof | Category::Io => invalid(format!("the body is refused: {error}")),
    })
}

fn invalid(message: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code::JSON_INVALID, message)
}

/// Reads once more, to say where the fault is: bodies that are well do not pay for it.
fn misfit<'a, T: Deserialize<'a>>(text: &'a str) -> Refusal {
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text)) else {
        return invalid("the body is refused".to_owned());
    };
    let (path, fault) = (error.path().to_string(), error.inner().to_string());
    // serde's own words, from `Error::unknown_field`; it keeps no kind beside them.
    let code = if fault.starts_with("unknown field") { code::FIELD_UNKNOWN } else { code::VALUE_INVALID };
    let message = if path == "." { fault } else { format!("{path}: {fault}") };
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
}

fn check(text: &str) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_str(text);
    Strict { room: DEPTH }.deserialize(&mut json)?;
    json.end()
}

/// A value that may hold `room` arrays and objects within each other.
#[derive(Clone, Copy)]
struct Strict {
    room: u32,
}

impl Strict {
    fn inside<E: serde::de::Error>(self) -> Result<Strict, E> {
        self.room.checked_sub(1).map(|room| Strict { room }).ok_or_else(|| E::custom(format_args!("deeper than {DEPTH}")))
    }
}

fn bounded<E: serde::de::Error>(text: &str) -> Result<(), E> {
    if STRING_BYTES < text.len() { Err(E::custom(format_args!("a string over {STRING_BYTES} bytes"))) } else { Ok(()) }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        bounded(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        while values.next_element_seed(inside)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let inside = self.inside()?;
        let mut keys = HashSet::new();
        while let Some(key) = fields.next_key_seed(Key)? {
            if keys.contains(&key) {
                let shown: String = key.chars().take(SHOWN_CHARS).collect();
                return Err(A::Error::custom(format_args!("key `{shown}` twice")));
            }
            keys.insert(key);
            fields.next_value_seed(inside)?;
        }
        Ok(())
    }
}

/// A key behind its escapes; borrowed where it has none.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Cow<'de, str>, E> {
        bounded(text).map(|()| Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cow<'de, str>, E> {
        bounded(text).map(|()| Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Report {
        #[serde(rename = "agentId")]
        _agent: String,
        #[serde(default, rename = "metrics")]
        _metrics: std::collections::BTreeMap<String, f64>,
        #[serde(default, rename = "tags")]
        _tags: serde_json::Value,
    }

    fn check(rows: &[(&str, &[u8], &str)]) {
        for (why, body, outcome) in rows {
            let read = match read::<Report>(body) {
                Ok(_) => "taken".to_owned(),
                Err(refusal) => format!("{} {}: {}", refusal.status.as_u16(), refusal.code, refusal.message),
            };
            let expected = if outcome.ends_with(':') { read.starts_with(outcome) } else { read == *outcome };
            assert!(expected, "{why}: {read}, not {outcome}");
        }
    }

    fn tagged(tags: &str) -> Vec<u8> {
        format!(r#"{{"agentId": "a", "tags": {tags}}}"#).into_bytes()
    }

    #[test]
    fn json_with_two_readings_is_refused() {
        check(&[
            ("a report", br#"{"agentId": "a", "metrics": {"x": 1}}"#, "taken"),
            (
                "a key twice",
                br#"{"agentId": "a", "agentId": "b"}"#,
                "400 json_invalid: the body is refused: key `agentId` twice at line 1 column 26",
            ),
            ("a key twice, once escaped", br#"{"agentId": "a", "tags": {"k": 1, "\u006b": 2}}"#, "400 json_invalid:"),
            ("a key twice in an array", br#"{"agentId": "a", "tags": [{"k": 1, "k": 2}]}"#, "400 json_invalid:"),
            ("the same key in two objects", br#"{"agentId": "a", "tags": [{"k": 1}, {"k": 2}]}"#, "taken"),
            ("NaN", br#"{"agentId": "a", "metrics": {"x": NaN}}"#, "400 json_invalid:"),
            ("Infinity", br#"{"agentId": "a", "metrics": {"x": -Infinity}}"#, "400 json_invalid:"),
            ("beyond a double", br#"{"agentId": "a", "metrics": {"x": 1e999}}"#, "400 json_invalid:"),
            ("a comment", br#"{"agentId": "a" /* b */}"#, "400 json_invalid:"),
            ("a comma too many", br#"{"agentId": "a",}"#, "400 json_invalid:"),
            ("text behind the end", br#"{"agentId": "a"} {}"#, "400 json_invalid:"),
            ("white space behind the end", b"{\"agentId\": \"a\"} \r\n", "taken"),
            ("cut short", br#"{"agentId": "a""#, "400 json_invalid:"),
            ("nothing", b"", "400 json_invalid:"),
            ("a byte order mark", b"\xef\xbb\xbf{\"agentId\": \"a\"}", "400 json_invalid:"),
            ("no UTF-8", b"{\"agentId\": \"\xff\"}", "400 json_invalid: the body is no UTF-8 behind byte 13"),
            ("half a surrogate pair", br#"{"agentId": "\ud800"}"#, "400 json_invalid:"),
        ]);
    }

    #[test]
    fn depth_and_strings_are_bounded() {
        // The report itself is the first of 32.
        let nested = |depth: usize| tagged(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        let long = |bytes: usize| tagged(&format!("\"{}\"", "x".repeat(bytes)));
        let key = |bytes: usize| tagged(&format!("{{\"{}\": 1}}", "x".repeat(bytes)));
        check(&[
            ("as deep as may be", &nested(31), "taken"),
            ("deeper", &nested(32), "400 json_invalid:"),
            ("far deeper", &nested(100_000), "400 json_invalid:"),
            ("as long as may be", &long(4096), "taken"),
            ("longer", &long(4097), "400 json_invalid:"),
            ("a key as long as may be", &key(4096), "taken"),
            ("a longer key", &key(4097), "400 json_invalid:"),
        ]);
    }

    #[test]
    fn json_that_does_not_fit_says_where() {
        check(&[
            (
                "unknown",
                br#"{"agentId": "a", "score": 1}"#,
                "422 field_unknown: score: unknown field `score`, expected one of `agentId`, `metrics`, `tags` at line 1 column 24",
            ),
            ("missing", b"{}", "422 value_invalid: missing field `agentId` at line 1 column 2"),
            (
                "a type",
                br#"{"agentId": "a", "metrics": {"x": "1"}}"#,
                "422 value_invalid: metrics.x: invalid type: string \"1\", expected f64 at line 1 column 37",
            ),
            ("no object", b"5", "422 value_invalid:"),
        ]);
    }
}
