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
            Kind::Text { .. } | Kind::Count { .. } | Kind::Choice(_) => Ok(()),
        }
    }

    pub(crate) fn schema(self) -> Value {
        match self {
            Kind::Text { longest } => {
                json!({ "type": "string", "minLength": 1, "maxLength": longest, "pattern": r"^[^\u0000-\u001F\u007F-\u009F]*$" })
            }
            Kind::Count { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
            Kind::Choice(choices) => json!({ "type": "string", "enum": choices }),
        }
    }
}

/// Digits alone: `+5` is none.
pub(crate) fn count(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_taken_up_to_its_bounds_and_not_beyond() {
        let text = Kind::Text { longest: 3 };
        let some = Kind::Count { least: 1, most: 100 };
        let window = Kind::Choice(&["1h", "24h"]);
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
        ] {
            assert_eq!(kind.check(value).is_ok(), taken, "{kind:?} {value:?}");
        }
    }
}
