//! Reservations of the ids of sessions that are created with an idempotency key.
//!
//! On a Cluster, reservation and session may be on different nodes, so these are two steps. A
//! repetition of a create that failed between them finds the reservation and continues from there.

use service_kit::outage::RetryDeadline;

use super::fields::{damaged, millis, reservation_key};
use super::{Acknowledged, RedisStore};
use crate::domain::digest::ShortDigest;
use crate::domain::session_ids::SealedId;
use crate::store::StoreFault;

impl RedisStore {
    pub(in crate::store) async fn reserve(
        &self,
        name: ShortDigest,
        id: SealedId,
    ) -> Result<SealedId, StoreFault> {
        let key = reservation_key(name);
        let mut call = self.scripts.reserve_id.prepare_invoke();
        call.key(&key).arg(id.to_string()).arg(millis(self.lifetime.reservation()));
        let Acknowledged { response, is_acked } = self
            .send_with_retries::<String>(&key, &mut call, self.acks, RetryDeadline::start())
            .await?;
        if !is_acked {
            let fault =
                StoreFault::Unfinished("too few replicas have acknowledged the reserved id".into());
            return Err(self.logged(fault));
        }
        response.parse().map_err(damaged)
    }
}
