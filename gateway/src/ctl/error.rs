//! Errors of `gateway ctl`, each with its cure.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use proto_contracts::control::MissedGateway;
use proto_contracts::{ErrorCode, PoolName};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlError {
    /// The URL is not valid.
    #[error("'{0}' is not the URL of a control plane, such as http://127.0.0.1:8001")]
    Url(String),
    /// The token file is not readable.
    #[error("cannot read the token file {path}: {source}")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The connection failed.
    #[error(
        "cannot connect to {authority}: {source}. Is the gateway running, and is this its \
         [control] listen? Use --control or GATEWAY_CONTROL for another address"
    )]
    Connect {
        /// Host and port.
        authority: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or the peer does not speak HTTP.
    #[error("{authority} closed the connection: {source}. Is it the gateway's control plane?")]
    Broken {
        /// Host and port.
        authority: String,
        /// The cause.
        #[source]
        source: hyper::Error,
    },
    /// No response in time.
    #[error("{authority} did not respond within {seconds} s")]
    Silent {
        /// Host and port.
        authority: String,
        /// The timeout.
        seconds: u64,
    },
    /// The gateway returned an error.
    #[error("{detail}{}", cure(.code))]
    Refused {
        /// The error code.
        code: Option<ErrorCode>,
        /// The error detail.
        detail: String,
    },
    /// The response cannot be parsed.
    #[error(
        "cannot parse the response: {0}. Do the gateway and this program have the same version?"
    )]
    Unreadable(#[source] serde_json::Error),
    /// There is no such instance.
    #[error("no pool has an instance '{name}'; there are {known}")]
    UnknownInstance {
        /// The name.
        name: String,
        /// The known instances.
        known: String,
    },
    /// Both pools have it.
    #[error("both pools have an instance '{name}': choose one, as in --pool stateful")]
    Ambiguous {
        /// The name.
        name: String,
    },
    /// The change was made, but other gateways were missed.
    #[error(
        "the change was made, but not at each gateway of the deployment. Missed: {}. Repeat it \
         when they are back",
        listed(.0)
    )]
    Missed(Vec<MissedGateway>),
    /// A drain did not complete.
    #[error("{0}")]
    NotDrained(String),
    /// There is nothing to compare a canary with.
    #[error("{0} has no other healthy instance: a canary needs one to be compared with")]
    NoPeer(PoolName),
    /// A canary was put back.
    #[error("{0}")]
    PutBack(String),
    /// The gateway was away for longer than the lease.
    #[error(
        "lost the gateway: {source}. It takes {canary} out when the lease ends, if it did not \
         restart, which ends the lease, too"
    )]
    CanaryLost {
        /// The address.
        canary: SocketAddr,
        /// The last fault.
        #[source]
        source: Box<CtlError>,
    },
    /// The stream of events ended.
    #[error("the gateway closed the stream: it is stopping, or this reader was too slow")]
    StreamEnded,
    /// The output cannot be written.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
}

impl CtlError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Broken { .. } | Self::Silent { .. } => true,
            Self::Refused { code, .. } => *code == Some(ErrorCode::UpgradeInProgress),
            _ => false,
        }
    }
}

fn listed(missed: &[MissedGateway]) -> String {
    missed.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The cure, where the gateway's detail has none.
fn cure(code: &Option<ErrorCode>) -> &'static str {
    match code {
        Some(ErrorCode::Unauthorized) => {
            " Set CONTROL_TOKEN, or pass --token-file (.local/control.token in the local stack)."
        }
        Some(ErrorCode::MisdirectedRequest) => {
            " Use one of these names in --control, with the gateway's [control] listen, \
             127.0.0.1:8001 by default."
        }
        // The data plane and Nginx have no control API.
        Some(ErrorCode::NotFound) | None => {
            " Is this the gateway's control plane ([control] listen, 127.0.0.1:8001 by default), \
             and not its data plane? Use --control or GATEWAY_CONTROL for another address. An \
             older gateway may also lack this command."
        }
        _ => "",
    }
}
