//! The files of `examples/` say what their README says.

use crate::{Mapping, Merge, Source, pools};
use merit_core::Fixed;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(example(name)).expect(name)
}

#[test]
fn the_trace_is_read_whole() {
    let mapping = Arc::new(Mapping::parse(&text("genai_requests.toml")).expect("a mapping"));
    let source = Source::open(&example("genai_requests.csv.gz"), Some(&mapping), None).expect("opens");
    let mut merge = Merge::new(vec![source], &[]).expect("merges");
    let (mut agents, mut divisions, mut faults) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    let mut sums = BTreeMap::new();
    while let Some(row) = merge.take().expect("read") {
        match row.report {
            Err((fault, _)) => *faults.entry(fault.rule.name).or_insert(0) += 1,
            Ok(report) => {
                agents.insert(report.agent_id.to_string());
                *divisions.entry(report.division_id.expect("a division").to_string()).or_insert(0) += 1;
                for metric in report.metrics {
                    assert!(Fixed::ZERO <= metric.value && metric.value <= Fixed::ONE);
                    *sums.entry(metric.name.to_string()).or_insert(0) += metric.value.0;
                }
            }
        }
    }
    assert_eq!(faults, BTreeMap::from([("agent_id_missing", 17)]));
    assert_eq!(agents.len(), 79);
    assert_eq!(divisions.values().sum::<i32>(), 17_747);
    assert_eq!(divisions.keys().collect::<Vec<_>>(), ["IMG_2_IMG", "INPAINTING", "TXT_2_IMG"]);
    assert_eq!(sums["success"], 17_467 * Fixed::ONE.0);
    assert_eq!(sums["latency"] / 17_747, 774_733); // mean, by an independent sum in double precision
    assert_eq!(merge.positions()[0].rows, 17_764);
}

#[test]
fn the_pools_hold_the_cluster() {
    let pools = pools::parse(&text("pools.toml")).expect("pools");
    assert_eq!(pools.iter().map(|pool| pool.capacity).sum::<u64>(), 6_212_000);
    assert_eq!(pools.iter().flat_map(|pool| &pool.quotas).map(|quota| quota.division.as_str()).collect::<BTreeSet<_>>().len(), 3);
}
