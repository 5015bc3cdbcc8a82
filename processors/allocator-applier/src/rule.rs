//! Rules that a command is refused by; those that hold an allocation back are of `merit-policy`.

use merit_core::codes;

codes! {
    /// Every rule that a command is refused by.
    RULES exits 0 {
        ALLOCATION_UNKNOWN "allocation_unknown" "there is no such allocation", "take its id from `merit log cat alloc.applied`";
        ALLOCATION_NOT_PENDING "allocation_not_pending" "the allocation waits for nobody: it was decided, or has ended", "see what became of it by `merit explain ID`";
        CAPACITY_TOO_LARGE "capacity_too_large" "the capacity is above 2^60 milli-GPUs", "give what the pool has";
        NOTHING_TO_RELEASE "nothing_to_release" "the agent holds nothing of what should be given back", "see what it holds by `merit explain AGENT`";
        NOTHING_TO_PREEMPT "nothing_to_preempt" "the agent holds less in confirmed allocations than should be taken back", "see what it holds by `merit explain AGENT`, or ask for less";
        POOL_UNKNOWN "pool_unknown" "there is no such pool", "define it by `merit pools apply`";
        QUOTA_EXCEEDS_CAPACITY "quota_exceeds_capacity" "the quotas of the pool would sum to more than its capacity", "lower the quotas first, then the capacity";
    }
}
