//! Parameters of an operation in path, query and headers: declared as data, checked by the door, shown in the document.

use serde_json::{Value, json};

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `{name}` in the path; always required.
    Path,
    /// `?name=`.
    Query,
    /// A request header.
    Header,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1 to `longest` characters, none of them a control character.
    Text { longest: usize },
    /// A decimal integer from `least` to `most`.
    Count { least: u64, most: u64 },
    /// One of these.
    Choice(&'static [&'static str]),
    /// A time as RFC 3339 writes it, within 1970 to 9999.
    Time,
    /// 1 to `longest` bytes in hexadecimal.
    Hex { longest: usize },
}

/// A parameter of an operation.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub required: bool,
    pub kind: Kind,
    /// For a person; a sentence or two.
    pub description: &'static str,
}

impl Kind {
    /// Says what is wrong with a value.
    pub(crate) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Kind::Text { longest } if text.is_empty() || longest < text.chars().count() => Err(format!("is not 1 to {longest} characters")),
            Kind::Text { .. } if text.chars().any(char::is_control) => Err("has a control character".to_owned()),
            Kind::Count { least, most } if !count(text).is_some_and(|count| (least..=most).contains(&count)) => {
                Err(format!("is no integer from {least} to {most}"))
            }
            Kind::Choice(choices) if !choices.contains(&text) => Err(format!("is none of {}", choices.join(", "))),
            Kind::Time if merit_sources::time::rfc3339(text).is_none() => Err("is not RFC 3339 within 1970 to 9999".to_owned()),
            Kind::Hex { longest } if hex(text).is_none_or(|bytes| bytes.is_empty() || longest < bytes.len()) => {
                Err(format!("is not 1 to {longest} bytes in hexadecimal"))
            }
            Kind::Text { .. } | Kind::Count { .. } | Kind::Choice(_) | Kind::Time | Kind::Hex { .. } => Ok(()),
        }
    }

    pub(crate) fn schema(self) -> Value {
        match self {
            Kind::Text { longest } => {
                json!({ "type": "string", "minLength": 1, "maxLength": longest, "pattern": r"^[^\u0000-\u001F\u007F-\u009F]*$" })
            }
            Kind::Count { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
            Kind::Time => json!({ "type": "string", "format": "date-time" }),
            Kind::Hex { longest } => json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2})+$", "maxLength": 2 * longest }),
        }
    }
}

/// Digits alone: `+5` is none.
pub(crate) fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The bytes of a hexadecimal text.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_up_to_its_bounds_and_not_beyond() {
        let text = Kind::Text { longest: 3 };
        let some = Kind::Count { least: 1, most: 100 };
        let window = Kind::Choice(&["1h", "24h"]);
        let bytes = Kind::Hex { longest: 2 };
        for (kind, value, taken) in [
            (text, "äöü", true), // characters, not bytes
            (text, "abcd", false),
            (text, "", false),
            (text, "a\n", false),
            (text, "a\u{85}", false),
            (some, "1", true),
            (some, "0", false),
            (some, "100", true),
            (some, "101", false),
            (some, "+5", false),
            (some, "", false),
            (some, "99999999999999999999", false),
            (window, "24h", true),
            (window, "24H", false),
            (Kind::Time, "2025-01-17T18:00:00Z", true),
            (Kind::Time, "1969-12-31T23:59:59Z", false),
            (Kind::Time, "2025-01-17", false),
            (bytes, "00fF", true),
            (bytes, "", false),
            (bytes, "0", false),
            (bytes, "0g", false),
            (bytes, "é0", false),
            (bytes, "000000", false),
        ] {
            assert_eq!(kind.check(value).is_ok(), taken, "{kind:?} {value:?}");
        }
    }
}
