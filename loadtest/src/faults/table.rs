//! What clients see of each fault: the runbook's table, with which `loadtest faults` compares the
//! system.

use std::time::Duration;

use proto_contracts::ErrorCode;

pub use super::case::{Case, Expected, Fault, Outcome, Part, Request, Row};

const DETECTED: Duration = Duration::from_secs(4);
/// Longer than services bridge an outage of a database.
const LONG: Duration = Duration::from_secs(9);

const NOTHING: &str = "nothing failed";
const YES: &str = "yes";
const SLOWLY: &str = "slowly: about 0.5 s for each step";
const WITH_ITS_KEY: &str = "yes, with the same key";
const YES_BY_KEY: &str = "yes; a write with the same key";
const UNCHANGED: &str = "yes, nothing was changed";
const UNKNOWN: &str = "no: the outcome is unknown";

const STATELESS: &[Request] =
    &[Request::Stateless, Request::Products, Request::Reserve, Request::Upload, Request::Download];
const FILES: &[Request] = &[Request::Upload, Request::Download];
const NEED_POSTGRES: &[Request] =
    &[Request::Products, Request::Reserve, Request::Upload, Request::Download];
const WRITES: &[Request] = &[Request::Keyed, Request::Unkeyed];
const STATEFUL: &[Request] = &[Request::Read, Request::Keyed, Request::Unkeyed];

const fn served(after: &'static str) -> Expected {
    Expected { outcomes: &[Outcome::Served], after }
}

const fn all(requests: &'static [Request], after: &'static str) -> Row {
    Row { requests, at_first: served(after), then: served("as usual"), repeat: NOTHING }
}

const fn slow(requests: &'static [Request], how: &'static str) -> Row {
    Row { requests, at_first: served(how), then: served(how), repeat: NOTHING }
}

/// During an outage of Redis, a home serves its hot sessions from memory for a while.
const fn from_memory(after: &'static str) -> Row {
    let expected = Expected { outcomes: SERVED_OR_AWAY, after };
    Row { requests: &[Request::Read], at_first: expected, then: expected, repeat: YES }
}

const UPSTREAM_FAILED: &[Outcome] = &[Outcome::Problem(ErrorCode::UpstreamFailed)];
const UPSTREAM_TIMEOUT: &[Outcome] = &[Outcome::Problem(ErrorCode::UpstreamTimeout)];
const SESSIONS_AWAY: &[Outcome] = &[Outcome::Problem(ErrorCode::SessionStoreUnavailable)];
const SERVED_OR_AWAY: &[Outcome] =
    &[Outcome::Served, Outcome::Problem(ErrorCode::SessionStoreUnavailable)];
const SERVED_AWAY_OR_LATE: &[Outcome] = &[
    Outcome::Served,
    Outcome::Problem(ErrorCode::SessionStoreUnavailable),
    Outcome::Problem(ErrorCode::UpstreamTimeout),
];
const CACHE_AWAY: &[Outcome] = &[Outcome::Problem(ErrorCode::CacheUnavailable)];
const SERVED_OR_CACHE_AWAY: &[Outcome] =
    &[Outcome::Served, Outcome::Problem(ErrorCode::CacheUnavailable)];
const FILES_AWAY: &[Outcome] = &[Outcome::Problem(ErrorCode::FileStorageUnavailable)];
const DATABASE_AWAY: &[Outcome] = &[Outcome::Problem(ErrorCode::DatabaseUnavailable)];

/// Every case, in the order of the table.
pub const CASES: &[Case] = &[
    Case {
        part: Part::StatefulInstance,
        fault: Fault::Killed,
        detected_after: DETECTED,
        rows: &[all(STATEFUL, "within 1.5 s")],
    },
    Case {
        part: Part::StatefulInstance,
        fault: Fault::Hung,
        detected_after: DETECTED,
        rows: &[
            Row {
                requests: &[Request::Read, Request::Keyed],
                at_first: served(
                    "within 4 s; beyond the retry budget, 504 `upstream_timeout` after 15 s",
                ),
                then: served("as usual"),
                repeat: WITH_ITS_KEY,
            },
            Row {
                requests: &[Request::Unkeyed],
                at_first: Expected { outcomes: UPSTREAM_TIMEOUT, after: "after 15 s" },
                then: served("as usual"),
                repeat: UNKNOWN,
            },
        ],
    },
    Case {
        part: Part::StatefulInstance,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(STATEFUL, SLOWLY)],
    },
    Case {
        part: Part::StatelessInstance,
        fault: Fault::Killed,
        detected_after: DETECTED,
        rows: &[all(STATELESS, "at once")],
    },
    Case {
        part: Part::StatelessInstance,
        fault: Fault::Hung,
        detected_after: DETECTED,
        rows: &[all(STATELESS, "within 2.5 s")],
    },
    Case {
        part: Part::StatelessInstance,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(STATELESS, SLOWLY)],
    },
    Case {
        part: Part::OnlyGateway,
        fault: Fault::Killed,
        detected_after: DETECTED,
        rows: &[
            Row {
                requests: &[
                    Request::Stateless,
                    Request::Products,
                    Request::Read,
                    Request::Download,
                ],
                at_first: Expected { outcomes: UPSTREAM_FAILED, after: "at once" },
                then: Expected { outcomes: UPSTREAM_FAILED, after: "at once" },
                repeat: YES,
            },
            Row {
                requests: &[Request::Keyed, Request::Unkeyed, Request::Reserve, Request::Upload],
                at_first: Expected { outcomes: UPSTREAM_FAILED, after: "at once" },
                then: Expected { outcomes: UPSTREAM_FAILED, after: "at once" },
                repeat: "with the same key; without one the outcome is unknown",
            },
        ],
    },
    Case {
        part: Part::OnlyGateway,
        fault: Fault::Hung,
        detected_after: DETECTED,
        rows: &[Row {
            requests: &Request::ALL,
            at_first: Expected {
                outcomes: &[Outcome::NoResponse],
                after: "504 `upstream_timeout` after 60 s",
            },
            then: Expected {
                outcomes: &[Outcome::NoResponse],
                after: "504 `upstream_timeout` after 60 s",
            },
            repeat: "a GET, and a write with the same key",
        }],
    },
    Case {
        part: Part::OnlyGateway,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(&Request::ALL, SLOWLY)],
    },
    Case {
        part: Part::Nginx,
        fault: Fault::Killed,
        detected_after: DETECTED,
        rows: &[Row {
            requests: &Request::ALL,
            at_first: Expected { outcomes: &[Outcome::NoConnection], after: "at once" },
            then: Expected { outcomes: &[Outcome::NoConnection], after: "at once" },
            repeat: "yes, nothing was sent",
        }],
    },
    Case {
        part: Part::Nginx,
        fault: Fault::Hung,
        detected_after: DETECTED,
        rows: &[Row {
            requests: &Request::ALL,
            at_first: Expected {
                outcomes: &[Outcome::NoResponse],
                after: "for as long as it hangs",
            },
            then: Expected { outcomes: &[Outcome::NoResponse], after: "for as long as it hangs" },
            repeat: "a GET, and a write with the same key",
        }],
    },
    Case {
        part: Part::Nginx,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(&Request::ALL, SLOWLY)],
    },
    Case {
        part: Part::RedisSessions,
        fault: Fault::Killed,
        detected_after: LONG,
        rows: &[
            from_memory("at once"),
            Row {
                requests: WRITES,
                at_first: Expected { outcomes: SESSIONS_AWAY, after: "after 8 s" },
                then: Expected { outcomes: SESSIONS_AWAY, after: "at once" },
                repeat: WITH_ITS_KEY,
            },
        ],
    },
    Case {
        part: Part::RedisSessions,
        fault: Fault::Hung,
        detected_after: LONG,
        rows: &[
            Row {
                requests: &[Request::Read],
                // A request that was retried at the last instance, and waits there until its
                // deadline, ends with 504.
                at_first: Expected {
                    outcomes: SERVED_AWAY_OR_LATE,
                    after: "within 4 s; on a busy machine within 18 s",
                },
                then: Expected { outcomes: SERVED_OR_AWAY, after: "within 4 s" },
                repeat: YES,
            },
            Row {
                requests: WRITES,
                at_first: Expected {
                    outcomes: SESSIONS_AWAY,
                    after: "after 1 s if it was sent and may still be executed; within 9 s if not",
                },
                then: Expected { outcomes: SESSIONS_AWAY, after: "within 9 s" },
                repeat: WITH_ITS_KEY,
            },
        ],
    },
    Case {
        part: Part::RedisSessions,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(STATEFUL, SLOWLY)],
    },
    Case {
        part: Part::RedisSessions,
        fault: Fault::Full,
        detected_after: DETECTED,
        rows: &[
            from_memory("at once"),
            Row {
                requests: WRITES,
                at_first: Expected { outcomes: SESSIONS_AWAY, after: "at once" },
                then: Expected { outcomes: SESSIONS_AWAY, after: "at once" },
                repeat: "yes, nothing was executed",
            },
        ],
    },
    Case {
        part: Part::RedisCache,
        fault: Fault::Killed,
        detected_after: LONG,
        rows: &[
            slow(&[Request::Products], "at once, from PostgreSQL"),
            Row {
                requests: &[Request::Reserve],
                at_first: Expected { outcomes: CACHE_AWAY, after: "after 8 s" },
                then: Expected { outcomes: CACHE_AWAY, after: "at once" },
                repeat: UNCHANGED,
            },
            all(FILES, "as usual"),
        ],
    },
    Case {
        part: Part::RedisCache,
        fault: Fault::Hung,
        detected_after: LONG,
        rows: &[
            slow(&[Request::Products], "within 0.3 s, from PostgreSQL"),
            Row {
                requests: &[Request::Reserve],
                at_first: Expected { outcomes: CACHE_AWAY, after: "within 9 s" },
                then: Expected { outcomes: CACHE_AWAY, after: "within 2 s" },
                repeat: UNCHANGED,
            },
            all(FILES, "as usual"),
        ],
    },
    Case {
        part: Part::RedisCache,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[
            slow(&[Request::Products], "within 0.3 s, from PostgreSQL"),
            Row {
                requests: &[Request::Reserve],
                at_first: Expected { outcomes: SERVED_OR_CACHE_AWAY, after: "within 9 s" },
                then: Expected { outcomes: SERVED_OR_CACHE_AWAY, after: "within 9 s" },
                repeat: UNCHANGED,
            },
            all(FILES, "as usual"),
        ],
    },
    Case {
        part: Part::RedisCache,
        fault: Fault::Full,
        detected_after: DETECTED,
        rows: &[all(&[Request::Products, Request::Reserve], "at once: it evicts")],
    },
    Case {
        part: Part::Postgres,
        fault: Fault::Killed,
        detected_after: LONG,
        rows: &[
            Row {
                requests: &[Request::Products, Request::Reserve, Request::Upload],
                at_first: Expected { outcomes: DATABASE_AWAY, after: "after 8 s" },
                then: Expected { outcomes: DATABASE_AWAY, after: "at once" },
                repeat: YES_BY_KEY,
            },
            Row {
                requests: &[Request::Download],
                at_first: Expected { outcomes: DATABASE_AWAY, after: "at once" },
                then: Expected { outcomes: DATABASE_AWAY, after: "at once" },
                repeat: YES,
            },
        ],
    },
    Case {
        part: Part::Postgres,
        fault: Fault::Hung,
        detected_after: LONG,
        rows: &[
            Row {
                requests: &[Request::Products, Request::Reserve, Request::Upload],
                at_first: Expected { outcomes: DATABASE_AWAY, after: "within 12 s" },
                then: Expected { outcomes: DATABASE_AWAY, after: "within 2 s" },
                repeat: YES_BY_KEY,
            },
            Row {
                requests: &[Request::Download],
                at_first: Expected { outcomes: DATABASE_AWAY, after: "within 2 s" },
                then: Expected { outcomes: DATABASE_AWAY, after: "within 2 s" },
                repeat: YES,
            },
        ],
    },
    Case {
        part: Part::Postgres,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(NEED_POSTGRES, SLOWLY)],
    },
    Case {
        part: Part::Files,
        fault: Fault::Unusable,
        detected_after: DETECTED,
        rows: &[
            Row {
                requests: FILES,
                at_first: Expected { outcomes: FILES_AWAY, after: "at once" },
                then: Expected { outcomes: FILES_AWAY, after: "at once" },
                repeat: YES_BY_KEY,
            },
            all(&[Request::Products, Request::Reserve], "as usual"),
        ],
    },
    Case {
        part: Part::Files,
        fault: Fault::Full,
        detected_after: DETECTED,
        rows: &[
            Row {
                requests: &[Request::Upload],
                at_first: Expected { outcomes: FILES_AWAY, after: "at once" },
                then: Expected { outcomes: FILES_AWAY, after: "at once" },
                repeat: UNCHANGED,
            },
            all(&[Request::Products, Request::Reserve, Request::Download], "as usual"),
        ],
    },
    Case {
        part: Part::OneOfTwoGateways,
        fault: Fault::Killed,
        detected_after: DETECTED,
        rows: &[all(
            &Request::ALL,
            "at once; 502 `upstream_failed` for a POST or PATCH in flight there",
        )],
    },
    Case {
        part: Part::OneOfTwoGateways,
        fault: Fault::Hung,
        detected_after: DETECTED,
        rows: &[Row {
            requests: &Request::ALL,
            at_first: Expected {
                outcomes: &[Outcome::Served, Outcome::NoResponse],
                after: "every other request; then a write gets 504 `upstream_timeout` after 60 s, \
                        and a GET is retried at the other gateway",
            },
            then: Expected {
                outcomes: &[Outcome::Served, Outcome::NoResponse],
                after: "until it is killed",
            },
            repeat: "a GET, and a write with the same key",
        }],
    },
    Case {
        part: Part::OneOfTwoGateways,
        fault: Fault::Slow,
        detected_after: DETECTED,
        rows: &[slow(&Request::ALL, "slowly, every other request")],
    },
];

/// The names of all cases.
pub fn names() -> Vec<String> {
    CASES.iter().map(Case::name).collect()
}
