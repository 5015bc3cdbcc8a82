//! Rules that a command is refused by.

use merit_core::codes;

codes! {
    /// Every rule that a command is refused by.
    RULES exits 0 {
        MODEL_FAMILY_INVALID "model_family_invalid" "modelFamily is empty or longer than 256 bytes", "shorten it";
        DATASET_REFS_COUNT "dataset_refs_count" "there are more than 64 datasetRefs", "name fewer, or one that stands for many";
        DATASET_REF_INVALID "dataset_ref_invalid" "one of the datasetRefs is empty or longer than 1024 bytes", "shorten it";
        TEXT_INVALID "text_invalid" "divisionId is empty or longer than 256 bytes, or requestedBy is longer", "shorten it";
    }
}
