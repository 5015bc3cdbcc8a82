use super::line;
use crate::report::MAX_ITEMS;
use crate::{JsonReports, MAX_ROW};
use merit_core::{Datum, Fixed};
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};

/// The body of seed 001, as it is written there.
const SEED_001: &str = r#"{
  "agentId": "agent-123",
  "metrics": { "successRate": 0.93, "latencyScore": 0.9 },
  "source": "agent-manager",
  "timestamp": "2025-01-17T18:00:00Z",
  "tags": { "window": "1h" }
}"#;

#[test]
fn the_body_of_seed_001_is_read_as_it_stands() {
    let mut reports = JsonReports::default();
    let report = reports.parse(SEED_001.as_bytes()).expect("a report");
    let metrics: Vec<_> = report.metrics.iter().map(|metric| (metric.name, metric.value)).collect();
    assert_eq!(metrics, [("successRate", Fixed(930_000)), ("latencyScore", Fixed(900_000))]);
    assert_eq!((report.id, report.agent_id, report.division_id, report.product_id), (None, "agent-123", None, None));
    assert_eq!((report.source, report.timestamp.0, report.window), ("agent-manager", 1_737_136_800_000, Some("1h")));
    assert_eq!(report.tags.iter().map(|tag| (tag.name, tag.value)).collect::<Vec<_>>(), [("window", "1h")]);
    let mut bytes = Vec::new();
    report.put(&mut bytes);
    assert_eq!(Datum::decode(&bytes), Some(report));
}

/// A body with the fields of the text instead of, or beside, those every report has.
fn body(fields: &str) -> String {
    let mut text = String::from("{");
    for (names, field) in [
        (&["agentId", "entityId"][..], r#""agentId":"a""#),
        (&["metrics", "metricSet"], r#""metrics":{"m":1}"#),
        (&["timestamp"], r#""timestamp":"1970-01-01T00:00:01Z""#),
    ] {
        if !names.iter().any(|name| fields.contains(&format!("{name:?}"))) {
            text += &format!("{field},");
        }
    }
    text + fields + "}"
}

fn rule_of(line: &[u8]) -> &'static str {
    JsonReports::default().parse(line).err().map_or("", |fault| {
        assert!(fault.detail.len() < 500, "{}", fault.detail);
        fault.rule.name
    })
}

#[test]
fn each_fault_has_its_rule() {
    for (fields, rule) in [
        (r#""source":"s""#, ""),
        // Both names of a field, and what stands for nothing.
        (r#""entityId":"a""#, ""),
        (r#""metricSet":{"m":1}"#, ""),
        (r#""id":null,"divisionId":"","productId":null,"window":null,"tags":null,"source":null"#, ""),
        (r#""tags":{}"#, ""),
        (r#""agentId":"""#, "agent_id_missing"),
        (r#""agentId":null"#, "agent_id_missing"),
        (r#""metrics":{}"#, "metrics_missing"),
        (r#""metrics":null"#, "metrics_missing"),
        (r#""timestamp":null"#, "timestamp_missing"),
        (r#""timestamp":"""#, "timestamp_missing"),
        (r#""timestamp":"yesterday""#, "timestamp_invalid"),
        (r#""timestamp":1737136800"#, "timestamp_invalid"),
        (r#""timestamp":"1969-12-31T23:59:59Z""#, "timestamp_invalid"),
        (r#""timestamp":"10000-01-01T00:00:00Z""#, "timestamp_invalid"),
        (r#""timestamp":"2025-02-30T00:00:00Z""#, "timestamp_invalid"),
        // Types.
        (r#""agentId":7"#, "field_type"),
        (r#""source":true"#, "field_type"),
        (r#""source":["s"]"#, "field_type"),
        (r#""metrics":[1]"#, "field_type"),
        (r#""metrics":"m""#, "field_type"),
        (r#""tags":["a"]"#, "field_type"),
        (r#""tags":{"a":1}"#, "field_type"),
        (r#""tags":{"a":{"b":"c"}}"#, "field_type"),
        (r#""tags":{"a":null}"#, "field_type"),
        // Keys.
        (r#""score":1"#, "field_unknown"),
        (r#""AgentId":"a""#, "field_unknown"),
        (r#""source":"s","source":"s""#, "key_duplicate"),
        (r#""source":null,"source":"s""#, "key_duplicate"),
        (r#""agentId":"a","entityId":"a""#, "key_duplicate"),
        (r#""metrics":{"m":1},"metricSet":{"m":1}"#, "key_duplicate"),
        (r#""metrics":{"m":1,"m":1}"#, "key_duplicate"),
        (r#""metrics":{"m":1,"\u006d":1}"#, "key_duplicate"), // the same name, written otherwise
        (r#""tags":{"a":"1","a":"2"}"#, "key_duplicate"),
        // Numbers.
        (r#""metrics":{"m":"1"}"#, "metric_not_a_number"),
        (r#""metrics":{"m":null}"#, "metric_not_a_number"),
        (r#""metrics":{"m":true}"#, "metric_not_a_number"),
        (r#""metrics":{"m":[[[[1]]]]}"#, "metric_not_a_number"),
        (r#""metrics":{"m":"NaN"}"#, "metric_not_a_number"),
        (r#""metrics":{"m":NaN}"#, "json_invalid"),
        (r#""metrics":{"m":Infinity}"#, "json_invalid"),
        (r#""metrics":{"m":-}"#, "json_invalid"),
        (r#""metrics":{"m":01}"#, "json_invalid"),
        (r#""metrics":{"m":1.}"#, "json_invalid"),
        (r#""metrics":{"m":.5}"#, "json_invalid"),
        (r#""metrics":{"m":1e}"#, "json_invalid"),
        (r#""metrics":{"m":+1}"#, "json_invalid"),
        (r#""metrics":{"m":0x1}"#, "json_invalid"),
        (r#""metrics":{"m":9223372036854.775807}"#, ""), // the largest
        (r#""metrics":{"m":9223372036854.775808}"#, "metric_range"),
        (r#""metrics":{"m":1e300}"#, "metric_range"),
        (r#""metrics":{"m":-1e99999}"#, "metric_range"),
        (r#""metrics":{"m":0.0000000000000000000000000000000000000001}"#, ""),
        // Text that is no JSON.
        (r#""source":"s","#, "json_invalid"),
        (r#""source" "s""#, "json_invalid"),
        (r#""source":s"#, "json_invalid"),
        (r#""source":"s" "id":"i""#, "json_invalid"),
        (r#""source":nul"#, "json_invalid"),
        (r#"source:"s""#, "json_invalid"),
        ("\"source\":\"a\tb\"", "json_invalid"),
        (r#""source":"\x""#, "json_invalid"),
        (r#""source":"\u12""#, "json_invalid"),
        (r#""source":"\u12é""#, "json_invalid"),
        (r#""source":"\u+123""#, "json_invalid"),
        (r#""source":"\ud83d""#, "json_invalid"),
        (r#""source":"\ude00""#, "json_invalid"),
        (r#""source":"\ud83dx\ude00""#, "json_invalid"),
        (r#""source":"\"#, "json_invalid"),
        (r#""source":"#, "json_invalid"),
    ] {
        assert_eq!(rule_of(body(fields).as_bytes()), rule, "{fields}");
    }
    for (text, rule) in [
        ("", "json_invalid"),
        ("null", "json_invalid"),
        ("[]", "json_invalid"),
        ("{", "json_invalid"),
        ("{}", "agent_id_missing"),
        ("{}{}", "json_invalid"),
        ("{,}", "json_invalid"),
        ("\u{feff}{}", "json_invalid"), // a byte order mark is the file's, not the row's
        (r#"{"agentId":"a"}"#, "metrics_missing"),
        (r#"{"agentId":"a","metrics":{"m":1}}"#, "timestamp_missing"),
    ] {
        assert_eq!(rule_of(text.as_bytes()), rule, "{text}");
    }
}

#[test]
fn escapes_are_undone() {
    for (written, meant) in [
        (r#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
        (r#"caf\u00e9 é \u00E9"#, "café é é"),
        (r#"\ud83d\ude00\u0041"#, "\u{1f600}A"),
        (r#"\u0000"#, "\0"),
        (r#"a\u003cb\u003e"#, "a<b>"), // as Go writes < and >
    ] {
        let text = body(&format!(r#""source":"{written}","tags":{{"{written}":"{written}"}},"metrics":{{"{written}":1}}"#));
        let mut reports = JsonReports::default();
        let report = reports.parse(text.as_bytes()).expect(written);
        assert_eq!(report.source, meant);
        assert_eq!(report.tags.iter().map(|tag| (tag.name, tag.value)).collect::<Vec<_>>(), [(meant, meant)]);
        assert_eq!(report.metrics.iter().map(|metric| metric.name).collect::<Vec<_>>(), [meant]);
    }
}

#[test]
fn the_window_is_the_reports_else_the_tags() {
    for (fields, window) in [
        (r#""window":"7d","tags":{"window":"1h"}"#, Some("7d")),
        (r#""tags":{"window":"1h"},"window":"7d""#, Some("7d")),
        (r#""window":"","tags":{"window":"24h"}"#, Some("24h")),
        (r#""tags":{"region":"eu","window":""}"#, None),
        (r#""source":"s""#, None),
    ] {
        let mut reports = JsonReports::default();
        assert_eq!(reports.parse(body(fields).as_bytes()).expect(fields).window, window, "{fields}");
    }
}

#[test]
fn a_row_is_bounded_in_every_direction() {
    let many = |count: usize, value: &str| (0..count).map(|at| format!("\"k{at}\":{value}")).collect::<Vec<_>>().join(",");
    let metrics = |count| body(&format!("\"metrics\":{{{}}}", many(count, "1")));
    let tags = |count| body(&format!("\"tags\":{{{}}}", many(count, "\"v\"")));
    let padded = |length: usize| {
        let start = body("\"source\":\"s\"");
        format!("{start}{}", " ".repeat(length - start.len()))
    };
    for (text, rule) in [
        (metrics(MAX_ITEMS), ""),
        (metrics(MAX_ITEMS + 1), "metric_count"),
        (tags(MAX_ITEMS), ""),
        (tags(MAX_ITEMS + 1), "tags_count"),
        (tags(80_000), "tags_count"),
        (tags(1_000_000), "report_too_large"),
        (padded(MAX_ROW), ""),
        (padded(MAX_ROW + 1), "report_too_large"),
        (body(&format!("\"tags\":{}", "{\"a\":".repeat(150_000))), "field_type"), // nested deep, refused at the second level
        ("[".repeat(MAX_ROW), "json_invalid"),
        (body(&format!("\"metrics\":{{\"m\":0.{}}}", "3".repeat(1_000_000))), ""),
        (body(&format!("\"metrics\":{{\"m\":{}}}", "3".repeat(1_000_000))), "metric_range"),
        (body(&format!("\"{}\":1", "x".repeat(1_000_000))), "field_unknown"),
    ] {
        assert_eq!(rule_of(text.as_bytes()), rule, "{} bytes", text.len());
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    let mut line = body("\"source\":\"s?\"").into_bytes();
    let at = line.iter().position(|byte| *byte == b'?').expect("there");
    for byte in [0xff, 0xc3, 0x80, 0xed] {
        line[at] = byte;
        assert_eq!(rule_of(&line), "utf8_invalid");
    }
}

#[test]
fn nothing_of_a_row_stays_for_the_next() {
    let mut reports = JsonReports::default();
    let full = r#"{"id":"i","agentId":"a","divisionId":"d","productId":"p","source":"s","window":"1h","timestamp":"2025-01-17T18:00:00Z","metrics":{"m":1},"tags":{"t":"v"}}"#;
    reports.parse(full.as_bytes()).expect("full");
    assert_eq!(reports.parse(b"{}").expect_err("empty").rule.name, "agent_id_missing");
    reports.parse(full.as_bytes()).expect("full again");
    let report = reports.parse(body("\"source\":\"t\"").as_bytes()).expect("small");
    assert_eq!((report.id, report.division_id, report.window, report.tags.len()), (None, None, None, 0));
    assert_eq!(line(&report), "a 1000 m=1");
}

/// A decimal as JSON may write it.
fn number() -> impl Strategy<Value = String> {
    prop_oneof!["-?(0|[1-9][0-9]{0,5})", "-?(0|[1-9][0-9]{0,5})\\.[0-9]{1,9}", "-?[1-9](\\.[0-9]{1,3})?[eE][+-]?[0-4]"]
}

fn entries<V: Strategy<Value = Value>>(value: V, count: std::ops::Range<usize>) -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::vec((any::<String>(), value), count).prop_map(|entries| entries.into_iter().collect())
}

prop_compose! {
    fn valid_body()(
        agent in any::<(bool, String)>(),
        texts in proptest::collection::vec(proptest::option::of(any::<String>()), 5),
        millis in 0..=253_402_300_799_999_i64,
        metrics in (any::<bool>(), entries(number().prop_map(|text| Value::Number(text.parse::<Number>().expect("a number"))), 1..8)),
        tags in entries(any::<String>().prop_map(Value::String), 0..5),
        order in any::<usize>(),
    ) -> Value {
        let mut fields = vec![
            (if agent.0 { "agentId" } else { "entityId" }, json!(agent.1 + "a")),
            (if metrics.0 { "metrics" } else { "metricSet" }, Value::Object(metrics.1)),
            ("timestamp", json!(merit_core::time::rfc3339(merit_core::EventTime(millis)))),
            ("tags", Value::Object(tags)),
        ];
        fields.extend(["id", "divisionId", "productId", "source", "window"].into_iter().zip(texts.into_iter().map(|text| json!(text))));
        let count = fields.len();
        fields.rotate_left(order % count);
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
    }
}

proptest! {
    #[test]
    fn a_valid_body_is_read_as_serde_json_reads_it(body in valid_body(), pretty: bool) {
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.expect("in memory");
        let mut reports = JsonReports::default();
        let report = reports.parse(text.as_bytes()).map_err(|fault| TestCaseError::fail(format!("{fault:?}: {text}")))?;
        let text_of = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let tags = body["tags"].as_object().expect("tags");
        prop_assert_eq!(Some(report.agent_id), text_of("agentId").or(text_of("entityId")));
        prop_assert_eq!(report.id, text_of("id"));
        prop_assert_eq!(report.division_id, text_of("divisionId"));
        prop_assert_eq!(report.product_id, text_of("productId"));
        prop_assert_eq!(report.source, text_of("source").unwrap_or(""));
        prop_assert_eq!(report.window, text_of("window").or(tags.get("window").and_then(Value::as_str).filter(|tag| !tag.is_empty())));
        prop_assert_eq!(Some(merit_core::time::rfc3339(report.timestamp)), text_of("timestamp").map(String::from));
        let metrics: Vec<_> = report.metrics.iter().map(|metric| (metric.name.to_string(), metric.value)).collect();
        let expected = body.get("metrics").or(body.get("metricSet")).and_then(Value::as_object).expect("metrics");
        // Half a unit is where the two may round apart: a double is not the decimal that was written.
        prop_assert_eq!(metrics.len(), expected.len());
        for ((name, value), (expected_name, expected_value)) in metrics.iter().zip(expected) {
            prop_assert_eq!(name, expected_name);
            prop_assert!((value.0 as f64 - expected_value.as_f64().expect("a double") * 1e6).abs() < 0.6, "{} {}", value, expected_value);
        }
        let read: Vec<_> = report.tags.iter().map(|tag| (tag.name.to_string(), Value::from(tag.value))).collect();
        prop_assert_eq!(read, tags.clone().into_iter().collect::<Vec<_>>());
    }

    /// What serde_json refuses is refused, and nothing panics, wherever a valid body is damaged.
    #[test]
    fn damage_is_found_where_serde_json_finds_it(body in valid_body(), at: proptest::sample::Index, byte: u8, cut: bool) {
        let mut bytes = serde_json::to_vec(&body).expect("in memory");
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if serde_json::from_slice::<Value>(&bytes).is_err() {
            prop_assert!(JsonReports::default().parse(&bytes).is_err());
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = JsonReports::default().parse(&bytes);
    }
}
