//! Settings of topics, by what a topic is kept for.

use super::client::MAX_MESSAGE;
use super::error::ClusterError;
use super::topics::Kept;
use merit_core::Duration;
use merit_topology::Topology;

/// Name and value.
pub type Setting = (&'static str, String);

/// The least retention of a topic on a cluster, in days: a copy that was away for less finds everything that it missed. Design 5.
pub const LEAST_DAYS: i64 = 7;

/// How long a copy waits for an answer at most.
const BRIEFLY: Duration = Duration::HOUR;

/// Copies of each partition that new topics get.
pub(super) fn replication(brokers: u32) -> u32 {
    brokers.clamp(1, 3)
}

/// Settings without which records are lost, refused, or read in another order. They are compared at every start.
pub fn required(kept: Kept, retention: Option<Duration>, replication: u32) -> Vec<Setting> {
    let mut settings = vec![
        // The time of a record is its own, however old or far ahead: brokers of today refuse what is an hour ahead of their clock.
        ("message.timestamp.type", "CreateTime".into()),
        ("message.timestamp.before.max.ms", i64::MAX.to_string()),
        ("message.timestamp.after.max.ms", i64::MAX.to_string()),
        // A broker that missed records never leads: they were acknowledged.
        ("unclean.leader.election.enable", "false".into()),
        ("min.insync.replicas", replication.min(2).to_string()),
        ("max.message.bytes", MAX_MESSAGE.to_string()),
    ];
    settings.extend(match kept {
        // Brokers compare the time of a record with their clock: with a retention, what is older when it comes is gone at once.
        Kept::Log => deleted(retention.map_or(-1, |retention| retention.0)),
        // Deleted rows are told for as long as a copy may be away: its disk would keep them.
        Kept::Compacted => {
            vec![("cleanup.policy", "compact".into()), ("delete.retention.ms", (LEAST_DAYS * 24 * Duration::HOUR.0).to_string())]
        }
        Kept::Briefly => deleted(BRIEFLY.0),
    });
    settings
}

/// By time alone: a bound of bytes, which a broker may have by default, would cut a log.
fn deleted(after: i64) -> Vec<Setting> {
    vec![("cleanup.policy", "delete".into()), ("retention.ms", after.to_string()), ("retention.bytes", "-1".into())]
}

/// Settings that a topic gets when it is made. They cost or save work, and whoever runs the cluster may choose others.
pub fn initial(kept: Kept) -> Vec<Setting> {
    let pair = |(name, value): (&'static str, &str)| (name, value.into());
    let settings: &[(&'static str, &str)] = match kept {
        Kept::Log => &[],
        // A restore reads what is live and all that is not compacted yet. By default that is as much again, and a segment of up to
        // 1 GiB or a week; with these a quarter more, and 64 MiB or an hour.
        Kept::Compacted => &[("min.cleanable.dirty.ratio", "0.2"), ("segment.bytes", "67108864"), ("segment.ms", "3600000")],
        // A segment goes as a whole, when it is closed.
        Kept::Briefly => &[("segment.bytes", "67108864"), ("segment.ms", "3600000")],
    };
    settings.iter().copied().map(pair).collect()
}

/// Refuses a topology with a topic that would be kept for less than [`LEAST_DAYS`].
pub(super) fn refuse_short_retention(topology: &Topology) -> Result<(), ClusterError> {
    let is_short = |retention: &Duration| retention.0 < LEAST_DAYS * 24 * Duration::HOUR.0;
    let short = topology.topics.iter().filter(|topic| topic.retention.as_ref().is_some_and(is_short));
    let topics: Vec<String> = short.map(|topic| topic.name.clone()).collect();
    if topics.is_empty() { Ok(()) } else { Err(ClusterError::RetentionShort { topics }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_what_a_topic_is_kept_for_and_how_often() {
        let value = |kept, retention, replication, name: &str| {
            let settings = required(kept, retention, replication);
            settings.into_iter().find(|(of, _)| *of == name).map(|(_, value)| value)
        };
        let days = |days: i64| Some(Duration(days * 24 * Duration::HOUR.0));
        let cases = [
            (Kept::Log, None, 1, "retention.ms", Some("-1")),
            (Kept::Log, days(30), 1, "retention.ms", Some("2592000000")),
            (Kept::Log, None, 1, "cleanup.policy", Some("delete")),
            (Kept::Compacted, None, 1, "cleanup.policy", Some("compact")),
            (Kept::Compacted, None, 1, "retention.ms", None),
            (Kept::Briefly, None, 1, "retention.ms", Some("3600000")),
            (Kept::Log, None, 1, "min.insync.replicas", Some("1")),
            (Kept::Log, None, 2, "min.insync.replicas", Some("2")),
            (Kept::Compacted, None, 3, "min.insync.replicas", Some("2")),
        ];
        for (kept, retention, copies, name, expected) in cases {
            assert_eq!(value(kept, retention, copies, name).as_deref(), expected, "{kept:?} {copies} {name}");
        }
        assert_eq!([0, 1, 2, 3, 9].map(replication), [1, 1, 2, 3, 3]);
    }
}
