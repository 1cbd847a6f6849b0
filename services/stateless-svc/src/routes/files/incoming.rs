//! The file in a request's body, piece by piece: plain, or as the one part of a form.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_multipart::{Field, Multipart, MultipartError};
use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{
    CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
};
use actix_web::web::{self, Bytes};
use futures_util::{Stream, StreamExt as _};
use proto_contracts::ErrorCode;
use service_kit::problem::ApiError;

use crate::domain::file::FileName;
use crate::domain::file::disposition::{self, InvalidDisposition};

/// How long the rest of a rejected body is read. When a server closes a connection with unread
/// data, the proxy in front of it sees a reset instead of the response.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A body of which some may have been read.
#[derive(Clone)]
pub(super) struct Body {
    payload: Rc<RefCell<web::Payload>>,
    /// Whether the client did not send all of it.
    is_broken: Rc<Cell<bool>>,
}

impl Body {
    pub(super) fn new(payload: web::Payload) -> Self {
        let payload = Rc::new(RefCell::new(payload));
        Self { payload, is_broken: Rc::default() }
    }

    /// Reads and discards the rest, up to so many bytes.
    pub(super) async fn discard(mut self, most: u64) {
        let rest = async {
            let mut read = 0;
            while let Some(Ok(piece)) = self.next().await {
                read += piece.len() as u64;
                if read > most {
                    break;
                }
            }
        };
        // What comes later is not read.
        let _in_time = tokio::time::timeout(LONGEST_REST, rest).await;
    }
}

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut *self.payload.borrow_mut()).poll_next(context);
        if let Poll::Ready(Some(Err(_))) = &next {
            self.is_broken.set(true);
        }
        next
    }
}

/// A file that arrives.
pub(super) struct Incoming {
    /// Its name.
    pub(super) name: FileName,
    /// The most bytes that it can have, if the sender told.
    pub(super) declared: Option<u64>,
    source: Source,
    /// The longest silence of the client.
    patience: Duration,
}

enum Source {
    Plain(Body),
    Form(Box<Form>),
}

/// A form of which a part is being read.
struct Form {
    body: Body,
    parts: Multipart,
    /// `None` when all of it was read: the parser waits for its end before the next part.
    part: Option<Field>,
}

impl Incoming {
    /// Reads the beginning of a body, as far as its name.
    ///
    /// # Errors
    /// When it has no name or is no form with a file.
    pub(super) async fn open(
        request: &HttpRequest,
        body: Body,
        patience: Duration,
    ) -> Result<Self, ApiError> {
        let headers = request.headers();
        reject_encodings(headers)?;
        let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let declared = declared.and_then(|value| value.parse().ok());
        if !is_form(headers)? {
            let name = name_in(headers)?;
            return Ok(Self { name, declared, source: Source::Plain(body), patience });
        }
        let mut parts = Multipart::new(headers, body.clone());
        let part = within(patience, parts.next()).await?;
        let part = part.ok_or_else(|| invalid_form("The form has no part."))?;
        let part = part.map_err(|error| broken(&error, &body))?;
        let name = name_in(part.headers())?;
        let source = Source::Form(Box::new(Form { body, parts, part: Some(part) }));
        Ok(Self { name, declared, source, patience })
    }

    /// Whether it is the whole body.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.source, Source::Plain(_))
    }

    /// The next piece; `None` when the file is complete.
    ///
    /// # Errors
    /// When the rest does not arrive, or the form has another part.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match &mut self.source {
            Source::Plain(body) => {
                let piece = within(self.patience, body.next()).await?;
                piece.transpose().map_err(|error| incomplete(&error))
            }
            Source::Form(form) => {
                let Form { body, parts, part } = &mut **form;
                if let Some(reading) = part {
                    if let Some(piece) = within(self.patience, reading.next()).await? {
                        return piece.map(Some).map_err(|error| broken(&error, body));
                    }
                    *part = None;
                }
                match within(self.patience, parts.next()).await? {
                    None => Ok(None),
                    Some(Ok(_)) => Err(invalid_form("The form has more than one part.")),
                    Some(Err(error)) => Err(broken(&error, body)),
                }
            }
        }
    }
}

/// Waits for a client, but not for ever.
async fn within<T>(patience: Duration, next: impl Future<Output = T>) -> Result<T, ApiError> {
    let late = |_| {
        let detail = format!("Nothing of the body arrived within {} s.", patience.as_secs_f32());
        ApiError::new(ErrorCode::RequestTimeout, detail)
    };
    tokio::time::timeout(patience, next).await.map_err(late)
}

/// Whether the body is a form.
///
/// # Errors
/// When it is of another kind in several parts.
fn is_form(headers: &HeaderMap) -> Result<bool, ApiError> {
    let media_type = headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
    let essence = media_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if essence.eq_ignore_ascii_case(b"multipart/form-data") {
        return Ok(true);
    }
    match essence.get(..10) {
        Some(tree) if tree.eq_ignore_ascii_case(b"multipart/") => {
            Err(invalid_form("A form is sent as multipart/form-data."))
        }
        _ => Ok(false),
    }
}

fn reject_encodings(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") => {
            let detail = "Content-Encoding is not supported: send the file as it is.";
            Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail))
        }
        _ => Ok(()),
    }
}

fn name_in(headers: &HeaderMap) -> Result<FileName, ApiError> {
    let mut all = headers.get_all(CONTENT_DISPOSITION);
    let name = match (all.next(), all.next()) {
        (Some(header), None) => disposition::name(header.as_bytes()),
        (None, _) => Err(InvalidDisposition::NoName),
        (Some(_), Some(_)) => Err(InvalidDisposition::Malformed),
    };
    name.map_err(|error| ApiError::new(ErrorCode::InvalidFileName, error.to_string()))
}

fn invalid_form(detail: impl Into<Cow<'static, str>>) -> ApiError {
    ApiError::new(ErrorCode::InvalidForm, detail)
}

/// A body that was cut short by its client is no malformed form.
fn broken(error: &MultipartError, body: &Body) -> ApiError {
    match error {
        MultipartError::Payload(error) if body.is_broken.get() => incomplete(error),
        error => invalid_form(format!("The form cannot be read: {}.", fault(error))),
    }
}

/// In our words; the framework's quote the request.
fn fault(error: &MultipartError) -> &'static str {
    match error {
        MultipartError::ContentTypeIncompatible | MultipartError::ContentTypeParse => {
            "its Content-Type is not multipart/form-data"
        }
        MultipartError::BoundaryMissing => "its Content-Type has no boundary",
        MultipartError::Incomplete | MultipartError::Payload(PayloadError::Incomplete(_)) => {
            "it ends before its last boundary"
        }
        MultipartError::Nested => "it has a form as its part",
        _ => "a part has no valid header",
    }
}

fn incomplete(error: &PayloadError) -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "The body is incomplete or its framing is invalid.")
        .caused_by(error.to_string())
}
