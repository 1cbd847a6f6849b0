//! The locks by which reads learn of writes that are not committed yet (ADR 28). They last as long
//! as their transaction, whatever becomes of the instance.
//!
//! A write locks its product, and the catalogue together with other writes. What is read for the
//! cache is read under a lock that excludes them, but never waits for one. Products are the class
//! 7001, the catalogue is 7002.

/// Locks the product `$1` for a write, after the writes before it. The timeout bounds how long an
/// instance that hangs within the transaction can hold up others.
pub(in crate::store) const WRITE: &str = "SELECT set_config('idle_in_transaction_session_timeout', '2s', true), \
                                pg_advisory_xact_lock_shared(7002, 0), \
                                pg_advisory_xact_lock(7001, hashtext($1))";
/// Locks the products of the list `$1`, in one order, for one write of them all.
pub(in crate::store) const WRITE_MANY: &str = "SELECT set_config('idle_in_transaction_session_timeout', '2s', true), \
                                pg_advisory_xact_lock_shared(7002, 0), \
                                (SELECT count(pg_advisory_xact_lock(7001, hash)) FROM \
                                 (SELECT DISTINCT hashtext(id) AS hash FROM unnest($1) AS g (id) \
                                  ORDER BY hash) AS hashes)";
/// Whether no write of the product `$1` is in progress, or begins before the end of this
/// transaction.
pub(in crate::store) const TRY_PRODUCT: &str =
    "SELECT pg_try_advisory_xact_lock_shared(7001, hashtext($1))";
/// The same for all products. Of two pages at a time one is not cached.
pub(in crate::store) const TRY_PAGE: &str = "SELECT pg_try_advisory_xact_lock(7002, 0)";
