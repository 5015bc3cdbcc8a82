use super::line;
use crate::{Merge, Position, Source, SourceError};
use proptest::prelude::*;
use std::io::Cursor;

/// A source named by its letter, with a row at each time; 0 stands for a row that cannot be read.
fn source(letter: char, times: &[u32]) -> Source {
    let row = |time: &u32| match time {
        0 => "bad\n".to_string(),
        time => format!("{{\"agentId\":\"{letter}\",\"metrics\":{{\"m\":1}},\"timestamp\":\"1970-01-01T00:00:00.{time:03}Z\"}}\n"),
    };
    let text: String = times.iter().map(row).collect();
    Source::from_reader("test", Cursor::new(text), None, Some(&letter.to_string())).expect("opens")
}

fn sources(files: &[Vec<u32>], sort: bool) -> Vec<Source> {
    let mut sources: Vec<Source> = ('a'..).zip(files).map(|(letter, times)| source(letter, times)).collect();
    if sort {
        sources.iter_mut().try_for_each(Source::sort).expect("read");
    }
    sources
}

/// Rows as `a1`: the source's letter and the time, `a-` where it cannot be read.
fn take(merge: &mut Merge) -> Option<String> {
    let row = merge.take().expect("read")?;
    let letter = char::from(b'a' + row.source as u8);
    Some(match row.report {
        Err(_) => format!("{letter}-"),
        Ok(report) => {
            assert_eq!(report.agent_id, letter.to_string(), "{}", line(&report));
            format!("{letter}{}", report.timestamp.0)
        }
    })
}

fn merged(files: &[Vec<u32>], sort: bool) -> Vec<String> {
    let mut merge = Merge::new(sources(files, sort), &[]).expect("merges");
    std::iter::from_fn(|| take(&mut merge)).collect()
}

#[test]
fn rows_come_by_time_and_ties_by_file() {
    for (files, sort, expected) in [
        (&[vec![1, 3, 5], vec![2, 3, 6]][..], false, "a1 b2 a3 b3 a5 b6"),
        (&[vec![3], vec![3], vec![3]], false, "a3 b3 c3"),
        (&[vec![], vec![1], vec![]], false, "b1"),
        (&[], false, ""),
        (&[vec![2, 0, 4], vec![1, 3]], false, "b1 a2 a- b3 a4"), // what cannot be read goes with the row before it
        (&[vec![2, 4], vec![0, 3]], false, "b- a2 b3 a4"),       // or first
        (&[vec![5, 1, 0, 3]], false, "a5 a1 a- a3"),             // one file alone keeps its order
        (&[vec![5, 1, 0, 3]], true, "a1 a- a3 a5"),
        (&[vec![5, 1], vec![2, 0, 6]], false, "b2 b- a5 a1 b6"), // a file out of order is followed as it is
        (&[vec![5, 1], vec![2, 0, 6]], true, "a1 b2 b- a5 b6"),
    ] {
        assert_eq!(merged(files, sort).join(" "), expected, "{files:?} {sort}");
    }
}

#[test]
fn two_files_must_not_share_a_name() {
    let merge = Merge::new(vec![source('a', &[1]), source('b', &[1]), source('a', &[2])], &[]);
    assert!(matches!(merge.err(), Some(SourceError::NameTaken { name, .. }) if name == "a"));
    // What holds no row has no position that could be mistaken.
    let mut merge = Merge::new(vec![source('a', &[]), source('a', &[]), source('c', &[1])], &[]).expect("merges");
    assert_eq!((take(&mut merge).as_deref(), take(&mut merge)), (Some("c1"), None));
}

#[test]
fn positions_of_other_sources_do_not_matter() {
    let other = Position { name: "x".into(), rows: 9, digest: [7; 32] };
    let mut merge = Merge::new(vec![source('a', &[1])], std::slice::from_ref(&other)).expect("merges");
    assert_eq!(take(&mut merge).as_deref(), Some("a1"));
    let stale = Position { name: "a".into(), ..other };
    assert_eq!(Merge::new(vec![source('a', &[1])], &[stale]).err().map(|fault| fault.code().name), Some("source_differs"));
}

#[test]
fn an_error_leaves_the_positions_where_they_stood() {
    let rows = |letter| format!("{{\"agentId\":\"{letter}\",\"metrics\":{{\"m\":1}},\"timestamp\":\"1970-01-01T00:00:01Z\"}}\n");
    let packed = super::gzip((rows('a') + &rows('a')).as_bytes());
    let cut = Source::from_reader("cut", Cursor::new(packed[..packed.len() - 4].to_vec()), None, Some("a")).expect("opens");
    let mut merge = Merge::new(vec![cut], &[]).expect("merges");
    assert_eq!([take(&mut merge), take(&mut merge)], [Some("a1000".into()), Some("a1000".into())]);
    let before = merge.positions();
    assert_eq!(merge.take().err().map(|fault| fault.code().name), Some("source_cut_short"));
    assert_eq!((before[0].rows, merge.positions()), (2, before));
}

proptest! {
    /// Killed behind any row, a merge goes on with the next one.
    #[test]
    fn a_merge_resumed_at_any_row_is_the_same(files in proptest::collection::vec(proptest::collection::vec(0..9_u32, 0..6), 0..4), sort: bool) {
        let whole = merged(&files, sort);
        prop_assert_eq!(whole.len(), files.iter().map(Vec::len).sum::<usize>());
        for stop in 0..=whole.len() {
            let mut first = Merge::new(sources(&files, sort), &[]).expect("merges");
            let mut rows: Vec<String> = std::iter::from_fn(|| take(&mut first)).take(stop).collect();
            let mut second = Merge::new(sources(&files, sort), &first.positions()).expect("the same rows");
            rows.extend(std::iter::from_fn(|| take(&mut second)));
            prop_assert_eq!(&rows, &whole);
        }
    }

    /// Sorted files merge as one sort of all rows, ties by file and then by row.
    #[test]
    fn sorted_files_merge_as_one_sort(files in proptest::collection::vec(proptest::collection::vec(1..9_u32, 0..6), 0..4)) {
        let mut rows: Vec<(u32, char)> = ('a'..).zip(&files).flat_map(|(letter, times)| times.iter().map(move |time| (*time, letter))).collect();
        rows.sort_by_key(|(time, _)| *time);
        prop_assert_eq!(merged(&files, true), rows.into_iter().map(|(time, letter)| format!("{letter}{time}")).collect::<Vec<_>>());
    }
}
