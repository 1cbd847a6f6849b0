//! `POST /files`: a file on its way into the store.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderValue, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use proto_contracts::{ErrorCode, IdempotencyKey};
use ring::digest;
use service_kit::body::NoQuery;
use service_kit::idempotency::{idempotency_key, set_replayed};
use service_kit::problem::ApiError;
use service_kit::response;
use service_kit::telemetry::chain;
use service_kit::tokens::invalid_token;

use super::incoming::{Body, Incoming};
use super::state::{FilesState, content_failed, store_failed, to_wire};
use crate::domain::audit::Initiator;
use crate::domain::file::content_type::{self, content_type};
use crate::domain::file::{FileName, Sha256, StoredFile};
use crate::domain::keyed::Keyed;
use crate::domain::outcome::Outcome;
use crate::issuer::Identity;
use crate::routes::identity::CalledBy;
use crate::routes::initiator::RequestedBy;
use crate::store::files::{
    BlobWriter, FileError, Reservation, ReserveError, UploadOutcome, Uploaded,
};
use crate::store::idempotency::Kept;

/// The longest silence of a client, in leases: an upload must not lose its lease meanwhile.
const LONGEST_SILENCE: f64 = 0.5;
/// When a lease is renewed, in leases.
const RENEWAL: f64 = 0.3;
/// How often a file is added whose content has arrived, and the pause between. With the timeout of a
/// query, they take less than the gateway waits for a response, 15 s.
const ATTEMPTS: u32 = 4;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);
/// Of a rejected upload, what is read beyond the limit of files: the framing of a form.
const FRAMING: u64 = 1024 * 1024;

pub(in crate::routes) async fn upload(
    _: NoQuery,
    request: HttpRequest,
    payload: web::Payload,
    CalledBy(caller): CalledBy,
    RequestedBy(by): RequestedBy,
    state: web::Data<FilesState>,
) -> Result<HttpResponse, ApiError> {
    let _in_flight = state.metrics.begin();
    let body = Body::new(payload);
    let received = Upload { state: &state, caller: &caller, by }.receive(&request, &body).await;
    state.metrics.ended(match &received {
        Ok(Received { is_replayed: false, .. }) => UploadOutcome::Stored,
        Ok(Received { is_replayed: true, .. }) => UploadOutcome::Replayed,
        Err(error) => outcome(error.code()),
    });
    let Received { file, is_replayed } = match received {
        Ok(received) => received,
        Err(error) => {
            body.discard(state.files.limits().file + FRAMING).await;
            return Err(error);
        }
    };
    let location = HeaderValue::try_from(format!("/api/v1/files/{}", file.id));
    let mut response = response::no_store(StatusCode::CREATED, &to_wire(file))?;
    response.headers_mut().insert(LOCATION, location.map_err(ApiError::internal)?);
    if is_replayed {
        set_replayed(&mut response);
    }
    Ok(response)
}

fn outcome(code: ErrorCode) -> UploadOutcome {
    match code {
        ErrorCode::FileQuotaExceeded => UploadOutcome::OverQuota,
        ErrorCode::BadRequest | ErrorCode::RequestTimeout => UploadOutcome::BrokenOff,
        code if code.status() < 500 => UploadOutcome::Rejected,
        _ => UploadOutcome::Failed,
    }
}

/// A file that the caller has now.
struct Received {
    file: StoredFile,
    /// Whether an earlier request with the same `Idempotency-Key` brought it.
    is_replayed: bool,
}

/// What is known of content that has arrived.
struct Arrived {
    size: u64,
    sha256: Sha256,
    content_type: &'static str,
    /// When its lease was taken, or last renewed.
    leased: Instant,
}

struct Upload<'a> {
    state: &'a FilesState,
    caller: &'a Identity,
    by: Initiator,
}

impl Upload<'_> {
    async fn receive(self, request: &HttpRequest, body: &Body) -> Result<Received, ApiError> {
        let key = idempotency_key(request.headers())?;
        let patience = self.state.files.lease().mul_f64(LONGEST_SILENCE);
        let mut incoming = Incoming::open(request, body.clone(), patience).await?;
        let limit = self.state.files.limits().file;
        let is_plain = incoming.is_plain();
        if is_plain && incoming.declared.is_some_and(|declared| declared > limit) {
            return Err(self.too_large());
        }
        if let Some(key) = key {
            // Whatever its content was: a repetition takes no space.
            let keyed = self.keyed(key, &incoming.name, None);
            if self.state.repetitions.keys.find(&keyed).await.map_err(store_failed)?.is_some() {
                let arrived = self.arrive(&mut incoming, None, limit).await?;
                let keyed = self.keyed(key, &incoming.name, Some(&arrived.sha256));
                let replayed = self.replay(&keyed).await?;
                return replayed.ok_or_else(|| {
                    let detail = "The first request with this key is being forgotten; repeat it.";
                    ApiError::new(ErrorCode::DatabaseUnavailable, detail)
                });
            }
        }
        let reserved = self.state.files.reserve(&self.caller.user, incoming.declared).await;
        let reserved = reserved.map_err(|error| self.not_reserved(error))?;
        let stored = self.store(&mut incoming, reserved, key).await;
        if let Err(Failure { is_over: true, .. }) = &stored {
            self.give_up(reserved).await;
        }
        stored.map_err(|failure| failure.error)
    }

    /// Writes the content, then adds the file.
    async fn store(
        &self,
        incoming: &mut Incoming,
        reserved: Reservation,
        key: Option<IdempotencyKey>,
    ) -> Result<Received, Failure> {
        let FilesState { blobs, metrics, .. } = self.state;
        let mut writer = blobs.write(reserved.id);
        let arrived =
            match self.arrive(incoming, Some((&mut writer, reserved)), reserved.bytes).await {
                Ok(arrived) => arrived,
                Err(error) => {
                    if let Err(error) = writer.abort().await {
                        tracing::debug!(cause = chain(&error), "cannot abort an upload");
                    }
                    return Err(error.into());
                }
            };
        writer.complete().await.map_err(content_failed)?;
        let Arrived { size, sha256, content_type, leased } = arrived;
        let name = incoming.name.clone();
        let keyed = key.map(|key| self.keyed(key, &name, Some(&sha256)));
        let by = Initiator { keyed, ..self.by.clone() };
        let uploaded = Uploaded { id: reserved.id, name, size, sha256, content_type };
        let error = match self.add(&uploaded, &by).await {
            Ok(file) => {
                metrics.stored(size);
                return Ok(Received { file, is_replayed: false });
            }
            Err(error) => error,
        };
        // After a lost commit the file may be there. If it is not, the sweeper deletes its content.
        let is_over = !matches!(&error, FileError::Store(error) if error.is_outage());
        // Another request with the key may have been executed meanwhile. Or the result of our own
        // commit was lost.
        if let Some(keyed) = &by.keyed {
            match self.replay(keyed).await {
                Ok(Some(received)) => {
                    if received.file.id != reserved.id {
                        self.give_up(reserved).await;
                    }
                    return Ok(received);
                }
                Err(error) => return Err(Failure { error, is_over }),
                Ok(None) => {}
            }
        }
        let error = match error {
            // Its reservation need not survive a crash of PostgreSQL.
            FileError::NotFound if leased.elapsed() < self.state.files.lease() => {
                let detail = "The upload's reservation is gone, as after a crash of the database, \
                              and nothing was stored; repeat it.";
                ApiError::new(ErrorCode::DatabaseUnavailable, detail)
            }
            FileError::NotFound => {
                let detail = "The upload took longer than its lease; repeat it.";
                ApiError::new(ErrorCode::FileStorageUnavailable, detail)
            }
            FileError::Store(error) => store_failed(error),
        };
        Err(Failure { error, is_over })
    }

    /// Adds the file. Tries again after an outage: all of the content has arrived, and may have
    /// taken minutes. An attempt whose result was lost may have added it.
    async fn add(&self, uploaded: &Uploaded, by: &Initiator) -> Result<StoredFile, FileError> {
        let (files, user) = (&self.state.files, &self.caller.user);
        let mut attempt = 1;
        loop {
            let error = match files.add(user, uploaded, by).await {
                Err(FileError::NotFound) if attempt > 1 => {
                    return files.find(user, uploaded.id).await?.ok_or(FileError::NotFound);
                }
                Err(FileError::Store(error)) if error.is_outage() => error,
                added => return added,
            };
            if attempt == ATTEMPTS {
                return Err(error.into());
            }
            attempt += 1;
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    /// Reads all of the content, and writes it if it is new.
    async fn arrive(
        &self,
        incoming: &mut Incoming,
        mut to: Option<(&mut BlobWriter, Reservation)>,
        most: u64,
    ) -> Result<Arrived, ApiError> {
        let mut hash = digest::Context::new(&digest::SHA256);
        let (mut size, mut sample) = (0, Vec::new());
        let mut renewed = Instant::now();
        while let Some(piece) = incoming.next().await? {
            size += piece.len() as u64;
            if size > most {
                let is_quota = most < self.state.files.limits().file;
                return Err(if is_quota { over_quota() } else { self.too_large() });
            }
            hash.update(&piece);
            let missing = content_type::SAMPLE - sample.len();
            sample.extend_from_slice(&piece[..piece.len().min(missing)]);
            let Some((writer, reserved)) = &mut to else { continue };
            writer.write(&piece).await.map_err(content_failed)?;
            if renewed.elapsed() > self.state.files.lease().mul_f64(RENEWAL) {
                renewed = Instant::now();
                match self.state.files.renew(reserved.id).await {
                    // The lease outlasts a short outage.
                    Ok(true) => {}
                    Err(error) if error.is_outage() => {
                        tracing::debug!(cause = chain(&error), "cannot renew a lease yet");
                    }
                    Err(error) => return Err(store_failed(error)),
                    Ok(false) => {
                        let detail = "The upload took longer than its lease; repeat it.";
                        return Err(ApiError::new(ErrorCode::FileStorageUnavailable, detail));
                    }
                }
            }
        }
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.finish().as_ref());
        let is_all = size == sample.len() as u64;
        let content_type = content_type(&sample, is_all);
        Ok(Arrived { size, sha256: Sha256(sha256), content_type, leased: renewed })
    }

    /// The first response to a request with this key, if there was one.
    async fn replay(&self, keyed: &Keyed) -> Result<Option<Received>, ApiError> {
        match self.state.repetitions.keys.find(keyed).await.map_err(store_failed)? {
            None => Ok(None),
            Some(Kept::Executed(Some(Outcome::File(file)))) => {
                Ok(Some(Received { file, is_replayed: true }))
            }
            Some(Kept::Executed(_) | Kept::OfAnother) => {
                let detail = "This Idempotency-Key was used for another request; use a new one.";
                Err(ApiError::new(ErrorCode::IdempotencyKeyReused, detail))
            }
        }
    }

    /// Without the content, the identity is that of no request.
    fn keyed(&self, key: IdempotencyKey, name: &FileName, content: Option<&Sha256>) -> Keyed {
        let caller = (self.by.actor.kind(), self.by.actor.username());
        let content = content.map(|content| &content.0[..]).unwrap_or_default();
        let input = [content, name.as_str().as_bytes()].concat();
        self.state.repetitions.digests.keyed(key, caller, "upload_file", &input)
    }

    /// Deletes what there is of an upload. If that fails, its lease expires.
    async fn give_up(&self, reserved: Reservation) {
        let deleted = async {
            self.state.blobs.delete(reserved.id).await?;
            anyhow::Ok(self.state.files.forget(&[reserved.id]).await?)
        };
        if let Err(error) = deleted.await {
            tracing::warn!(cause = chain(&*error), "an upload is left to the sweeper");
        }
    }

    fn not_reserved(&self, error: ReserveError) -> ApiError {
        match error {
            ReserveError::QuotaExceeded => over_quota(),
            ReserveError::NoUser => invalid_token("Log in again: the user was deleted.".to_owned()),
            ReserveError::Store(error) => store_failed(error),
        }
    }

    fn too_large(&self) -> ApiError {
        let limit = self.state.files.limits().file;
        let detail = format!("The file is larger than {limit} bytes.");
        ApiError::new(ErrorCode::BodyTooLarge, detail)
    }
}

fn over_quota() -> ApiError {
    let detail = "With this file, yours would take more space than you may use.";
    ApiError::new(ErrorCode::FileQuotaExceeded, detail)
}

/// An upload that was not stored.
struct Failure {
    error: ApiError,
    /// Whether it surely was not, so that what there is of it can be deleted.
    is_over: bool,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { error, is_over: true }
    }
}
