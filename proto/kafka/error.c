#include "proto/kafka/error.h"

#include <stddef.h>

#define FIRST_CODE KW_UNKNOWN_SERVER_ERROR

struct error_row {
    const char *name;
    const char *message;
    bool retriable;
    bool refreshes;
};

static const struct error_row error_rows[] = {
    [KW_UNKNOWN_SERVER_ERROR - FIRST_CODE] = {"UNKNOWN_SERVER_ERROR",
                                              "Unexpected fault inside the broker", false, false},
    [KW_NONE - FIRST_CODE] = {"NONE", "Success", false, false},
    [KW_OFFSET_OUT_OF_RANGE - FIRST_CODE] =
        {"OFFSET_OUT_OF_RANGE",
         "Fetch or similar at an offset outside log start .. log end of the partition", false,
         false},
    [KW_CORRUPT_MESSAGE - FIRST_CODE] =
        {"CORRUPT_MESSAGE",
         "CRC or size wrong, unsupported magic, null key on a compacted topic, or other "
         "broken record data",
         true, false},
    [KW_UNKNOWN_TOPIC_OR_PARTITION -
        FIRST_CODE] = {"UNKNOWN_TOPIC_OR_PARTITION",
                       "Topic or partition not known here (or hidden because the caller may not "
                       "describe it)",
                       true, true},
    [KW_INVALID_FETCH_SIZE -
        FIRST_CODE] = {"INVALID_FETCH_SIZE", "Fetch size not acceptable", false, false},
    [KW_LEADER_NOT_AVAILABLE -
        FIRST_CODE] = {"LEADER_NOT_AVAILABLE", "Partition has no leader right now", true, true},
    [KW_NOT_LEADER_OR_FOLLOWER - FIRST_CODE] =
        {"NOT_LEADER_OR_FOLLOWER",
         "This broker is not leader (or not replica, where any replica would do); client"
         " refreshes metadata",
         true, true},
    [KW_REQUEST_TIMED_OUT -
        FIRST_CODE] = {"REQUEST_TIMED_OUT",
                       "Broker gave up waiting (e.g. acks=all or admin call) within the request "
                       "timeout",
                       true, false},
    [KW_BROKER_NOT_AVAILABLE -
        FIRST_CODE] = {"BROKER_NOT_AVAILABLE", "Broker not available (legacy)", false, false},
    [KW_REPLICA_NOT_AVAILABLE -
        FIRST_CODE] = {"REPLICA_NOT_AVAILABLE",
                       "Replica not available; clients ignore it in Metadata responses", true,
                       true},
    [KW_MESSAGE_TOO_LARGE - FIRST_CODE] = {"MESSAGE_TOO_LARGE",
                                           "A batch is larger than max.message.bytes", false,
                                           false},
    [KW_STALE_CONTROLLER_EPOCH -
        FIRST_CODE] = {"STALE_CONTROLLER_EPOCH",
                       "Controller epoch too old (legacy controller calls)", false, false},
    [KW_OFFSET_METADATA_TOO_LARGE -
        FIRST_CODE] = {"OFFSET_METADATA_TOO_LARGE",
                       "Offset metadata string longer than offset.metadata.max.bytes", false,
                       false},
    [KW_NETWORK_EXCEPTION - FIRST_CODE] = {"NETWORK_EXCEPTION",
                                           "Connection dropped before the response (client side)",
                                           true, true},
    [KW_COORDINATOR_LOAD_IN_PROGRESS -
        FIRST_CODE] = {"COORDINATOR_LOAD_IN_PROGRESS",
                       "Coordinator is still loading its state partition", true, false},
    [KW_COORDINATOR_NOT_AVAILABLE -
        FIRST_CODE] = {"COORDINATOR_NOT_AVAILABLE",
                       "No coordinator available (state topic missing, no leader, shutting down)",
                       true, true},
    [KW_NOT_COORDINATOR -
        FIRST_CODE] = {"NOT_COORDINATOR",
                       "This broker does not coordinate that group or transactional id", true,
                       true},
    [KW_INVALID_TOPIC_EXCEPTION -
        FIRST_CODE] = {"INVALID_TOPIC_EXCEPTION",
                       "Illegal topic name, or client write to an internal topic", false, false},
    [KW_RECORD_LIST_TOO_LARGE -
        FIRST_CODE] = {"RECORD_LIST_TOO_LARGE", "Batch larger than the segment size", false, false},
    [KW_NOT_ENOUGH_REPLICAS -
        FIRST_CODE] = {"NOT_ENOUGH_REPLICAS",
                       "In-sync replicas below min.insync.replicas before the append (acks=all)",
                       true, false},
    [KW_NOT_ENOUGH_REPLICAS_AFTER_APPEND -
        FIRST_CODE] = {"NOT_ENOUGH_REPLICAS_AFTER_APPEND",
                       "Appended, but in-sync replicas fell below the minimum before commit", true,
                       false},
    [KW_INVALID_REQUIRED_ACKS -
        FIRST_CODE] = {"INVALID_REQUIRED_ACKS", "Acks not in -1, 0, 1", false, false},
    [KW_ILLEGAL_GENERATION - FIRST_CODE] = {"ILLEGAL_GENERATION",
                                            "Generation id differs from the group generation",
                                            false, false},
    [KW_INCONSISTENT_GROUP_PROTOCOL -
        FIRST_CODE] = {"INCONSISTENT_GROUP_PROTOCOL",
                       "No common protocol with the group, or empty protocol type/list", false,
                       false},
    [KW_INVALID_GROUP_ID -
        FIRST_CODE] = {"INVALID_GROUP_ID", "Group id empty or not allowed", false, false},
    [KW_UNKNOWN_MEMBER_ID -
        FIRST_CODE] = {"UNKNOWN_MEMBER_ID", "Member id not in the group", false, false},
    [KW_INVALID_SESSION_TIMEOUT - FIRST_CODE] = {"INVALID_SESSION_TIMEOUT",
                                                 "Session timeout outside the broker limits", false,
                                                 false},
    [KW_REBALANCE_IN_PROGRESS - FIRST_CODE] = {"REBALANCE_IN_PROGRESS",
                                               "Group is rebalancing, member must rejoin", false,
                                               false},
    [KW_INVALID_COMMIT_OFFSET_SIZE - FIRST_CODE] = {"INVALID_COMMIT_OFFSET_SIZE",
                                                    "Offset commit record too large to store",
                                                    false, false},
    [KW_TOPIC_AUTHORIZATION_FAILED - FIRST_CODE] = {"TOPIC_AUTHORIZATION_FAILED",
                                                    "Caller lacks the ACL on the topic", false,
                                                    false},
    [KW_GROUP_AUTHORIZATION_FAILED - FIRST_CODE] = {"GROUP_AUTHORIZATION_FAILED",
                                                    "Caller lacks the ACL on the group", false,
                                                    false},
    [KW_CLUSTER_AUTHORIZATION_FAILED - FIRST_CODE] = {"CLUSTER_AUTHORIZATION_FAILED",
                                                      "Caller lacks the ACL on the cluster", false,
                                                      false},
    [KW_INVALID_TIMESTAMP -
        FIRST_CODE] = {"INVALID_TIMESTAMP",
                       "Record timestamp outside the allowed before/after window", false, false},
    [KW_UNSUPPORTED_SASL_MECHANISM -
        FIRST_CODE] = {"UNSUPPORTED_SASL_MECHANISM",
                       "SASL mechanism not enabled; response lists the enabled ones", false, false},
    [KW_ILLEGAL_SASL_STATE - FIRST_CODE] = {"ILLEGAL_SASL_STATE",
                                            "Request not allowed in this SASL phase", false, false},
    [KW_UNSUPPORTED_VERSION -
        FIRST_CODE] = {"UNSUPPORTED_VERSION",
                       "API version not supported (or field combination not usable)", false, false},
    [KW_TOPIC_ALREADY_EXISTS - FIRST_CODE] = {"TOPIC_ALREADY_EXISTS", "Topic exists", false, false},
    [KW_INVALID_PARTITIONS - FIRST_CODE] = {"INVALID_PARTITIONS",
                                            "Partition count below 1 or otherwise not allowed",
                                            false, false},
    [KW_INVALID_REPLICATION_FACTOR -
        FIRST_CODE] = {"INVALID_REPLICATION_FACTOR",
                       "Replication factor below 1 or above the number of usable brokers", false,
                       false},
    [KW_INVALID_REPLICA_ASSIGNMENT - FIRST_CODE] = {"INVALID_REPLICA_ASSIGNMENT",
                                                    "Manual replica assignment inconsistent", false,
                                                    false},
    [KW_INVALID_CONFIG -
        FIRST_CODE] = {"INVALID_CONFIG", "Config name or value not valid", false, false},
    [KW_NOT_CONTROLLER -
        FIRST_CODE] = {"NOT_CONTROLLER", "This node is not the active controller", true, false},
    [KW_INVALID_REQUEST -
        FIRST_CODE] = {"INVALID_REQUEST", "Malformed or self-contradictory request", false, false},
    [KW_UNSUPPORTED_FOR_MESSAGE_FORMAT - FIRST_CODE] = {"UNSUPPORTED_FOR_MESSAGE_FORMAT",
                                                        "Message format cannot carry what is asked",
                                                        false, false},
    [KW_POLICY_VIOLATION - FIRST_CODE] = {"POLICY_VIOLATION",
                                          "Rejected by a create-topic or alter-config policy",
                                          false, false},
    [KW_OUT_OF_ORDER_SEQUENCE_NUMBER -
        FIRST_CODE] = {"OUT_OF_ORDER_SEQUENCE_NUMBER", "Producer sequence has a gap", false, false},
    [KW_DUPLICATE_SEQUENCE_NUMBER -
        FIRST_CODE] = {"DUPLICATE_SEQUENCE_NUMBER",
                       "Producer sequence already appended but no longer in the cached window",
                       false, false},
    [KW_INVALID_PRODUCER_EPOCH - FIRST_CODE] = {"INVALID_PRODUCER_EPOCH",
                                                "Producer epoch older than the known one", false,
                                                false},
    [KW_INVALID_TXN_STATE - FIRST_CODE] = {"INVALID_TXN_STATE",
                                           "Operation not allowed in the present transaction state",
                                           false, false},
    [KW_INVALID_PRODUCER_ID_MAPPING -
        FIRST_CODE] = {"INVALID_PRODUCER_ID_MAPPING",
                       "Producer id is not the one mapped to the transactional id", false, false},
    [KW_INVALID_TRANSACTION_TIMEOUT -
        FIRST_CODE] = {"INVALID_TRANSACTION_TIMEOUT",
                       "Transaction timeout above transaction.max.timeout.ms or not positive",
                       false, false},
    [KW_CONCURRENT_TRANSACTIONS -
        FIRST_CODE] = {"CONCURRENT_TRANSACTIONS",
                       "Earlier operation on the same transaction still completing; try again",
                       true, false},
    [KW_TRANSACTION_COORDINATOR_FENCED -
        FIRST_CODE] = {"TRANSACTION_COORDINATOR_FENCED",
                       "Marker sent by a coordinator that is no longer current", false, false},
    [KW_TRANSACTIONAL_ID_AUTHORIZATION_FAILED -
        FIRST_CODE] = {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
                       "Caller lacks the ACL on the transactional id", false, false},
    [KW_SECURITY_DISABLED -
        FIRST_CODE] = {"SECURITY_DISABLED", "No authorizer configured (ACL calls)", false, false},
    [KW_OPERATION_NOT_ATTEMPTED -
        FIRST_CODE] = {"OPERATION_NOT_ATTEMPTED",
                       "Item of a batch not tried because another one failed", false, false},
    [KW_KAFKA_STORAGE_ERROR -
        FIRST_CODE] = {"KAFKA_STORAGE_ERROR", "Disk error on a log directory", true, true},
    [KW_LOG_DIR_NOT_FOUND -
        FIRST_CODE] = {"LOG_DIR_NOT_FOUND", "Log directory not known on this broker", false, false},
    [KW_SASL_AUTHENTICATION_FAILED -
        FIRST_CODE] = {"SASL_AUTHENTICATION_FAILED",
                       "Credentials rejected; text carried in the response", false, false},
    [KW_UNKNOWN_PRODUCER_ID -
        FIRST_CODE] = {"UNKNOWN_PRODUCER_ID",
                       "No state for that producer id (modern brokers rarely send it)", false,
                       false},
    [KW_REASSIGNMENT_IN_PROGRESS - FIRST_CODE] = {"REASSIGNMENT_IN_PROGRESS",
                                                  "Partition is already being reassigned", false,
                                                  false},
    [KW_DELEGATION_TOKEN_AUTH_DISABLED - FIRST_CODE] = {"DELEGATION_TOKEN_AUTH_DISABLED",
                                                        "Delegation tokens not enabled", false,
                                                        false},
    [KW_DELEGATION_TOKEN_NOT_FOUND -
        FIRST_CODE] = {"DELEGATION_TOKEN_NOT_FOUND", "Token unknown", false, false},
    [KW_DELEGATION_TOKEN_OWNER_MISMATCH - FIRST_CODE] = {"DELEGATION_TOKEN_OWNER_MISMATCH",
                                                         "Principal is not owner or renewer", false,
                                                         false},
    [KW_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED -
        FIRST_CODE] = {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
                       "Token calls not allowed on this kind of connection", false, false},
    [KW_DELEGATION_TOKEN_AUTHORIZATION_FAILED -
        FIRST_CODE] = {"DELEGATION_TOKEN_AUTHORIZATION_FAILED", "Caller lacks the ACL on the token",
                       false, false},
    [KW_DELEGATION_TOKEN_EXPIRED -
        FIRST_CODE] = {"DELEGATION_TOKEN_EXPIRED", "Token expired", false, false},
    [KW_INVALID_PRINCIPAL_TYPE -
        FIRST_CODE] = {"INVALID_PRINCIPAL_TYPE", "Principal type not supported", false, false},
    [KW_NON_EMPTY_GROUP - FIRST_CODE] = {"NON_EMPTY_GROUP", "Group has members", false, false},
    [KW_GROUP_ID_NOT_FOUND - FIRST_CODE] = {"GROUP_ID_NOT_FOUND", "Group id unknown", false, false},
    [KW_FETCH_SESSION_ID_NOT_FOUND -
        FIRST_CODE] = {"FETCH_SESSION_ID_NOT_FOUND",
                       "Fetch session id unknown (evicted or never made)", true, false},
    [KW_INVALID_FETCH_SESSION_EPOCH - FIRST_CODE] = {"INVALID_FETCH_SESSION_EPOCH",
                                                     "Fetch session epoch not the expected one",
                                                     true, false},
    [KW_LISTENER_NOT_FOUND -
        FIRST_CODE] = {"LISTENER_NOT_FOUND",
                       "Leader has no listener of the name on which metadata was asked", true,
                       true},
    [KW_TOPIC_DELETION_DISABLED -
        FIRST_CODE] = {"TOPIC_DELETION_DISABLED", "Delete.topic.enable is false", false, false},
    [KW_FENCED_LEADER_EPOCH -
        FIRST_CODE] = {"FENCED_LEADER_EPOCH",
                       "Leader epoch in the request older than the current one", true, true},
    [KW_UNKNOWN_LEADER_EPOCH -
        FIRST_CODE] = {"UNKNOWN_LEADER_EPOCH",
                       "Leader epoch in the request newer than the broker knows", true, false},
    [KW_UNSUPPORTED_COMPRESSION_TYPE -
        FIRST_CODE] = {"UNSUPPORTED_COMPRESSION_TYPE",
                       "Client version cannot read that compression (zstd before its Fetch/Produce "
                       "version)",
                       false, false},
    [KW_STALE_BROKER_EPOCH -
        FIRST_CODE] = {"STALE_BROKER_EPOCH", "Broker epoch changed (re-registered)", false, false},
    [KW_OFFSET_NOT_AVAILABLE -
        FIRST_CODE] = {"OFFSET_NOT_AVAILABLE",
                       "New leader has not yet raised its high watermark enough to answer", true,
                       false},
    [KW_MEMBER_ID_REQUIRED -
        FIRST_CODE] = {"MEMBER_ID_REQUIRED",
                       "First JoinGroup of a dynamic member: retry with the member id given in the "
                       "response",
                       false, false},
    [KW_PREFERRED_LEADER_NOT_AVAILABLE -
        FIRST_CODE] = {"PREFERRED_LEADER_NOT_AVAILABLE",
                       "Preferred leader not available for election", true, true},
    [KW_GROUP_MAX_SIZE_REACHED -
        FIRST_CODE] = {"GROUP_MAX_SIZE_REACHED", "Group.max.size reached", false, false},
    [KW_FENCED_INSTANCE_ID - FIRST_CODE] = {"FENCED_INSTANCE_ID",
                                            "Another member took over this group.instance.id",
                                            false, false},
    [KW_ELIGIBLE_LEADERS_NOT_AVAILABLE - FIRST_CODE] = {"ELIGIBLE_LEADERS_NOT_AVAILABLE",
                                                        "No eligible leader for the election", true,
                                                        true},
    [KW_ELECTION_NOT_NEEDED -
        FIRST_CODE] = {"ELECTION_NOT_NEEDED", "Leader already is the wanted one", true, true},
    [KW_NO_REASSIGNMENT_IN_PROGRESS -
        FIRST_CODE] = {"NO_REASSIGNMENT_IN_PROGRESS", "Nothing to cancel", false, false},
    [KW_GROUP_SUBSCRIBED_TO_TOPIC -
        FIRST_CODE] = {"GROUP_SUBSCRIBED_TO_TOPIC",
                       "Group still subscribes to the topic whose offsets should be deleted", false,
                       false},
    [KW_INVALID_RECORD - FIRST_CODE] = {"INVALID_RECORD",
                                        "A record failed validation; details per record index",
                                        false, false},
    [KW_UNSTABLE_OFFSET_COMMIT -
        FIRST_CODE] = {"UNSTABLE_OFFSET_COMMIT",
                       "Pending transactional offsets block a stable offset fetch; retry", true,
                       false},
    [KW_THROTTLING_QUOTA_EXCEEDED -
        FIRST_CODE] = {"THROTTLING_QUOTA_EXCEEDED",
                       "Controller mutation quota used up; retry after throttle time", true, false},
    [KW_PRODUCER_FENCED - FIRST_CODE] = {"PRODUCER_FENCED",
                                         "A newer producer with this transactional id exists",
                                         false, false},
    [KW_RESOURCE_NOT_FOUND -
        FIRST_CODE] = {"RESOURCE_NOT_FOUND", "Named resource does not exist", false, false},
    [KW_DUPLICATE_RESOURCE - FIRST_CODE] = {"DUPLICATE_RESOURCE",
                                            "Same resource named twice in one request", false,
                                            false},
    [KW_UNACCEPTABLE_CREDENTIAL -
        FIRST_CODE] = {"UNACCEPTABLE_CREDENTIAL",
                       "Credential not acceptable (e.g. iterations outside limits)", false, false},
    [KW_INCONSISTENT_VOTER_SET -
        FIRST_CODE] = {"INCONSISTENT_VOTER_SET",
                       "Sender or receiver is not a voter of the expected set", false, false},
    [KW_INVALID_UPDATE_VERSION -
        FIRST_CODE] = {"INVALID_UPDATE_VERSION", "Feature level update out of range", false, false},
    [KW_FEATURE_UPDATE_FAILED - FIRST_CODE] = {"FEATURE_UPDATE_FAILED",
                                               "Feature update failed for a server fault", false,
                                               false},
    [KW_PRINCIPAL_DESERIALIZATION_FAILURE - FIRST_CODE] = {"PRINCIPAL_DESERIALIZATION_FAILURE",
                                                           "Forwarded principal cannot be decoded",
                                                           false, false},
    [KW_SNAPSHOT_NOT_FOUND -
        FIRST_CODE] = {"SNAPSHOT_NOT_FOUND", "Snapshot id unknown", false, false},
    [KW_POSITION_OUT_OF_RANGE -
        FIRST_CODE] = {"POSITION_OUT_OF_RANGE", "Position outside the snapshot", false, false},
    [KW_UNKNOWN_TOPIC_ID - FIRST_CODE] = {"UNKNOWN_TOPIC_ID", "Topic id unknown here", true, true},
    [KW_DUPLICATE_BROKER_REGISTRATION - FIRST_CODE] = {"DUPLICATE_BROKER_REGISTRATION",
                                                       "Another live broker uses this id", false,
                                                       false},
    [KW_BROKER_ID_NOT_REGISTERED -
        FIRST_CODE] = {"BROKER_ID_NOT_REGISTERED", "Broker id not registered", false, false},
    [KW_INCONSISTENT_TOPIC_ID - FIRST_CODE] = {"INCONSISTENT_TOPIC_ID",
                                               "Topic id differs from that of the local log", true,
                                               true},
    [KW_INCONSISTENT_CLUSTER_ID -
        FIRST_CODE] = {"INCONSISTENT_CLUSTER_ID", "Cluster id differs", false, false},
    [KW_TRANSACTIONAL_ID_NOT_FOUND -
        FIRST_CODE] = {"TRANSACTIONAL_ID_NOT_FOUND", "Transactional id unknown", false, false},
    [KW_FETCH_SESSION_TOPIC_ID_ERROR - FIRST_CODE] = {"FETCH_SESSION_TOPIC_ID_ERROR",
                                                      "Session mixes topic ids and names", true,
                                                      false},
    [KW_INELIGIBLE_REPLICA -
        FIRST_CODE] = {"INELIGIBLE_REPLICA",
                       "Proposed in-sync set has a fenced, shutting-down or stale replica", false,
                       false},
    [KW_NEW_LEADER_ELECTED - FIRST_CODE] = {"NEW_LEADER_ELECTED",
                                            "In-sync change applied, but leadership moved at once",
                                            false, false},
    [KW_OFFSET_MOVED_TO_TIERED_STORAGE -
        FIRST_CODE] = {"OFFSET_MOVED_TO_TIERED_STORAGE",
                       "Offset is only in tiered storage (follower fetch)", false, false},
    [KW_FENCED_MEMBER_EPOCH -
        FIRST_CODE] = {"FENCED_MEMBER_EPOCH",
                       "KIP-848 member epoch fenced; drop partitions and rejoin", false, false},
    [KW_UNRELEASED_INSTANCE_ID - FIRST_CODE] = {"UNRELEASED_INSTANCE_ID",
                                                "Static instance id still held by another member",
                                                false, false},
    [KW_UNSUPPORTED_ASSIGNOR -
        FIRST_CODE] = {"UNSUPPORTED_ASSIGNOR", "Server-side assignor not supported", false, false},
    [KW_STALE_MEMBER_EPOCH -
        FIRST_CODE] = {"STALE_MEMBER_EPOCH",
                       "KIP-848 member epoch stale; refresh by heartbeat, then retry", false,
                       false},
    [KW_MISMATCHED_ENDPOINT_TYPE -
        FIRST_CODE] = {"MISMATCHED_ENDPOINT_TYPE",
                       "Request sent to broker where controller was meant, or reverse", false,
                       false},
    [KW_UNSUPPORTED_ENDPOINT_TYPE - FIRST_CODE] = {"UNSUPPORTED_ENDPOINT_TYPE",
                                                   "Endpoint type value not supported", false,
                                                   false},
    [KW_UNKNOWN_CONTROLLER_ID -
        FIRST_CODE] = {"UNKNOWN_CONTROLLER_ID", "Controller id unknown", false, false},
    [KW_UNKNOWN_SUBSCRIPTION_ID - FIRST_CODE] = {"UNKNOWN_SUBSCRIPTION_ID",
                                                 "Telemetry subscription id unknown or outdated",
                                                 false, false},
    [KW_TELEMETRY_TOO_LARGE - FIRST_CODE] = {"TELEMETRY_TOO_LARGE",
                                             "Telemetry payload above telemetry.max.bytes", false,
                                             false},
    [KW_INVALID_REGISTRATION - FIRST_CODE] = {"INVALID_REGISTRATION",
                                              "Broker registration refused by the controller",
                                              false, false},
    [KW_TRANSACTION_ABORTABLE -
        FIRST_CODE] = {"TRANSACTION_ABORTABLE",
                       "Transaction cannot go on, but can be aborted and the producer kept", false,
                       false},
    [KW_INVALID_RECORD_STATE -
        FIRST_CODE] = {"INVALID_RECORD_STATE",
                       "Share-group record is not in the state needed for this acknowledgement",
                       false, false},
    [KW_SHARE_SESSION_NOT_FOUND -
        FIRST_CODE] = {"SHARE_SESSION_NOT_FOUND", "Share session unknown", true, false},
    [KW_INVALID_SHARE_SESSION_EPOCH - FIRST_CODE] = {"INVALID_SHARE_SESSION_EPOCH",
                                                     "Share session epoch not the expected one",
                                                     true, false},
    [KW_FENCED_STATE_EPOCH -
        FIRST_CODE] = {"FENCED_STATE_EPOCH", "Share state epoch mismatch", false, false},
    [KW_INVALID_VOTER_KEY - FIRST_CODE] = {"INVALID_VOTER_KEY",
                                           "Voter key (id + directory id) is not this replica",
                                           false, false},
    [KW_DUPLICATE_VOTER - FIRST_CODE] = {"DUPLICATE_VOTER", "Voter already present", false, false},
    [KW_VOTER_NOT_FOUND - FIRST_CODE] = {"VOTER_NOT_FOUND", "Voter not present", false, false},
    [KW_INVALID_REGULAR_EXPRESSION -
        FIRST_CODE] = {"INVALID_REGULAR_EXPRESSION",
                       "Regular expression in a subscription not valid", false, false},
    [KW_REBOOTSTRAP_REQUIRED -
        FIRST_CODE] = {"REBOOTSTRAP_REQUIRED",
                       "Client metadata too stale; start again from bootstrap servers", false,
                       false},
    [KW_STREAMS_INVALID_TOPOLOGY -
        FIRST_CODE] = {"STREAMS_INVALID_TOPOLOGY", "Streams topology not valid", false, false},
    [KW_STREAMS_INVALID_TOPOLOGY_EPOCH - FIRST_CODE] = {"STREAMS_INVALID_TOPOLOGY_EPOCH",
                                                        "Streams topology epoch not valid", false,
                                                        false},
    [KW_STREAMS_TOPOLOGY_FENCED -
        FIRST_CODE] = {"STREAMS_TOPOLOGY_FENCED", "Streams topology epoch outdated", false, false},
    [KW_SHARE_SESSION_LIMIT_REACHED - FIRST_CODE] = {"SHARE_SESSION_LIMIT_REACHED",
                                                     "No room for more share sessions", true,
                                                     false},
    [KW_GROUP_DELETION_FAILED - FIRST_CODE] = {"GROUP_DELETION_FAILED",
                                               "Group deletion failed; see per-group message",
                                               false, false},
    [KW_STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED -
        FIRST_CODE] = {"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED",
                       "Topology description not accepted", false, false},
    [KW_CONTROLLER_ID_NOT_REGISTERED - FIRST_CODE] = {"CONTROLLER_ID_NOT_REGISTERED",
                                                      "Controller id not registered", false, false},
};

static const struct error_row *find_row(int16_t code)
{
    static const struct error_row unknown = {"UNKNOWN_ERROR_CODE", "Unknown error code", false,
                                             false};
    size_t count = sizeof(error_rows) / sizeof(error_rows[0]);
    if (code < FIRST_CODE || (size_t)(code - FIRST_CODE) >= count ||
        error_rows[code - FIRST_CODE].name == NULL)
        return &unknown;
    return &error_rows[code - FIRST_CODE];
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
