//! `docs/api.md`: every `curl` command of the page, run in order against one server, answers what stands behind it.

use merit_tests::directory::{Directory, Profile};
use merit_tests::server::Server;
use merit_tests::{repository, text, write};
use serde_json::Value;
use std::process::Command;

/// Headers that the page shows; every answer has the others.
const SHOWN: [&str; 5] = ["allow", "idempotency-replayed", "location", "retry-after", "traceparent"];

/// Columns of a value on one line.
const WIDTH: usize = 110;

const COMMAND: &str = "```sh\n";
const ANSWER: &str = "```http\n";
const END: &str = "```\n";

/// What the page says instead of what one run says, in the order in which they appeared.
#[derive(Default)]
struct Names {
    ids: Vec<String>,
    cursors: Vec<String>,
}

fn nth(list: &mut Vec<String>, found: &str) -> usize {
    let at = list.iter().position(|known| known == found).unwrap_or_else(|| {
        list.push(found.into());
        list.len() - 1
    });
    at + 1
}

/// Whether a text has the shape of another: `0` for a hexadecimal digit, everything else for itself.
fn is_like(text: &str, shape: &str) -> bool {
    let same = |(found, shape): (u8, u8)| if shape == b'0' { found.is_ascii_hexdigit() } else { found == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(same)
}

const ID: &str = "00000000-0000-0000-0000-000000000000";
const TIME: &str = "0000-00-00T00:00:00.000Z";

impl Names {
    fn id(number: usize) -> String {
        format!("00000000-0000-8000-8000-{number:012}")
    }

    fn cursor(number: usize) -> String {
        format!("{number:032}")
    }

    /// A command of the page with what this run calls the same.
    fn real(&self, command: &str) -> String {
        let ids = self.ids.iter().enumerate().map(|(at, id)| (Names::id(at + 1), id));
        let cursors = self.cursors.iter().enumerate().map(|(at, cursor)| (Names::cursor(at + 1), cursor));
        ids.chain(cursors).fold(command.to_owned(), |command, (name, real)| command.replace(&name, real))
    }

    /// A text of an answer as the page says it.
    fn text(&mut self, field: &str, text: &str) -> String {
        match field {
            "nextCursor" => return Names::cursor(nth(&mut self.cursors, text)),
            "requestId" if !is_like(text, ID) && text != "mine-1" => return "197ad51a2c0-1".into(),
            _ if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => return format!("{}...", &"0".repeat(8)),
            _ => {}
        }
        let mut shown = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let like = |shape: &str| rest.get(..shape.len()).filter(|text| is_like(text, shape));
            let (said, length) = match (like(ID), like(TIME)) {
                (Some(id), _) => (Names::id(nth(&mut self.ids, id)), ID.len()),
                // What a report or a question said stays; the rest is by the clock of this machine.
                (_, Some(time)) if !time.starts_with("2025-01-17") => ("2025-01-17T18:00:01.000Z".into(), TIME.len()),
                _ => (first.to_string(), first.len_utf8()),
            };
            shown.push_str(&said);
            rest = &rest[length..];
        }
        shown
    }

    fn value(&mut self, field: &str, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(field, &text).into(),
            Value::Array(values) => values.into_iter().map(|value| self.value(field, value)).collect(),
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| {
                    let value = self.value(&name, value);
                    (name, value)
                });
                Value::Object(fields.collect())
            }
            other => other,
        }
    }
}

/// JSON with short values on one line.
fn written(value: &Value, indent: usize) -> String {
    let line = spaced(value);
    let inner = " ".repeat(indent + 2);
    let lines: Vec<String> = match value {
        _ if indent + line.len() <= WIDTH => return line,
        Value::Array(values) => values.iter().map(|value| format!("{inner}{}", written(value, indent + 2))).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{inner}\"{name}\": {}", written(value, indent + 2));
            fields.iter().map(field).collect()
        }
        _ => return line,
    };
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    format!("{open}\n{}\n{}{close}", lines.join(",\n"), " ".repeat(indent))
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Array(values) => format!("[{}]", values.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\": {}", spaced(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Runs a command of the page and gives its answer as the page shows it.
fn answer(command: &str, server: &Server, names: &mut Names) -> String {
    let at = |base: &str| base.strip_prefix("http://").expect("plain HTTP").to_owned();
    let real = names.real(command).replace("localhost:8051", &at(&server.evaluation)).replace("localhost:8052", &at(&server.allocation));
    let done = Command::new("sh").args(["-c", &real]).output().unwrap_or_else(|error| panic!("could not run {real}: {error}"));
    assert!(done.status.success(), "{real}\n{done:?}");
    let said = String::from_utf8(done.stdout).expect("answers are UTF-8");
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {said}"));
    let mut head = head.lines();
    let mut shown = format!("{}\n", head.next().unwrap_or_default().trim());
    for header in head.filter(|header| header.split_once(':').is_some_and(|(name, _)| SHOWN.contains(&name.to_ascii_lowercase().as_str())))
    {
        shown.push_str(&names.text("", header));
        shown.push('\n');
    }
    let body = serde_json::from_str(body).unwrap_or_else(|error| panic!("not JSON ({error}): {body}"));
    format!("{shown}\n{}\n", written(&names.value("", body), 0))
}

/// The page with the answers of this run.
fn answered(page: &str, server: &Server) -> String {
    let mut names = Names::default();
    let mut written = String::new();
    let mut rest = page;
    while let Some((before, behind)) = rest.split_once(COMMAND) {
        let (command, behind) = behind.split_once(END).expect("a command ends");
        written.push_str(&[before, COMMAND, command, END].concat());
        rest = behind;
        if command.starts_with("curl ") {
            let old = behind.strip_prefix(ANSWER).map(|behind| behind.split_once(END).expect("an answer ends"));
            rest = old.map_or(behind, |(_, behind)| behind);
            written.push_str(&[ANSWER, &answer(command, server, &mut names), END].concat());
        }
    }
    written + rest
}

#[test]
fn the_page_of_the_services_says_what_they_answer() {
    let path = repository("docs/api.md");
    let page = text(&path);
    let directory = Directory::new(Profile::Default);
    let server = Server::of(directory.serve().env("RESOURCE_ALLOCATOR_DENY_POOLS", "gpus-denied"));
    let answered = answered(&page, &server);
    for route in ["/eval/", "/alloc/"] {
        for path in server.get_from(server.base(route), "/openapi.json").is(200)["paths"].as_object().expect("paths").keys() {
            assert!(page.contains(&format!(" {path}\n")) || ["/openapi.json", "/docs"].contains(&path.as_str()), "no section on {path}");
        }
    }
    server.stop();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(&path, &answered);
        return;
    }
    let differing = page.lines().zip(answered.lines()).find(|(page, answered)| page != answered);
    assert!(page == answered, "run the tests with UPDATE_EXPECT=1 to write the page anew; the first difference: {differing:#?}");
}
