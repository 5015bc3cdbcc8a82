//! `docs/errors.md`: every rule and error, from the lists in the code.

use merit::code::{ERRORS, RULES, Section};
use merit_core::Code;
use merit_tests::process::merit;
use merit_tests::{repository, text, write};
use std::collections::BTreeSet;

const HEAD: &str = "# Errors and rules

Generated from the code: `UPDATE_EXPECT=1 cargo test --release -p merit-tests --test it -- page_of_errors`.

A command ends with one of these:

| exit code | meaning |
|---|---|
| 0 | done; records that broke a rule are in `eval.rejected`, and the others count |
| 1 | the world failed: a file, the disk, the directory |
| 2 | the call is wrong |
| 3 | a check found a fault |

An error is one line `error: what was found [code]` with `detail:` and `hint:` beneath it on standard error; with `--json` an object of `error`, `code`, `detail` and `hint`.
A rule refuses a record and ends nothing; `merit rejected list` shows what was refused, and `merit rejected show` its bytes.
Neither ever changes its meaning.
";

fn row(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// Errors with their exit codes; what all of a section have in common stands once.
fn table(section: &Section, errors: bool) -> String {
    let remedy = section.codes[0].remedy;
    let shared = section.codes.len() > 1 && section.codes.iter().all(|code| code.remedy == remedy);
    let columns = |name: &str, exit: &str, happened: &str, remedy: &str| {
        let cells = [(name, true), (exit, errors), (happened, true), (remedy, !shared)];
        row(&cells.iter().filter(|(_, shown)| *shown).map(|(cell, _)| *cell).collect::<Vec<_>>())
    };
    let of_code = |code: &&Code| columns(&format!("`{}`", code.name), &code.exit.to_string(), code.happened, code.remedy);
    let head = columns(if errors { "code" } else { "rule" }, "exit", "what happened", "what to do") + &columns("---", "---", "---", "---");
    let note = if shared { format!("What to do: {remedy}.\n\n") } else { String::new() };
    format!("\n### {}\n\n{note}{head}{}", section.place, section.codes.iter().map(of_code).collect::<String>())
}

fn topology() -> String {
    let rows = merit_topology::rule::ALL.iter().map(|rule| row(&[&format!("`{}` {}", rule.code, rule.name), rule.demands]));
    let head = "| rule | what it demands |\n|---|---|\n";
    format!(
        "\n### Topology files, code `topology_invalid`; each is told with its line and what would be right\n\n{head}{}",
        rows.collect::<String>()
    )
}

fn page() -> String {
    let tables = |sections: &[Section], errors| sections.iter().map(|section| table(section, errors)).collect::<String>();
    format!("{HEAD}\n## Errors\n{}\n## Rules\n{}{}", tables(ERRORS, true), tables(RULES, false), topology())
}

#[test]
fn the_page_of_errors_is_the_one_of_the_code() {
    let path = repository("docs/errors.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        write(&path, page());
    }
    assert_eq!(text(&path), page(), "run the tests with UPDATE_EXPECT=1 to write the page anew");
}

#[test]
fn no_name_stands_for_two_errors_and_every_one_says_what_to_do() {
    let mut names = BTreeSet::new();
    for code in ERRORS.iter().flat_map(|section| section.codes) {
        assert!(names.insert(code.name), "{code} stands for two errors");
    }
    for section in ERRORS.iter().chain(RULES) {
        let distinct: BTreeSet<&str> = section.codes.iter().map(|code| code.name).collect();
        assert_eq!(distinct.len(), section.codes.len(), "{}", section.place);
        for code in section.codes {
            assert!(!code.happened.is_empty() && !code.remedy.is_empty() && !page_breaks(code), "{code}");
        }
    }
}

fn page_breaks(code: &Code) -> bool {
    [code.name, code.happened, code.remedy].iter().any(|text| text.contains(['|', '\n']))
}

#[test]
fn help_names_the_exit_codes_and_the_page() {
    let help = merit(["--help"]).ok().out;
    for part in ["0 done", "1 the world failed", "2 the call is wrong", "3 a check found a fault", "docs/errors.md"] {
        assert!(help.contains(part), "{part} is not in {help}");
    }
}
