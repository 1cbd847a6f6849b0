"""Which alerts each cause must bring about, and which not."""

from .causes import (
    a_canary_fails,
    a_password_is_guessed,
    a_refresh_token_is_reused,
    address_of_the_other_pool,
    all_is_well_with_a_user,
    broken_configuration,
    component,
    connections_are_held,
    few_descriptors,
    nobody_takes_revocations,
    nothing,
    one_responds_500,
    round_robin,
    sessions_are_flushed,
    state_file_on_a_full_disk,
    unresolvable_discovery,
    valid_configuration,
    whole_pool,
)
from .data import (
    a_quota_is_used_up,
    content_has_no_row,
    files_are_uploaded,
    products_are_changed,
    products_are_changed_without_the_cache,
    uploads_die,
)

# Alerts that no local stack can cause, and why.
UNTESTED = {
    "CertificateExpires": "its series comes from certificate-expiry.sh through the node exporter",
    "CertificateExpiresSoon": "its series comes from certificate-expiry.sh through the node exporter",
    "BackupTooOld": "its series comes from backup.sh through the node exporter",
    "BackupLacksFiles": "its series comes from backup.sh through the node exporter",
    "DrillTooOld": "its series comes from drill.sh through the node exporter",
    "WalNotArchived": "it needs a PostgreSQL that archives",
    "DiskFull": "it needs the node exporter, and the machine's own disk",
    "DiskFillsUp": "it needs the node exporter, and an hour",
    "MemoryLow": "it needs the machine's memory",
    "RedisMemoryHigh": "it needs a limit that local stacks do not set",
    "RedisMemoryFragmented": "it needs half an hour",
    "CacheTooSmall": "it needs half an hour",
    "RedisEvictsSessions": "it needs a misconfigured Redis",
    "RedisPersistenceBroken": "it needs a Redis that runs without its file; on a full disk it exits",
    "RedisReplicaLags": "it needs replicas: make compose-test-ha",
    "PostgresHasNoPrimary": "it needs Patroni: make postgres-failover-test has no primary for seconds only",
    "PostgresNotSynchronous": "it needs Patroni: make compose-test-ha",
    "PostgresReplicaLags": "it needs replicas: make compose-test-ha",
    "ReadReplicaAway": "it needs a standby: infra/local/tests/e2e/replica.rs takes it away",
    "ReadReplicaLags": "it needs a standby: infra/local/tests/e2e/replica.rs pauses it",
    "PostgresConnectionsHigh": "it needs more connections than the services open",
    "GatewaysDisagree": "it needs two gateways for a quarter of an hour",
    "RequestsShed": "it needs more load than fits beside the tests; gateway/tests/it/overload.rs causes it",
    "RetriesRefused": "it needs more load than fits beside the tests; gateway/tests/it/retries.rs causes it",
    "LatencyHighStateless": "a p99 beside the tests proves nothing",
    "LatencyHighStateful": "a p99 beside the tests proves nothing",
    "HandoverSlow": "its p99 needs more handovers than this load causes",
    "PasswordQueueLong": "it needs more logins than fit beside the tests; the tests of passwords.rs fill the queue",
    "AuditPartitionsUnchecked": "it needs three hours",
    "FilesNotSwept": "it needs twenty minutes",
    "UploadsFail": "no upload is part of the load",
    "TokenKeysOld": "it needs three minutes without a stateless instance",
    "ConnectionPoolExhausted": "it needs more concurrent requests than this load has",
}

BURNS = "AvailabilityBurnsFast AvailabilityBurnsSlowly AvailabilityBurnsAway ErrorsHigh"
# Cause: how to bring it about, the alerts that must fire, and those that must not.
SCENARIOS = {
    "all is well": (nothing, "", "all"),
    "an instance of the stateful pool is killed": (
        lambda stack: component(stack, "stateful-1"),
        "InstanceDown AffinityBroken TargetDown",
        f"InstanceEjected InstanceRefused PoolDown GatewayDown AffinityOff SessionLost SessionStoreUnavailable ReadsUnverified {BURNS}",
    ),
    "an instance of the other service is in the pool": (
        address_of_the_other_pool,
        "InstanceRefused",
        f"InstanceDown InstanceEjected PoolDown TargetDown AffinityBroken SessionLost ConfigReloadFailed {BURNS}",
    ),
    "a whole pool is killed": (
        whole_pool,
        f"PoolDown InstanceDown {BURNS}",
        "InstanceEjected InstanceRefused GatewayDown AffinityBroken AffinityOff SessionStoreUnavailable LeaseNotHeld",
    ),
    "one instance responds 500": (
        one_responds_500,
        "InstanceEjected",
        "InstanceDown InstanceRefused PoolDown TargetDown AffinityBroken CanaryPutBack",
    ),
    "a canary fails": (
        a_canary_fails,
        "CanaryPutBack",
        "InstanceDown InstanceRefused PoolDown TargetDown AffinityBroken",
    ),
    "the strategy is switched": (
        round_robin,
        "AffinityOff",
        f"AffinityBroken PoolDown SessionLost ReadsUnverified StateFileNotWritten ConfigReloadFailed {BURNS}",
    ),
    "the sessions' Redis is killed": (
        lambda stack: component(stack, "redis-sessions"),
        f"RedisDown SessionStoreUnavailable ReadsUnverified LeaseNotHeld {BURNS}",
        "PostgresDown NginxDown PoolDown InstanceEjected InstanceDown SessionLost TargetDown AffinityBroken AffinityOff",
    ),
    "the cache's Redis is killed": (
        lambda stack: component(stack, "redis-cache"),
        "RedisDown",
        f"PostgresDown NginxDown PoolDown InstanceEjected SessionStoreUnavailable ReadsUnverified LeaseNotHeld SessionLost {BURNS}",
    ),
    "PostgreSQL is killed": (
        lambda stack: component(stack, "postgres"),
        "PostgresDown",
        "RedisDown NginxDown PoolDown InstanceEjected TargetDown SessionStoreUnavailable",
    ),
    "Nginx is killed": (
        lambda stack: component(stack, "nginx"),
        "NginxDown",
        f"RedisDown PostgresDown PoolDown GatewayDown TargetDown {BURNS}",
    ),
    "the sessions are flushed": (
        sessions_are_flushed,
        "SessionLost",
        "SessionStoreUnavailable PoolDown InstanceEjected AffinityBroken",
    ),
    "the gateway is killed": (
        lambda stack: component(stack, "gateway"),
        "GatewayDown",
        "PoolDown InstanceDown TargetDown LeaseNotHeld DiscoveryFailing ConnectionsRefused",
    ),
    "the state file cannot be written": (
        state_file_on_a_full_disk,
        "StateFileNotWritten",
        f"ConfigReloadFailed AffinityOff GatewayDown FileDescriptorsLow DiscoveryFailing {BURNS}",
    ),
    "an invalid configuration is loaded": (
        broken_configuration,
        "ConfigReloadFailed",
        "StateFileNotWritten DiscoveryFailing GatewayDown FileDescriptorsLow",
    ),
    "a valid configuration is loaded": (valid_configuration, "", "ConfigReloadFailed StateFileNotWritten"),
    "a DNS name does not resolve": (
        unresolvable_discovery,
        "DiscoveryFailing",
        "PoolDown InstanceDown ConfigReloadFailed TargetDown",
    ),
    "a process has few descriptors left": (
        few_descriptors,
        "FileDescriptorsLow",
        "InstanceEjected PoolDown StateFileNotWritten ConnectionsRefused",
    ),
    "one address holds all its connections": (
        connections_are_held,
        "ConnectionsRefused",
        "FileDescriptorsLow PoolDown InstanceDown InstanceEjected GatewayDown ConfigReloadFailed StateFileNotWritten",
    ),
    "a password is guessed": (
        a_password_is_guessed,
        "LoginsRefused",
        f"RefreshTokenReused RevocationsLate ConnectionsRefused InstanceEjected PoolDown {BURNS}",
    ),
    "a refresh token is used after its successor": (
        a_refresh_token_is_reused,
        "RefreshTokenReused",
        f"LoginsRefused SessionLost InstanceEjected {BURNS}",
    ),
    "revocations cannot be delivered": (
        nobody_takes_revocations,
        "RevocationsLate PoolDown InstanceDown",
        "LoginsRefused RefreshTokenReused InstanceEjected InstanceRefused GatewayDown",
    ),
    "products are changed without the cache": (
        products_are_changed_without_the_cache,
        "ProductWritesRefused RedisDown",
        "FilesLeftBehind ContentWithoutRow QuotasExceeded PostgresDown PoolDown SessionStoreUnavailable LeaseNotHeld",
    ),
    "products are changed": (products_are_changed, "", f"ProductWritesRefused RedisDown {BURNS}"),
    "uploads die with an instance": (
        uploads_die,
        "FilesLeftBehind",
        f"ContentWithoutRow QuotasExceeded ProductWritesRefused PoolDown {BURNS}",
    ),
    "content has no row": (
        content_has_no_row,
        "ContentWithoutRow",
        f"FilesLeftBehind QuotasExceeded ProductWritesRefused {BURNS}",
    ),
    "a quota is used up": (
        a_quota_is_used_up,
        "QuotasExceeded",
        f"FilesLeftBehind ContentWithoutRow ProductWritesRefused {BURNS}",
    ),
    "files are uploaded": (files_are_uploaded, "", f"FilesLeftBehind ContentWithoutRow QuotasExceeded {BURNS}"),
    "all is well with a user": (all_is_well_with_a_user, "", "RefreshTokenReused LoginsRefused RevocationsLate"),
}
