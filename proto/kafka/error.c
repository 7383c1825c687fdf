#include "proto/kafka/error.h"

#include <stddef.h>

#define ROW(code) ((code) + 1) /* the first code is -1 */

struct error_row {
    const char *name;
    const char *message;
    bool retriable;
    bool refreshes;
};

static const struct error_row error_rows[] = {
    [ROW(KW_UNKNOWN_SERVER_ERROR)] = {"UNKNOWN_SERVER_ERROR", "Unexpected fault inside the broker",
                                      false, false},
    [ROW(KW_NONE)] = {"NONE", "Success", false, false},
    [ROW(KW_OFFSET_OUT_OF_RANGE)] =
        {"OFFSET_OUT_OF_RANGE",
         "Fetch or similar at an offset outside log start .. log end of the partition", false,
         false},
    [ROW(KW_CORRUPT_MESSAGE)] =
        {"CORRUPT_MESSAGE",
         "CRC or size wrong, unsupported magic, null key on a compacted topic, or other "
         "broken record data",
         true, false},
    [ROW(KW_UNKNOWN_TOPIC_OR_PARTITION)] =
        {"UNKNOWN_TOPIC_OR_PARTITION",
         "Topic or partition not known here (or hidden because the caller may not "
         "describe it)",
         true, true},
    [ROW(KW_INVALID_FETCH_SIZE)] = {"INVALID_FETCH_SIZE", "Fetch size not acceptable", false,
                                    false},
    [ROW(KW_LEADER_NOT_AVAILABLE)] = {"LEADER_NOT_AVAILABLE", "Partition has no leader right now",
                                      true, true},
    [ROW(KW_NOT_LEADER_OR_FOLLOWER)] =
        {"NOT_LEADER_OR_FOLLOWER",
         "This broker is not leader (or not replica, where any replica would do); client"
         " refreshes metadata",
         true, true},
    [ROW(KW_REQUEST_TIMED_OUT)] =
        {"REQUEST_TIMED_OUT",
         "Broker gave up waiting (e.g. acks=all or admin call) within the request "
         "timeout",
         true, false},
    [ROW(KW_BROKER_NOT_AVAILABLE)] = {"BROKER_NOT_AVAILABLE", "Broker not available (legacy)",
                                      false, false},
    [ROW(KW_REPLICA_NOT_AVAILABLE)] =
        {"REPLICA_NOT_AVAILABLE", "Replica not available; clients ignore it in Metadata responses",
         true, true},
    [ROW(KW_MESSAGE_TOO_LARGE)] = {"MESSAGE_TOO_LARGE", "A batch is larger than max.message.bytes",
                                   false, false},
    [ROW(KW_STALE_CONTROLLER_EPOCH)] = {"STALE_CONTROLLER_EPOCH",
                                        "Controller epoch too old (legacy controller calls)", false,
                                        false},
    [ROW(KW_OFFSET_METADATA_TOO_LARGE)] =
        {"OFFSET_METADATA_TOO_LARGE",
         "Offset metadata string longer than offset.metadata.max.bytes", false, false},
    [ROW(KW_NETWORK_EXCEPTION)] = {"NETWORK_EXCEPTION",
                                   "Connection dropped before the response (client side)", true,
                                   true},
    [ROW(KW_COORDINATOR_LOAD_IN_PROGRESS)] = {"COORDINATOR_LOAD_IN_PROGRESS",
                                              "Coordinator is still loading its state partition",
                                              true, false},
    [ROW(KW_COORDINATOR_NOT_AVAILABLE)] =
        {"COORDINATOR_NOT_AVAILABLE",
         "No coordinator available (state topic missing, no leader, shutting down)", true, true},
    [ROW(KW_NOT_COORDINATOR)] = {"NOT_COORDINATOR",
                                 "This broker does not coordinate that group or transactional id",
                                 true, true},
    [ROW(KW_INVALID_TOPIC_EXCEPTION)] = {"INVALID_TOPIC_EXCEPTION",
                                         "Illegal topic name, or client write to an internal topic",
                                         false, false},
    [ROW(KW_RECORD_LIST_TOO_LARGE)] = {"RECORD_LIST_TOO_LARGE",
                                       "Batch larger than the segment size", false, false},
    [ROW(KW_NOT_ENOUGH_REPLICAS)] =
        {"NOT_ENOUGH_REPLICAS",
         "In-sync replicas below min.insync.replicas before the append (acks=all)", true, false},
    [ROW(KW_NOT_ENOUGH_REPLICAS_AFTER_APPEND)] =
        {"NOT_ENOUGH_REPLICAS_AFTER_APPEND",
         "Appended, but in-sync replicas fell below the minimum before commit", true, false},
    [ROW(KW_INVALID_REQUIRED_ACKS)] = {"INVALID_REQUIRED_ACKS", "Acks not in -1, 0, 1", false,
                                       false},
    [ROW(KW_ILLEGAL_GENERATION)] = {"ILLEGAL_GENERATION",
                                    "Generation id differs from the group generation", false,
                                    false},
    [ROW(KW_INCONSISTENT_GROUP_PROTOCOL)] =
        {"INCONSISTENT_GROUP_PROTOCOL",
         "No common protocol with the group, or empty protocol type/list", false, false},
    [ROW(KW_INVALID_GROUP_ID)] = {"INVALID_GROUP_ID", "Group id empty or not allowed", false,
                                  false},
    [ROW(KW_UNKNOWN_MEMBER_ID)] = {"UNKNOWN_MEMBER_ID", "Member id not in the group", false, false},
    [ROW(KW_INVALID_SESSION_TIMEOUT)] = {"INVALID_SESSION_TIMEOUT",
                                         "Session timeout outside the broker limits", false, false},
    [ROW(KW_REBALANCE_IN_PROGRESS)] = {"REBALANCE_IN_PROGRESS",
                                       "Group is rebalancing, member must rejoin", false, false},
    [ROW(KW_INVALID_COMMIT_OFFSET_SIZE)] = {"INVALID_COMMIT_OFFSET_SIZE",
                                            "Offset commit record too large to store", false,
                                            false},
    [ROW(KW_TOPIC_AUTHORIZATION_FAILED)] = {"TOPIC_AUTHORIZATION_FAILED",
                                            "Caller lacks the ACL on the topic", false, false},
    [ROW(KW_GROUP_AUTHORIZATION_FAILED)] = {"GROUP_AUTHORIZATION_FAILED",
                                            "Caller lacks the ACL on the group", false, false},
    [ROW(KW_CLUSTER_AUTHORIZATION_FAILED)] = {"CLUSTER_AUTHORIZATION_FAILED",
                                              "Caller lacks the ACL on the cluster", false, false},
    [ROW(KW_INVALID_TIMESTAMP)] = {"INVALID_TIMESTAMP",
                                   "Record timestamp outside the allowed before/after window",
                                   false, false},
    [ROW(KW_UNSUPPORTED_SASL_MECHANISM)] =
        {"UNSUPPORTED_SASL_MECHANISM",
         "SASL mechanism not enabled; response lists the enabled ones", false, false},
    [ROW(KW_ILLEGAL_SASL_STATE)] = {"ILLEGAL_SASL_STATE", "Request not allowed in this SASL phase",
                                    false, false},
    [ROW(KW_UNSUPPORTED_VERSION)] = {"UNSUPPORTED_VERSION",
                                     "API version not supported (or field combination not usable)",
                                     false, false},
    [ROW(KW_TOPIC_ALREADY_EXISTS)] = {"TOPIC_ALREADY_EXISTS", "Topic exists", false, false},
    [ROW(KW_INVALID_PARTITIONS)] = {"INVALID_PARTITIONS",
                                    "Partition count below 1 or otherwise not allowed", false,
                                    false},
    [ROW(KW_INVALID_REPLICATION_FACTOR)] =
        {"INVALID_REPLICATION_FACTOR",
         "Replication factor below 1 or above the number of usable brokers", false, false},
    [ROW(KW_INVALID_REPLICA_ASSIGNMENT)] = {"INVALID_REPLICA_ASSIGNMENT",
                                            "Manual replica assignment inconsistent", false, false},
    [ROW(KW_INVALID_CONFIG)] = {"INVALID_CONFIG", "Config name or value not valid", false, false},
    [ROW(KW_NOT_CONTROLLER)] = {"NOT_CONTROLLER", "This node is not the active controller", true,
                                false},
    [ROW(KW_INVALID_REQUEST)] = {"INVALID_REQUEST", "Malformed or self-contradictory request",
                                 false, false},
    [ROW(KW_UNSUPPORTED_FOR_MESSAGE_FORMAT)] = {"UNSUPPORTED_FOR_MESSAGE_FORMAT",
                                                "Message format cannot carry what is asked", false,
                                                false},
    [ROW(KW_POLICY_VIOLATION)] = {"POLICY_VIOLATION",
                                  "Rejected by a create-topic or alter-config policy", false,
                                  false},
    [ROW(KW_OUT_OF_ORDER_SEQUENCE_NUMBER)] = {"OUT_OF_ORDER_SEQUENCE_NUMBER",
                                              "Producer sequence has a gap", false, false},
    [ROW(KW_DUPLICATE_SEQUENCE_NUMBER)] =
        {"DUPLICATE_SEQUENCE_NUMBER",
         "Producer sequence already appended but no longer in the cached window", false, false},
    [ROW(KW_INVALID_PRODUCER_EPOCH)] = {"INVALID_PRODUCER_EPOCH",
                                        "Producer epoch older than the known one", false, false},
    [ROW(KW_INVALID_TXN_STATE)] = {"INVALID_TXN_STATE",
                                   "Operation not allowed in the present transaction state", false,
                                   false},
    [ROW(KW_INVALID_PRODUCER_ID_MAPPING)] =
        {"INVALID_PRODUCER_ID_MAPPING", "Producer id is not the one mapped to the transactional id",
         false, false},
    [ROW(KW_INVALID_TRANSACTION_TIMEOUT)] =
        {"INVALID_TRANSACTION_TIMEOUT",
         "Transaction timeout above transaction.max.timeout.ms or not positive", false, false},
    [ROW(KW_CONCURRENT_TRANSACTIONS)] =
        {"CONCURRENT_TRANSACTIONS",
         "Earlier operation on the same transaction still completing; try again", true, false},
    [ROW(KW_TRANSACTION_COORDINATOR_FENCED)] =
        {"TRANSACTION_COORDINATOR_FENCED", "Marker sent by a coordinator that is no longer current",
         false, false},
    [ROW(KW_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)] =
        {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "Caller lacks the ACL on the transactional id",
         false, false},
    [ROW(KW_SECURITY_DISABLED)] = {"SECURITY_DISABLED", "No authorizer configured (ACL calls)",
                                   false, false},
    [ROW(KW_OPERATION_NOT_ATTEMPTED)] = {"OPERATION_NOT_ATTEMPTED",
                                         "Item of a batch not tried because another one failed",
                                         false, false},
    [ROW(KW_KAFKA_STORAGE_ERROR)] = {"KAFKA_STORAGE_ERROR", "Disk error on a log directory", true,
                                     true},
    [ROW(KW_LOG_DIR_NOT_FOUND)] = {"LOG_DIR_NOT_FOUND", "Log directory not known on this broker",
                                   false, false},
    [ROW(KW_SASL_AUTHENTICATION_FAILED)] = {"SASL_AUTHENTICATION_FAILED",
                                            "Credentials rejected; text carried in the response",
                                            false, false},
    [ROW(
        KW_UNKNOWN_PRODUCER_ID)] = {"UNKNOWN_PRODUCER_ID",
                                    "No state for that producer id (modern brokers rarely send it)",
                                    false, false},
    [ROW(KW_REASSIGNMENT_IN_PROGRESS)] = {"REASSIGNMENT_IN_PROGRESS",
                                          "Partition is already being reassigned", false, false},
    [ROW(KW_DELEGATION_TOKEN_AUTH_DISABLED)] = {"DELEGATION_TOKEN_AUTH_DISABLED",
                                                "Delegation tokens not enabled", false, false},
    [ROW(KW_DELEGATION_TOKEN_NOT_FOUND)] = {"DELEGATION_TOKEN_NOT_FOUND", "Token unknown", false,
                                            false},
    [ROW(KW_DELEGATION_TOKEN_OWNER_MISMATCH)] = {"DELEGATION_TOKEN_OWNER_MISMATCH",
                                                 "Principal is not owner or renewer", false, false},
    [ROW(KW_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED)] =
        {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
         "Token calls not allowed on this kind of connection", false, false},
    [ROW(KW_DELEGATION_TOKEN_AUTHORIZATION_FAILED)] = {"DELEGATION_TOKEN_AUTHORIZATION_FAILED",
                                                       "Caller lacks the ACL on the token", false,
                                                       false},
    [ROW(KW_DELEGATION_TOKEN_EXPIRED)] = {"DELEGATION_TOKEN_EXPIRED", "Token expired", false,
                                          false},
    [ROW(KW_INVALID_PRINCIPAL_TYPE)] = {"INVALID_PRINCIPAL_TYPE", "Principal type not supported",
                                        false, false},
    [ROW(KW_NON_EMPTY_GROUP)] = {"NON_EMPTY_GROUP", "Group has members", false, false},
    [ROW(KW_GROUP_ID_NOT_FOUND)] = {"GROUP_ID_NOT_FOUND", "Group id unknown", false, false},
    [ROW(KW_FETCH_SESSION_ID_NOT_FOUND)] = {"FETCH_SESSION_ID_NOT_FOUND",
                                            "Fetch session id unknown (evicted or never made)",
                                            true, false},
    [ROW(KW_INVALID_FETCH_SESSION_EPOCH)] = {"INVALID_FETCH_SESSION_EPOCH",
                                             "Fetch session epoch not the expected one", true,
                                             false},
    [ROW(
        KW_LISTENER_NOT_FOUND)] = {"LISTENER_NOT_FOUND",
                                   "Leader has no listener of the name on which metadata was asked",
                                   true, true},
    [ROW(KW_TOPIC_DELETION_DISABLED)] = {"TOPIC_DELETION_DISABLED", "Delete.topic.enable is false",
                                         false, false},
    [ROW(KW_FENCED_LEADER_EPOCH)] = {"FENCED_LEADER_EPOCH",
                                     "Leader epoch in the request older than the current one", true,
                                     true},
    [ROW(KW_UNKNOWN_LEADER_EPOCH)] = {"UNKNOWN_LEADER_EPOCH",
                                      "Leader epoch in the request newer than the broker knows",
                                      true, false},
    [ROW(KW_UNSUPPORTED_COMPRESSION_TYPE)] =
        {"UNSUPPORTED_COMPRESSION_TYPE",
         "Client version cannot read that compression (zstd before its Fetch/Produce "
         "version)",
         false, false},
    [ROW(KW_STALE_BROKER_EPOCH)] = {"STALE_BROKER_EPOCH", "Broker epoch changed (re-registered)",
                                    false, false},
    [ROW(KW_OFFSET_NOT_AVAILABLE)] =
        {"OFFSET_NOT_AVAILABLE",
         "New leader has not yet raised its high watermark enough to answer", true, false},
    [ROW(KW_MEMBER_ID_REQUIRED)] =
        {"MEMBER_ID_REQUIRED",
         "First JoinGroup of a dynamic member: retry with the member id given in the "
         "response",
         false, false},
    [ROW(KW_PREFERRED_LEADER_NOT_AVAILABLE)] = {"PREFERRED_LEADER_NOT_AVAILABLE",
                                                "Preferred leader not available for election", true,
                                                true},
    [ROW(KW_GROUP_MAX_SIZE_REACHED)] = {"GROUP_MAX_SIZE_REACHED", "Group.max.size reached", false,
                                        false},
    [ROW(KW_FENCED_INSTANCE_ID)] = {"FENCED_INSTANCE_ID",
                                    "Another member took over this group.instance.id", false,
                                    false},
    [ROW(KW_ELIGIBLE_LEADERS_NOT_AVAILABLE)] = {"ELIGIBLE_LEADERS_NOT_AVAILABLE",
                                                "No eligible leader for the election", true, true},
    [ROW(KW_ELECTION_NOT_NEEDED)] = {"ELECTION_NOT_NEEDED", "Leader already is the wanted one",
                                     true, true},
    [ROW(KW_NO_REASSIGNMENT_IN_PROGRESS)] = {"NO_REASSIGNMENT_IN_PROGRESS", "Nothing to cancel",
                                             false, false},
    [ROW(KW_GROUP_SUBSCRIBED_TO_TOPIC)] =
        {"GROUP_SUBSCRIBED_TO_TOPIC",
         "Group still subscribes to the topic whose offsets should be deleted", false, false},
    [ROW(KW_INVALID_RECORD)] = {"INVALID_RECORD",
                                "A record failed validation; details per record index", false,
                                false},
    [ROW(KW_UNSTABLE_OFFSET_COMMIT)] =
        {"UNSTABLE_OFFSET_COMMIT",
         "Pending transactional offsets block a stable offset fetch; retry", true, false},
    [ROW(KW_THROTTLING_QUOTA_EXCEEDED)] =
        {"THROTTLING_QUOTA_EXCEEDED",
         "Controller mutation quota used up; retry after throttle time", true, false},
    [ROW(KW_PRODUCER_FENCED)] = {"PRODUCER_FENCED",
                                 "A newer producer with this transactional id exists", false,
                                 false},
    [ROW(KW_RESOURCE_NOT_FOUND)] = {"RESOURCE_NOT_FOUND", "Named resource does not exist", false,
                                    false},
    [ROW(KW_DUPLICATE_RESOURCE)] = {"DUPLICATE_RESOURCE",
                                    "Same resource named twice in one request", false, false},
    [ROW(KW_UNACCEPTABLE_CREDENTIAL)] =
        {"UNACCEPTABLE_CREDENTIAL", "Credential not acceptable (e.g. iterations outside limits)",
         false, false},
    [ROW(KW_INCONSISTENT_VOTER_SET)] = {"INCONSISTENT_VOTER_SET",
                                        "Sender or receiver is not a voter of the expected set",
                                        false, false},
    [ROW(KW_INVALID_UPDATE_VERSION)] = {"INVALID_UPDATE_VERSION",
                                        "Feature level update out of range", false, false},
    [ROW(KW_FEATURE_UPDATE_FAILED)] = {"FEATURE_UPDATE_FAILED",
                                       "Feature update failed for a server fault", false, false},
    [ROW(KW_PRINCIPAL_DESERIALIZATION_FAILURE)] = {"PRINCIPAL_DESERIALIZATION_FAILURE",
                                                   "Forwarded principal cannot be decoded", false,
                                                   false},
    [ROW(KW_SNAPSHOT_NOT_FOUND)] = {"SNAPSHOT_NOT_FOUND", "Snapshot id unknown", false, false},
    [ROW(KW_POSITION_OUT_OF_RANGE)] = {"POSITION_OUT_OF_RANGE", "Position outside the snapshot",
                                       false, false},
    [ROW(KW_UNKNOWN_TOPIC_ID)] = {"UNKNOWN_TOPIC_ID", "Topic id unknown here", true, true},
    [ROW(KW_DUPLICATE_BROKER_REGISTRATION)] = {"DUPLICATE_BROKER_REGISTRATION",
                                               "Another live broker uses this id", false, false},
    [ROW(KW_BROKER_ID_NOT_REGISTERED)] = {"BROKER_ID_NOT_REGISTERED", "Broker id not registered",
                                          false, false},
    [ROW(KW_INCONSISTENT_TOPIC_ID)] = {"INCONSISTENT_TOPIC_ID",
                                       "Topic id differs from that of the local log", true, true},
    [ROW(KW_INCONSISTENT_CLUSTER_ID)] = {"INCONSISTENT_CLUSTER_ID", "Cluster id differs", false,
                                         false},
    [ROW(KW_TRANSACTIONAL_ID_NOT_FOUND)] = {"TRANSACTIONAL_ID_NOT_FOUND",
                                            "Transactional id unknown", false, false},
    [ROW(KW_FETCH_SESSION_TOPIC_ID_ERROR)] = {"FETCH_SESSION_TOPIC_ID_ERROR",
                                              "Session mixes topic ids and names", true, false},
    [ROW(KW_INELIGIBLE_REPLICA)] =
        {"INELIGIBLE_REPLICA", "Proposed in-sync set has a fenced, shutting-down or stale replica",
         false, false},
    [ROW(KW_NEW_LEADER_ELECTED)] = {"NEW_LEADER_ELECTED",
                                    "In-sync change applied, but leadership moved at once", false,
                                    false},
    [ROW(KW_OFFSET_MOVED_TO_TIERED_STORAGE)] = {"OFFSET_MOVED_TO_TIERED_STORAGE",
                                                "Offset is only in tiered storage (follower fetch)",
                                                false, false},
    [ROW(KW_FENCED_MEMBER_EPOCH)] = {"FENCED_MEMBER_EPOCH",
                                     "KIP-848 member epoch fenced; drop partitions and rejoin",
                                     false, false},
    [ROW(KW_UNRELEASED_INSTANCE_ID)] = {"UNRELEASED_INSTANCE_ID",
                                        "Static instance id still held by another member", false,
                                        false},
    [ROW(KW_UNSUPPORTED_ASSIGNOR)] = {"UNSUPPORTED_ASSIGNOR", "Server-side assignor not supported",
                                      false, false},
    [ROW(KW_STALE_MEMBER_EPOCH)] = {"STALE_MEMBER_EPOCH",
                                    "KIP-848 member epoch stale; refresh by heartbeat, then retry",
                                    false, false},
    [ROW(KW_MISMATCHED_ENDPOINT_TYPE)] =
        {"MISMATCHED_ENDPOINT_TYPE",
         "Request sent to broker where controller was meant, or reverse", false, false},
    [ROW(KW_UNSUPPORTED_ENDPOINT_TYPE)] = {"UNSUPPORTED_ENDPOINT_TYPE",
                                           "Endpoint type value not supported", false, false},
    [ROW(KW_UNKNOWN_CONTROLLER_ID)] = {"UNKNOWN_CONTROLLER_ID", "Controller id unknown", false,
                                       false},
    [ROW(KW_UNKNOWN_SUBSCRIPTION_ID)] = {"UNKNOWN_SUBSCRIPTION_ID",
                                         "Telemetry subscription id unknown or outdated", false,
                                         false},
    [ROW(KW_TELEMETRY_TOO_LARGE)] = {"TELEMETRY_TOO_LARGE",
                                     "Telemetry payload above telemetry.max.bytes", false, false},
    [ROW(KW_INVALID_REGISTRATION)] = {"INVALID_REGISTRATION",
                                      "Broker registration refused by the controller", false,
                                      false},
    [ROW(KW_TRANSACTION_ABORTABLE)] =
        {"TRANSACTION_ABORTABLE",
         "Transaction cannot go on, but can be aborted and the producer kept", false, false},
    [ROW(KW_INVALID_RECORD_STATE)] =
        {"INVALID_RECORD_STATE",
         "Share-group record is not in the state needed for this acknowledgement", false, false},
    [ROW(KW_SHARE_SESSION_NOT_FOUND)] = {"SHARE_SESSION_NOT_FOUND", "Share session unknown", true,
                                         false},
    [ROW(KW_INVALID_SHARE_SESSION_EPOCH)] = {"INVALID_SHARE_SESSION_EPOCH",
                                             "Share session epoch not the expected one", true,
                                             false},
    [ROW(KW_FENCED_STATE_EPOCH)] = {"FENCED_STATE_EPOCH", "Share state epoch mismatch", false,
                                    false},
    [ROW(KW_INVALID_VOTER_KEY)] = {"INVALID_VOTER_KEY",
                                   "Voter key (id + directory id) is not this replica", false,
                                   false},
    [ROW(KW_DUPLICATE_VOTER)] = {"DUPLICATE_VOTER", "Voter already present", false, false},
    [ROW(KW_VOTER_NOT_FOUND)] = {"VOTER_NOT_FOUND", "Voter not present", false, false},
    [ROW(KW_INVALID_REGULAR_EXPRESSION)] = {"INVALID_REGULAR_EXPRESSION",
                                            "Regular expression in a subscription not valid", false,
                                            false},
    [ROW(KW_REBOOTSTRAP_REQUIRED)] =
        {"REBOOTSTRAP_REQUIRED", "Client metadata too stale; start again from bootstrap servers",
         false, false},
    [ROW(KW_STREAMS_INVALID_TOPOLOGY)] = {"STREAMS_INVALID_TOPOLOGY", "Streams topology not valid",
                                          false, false},
    [ROW(KW_STREAMS_INVALID_TOPOLOGY_EPOCH)] = {"STREAMS_INVALID_TOPOLOGY_EPOCH",
                                                "Streams topology epoch not valid", false, false},
    [ROW(KW_STREAMS_TOPOLOGY_FENCED)] = {"STREAMS_TOPOLOGY_FENCED",
                                         "Streams topology epoch outdated", false, false},
    [ROW(KW_SHARE_SESSION_LIMIT_REACHED)] = {"SHARE_SESSION_LIMIT_REACHED",
                                             "No room for more share sessions", true, false},
    [ROW(KW_GROUP_DELETION_FAILED)] = {"GROUP_DELETION_FAILED",
                                       "Group deletion failed; see per-group message", false,
                                       false},
    [ROW(KW_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED)] =
        {"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", "Topology description not accepted", false,
         false},
    [ROW(KW_CONTROLLER_ID_NOT_REGISTERED)] = {"CONTROLLER_ID_NOT_REGISTERED",
                                              "Controller id not registered", false, false},
};

static const struct error_row *find_row(int16_t code)
{
    static const struct error_row unknown = {"UNKNOWN_ERROR_CODE", "Unknown error code", false,
                                             false};
    size_t count = sizeof(error_rows) / sizeof(error_rows[0]);
    if (code < KW_UNKNOWN_SERVER_ERROR || (size_t)ROW(code) >= count ||
        error_rows[ROW(code)].name == NULL)
        return &unknown;
    return &error_rows[ROW(code)];
}

const char *kw_error_name(int16_t code)
{
    return find_row(code)->name;
}

const char *kw_error_message(int16_t code)
{
    return find_row(code)->message;
}

bool kw_error_retriable(int16_t code)
{
    return find_row(code)->retriable;
}

bool kw_error_refreshes(int16_t code)
{
    return find_row(code)->refreshes;
}
