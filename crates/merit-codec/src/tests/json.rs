//! The JSON view of single values.

use crate::{from_json, to_json, write_json};
use merit_core::{Datum, EventTime, Fixed, Shape, Uuid, datum, datum_enum};
use serde_json::{Value, json};

fn bytes_of<'a>(value: impl Datum<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    bytes
}

/// The value shows as that text, and the text reads back as the same bytes.
fn check<'a, T: Datum<'a>>(value: T, text: &str) {
    let bytes = bytes_of(value);
    let mut written = String::new();
    assert_eq!(write_json(T::SHAPE, &bytes, &mut written), Some(()), "{text}");
    assert_eq!(written, text);
    let parsed: Value = serde_json::from_str(text).expect("JSON");
    assert_eq!(to_json(T::SHAPE, &bytes).as_ref(), Some(&parsed));
    assert_eq!(from_json(T::SHAPE, &parsed), Ok(bytes), "{text}");
}

#[test]
fn decimals_are_exact() {
    for (units, text) in [
        (0, "0"),
        (920_000, "0.92"),
        (-1, "-0.000001"),
        (12_000_000, "12"),
        (8_589_934_591_999_999, "8589934591.999999"), // the last below 2^33
        (8_589_934_592_000_000, "\"8589934592\""),
        (9_007_199_254_740_993, "\"9007199254.740993\""), // 2^53 + 1 units: no double
        (i64::MAX, "\"9223372036854.775807\""),
        (-i64::MAX, "\"-9223372036854.775807\""),
    ] {
        check(Fixed(units), text);
    }
}

#[test]
fn whole_numbers_and_doubles_are_exact() {
    check(i64::MIN, "-9223372036854775808");
    check(i64::MAX, "9223372036854775807");
    check(0.1_f64 + 0.2, "0.30000000000000004");
    check(5e-324_f64, "5e-324");
    check(f64::MAX, "1.7976931348623157e308");
    check(-0.0_f64, "-0.0");
    check(12.0_f64, "12.0");
    check(f64::NAN, "\"NaN\"");
    check(f64::NEG_INFINITY, "\"-Infinity\"");
}

#[test]
fn times_are_rfc_3339_as_far_as_it_goes() {
    for (millis, text) in [
        (1_737_136_800_123, "\"2025-01-17T18:00:00.123Z\""),
        (951_782_400_000, "\"2000-02-29T00:00:00.000Z\""),
        (-1, "\"1969-12-31T23:59:59.999Z\""),
        (-62_167_219_200_000, "\"0000-01-01T00:00:00.000Z\""),
        (-62_167_219_200_001, "-62167219200001"),
        (EventTime::LATEST.0, "\"9999-12-31T23:59:59.999Z\""),
        (EventTime::LATEST.0 + 1, "253402300800000"),
        (i64::MIN, "-9223372036854775808"),
    ] {
        check(EventTime(millis), text);
    }
}

#[test]
fn text_is_escaped_and_bytes_are_shown_as_what_they_are() {
    check("", "\"\"");
    check("a \"b\" \\ \n\t\r\u{1} ≥ 🦀", "\"a \\\"b\\\" \\\\ \\n\\t\\r\\u0001 ≥ 🦀\"");
    check(&b"plain\n"[..], "\"plain\\n\"");
    check(&b"\0"[..], "{\"hex\":\"00\"}");
    check(&[0xff, 0x0a][..], "{\"hex\":\"ff0a\"}");
    check(&b""[..], "\"\"");
    check([0xab_u8, 0x01], "\"ab01\"");
    check(Uuid([0xab; 16]), "\"abababab-abab-abab-abab-abababababab\"");
}

datum_enum! {
    /// A state row may hold enums.
    Colour {
        /// Red.
        Red,
        /// Blue.
        Blue,
    }
}

datum! {
    /// A state row: no record type, and the same view.
    StateRow<'a> {
        /// A double.
        running_mean: f64,
        /// A list of optional texts.
        last_names: merit_core::List<'a, Option<&'a str>>,
        /// An enum.
        colour: Option<Colour>,
        /// A truth.
        is_open: bool,
    }
}

#[test]
fn a_state_row_shows_like_a_record() {
    let names = [Some("a"), None];
    let row = StateRow { running_mean: 0.5, last_names: merit_core::List::Slice(&names), colour: Some(Colour::Blue), is_open: true };
    check(row, r#"{"runningMean":0.5,"lastNames":["a",null],"colour":"Blue","isOpen":true}"#);
}

#[test]
fn an_optional_field_may_be_absent_in_json() {
    let row = json!({"runningMean": 1, "lastNames": [], "isOpen": false});
    let bytes = bytes_of(StateRow { running_mean: 1.0, last_names: merit_core::List::EMPTY, colour: None, is_open: false });
    assert_eq!(from_json(StateRow::SHAPE, &row), Ok(bytes));
}

#[test]
fn what_does_not_fit_is_named_with_its_path() {
    let row = |pointer: &str, value: Value| {
        let mut row = json!({"runningMean": 1, "lastNames": ["a"], "colour": "Red", "isOpen": false});
        *row.pointer_mut(pointer).expect("a place in the row") = value;
        row
    };
    for (value, problem) in [
        (json!(3), "expected an object, found 3"),
        (json!({}), "runningMean: missing"),
        (row("", json!({"running_mean": 1})), "running_mean: no such field"),
        (row("/runningMean", json!("x")), "runningMean: expected a number, found \"x\""),
        (row("/lastNames", json!(null)), "lastNames: expected an array, found null"),
        (row("/lastNames/0", json!(7)), "lastNames[0]: expected text, found 7"),
        (row("/colour", json!("Green")), "colour: expected one of Red, Blue, found \"Green\""),
        (row("/isOpen", json!(0)), "isOpen: expected true or false, found 0"),
    ] {
        assert_eq!(from_json(StateRow::SHAPE, &value), Err(problem.to_owned()));
    }
}

#[test]
fn single_values_that_do_not_fit_are_refused() {
    for (shape, value) in [
        (&Shape::Long, json!(1.5)),
        (&Shape::Long, json!(u64::MAX)),
        (&Shape::Fixed, json!("0,92")),
        (&Shape::Fixed, json!(1e300)),
        (&Shape::Time, json!("2025-02-29T00:00:00.000Z")),
        (&Shape::Time, json!("2025-01-17T24:00:00.000Z")),
        (&Shape::Time, json!("2025-01-17 18:00:00.000Z")),
        (&Shape::Time, json!("2025-01-17T18:00:00Z")),
        (&Shape::Time, json!("2025-01-17T18:00:00.000Z ")),
        (&Shape::Time, json!("2025-01-17T18:00:00.00≥")),
        (&Shape::Time, json!("")),
        (&Shape::Bytes, json!({"hex": "0"})),
        (&Shape::Bytes, json!({"hex": "0g"})),
        (&Shape::Bytes, json!({"hex": "00", "more": 1})),
        (&Shape::Octets(2), json!("ab")),
        (&Shape::Uuid, json!("abababababababababababababababababab")),
        (&Shape::Double, json!("inf")),
    ] {
        assert!(from_json(shape, &value).is_err(), "{shape:?} from {value}");
    }
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    for (shape, bytes) in [
        (&Shape::Long, &[0x82, 0x00][..]),                          // overlong
        (&Shape::Boolean, &[2]),                                    // neither
        (&Shape::Text, &[2, 0xff]),                                 // not UTF-8
        (&Shape::Text, &[1]),                                       // length -1
        (&Shape::Enum("Colour", &["Red", "Blue"]), &[4]),           // third of two
        (&Shape::Optional(&Shape::Long), &[4, 0]),                  // third of two
        (&Shape::List(&Shape::Long), &[2, 2, 2, 2, 0]),             // two blocks
        (&Shape::List(&Shape::Long), &[1, 2, 2, 0]),                // a block with its size
        (&Shape::List(&Shape::Long), &[0xfe, 0xff, 0xff, 0xff, 1]), // a count beyond the bytes
    ] {
        assert_eq!(to_json(shape, bytes), None, "{shape:?} from {bytes:?}");
    }
}
