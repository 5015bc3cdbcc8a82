//! Rules that a leaf can break on its way into the log.

use merit_core::codes;

const REMEDY: &str = "it is sealed as evidence; keep a copy of the directory and run `merit audit verify`";

codes! {
    /// Every rule that an AuditIncident can name.
    RULES exits 0 {
        SHAPE "shape" "it is no leaf, or its envelope is not canonical", REMEDY;
        ORIGIN "origin" "it belongs to another log", REMEDY;
        LABEL "label" "its record stands under another chain or sequence than the leaf says", REMEDY;
        FORK "fork" "its chain has another leaf at that place, or it does not follow the one before it", REMEDY;
        REPEATED "repeated" "its chain is past that place by more than can be compared", REMEDY;
        GAP "gap" "a leaf of its chain is missing before it", REMEDY;
        UNKNOWN_KEY "unknown_key" "it is signed by a key that no configuration names", REMEDY;
    }
}
