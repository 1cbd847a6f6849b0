//! Output of commands.

use std::io::{self, Write};

use proto_contracts::control::MissedGateway;
use serde::Serialize;

use crate::ctl::error::CtlError;

/// Fails if a change missed other gateways of the deployment.
pub(super) fn at_all(missed: Vec<MissedGateway>) -> Result<(), CtlError> {
    if missed.is_empty() { Ok(()) } else { Err(CtlError::Missed(missed)) }
}

/// Prints a response as JSON or as text.
pub(super) fn print(
    json: bool,
    response: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), CtlError> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, response)
            .map_err(|error| CtlError::Output(error.into()))?;
        writeln!(out).map_err(CtlError::Output)
    } else {
        out.write_all(text().as_bytes()).and_then(|()| out.flush()).map_err(CtlError::Output)
    }
}
