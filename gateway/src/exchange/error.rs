//! How an exchange fails.

use std::io;
use std::net::SocketAddr;

use proto_contracts::ErrorCode;

use crate::decision::retry::Failure;
use crate::descriptors;
use crate::http_strict::{ChunkFault, ResponseFault};

/// A failed exchange with an instance.
#[derive(Debug, thiserror::Error)]
#[error("instance at {addr}: {kind}")]
pub(super) struct ExchangeError {
    pub(super) addr: SocketAddr,
    #[source]
    pub(super) kind: Broken,
}

/// What broke between the gateway and the instance.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("cannot connect within the timeout")]
    ConnectTimeout,
    #[error("no response within the timeout")]
    ReadTimeout,
    #[error("the request was not read within the timeout")]
    WriteTimeout,
    #[error("cannot write the request: {0}")]
    Write(io::Error),
    #[error("cannot read the response: {0}")]
    Read(io::Error),
    #[error("the connection was closed before the response was complete")]
    Closed,
    #[error("the response is not valid: {0}")]
    Invalid(ResponseFault),
    #[error("the body of the response is not valid: {0}")]
    InvalidBody(ChunkFault),
    #[error("the instance switched protocols without a request for it")]
    Switched,
    #[error("there are too many interim responses")]
    TooManyInterim,
}

impl Broken {
    /// What it means for the request and the instance.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Connect(error) if descriptors::is_used_up(error) => Failure::Descriptors,
            Self::Connect(_) | Self::ConnectTimeout => Failure::Connect,
            Self::ReadTimeout | Self::WriteTimeout => Failure::Timeout,
            Self::Write(_) => Failure::WriteBroken,
            Self::Read(_)
            | Self::Closed
            | Self::Invalid(_)
            | Self::InvalidBody(_)
            | Self::Switched
            | Self::TooManyInterim => Failure::Broken,
        }
    }
}

/// Why the gateway ends a request because of its client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("the client closed the connection")]
    Gone,
    #[error("the body arrived too slowly")]
    SlowBody,
    #[error("the response was read too slowly")]
    SlowRead,
    #[error("the body is not valid: {0}")]
    BadBody(ChunkFault),
    #[error("the body is too large")]
    TooLarge,
}

impl ClientError {
    /// The code of the reply; `None`: the client reads no reply.
    pub(super) const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Gone | Self::SlowRead => None,
            Self::SlowBody => Some(ErrorCode::RequestTimeout),
            Self::BadBody(_) => Some(ErrorCode::BadRequest),
            Self::TooLarge => Some(ErrorCode::BodyTooLarge),
        }
    }
}

/// Either side's failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
}
