//! What the services refuse, by name. What the pipeline refuses is named by its own rules.

use merit_core::codes;

codes! {
    /// Refusals of the services, `code` of the answer.
    SERVICES exits 0 {
        ENTITY_UNKNOWN "entity_unknown" "404: no report of that agent, division or product was scored", "send one to `/eval/submit`";
        WINDOW_EMPTY "window_empty" "404: the agent has no score of that window", "ask for 1h, 24h or 7d";
        JOB_UNKNOWN "job_unknown" "404: there is no such retrain job", "take its id from the answer of `/eval/retrain`";
        DECISION_UNKNOWN "decision_unknown" "404: nothing was decided under that id", "take the id of a promotion or an allocation from `/eval/promotions` or `/alloc/requests`";
        ALLOCATION_BLOCKED "allocation_blocked" "403: policy does not let the allocation pass; it is rejected", "`policyId` and `blockers` say by what";
        COMMAND_REFUSED "command_refused" "409: the command cannot be carried out as things stand", "the message says why";
        KEY_REUSED "idempotency_key_reused" "422: the `Idempotency-Key` came before with another body", "use a new key for a new request";
        REPORT_REFUSED "report_refused" "422: the report breaks a rule", "the message says which";
        STALLED "log_stalled" "503: more commands wait for the disk than Merit takes; the request had no effect", "ask again as the header `Retry-After` says";
        STOPPED "stopped" "503: the pipeline has stopped", "see what `merit run` said, and start it again";
        NOT_READY "not_ready" "503: calls are not answered yet, or not any more", "see the message; ask again as the header `Retry-After` says";
        TABLES_FAILED "read_model_failed" "500: the tables that answers are read from cannot be read", "delete `read-models` in the data directory and start again: it is folded anew from the log";
    }
}
