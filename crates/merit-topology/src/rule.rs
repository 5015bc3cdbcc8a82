//! The rules that the file is held to. A code never changes its meaning and is never used again.

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `T014`.
    pub code: &'static str,
    /// `topic_without_reader`.
    pub name: &'static str,
    /// What it demands.
    pub demands: &'static str,
}

macro_rules! rules {
    ($($constant:ident $code:literal $name:literal $demands:literal)*) => {
        $(#[doc = $demands]
        pub(crate) const $constant: Rule = Rule { code: $code, name: $name, demands: $demands };)*

        /// Every rule, by code.
        pub const ALL: &[Rule] = &[$($constant),*];
    };
}

rules! {
    SYNTAX "T001" "syntax" "The file is TOML."
    UNKNOWN_FIELD "T002" "unknown_field" "No field is there that means nothing."
    MISSING_FIELD "T003" "missing_field" "Every field is there that must be."
    WRONG_VALUE "T004" "wrong_value" "Every value is of the right type and in its range."
    UNKNOWN_RECORD_TYPE "T005" "unknown_record_type" "Every record type is one that Merit knows."
    LISTED_TWICE "T006" "listed_twice" "A list names nothing twice."
    UNKNOWN_NAME "T007" "unknown_name" "`input` names a topic, and `from` names sub-topologies."

    TOPIC_NAME "T010" "topic_name" "A topic's name is one that Kafka takes: 1 to 249 of a-z A-Z 0-9 . _ -"
    PARTITION_COUNT "T011" "partition_count" "A topic has 1 to 10000 partitions."
    INPUT_WITHOUT_COUNT "T012" "input_without_count" "An input topic gives its partitions as a number."
    UNCLEAR_PARTITIONS "T013" "unclear_partitions" "Writers of a topic with partitions = \"input\" have equally many partitions."
    TOPIC_WITHOUT_READER "T014" "topic_without_reader" "A topic is some sub-topology's input or a sink."
    TOPIC_WITH_TWO_READERS "T015" "topic_with_two_readers" "No two sub-topologies have the same input."
    RECORD_WITHOUT_TOPIC "T016" "record_without_topic" "What a sub-topology takes from elsewhere is in a topic."
    RECORD_WITHOUT_WRITER "T017" "record_without_writer" "What a topic without a source carries is written by somebody."
    READ_BEFORE_WRITTEN "T018" "read_before_written" "What a processor reads is in its sub-topology's input or written by an earlier processor."
    CYCLE_WITHOUT_FEEDBACK "T019" "cycle_without_feedback" "What goes back to an input upstream is marked as feedback."
    FEEDBACK_WITHOUT_CYCLE "T020" "feedback_without_cycle" "What is marked as feedback goes back to an input upstream."
    STORE_USED_TWICE "T021" "store_used_twice" "No two processors of a sub-topology have a store of the same name."
    RETENTION_ELSEWHERE "T022" "retention_elsewhere" "Only topics of eval.* have a retention: the ledger and the audit log are kept."

    NOT_IN_BINARY "T030" "not_in_binary" "Every processor is in the binary."
    NOT_IN_FILE "T031" "not_in_file" "Every processor of the binary is in the file."
    READS_DIFFER "T032" "reads_differ" "A processor reads what its code says."
    WRITES_DIFFER "T033" "writes_differ" "A processor writes what its code says."
    STORES_DIFFER "T034" "stores_differ" "A processor has the stores that its code says."

    PARAMETER "T040" "parameter" "Every parameter is one that its processor takes, whichever profile is in force."
    UNKNOWN_PARAMETER "T041" "unknown_parameter" "Every parameter is read by some processor."
    UNKNOWN_PROFILE "T042" "unknown_profile" "`profile` names one of the profiles."
}
