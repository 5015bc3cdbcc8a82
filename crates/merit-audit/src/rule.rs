//! Rules that a leaf of a log can break.

use merit_core::codes;

/// What to do where a log is not what it was.
pub const REMEDY: &str = "keep a copy of the directory as it is; what lies before the fault is as it was written";

codes! {
    /// Every rule that a log can break by itself.
    RULES exits 3 {
        SHAPE "shape" "it is no leaf, or its envelope is not canonical", REMEDY;
        ORIGIN "origin" "it belongs to another log", REMEDY;
        UNKNOWN_KEY "unknown_key" "it is signed by a key that was not given", REMEDY;
        SIGNATURE "signature" "its signature is not that key's over its envelope", REMEDY;
        PAYLOAD "payload" "its payload is not what it commits to", REMEDY;
        GAP "gap" "a leaf of its chain is missing before it", REMEDY;
        REPEATED "repeated" "its chain has a leaf at that place already", REMEDY;
        PREV "prev" "it does not follow the leaf before it", REMEDY;
        CHANGED "changed" "it is not the leaf that the signed one behind it covers", REMEDY;
        UNCOVERED "uncovered" "no signed leaf of its chain follows it", REMEDY;
        HEADS "heads" "it says that a chain was longer, or ended otherwise, than the log shows", REMEDY;
        PARENT "parent" "it names a parent that is nowhere", REMEDY;
    }
}
