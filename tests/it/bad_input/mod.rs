//! Bad input: whatever is wrong has a documented name, nothing hangs or panics, and nothing else is lost.

mod calls;
mod directories;
mod files;
mod rows;
mod settings;

use merit::code::{ERRORS, Section};
use merit_core::Code;
use merit_tests::directory::Directory;
use merit_tests::dump::of_topic;
use merit_tests::process::{Done, merit};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;

/// The code that `docs/errors.md` shows under a name.
fn documented(sections: &[Section], name: &str) -> &'static Code {
    let mut codes = sections.iter().flat_map(|section| section.codes);
    codes.find(|code| code.name == name).unwrap_or_else(|| panic!("{name} is not in docs/errors.md"))
}

/// A call that ends with an error: its exit code is the documented one, and all that a person needs is there.
fn failed(what: &str, done: &Done, name: &str) {
    let code = documented(ERRORS, name);
    let failure = done.failure();
    assert_eq!((failure["code"].as_str(), done.code), (Some(name), Some(code.exit.into())), "{what}: {done:#?}");
    for field in ["error", "detail", "hint"] {
        assert!(failure[field].as_str().is_some_and(|text| !text.is_empty()), "{what}: no {field} in {failure}");
    }
}

fn total(summary: &Value, class: &str) -> u64 {
    let partitions = summary["partitions"].as_array().expect("one a partition");
    assert!(partitions.iter().all(|partition| partition["holds"] == true), "{summary}");
    partitions.iter().filter_map(|partition| partition[class].as_u64()).sum()
}

/// Rules of `eval.rejected`, sorted.
fn rejected(directory: &Directory) -> Vec<String> {
    let dump = directory.dump();
    let rule = |value: &Value| value["rule"].as_str().unwrap_or_default().to_owned();
    let mut rules: Vec<String> = of_topic(&dump, "eval.rejected").map(|entry| rule(&entry.json())).collect();
    rules.sort_unstable();
    rules
}

/// A good report, `second` s into a day.
fn good(second: usize) -> String {
    let time = format!("2024-01-01T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60);
    format!(r#"{{"agentId":"good","metrics":{{"m":0.5}},"timestamp":"{time}"}}"#)
}

/// Imports a file by a call of its own, where nothing but the data directory is given.
fn import(data: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> merit_tests::process::Call {
    merit(["import", "--json", "--data-dir"]).with([data]).with(arguments)
}
