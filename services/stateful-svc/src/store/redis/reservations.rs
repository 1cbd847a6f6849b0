//! The ids of sessions that are created under a key: reserved before the session is created.
//!
//! Of a cluster, reservation and session may be on different nodes, so these are two steps. Who repeats a create that
//! ended between them finds the reservation and goes on from there.

use service_kit::outage::RetryDeadline;

use super::fields::{damaged, millis, reservation_key};
use super::{Acknowledged, RedisStore};
use crate::domain::digest::ShortDigest;
use crate::domain::session_ids::SealedId;
use crate::store::StoreFault;

impl RedisStore {
    pub(in crate::store) async fn reserve(&self, name: ShortDigest, id: SealedId) -> Result<SealedId, StoreFault> {
        let key = reservation_key(name);
        let mut call = self.scripts.reserve_id.prepare_invoke();
        call.key(&key).arg(id.to_string()).arg(millis(self.lifetime.reservation()));
        let Acknowledged { answer, is_acked } =
            self.send_patiently::<String>(&key, &mut call, self.acks, RetryDeadline::start()).await?;
        if !is_acked {
            let fault = StoreFault::Unfinished("too few replicas have acknowledged the reserved id".into());
            return Err(self.noted(fault));
        }
        answer.parse().map_err(damaged)
    }
}
