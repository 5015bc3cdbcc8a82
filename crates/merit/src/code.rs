//! Every rule and error by name: what `docs/errors.md` is made of.

use merit_core::{Code, codes};
use merit_runtime::code::BUG;

codes! {
    /// Nobody reads on.
    GONE exits 0 {
        OUTPUT_CLOSED "output_closed" "who read the output went away, as `head` does", "nothing";
    }
}

codes! {
    /// The world failed.
    WORLD exits 1 {
        TOPOLOGY_READ "topology_read" "the topology file is not there, must not be read, is no UTF-8 or over 16 MiB", "check the path, its permissions and what it holds";
        MAPPING_READ "mapping_read" "the mapping file is not there, must not be read, is no UTF-8 or over 16 MiB", "check the path, its permissions and what it holds";
        POOLS_READ "pools_read" "the pools file is not there, must not be read, is no UTF-8 or over 16 MiB", "check the path, its permissions and what it holds";
        OUTPUT_FAILED "output_failed" "the output could not be written", "check the disk that it goes to";
        LISTEN "listen" "the address is taken, or cannot be listened on", "see the detail; MERIT_OPS_ADDR, EVAL_ENGINE_ADDR and RESOURCE_ALLOCATOR_ADDR name other addresses";
        BENCH_UNMEASURED "bench_unmeasured" "the machine does not say what the bench used", "merit bench needs Linux with /proc";
        BENCH_RUN "bench_run" "a run of the bench did not end well", "see the detail";
    }
}

codes! {
    /// The call is wrong.
    CALL exits 2 {
        USAGE "usage" "the command line is not one that Merit takes", "`merit --help` lists the commands, `merit COMMAND --help` what one takes";
        MAPPING_INVALID "mapping_invalid" "the mapping is not one", "mend the lines named; `examples/genai_requests.toml` is one that is well";
        POOLS_INVALID "pools_invalid" "the pools file is not one", "mend the lines named; `examples/pools.toml` is one that is well";
        POOLS_REFUSED "pools_refused" "the ledger refused some of the pools or quotas of a file; the others hold", "see the rules below; where quotas and capacity both shrink, apply the file once more";
        ENVIRONMENT_INVALID "environment_invalid" "a variable of the environment does not say what it should", "set it as `docs/api.md` says, or unset it";
        NOT_LOOPBACK "not_loopback" "without TLS Merit listens on loopback alone, where whoever reaches it is the local principal", "name an address as 127.0.0.1:8051";
        TOPIC_UNKNOWN "topic_unknown" "the topology has no such topic", "name one that `merit topology draw --format table` shows";
        PARTITION_UNKNOWN "partition_unknown" "the topic has no such partition", "name one from 0 to below the number of its partitions";
        STORE_UNKNOWN "store_unknown" "no processor has such a store", "name one that topology.toml does";
        KEY_UNKNOWN "key_unknown" "the store holds no such key as of the last checkpoint", "`merit state scan STORE` lists the keys";
        ID_UNKNOWN "id_unknown" "nothing in the log has that id", "give an id as `merit log cat eval.promotions --json` or `merit log cat alloc.applied --json` prints it, a report's id or an agent's";
        COPY_UNFINISHED "copy_unfinished" "the directory holds a copy of a log on Kafka that was cut while it went on, so what seems to be a fault may be in the cluster", "`merit log export` brings it to an end, or another directory, which is verified then";
        ID_PRUNED "id_pruned" "the record with that id was pruned by the retention of its topic", "its leaf is left if it was a decision: `merit log cat audit --json`";
        FAILPOINT_UNKNOWN "failpoint_unknown" "MERIT_FAILPOINT names no place at which a test lets the process die", "unset it; it is for tests";
        KEY_INVALID "key_invalid" "what stands behind --key is no public key and no file of them", "give NAME+ID+BASE64 as `merit audit verify` prints it, or a file with one such key a line";
        COORDINATES_INVALID "coordinates_invalid" "the place of a rejected input is not PARTITION/OFFSET", "take one from `merit rejected list`";
        REJECTED_MISSING "rejected_missing" "nothing was rejected at that place", "take one from `merit rejected list`";
        CPU_UNKNOWN "cpu_unknown" "there is no such core, or this process may not use it", "name one of those in /proc/cpuinfo";
        DIRECTORY_EXISTS "directory_exists" "the bench would write into a directory that is there", "name another --data-dir";
    }
}

codes! {
    /// A check found a fault.
    CHECK exits 3 {
        TOPOLOGY_INVALID "topology_invalid" "the topology breaks rules", "mend the lines named; `merit topology draw` shows a topology that is well";
        AUDIT_FAULT "audit_fault" "the audit log, or a record that it speaks of, is not what it was", merit_audit::rule::REMEDY;
        NOT_CONSERVED "not_conserved" "inputs do not add up to their classes", BUG;
        SIMULATION_FAILED "simulation_failed" "a simulated run broke a rule", "run the seed named again; this is a bug of Merit: report what it said";
        SIMULATION_VARIES "simulation_varies" "a seed did not run again as it ran before", BUG;
        BENCH_DIFFERS "bench_differs" "the pipelines of the bench did not write the same", BUG;
        BENCH_LOAD "bench_load" "a report that the bench made cannot be read", BUG;
    }
}

/// Codes of one place.
pub struct Section {
    /// Where they come up.
    pub place: &'static str,
    /// The codes.
    pub codes: &'static [&'static Code],
}

const fn section(place: &'static str, codes: &'static [&'static Code]) -> Section {
    Section { place, codes }
}

/// What a command can end with.
pub const ERRORS: &[Section] = &[
    section("Commands: the world failed", WORLD),
    section("Commands: the call is wrong", CALL),
    section("Commands: a check found a fault", CHECK),
    section("Commands: nobody reads on", GONE),
    section("Files that are imported", merit_sources::source::ERRORS),
    section("The data directory", merit_runtime::code::WORLD),
    section("The log: the call is wrong", merit_runtime::code::CALL),
    section("The log", merit_runtime::code::CHECK),
];

/// What a record can be refused by, or a leaf break.
pub const RULES: &[Section] = &[
    section("Rows that are imported, topic `eval.rejected`", merit_sources::RULES),
    section("Messages of other programs, topic `eval.rejected`", merit_runtime::code::RULES),
    section("Reports, topic `eval.rejected`", ingest::logic::RULES),
    section("Requests for GPUs, as blockers and policy ids in `alloc.decisions` and `alloc.applied`", merit_policy::rule::RULES),
    section("Commands to the allocator, as CommandRefused in `alloc.applied`", allocator_applier::rule::RULES),
    section("Commands by themselves, as CommandRefused in `alloc.applied`", merit_policy::command::RULES),
    section("Commands to the queue of jobs, as CommandRefused in `alloc.applied`", retrain_queue::rule::RULES),
    section("The HTTP door, `code` of the answer", merit_gateway::code::DOOR),
    section("The services, `code` of the answer", merit_gateway::api::code::SERVICES),
    section("Leaves on their way into `audit`, as AuditIncident", audit_sealer::rule::RULES),
    section("`merit audit verify`, code `audit_fault`: the log by itself", merit_audit::rule::RULES),
    section("`merit audit verify`, code `audit_fault`: the log against its records", crate::audit::rule::RULES),
];
