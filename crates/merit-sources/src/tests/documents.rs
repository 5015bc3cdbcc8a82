use crate::{Mapping, Pool, Quota, pools};
use merit_core::record::PoolState;
use std::time::Instant;

fn check<T: std::fmt::Debug>(parsed: Result<T, Vec<String>>, expected: &[&str]) {
    let found = parsed.err().unwrap_or_default();
    assert_eq!(found, expected);
}

#[test]
fn a_mapping_names_all_that_is_wrong_with_it() {
    let ok = "agent = { column = 'a' }\nsource = { constant = 's' }\ntimestamp = { column = 't', format = 'rfc3339' }\n";
    let metric = "[[metrics]]\nname = 'm'\ncolumn = 'c'\n";
    check(Mapping::parse(&format!("{ok}{metric}")), &[]);
    check(
        Mapping::parse(""),
        &["line 1: `agent` is missing", "line 1: `source` is missing", "line 1: `timestamp` is missing", "line 1: `metrics` is missing"],
    );
    check(Mapping::parse(&format!("{ok}metrics = []\n")), &["line 4: `metrics` must be a list of tables, not empty"]);
    check(
        Mapping::parse(
            "agent = 'a'\nsource = { }\ntimestamp = { column = 't', format = '%H' }\nwindow = { column = 'w', constant = '1h' }\nid = { columns = [] }\nbatch = 1\n",
        ),
        &[
            "line 1: `agent` must be a table",
            "line 1: `metrics` is missing",
            "line 2: `source` must have either `column` or `constant`",
            "line 3: \"%H\" is not rfc3339, unix_ms, unix_s or a strftime pattern that gives a date",
            "line 4: `window` must have either `column` or `constant`",
            "line 5: `columns` must be a list of texts, not empty",
            "line 6: unknown key `batch`, expected one of agent, source, division, product, window, timestamp, id, metrics",
        ],
    );
    check(Mapping::parse(&format!("{ok}[[metrics]]\n")), &["line 4: `name` is missing", "line 4: `column` is missing"]);
    for (line, problem) in [
        ("equals = ''", "line 7: `equals` must be a text, not empty"),
        ("equals = 1", "line 7: `equals` must be a text, not empty"),
        ("equals = 'x'\nzero_at = 1", "line 7: `equals` must stand without `zero_at` and `one_at`"),
        ("zero_at = 1", "line 4: `zero_at` and `one_at` must stand together"),
        ("zero_at = 1\none_at = 1.0", "line 8: `one_at` must differ from `zero_at`"),
        ("zero_at = 'x'\none_at = 1", "line 7: `zero_at` must be a decimal number"),
        ("zero_at = inf\none_at = 1", "line 7: `zero_at` must be a decimal number"),
        ("skip_empty = 1", "line 7: `skip_empty` must be true or false"),
        ("[[metrics]]\nname = 'm'\ncolumn = 'd'", "line 8: metric \"m\" is there twice"),
    ] {
        check(Mapping::parse(&format!("{ok}{metric}{line}\n")), &[problem]);
    }
    assert!(Mapping::parse("agent = \n[").is_err_and(|problems| problems[0].starts_with("line 1: ")));
}

#[test]
fn a_mapping_names_each_column_once() {
    let text = "agent = { column = 'a' }\nsource = { column = 'b' }\ntimestamp = { column = 'a', format = 'unix_s' }\n[[metrics]]\nname = 'm'\ncolumn = 'b'\n";
    let mapping = Mapping::parse(text).expect("a mapping");
    assert_eq!((mapping.columns(), mapping.text()), (&["a".to_string(), "b".to_string()][..], text));
}

#[test]
fn pools_are_read_in_milli_gpus() {
    let text =
        "[[pools]]\nname = 'b'\ncapacity = 10\n[pools.quotas]\ny = 4\n'x z' = 6\n[[pools]]\nname = 'a'\ncapacity = 0\nstate = 'hold'\n";
    let quota = |division: &str, nominal| Quota { division: division.into(), nominal };
    assert_eq!(
        pools::parse(text).expect("pools"),
        [
            Pool { name: "b".into(), capacity: 10_000, state: PoolState::Open, quotas: vec![quota("x z", 6_000), quota("y", 4_000)] },
            Pool { name: "a".into(), capacity: 0, state: PoolState::Hold, quotas: vec![] },
        ]
    );
}

#[test]
fn a_pools_file_names_all_that_is_wrong_with_it() {
    check(pools::parse(""), &["line 1: `pools` is missing"]);
    check(pools::parse("pools = 1"), &["line 1: `pools` must be a list of tables, not empty"]);
    check(
        pools::parse(
            "[[pools]]\nname = ''\ncapacity = 1.5\n[[pools]]\nname = 'a'\ncapacity = 9\nstate = 'shut'\nsize = 1\n[pools.quotas]\nx = 5\ny = 5\nz = -1\n[[pools]]\nname = 'a'\ncapacity = 9223372036854776\n[[pools]]\nname = 'a'\ncapacity = 1\n",
        ),
        &[
            "line 2: `name` must be a text, not empty",
            "line 3: `capacity` must be a whole number, not negative",
            "line 7: `state` must be open or hold, not \"shut\"",
            "line 8: unknown key `size`, expected one of name, capacity, state, quotas",
            "line 9: quotas of pool \"a\" sum to 10, more than its capacity 9",
            "line 12: `z` must be a whole number, not negative",
            "line 15: `capacity` must be at most 9223372036854775",
            "line 17: pool \"a\" is there twice",
        ],
    );
    check(
        pools::parse("[[pools]]\nname = 'a'\ncapacity = 9223372036854775\n[pools.quotas]\nx = 9223372036854775\ny = 1\n"),
        &["line 4: quotas of pool \"a\" sum to 9223372036854776, more than its capacity 9223372036854775"],
    );
}

/// To count the lines before each problem anew would take minutes.
#[test]
fn a_large_file_of_nothing_but_faults_does_not_hang() {
    let start = Instant::now();
    let problems = pools::parse(&"k = 1\n".repeat(400_000)).expect_err("a key twice");
    assert_eq!(problems.len(), 1);
    let unknown: String = (0..400_000).map(|number| format!("k{number} = 1\n")).collect();
    let problems = pools::parse(&unknown).expect_err("unknown keys");
    assert_eq!(problems.len(), 400_001);
    assert_eq!(problems[400_000], "line 400000: unknown key `k399999`, expected one of pools");
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
