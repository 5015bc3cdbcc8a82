//! Every metric by name, and where their values are.
//!
//! What happens often is counted where it is counted anyway, and read when somebody asks: [`Metrics::sampled`]. The rest goes through
//! handles that were got once. No label carries a name from outside: each value is one of a set that the code knows.

use crate::counters::{Count, Counters};
use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder};
use merit_core::Kind;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It only grows, from 0 at the start of the process.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Counts of durations up to each of [`BUCKETS`].
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name; it never changes its meaning.
    pub name: &'static str,
    /// What it is.
    pub shape: Shape,
    /// What is counted or measured; a base unit stands in the name too.
    pub unit: &'static str,
    /// Each label with the values that it takes, for a person.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it tells.
    pub meaning: &'static str,
}

/// Upper ends of the buckets of every histogram, in seconds: from a synced commit on a fast disk to what a call waits at most.
pub const BUCKETS: [f64; 13] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

macro_rules! metrics {
    ($($constant:ident $shape:ident $name:literal $unit:literal [$($label:literal: $values:literal),*] $meaning:literal;)+) => {
        $(#[doc = $meaning]
        pub(super) const $constant: &Metric =
            &Metric { name: $name, shape: Shape::$shape, unit: $unit, labels: &[$(($label, $values)),*], meaning: $meaning };)+

        /// Every metric: what `docs/metrics.md` is made of.
        pub const ALL: &[&Metric] = &[$($constant),+];
    };
}

metrics! {
    REPORTS Counter "merit_eval_reports_total" "reports" ["outcome": "`accepted`: it counts in its windows; `late`: it came after they closed; `duplicate`: a report of that id had come; `rejected`: it broke a rule; `rerouted`: its sender put it into another partition than its agent has, and it was forwarded there: `partitioner=murmur2_random` spares that"]
        "reports that were judged, once that is on disk: the ingestion rate";
    SCORING Histogram "merit_eval_scoring_seconds" "seconds" []
        "from the receipt of a report to its answer: stored, scored, synced, and folded into the read models";
    PROMOTIONS Counter "merit_promotions_total" "decisions" ["action": "`promote`, `demote`, `hold`, `review`"]
        "decisions on tiers, of agents, divisions and products, by hand too";
    ALLOCATION_SECONDS Histogram "merit_alloc_decision_seconds" "seconds" ["command": "`request`, `approve`, `reject`, `preempt`"]
        "from the receipt of a command of the allocation service to what the allocator decided on it, on disk";
    ALLOCATIONS Counter "merit_allocations_total" "allocations" ["outcome": "`applied`, `rejected`", "policy": "the policy id that decided: one of docs/errors.md, `sentinel-allow`, or `other` for one that a person named"]
        "allocations that came to an outcome; applied of both is the success rate";
    PREEMPTIONS Counter "merit_preemptions_total" "preemptions" []
        "allocations that were taken back";
    RETRAIN_QUEUE Gauge "merit_retrain_queue_jobs" "jobs" []
        "retrain jobs that wait for their GPUs or for their turn";
    COMMITS Counter "merit_commits_total" "commits" []
        "commits that are on disk";
    COMMIT_SECONDS Histogram "merit_commit_seconds" "seconds" []
        "what writing a commit took, its sync included";
    RECORDS Counter "merit_committed_records_total" "records" ["topic": "those of the topology"]
        "records that are on disk";
    BYTES Counter "merit_committed_bytes_total" "bytes" ["topic": "those of the topology"]
        "their encodings, before compression";
    INBOX Gauge "merit_inbox_commands" "commands" []
        "commands that wait for the pipeline; at 8,192 further ones are refused with `log_stalled`";
    ANSWERS_WAITING Gauge "merit_answers_waiting" "calls" []
        "calls that wait for the answers to their commands";
    FOLD_LAG Gauge "merit_fold_lag_records" "records" []
        "records that are on disk and not folded into the read models yet";
    FOLD_SECONDS Histogram "merit_fold_seconds" "seconds" []
        "what folding a commit into the read models took";
    REQUESTS Counter "merit_http_requests_total" "requests" ["service": "`evaluation`, `allocation`, `operations`", "operation": "`operationId` of the OpenAPI document, or `none` for what met no operation", "status": "`2xx`, `4xx`, `5xx`"]
        "requests that were answered";
    CONNECTIONS Gauge "merit_http_connections_open" "connections" ["service": "as above"]
        "connections that are open";
    ACCEPTED Counter "merit_http_connections_accepted_total" "connections" ["service": "as above"]
        "connections that were accepted, those refused included";
    REFUSED Counter "merit_http_connections_refused_total" "connections" ["service": "as above"]
        "connections that were refused since as many were open as may be";
    ACCEPT_ERRORS Counter "merit_http_accept_errors_total" "errors" ["service": "as above"]
        "connections that could not be accepted, as without a file descriptor left";
    TIMEOUTS Counter "merit_http_timeouts_total" "timeouts" ["service": "as above", "kind": "`header`, `idle`, `body`, `request`"]
        "connections and requests that took longer than their phase may";
    RATE_LIMITED Counter "merit_http_rate_limited_total" "requests" ["service": "as above"]
        "requests that were answered 429";
    ABUSED Counter "merit_http_abused_total" "connections" ["service": "as above"]
        "connections closed because their client abandoned its requests";
    PANICS Counter "merit_http_panics_total" "panics" ["service": "as above"]
        "handlers that ended in a bug of Merit";
    STARTED Gauge "process_start_time_seconds" "seconds" []
        "when the process began, since 1970";
    BUILD Gauge "merit_build_info" "1" ["version": "of the program", "logic_version": "of what computes records"]
        "1, with what runs in its labels";
}

/// One of the counts of a door.
type Of = fn(&Counters) -> &Count;

/// A value that is read when somebody asks.
type Sample = Box<dyn Fn() + Send>;

/// What the process counts.
pub struct Metrics {
    recorder: PrometheusRecorder,
    samples: Mutex<Vec<Sample>>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(version: &'static str, logic_version: u32) -> Metrics {
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).expect("there are buckets");
        let metrics = Metrics { recorder: builder.build_recorder(), samples: Mutex::default() };
        for metric in ALL {
            let (name, meaning) = (KeyName::from_const_str(metric.name), metric.meaning.into());
            match metric.shape {
                Shape::Counter => metrics.recorder.describe_counter(name, None, meaning),
                Shape::Gauge => metrics.recorder.describe_gauge(name, None, meaning),
                Shape::Histogram => metrics.recorder.describe_histogram(name, None, meaning),
            }
        }
        metrics.gauge(BUILD, &[version, &logic_version.to_string()]).set(1.0);
        metrics.gauge(STARTED, &[]).set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        metrics
    }

    /// The handle of a counter; `values` are those of its labels, in order.
    pub(super) fn counter(&self, metric: &'static Metric, values: &[&str]) -> Counter {
        self.recorder.register_counter(&key(metric, values), &ABOUT)
    }

    /// The same for a gauge.
    pub(super) fn gauge(&self, metric: &'static Metric, values: &[&str]) -> Gauge {
        self.recorder.register_gauge(&key(metric, values), &ABOUT)
    }

    /// The same for a histogram.
    pub(super) fn histogram(&self, metric: &'static Metric, values: &[&str]) -> Histogram {
        self.recorder.register_histogram(&key(metric, values), &ABOUT)
    }

    /// Has `sample` set its handles whenever somebody asks.
    fn sampled(&self, sample: impl Fn() + Send + 'static) {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(sample));
    }

    /// Everything, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|sample| sample());
        self.recorder.handle().render()
    }

    /// Adds what histograms gathered to their buckets, so that they take no memory while nobody asks.
    pub fn upkeep(&self) {
        self.recorder.handle().run_upkeep();
    }

    /// Tells what waits in the inbox, and which calls wait for answers.
    pub fn watch_pipeline(&self, commands: impl Fn() -> u64 + Send + 'static, calls: impl Fn() -> u64 + Send + 'static) {
        let (inbox, waiting) = (self.gauge(INBOX, &[]), self.gauge(ANSWERS_WAITING, &[]));
        self.sampled(move || {
            inbox.set(commands() as f64);
            waiting.set(calls() as f64);
        });
    }

    /// Tells what a service's door counts.
    pub fn watch_door(&self, service: &'static str, counters: &Arc<Counters>) {
        self.sampled({
            let open = self.gauge(CONNECTIONS, &[service]);
            let counters = Arc::clone(counters);
            move || open.set(counters.open.get() as f64)
        });
        let counts: [(Counter, Of); 10] = [
            (self.counter(ACCEPTED, &[service]), |counters| &counters.accepted),
            (self.counter(REFUSED, &[service]), |counters| &counters.refused),
            (self.counter(ACCEPT_ERRORS, &[service]), |counters| &counters.accept_errors),
            (self.counter(TIMEOUTS, &[service, "header"]), |counters| &counters.header_timeouts),
            (self.counter(TIMEOUTS, &[service, "idle"]), |counters| &counters.idle_timeouts),
            (self.counter(TIMEOUTS, &[service, "body"]), |counters| &counters.body_timeouts),
            (self.counter(TIMEOUTS, &[service, "request"]), |counters| &counters.request_timeouts),
            (self.counter(RATE_LIMITED, &[service]), |counters| &counters.rate_limited),
            (self.counter(ABUSED, &[service]), |counters| &counters.abused),
            (self.counter(PANICS, &[service]), |counters| &counters.panics),
        ];
        self.sampled({
            let counters = Arc::clone(counters);
            move || counts.iter().for_each(|(handle, count)| handle.absolute(count(&counters).get()))
        });
        for (index, operation) in counters.operations().iter().copied().chain(["none"]).enumerate() {
            let handles = ["2xx", "4xx", "5xx"].map(|status| self.counter(REQUESTS, &[service, operation, status]));
            let counters = Arc::clone(counters);
            self.sampled(move || {
                let [_, well, _, wrong, failed] = counters.requests(index).unwrap_or_default();
                handles.iter().zip([well, wrong, failed]).for_each(|(handle, count)| handle.absolute(count));
            });
        }
    }
}

const ABOUT: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

fn key(metric: &'static Metric, values: &[&str]) -> Key {
    let labels = metric.labels.iter().zip(values).map(|((label, _), value)| Label::new(*label, (*value).to_owned()));
    Key::from_parts(metric.name, labels.collect::<Vec<Label>>())
}

/// How long calls waited for what their commands led to.
pub struct Latencies {
    scoring: Histogram,
    request: Histogram,
    approve: Histogram,
    reject: Histogram,
    preempt: Histogram,
}

impl Latencies {
    /// Handles of those metrics.
    pub fn new(metrics: &Metrics) -> Latencies {
        let of = |command| metrics.histogram(ALLOCATION_SECONDS, &[command]);
        Latencies {
            scoring: metrics.histogram(SCORING, &[]),
            request: of("request"),
            approve: of("approve"),
            reject: of("reject"),
            preempt: of("preempt"),
        }
    }

    /// Adds what a command of that type took.
    #[allow(clippy::wildcard_enum_match_arm, reason = "nobody waits for the answers to other types, or asked to know how long")]
    pub(crate) fn record(&self, command: Kind, took: Duration) {
        match command {
            Kind::EvalReport => self.scoring.record(took),
            Kind::RequestAllocation => self.request.record(took),
            Kind::Approve => self.approve.record(took),
            Kind::Reject => self.reject.record(took),
            Kind::Preempt => self.preempt.record(took),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_their_unit_and_their_shape() {
        for metric in ALL {
            assert_eq!(metric.shape == Shape::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            for unit in ["seconds", "bytes"] {
                assert_eq!(metric.unit == unit, metric.name.contains(unit), "{}", metric.name);
            }
        }
    }

    #[test]
    fn no_name_stands_for_two_metrics() {
        let names: std::collections::BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
