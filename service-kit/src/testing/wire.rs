//! Hostile clients with an address each, and instances that record what they are sent: many at a
//! time, and without the parsers of servers.

mod client;
mod message;
mod origin;

pub use client::{Client, Received, Reply, address, connect};
pub use message::Head;
pub use origin::{Recorder, Seen};

/// What a client does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends a packet.
    Send(Vec<u8>),
    /// Lets the server read it.
    Gap,
    /// Waits for one more final response.
    Await,
}

/// The steps as text.
pub fn shown(steps: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Send(bytes) if bytes.len() > 3_000 => {
            format!("send {} bytes: \"{}\"…", bytes.len(), bytes[..3_000].escape_ascii())
        }
        Step::Send(bytes) => format!("send \"{}\"", bytes.escape_ascii()),
        Step::Gap => "gap".to_owned(),
        Step::Await => "await a response".to_owned(),
    };
    steps.iter().map(step).collect::<Vec<_>>().join("\n")
}
