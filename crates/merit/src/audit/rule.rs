//! Rules that a log can break against the records that it speaks of.

use merit_audit::rule::REMEDY;
use merit_core::codes;

codes! {
    /// Every rule beside those of [`merit_audit::rule`].
    RULES exits 3 {
        CORRUPT "corrupt" "a topic cannot be read, or holds what Merit does not write", REMEDY;
        ORIGIN "origin" "nothing says whose log this is", REMEDY;
        INTAKE "intake" "the sealed leaf is not the one that its task wrote", REMEDY;
        LABEL "label" "its record is not that of a leaf of that chain", REMEDY;
        CHAIN "chain" "it belongs to no task of this log", REMEDY;
        TYPE "type" "it names no record type", REMEDY;
        SCHEMA "schema" "its schema is not the one that its type has", REMEDY;
        RECORD_MISSING "record_missing" "no topic holds the record that it speaks of", REMEDY;
        LEAF_MISSING "leaf_missing" "a decision, or a leaf that a task wrote, is not in the audit log", REMEDY;
        RECORD "record" "type, key, time, parents or policy of the record are not those of the leaf", REMEDY;
        PAYLOAD "payload" "the record is not what the leaf commits to", REMEDY;
        SEAL_RANGE "seal_range" "a seal does not go on where the one before it ended", REMEDY;
        SEAL_INPUTS "seal_inputs" "what was read is not what the seal covers", REMEDY;
        SEAL_OUTPUTS "seal_outputs" "what was published is not what the seal covers", REMEDY;
        SEAL_MISSING "seal_missing" "records were pruned that no seal covers", REMEDY;
    }
}
