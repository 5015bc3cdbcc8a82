//! Codes of the runtime's errors.

use merit_core::codes;

/// What to do where Merit is wrong.
pub const BUG: &str = "this is a bug of Merit: keep the directory and report what it said";

codes! {
    /// The world failed.
    WORLD exits 1 {
        DIRECTORY_OPEN "directory_open" "the data directory cannot be opened or made, or its files are damaged", "check that the path is a directory that you may write to, and that the disk is not full; restore damaged files from a copy";
        DIRECTORY_IN_USE "directory_in_use" "another process is using the data directory", "wait until the other process ends, or pass another --data-dir; commands that only read work beside it";
        DIRECTORY_MISSING "directory_missing" "there is no Merit data directory, or it must not be read", "pass the --data-dir that an import wrote to; one that is being made can be read after its first commit";
        DIRECTORY_FORMAT "directory_format" "the data directory was written in another format", "use the version of Merit that wrote it";
        TOPOLOGY_DIFFERS "topology_differs" "the data directory was written under a topology of another structure", "pass the --topology that it was written with; parameters may differ, partitions and processors may not";
        UPGRADE_NEEDS_CLEAN_STOP "upgrade_needs_clean_stop" "what lies behind the last checkpoint was computed by another logic version", "run a command that writes once with the version of Merit that wrote it and let it end: a clean stop checkpoints; `merit --version` shows a program's logic version";
        DIRECTORY_NOT_EMPTY "directory_not_empty" "the directory that is to be made is there already", "name a directory that is not there yet; one that ends in .partial is left of a copy that was cut short: remove it";
        DIRECTORY_IS_BACKUP "directory_is_backup" "the directory is a backup, which nothing is written to", "`merit restore` makes a directory of it that can be written; what was backed up stays as it is";
        DIRECTORY_IS_MIRROR "directory_is_mirror" "the directory holds a copy of a log on Kafka, to which nothing is written but what Kafka holds", "commands that read work on it; what writes goes to the cluster with --kafka HOST:PORT, or to a log of its own in another --data-dir";
        DIRECTORY_WITHOUT_LOG "directory_without_log" "the directory is that of a headless copy on Kafka, which keeps no log, or of one that has copied nothing of it yet", "pass the directory of a copy that answers calls, or one that `merit log export --kafka HOST:PORT` makes";
        DIRECTORY_OF_OTHER_LOG "directory_of_other_log" "the directory holds another log than the one that is to be copied into it", "name another --data-dir: one that is not there yet is made; a cluster that was set up anew is another one";
        LOG_FILE "log_file" "the file of a log cannot be read or written", "check the path, its permissions and the space on its disk; a file that was not finished is removed";
        BACKUP_MISSING "backup_missing" "there is no backup", "pass a directory that `merit backup` made; one that ends in .partial was cut short and is none";
        STORE_FAILED "store_failed" "the store could not be read or written", "check the disk; what was acknowledged is in the log, so run the command again when it is well";
        AUDIT_KEY "audit_key" "the file of the audit key cannot be used", "the file must hold 32 bytes as 64 hexadecimal digits and be readable by its owner alone (chmod 600); where there is none, one is made if the directory may be written";
        AUDIT_KEY_MISSING "audit_key_missing" "the audit key is missing, and there is a log already", "put the file back, or pass the key that the log was begun with by --audit-key FILE";
        AUDIT_KEY_DIFFERS "audit_key_differs" "the audit key is not the one in force in this log", "pass the key that the log was begun with, by --audit-key FILE";
        CLUSTER_FAILED "cluster_failed" "a call to the Kafka cluster failed", "check that the brokers of --kafka are up and let this machine in, and that `security.protocol` in the file of --kafka-config fits the port: `scripts/kafka.sh status` for those that it started; then start again: what was committed is there";
        CLUSTER_ENCRYPTION "cluster_encryption" "there is no encrypted connection to the cluster: one side does not trust the other, or one of them does not encrypt", "see what is named in the file of --kafka-config: `security.protocol` has to fit the port, ssl.ca.location has to hold who signed the brokers' certificates, these have to name the host as --kafka does, and ssl.certificate.location has to be a certificate that the brokers trust and that has not expired";
        CLUSTER_LOGIN "cluster_login" "the cluster does not take the user name with its password", "correct sasl.username, sasl.password and sasl.mechanism in the file of --kafka-config; whoever runs the cluster tells what users it knows";
        CLUSTER_FORBIDDEN "cluster_forbidden" "no ACL of the cluster allows this user what a command needs", "`merit topology acl` prints the ACLs that each role needs: whoever runs the cluster adds the one that is missing";
        CLUSTER_OFFSET_GONE "cluster_offset_gone" "the cluster has removed records that are still needed", "the retention of the topic is too short, or the copy was away for too long: give the copy an empty --data-dir; where input that was not processed is gone, restore the topic, or begin another application";
        CLUSTER_TOPIC_CHANGED "cluster_topic_changed" "a topic of the cluster is not the one that this copy has read: it was deleted, made anew, or lost its end", "end every copy; the directory of each holds the log: `merit log export --output FILE --data-dir DIR` of the newest, delete the topics of the application, `merit log import FILE --kafka HOST:PORT`, and start copies with new directories. A topic in which nothing was ever is made anew by `merit topology apply`";
        CLUSTER_PARTITION_MISSING "cluster_partition_missing" "a topic of the topology, or a partition of it, is not in the cluster", "`merit topology apply --kafka HOST:PORT --audit-key FILE` makes what is missing";
        CLUSTER_NO_RECORD "cluster_no_record" "a topic that only Merit writes to holds something else", "let only Merit write to the topics of the topology but eval.reports; the record that is named cannot be passed over: restore the topic without it, or begin another application";
        CLUSTER_DIFFERS "cluster_differs" "topics of the cluster are not as the topology wants them", "`merit topology apply --kafka HOST:PORT --audit-key FILE` makes what is missing and alters what differs; with --dry-run it only tells";
        CLUSTER_PARTITIONS_DIFFER "cluster_partitions_differ" "topics of the cluster have another number of partitions than the topology wants, and nothing was changed", "the partitions of a topic stay as many as they were made: pass the --topology with their number, or begin another `application` on a cluster where the topics can be made anew";
        CLUSTER_NOT_EMPTY "cluster_not_empty" "a topic that a task reads held records before the first configuration, and every log begins with one", "remove the topic that is named if nobody needs what it holds, and run the command again; hold producers back until it is done";
        CLUSTER_NOT_BEGUN "cluster_not_begun" "the cluster has no configuration, which every log begins with", "`merit topology apply --kafka HOST:PORT --audit-key FILE` appends the first";
        CLUSTER_UNDELIVERED "cluster_undelivered" "records that were sent did not arrive at the cluster, as far as is known", "check that the brokers are up, and run the command again: a pool or quota that is set twice is as if it was set once";
        CONFIG_MISMATCH "config_mismatch" "the configuration in force on the cluster is not that of this copy", "start every copy with the --topology and the --audit-key that were applied last; `merit topology apply --kafka HOST:PORT --dry-run` with this copy's shows what differs";
        CLUSTER_TOPIC_NOT_EMPTY "cluster_topic_not_empty" "a topic that a log is to be written into holds records", "a log goes into empty topics alone: delete those of the application, or name another cluster";
        CLUSTER_OFFSET_DIFFERS "cluster_offset_differs" "another program wrote to a topic while a log was written into it, so that offsets moved", "end what writes to the topics, delete them and make them anew, and import again";
        CLUSTER_FENCED "cluster_fenced" "another process has taken over as the same instance", "one data directory is one instance: give each copy a --data-dir of its own, and end the process that should not be there";
        REGISTRY_FAILED "registry_failed" "the schema registry did not answer, or not as one does", "check that the registry of --kafka-config is up and lets this machine in; a copy that ran before starts without it";
        SCHEMA_MISSING "schema_missing" "the schema registry lacks schemas of this program", "`merit topology apply --kafka HOST:PORT --kafka-config FILE --audit-key FILE` registers them; with --dry-run it only tells";
        SCHEMA_DIFFERS "schema_differs" "the schema registry has another schema under an id than messages mean by it", "the registry was set up anew, or is another one: bring its data back, or name the right one; with an empty registry, remove schemas.json of every data directory and apply the topology again";
        SCHEMA_REFUSED "schema_refused" "the schema registry refuses a schema, since it could not read what older ones wrote", "see who registered the versions of the subject that is named: this program's schemas read every version that Merit ever released";
        STOPPED "stopped" "a processor stopped at an input that it should have taken", BUG;
    }
}

codes! {
    /// Every rule that a message of another program can break before it is a report.
    RULES exits 0 {
        SCHEMA_INVALID "schema_invalid" "the message is no report in Avro behind 0 and the id of its schema, nor one in JSON where the topology takes that", "send reports with a serializer of the schema registry, or as JSON; see `examples/clients`";
        SCHEMA_UNKNOWN "schema_unknown" "the message names a schema that the registry does not have, or that is not one of reports", "register the schema `merit.EvalReport` under `eval.reports-merit.EvalReport`, and send with the id that it gets";
    }
}

codes! {
    /// The call is wrong.
    CALL exits 2 {
        OFFSET_PRUNED "offset_pruned" "the records before an offset were pruned by the retention of their topic", "ask from the first offset that is left; the topic's retention removed what was before it";
        KAFKA_CONFIG "kafka_config" "the file of --kafka-config cannot be read, or does not say how a cluster is reached", "correct the lines that are named: `name=value`, with the names that librdkafka has for encryption and credentials and those that begin with schema.registry";
        RETENTION_SHORT "retention_short" "a topic would be kept for less than 7 days on a cluster", "give it a retention of 7 days or more in the topology, or none: a copy that was away has to find what it missed";
        LOG_FILE_EXISTS "log_file_exists" "the file that a log is to be written to is there already", "name another one";
        LINEAGE_NOT_NEEDED "lineage_not_needed" "a new lineage was asked for, and nothing differs", "go on as you are: a start takes this directory; where `merit replay` finds a difference before the last checkpoint, restore a backup of before it";
    }
}

codes! {
    /// A check found a fault.
    CHECK exits 3 {
        BACKUP_DAMAGED "backup_damaged" "the backup is not what was written", "take another backup; nothing was restored from this one";
        LOG_FILE_DAMAGED "log_file_damaged" "the file is no log file of this version, or not all of what was written", "export the log again, or take another copy of the file; nothing was imported from this one";
        STORE_DAMAGED "store_damaged" "a file of the store is damaged or missing", "keep the directory as it is and restore a backup of it beside it: `merit restore`";
        STORE_CUT_SHORT "store_cut_short" "the store holds less than was acknowledged: its write-ahead log was cut or removed", "keep the directory as it is and restore a backup of it beside it: `merit restore`; if what is missing may be lost, remove its file ACKNOWLEDGED and run the command again";
        LOG_CORRUPT "log_corrupt" "a record in the log cannot be read", "restore the directory from a backup; `merit audit verify` tells how far it can be trusted";
        LOG_DIFFERS "log_differs" "what is computed again differs from what is in the log", "keep a copy: the log was changed, or this program computes otherwise than the one that wrote it. Restore a copy or that program; or, where a start stops so, go on as a new lineage, with the partition that is named first: `merit topology apply --new-lineage PARTITION --reason TEXT`";
    }
}
