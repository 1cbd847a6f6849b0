//! What the control plane passes on to a traffic driver for who wants to be a client: a closed list
//! of requests, and what is to be seen of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::FieldError;

/// The path at the driver.
pub const DRIVER_CONVERSATION_PATH: &str = "/driver/v1/conversation";

/// Somebody whose requests the driver sends, with a session, a cookie jar and an address of their
/// own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Speaker {
    /// The first one.
    A,
    /// The second one.
    B,
    /// The third one.
    C,
    /// The fourth one.
    D,
}

impl Speaker {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationAct {
    /// Writes a message to the session, which is created if there is none. The id is in the body,
    /// so only the cookie tells the gateway where the session is.
    Say,
    /// Reads the session, whose id is in the path.
    Read,
    /// Sends a stateless request.
    Info,
    /// Deletes the session, and forgets its id. The cookie stays in the jar.
    End,
}

/// `POST /control/v1/conversation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Converse {
    /// Who.
    pub person: Speaker,
    /// What.
    pub act: ConversationAct,
    /// Whether cookies are kept and sent.
    pub cookie_jar: bool,
    /// The message of `say`: 1 to 500 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 500))]
    pub message: Option<String>,
}

impl Converse {
    /// The longest message, in bytes.
    const MAX_MESSAGE: usize = 500;

    /// The fields that do not fit.
    pub fn faults(&self) -> Vec<FieldError> {
        let fault = match (self.act, self.message.as_deref().map(str::len)) {
            (ConversationAct::Say, Some(1..=Self::MAX_MESSAGE)) => None,
            (ConversationAct::Say, _) => Some(format!("must be 1 to {} bytes", Self::MAX_MESSAGE)),
            (_, None) => None,
            (_, Some(_)) => Some("must be absent unless `act` is `say`".to_owned()),
        };
        fault.into_iter().map(|fault| FieldError::in_body("/message", fault)).collect()
    }
}

/// The requests that somebody sent, and their responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Conversation {
    /// Who.
    pub person: Speaker,
    /// Whether there is a session now.
    pub has_session: bool,
    /// In their order: two when a session had to be created.
    pub exchanges: Vec<Exchanged>,
}

/// A request and what came back. Session ids are replaced by their digests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Exchanged {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The headers that routing depends on.
    pub sent: Vec<Header>,
    /// The status; absent without a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why there is no response: `connect`, `broken` or `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// From sending the request to the end of the response, in milliseconds.
    pub duration_ms: f64,
    /// The headers of the response that say how it was routed and may be used.
    pub headers: Vec<Header>,
    /// The beginning of the body: at most 600 characters.
    pub body: String,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Header {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_said_has_a_message_within_bounds() {
        let converse = |act, message: Option<&str>| Converse {
            person: Speaker::A,
            act,
            cookie_jar: true,
            message: message.map(str::to_owned),
        };
        let long = "x".repeat(501);
        for message in [None, Some(""), Some(long.as_str())] {
            let faults = converse(ConversationAct::Say, message).faults();
            assert_eq!(faults[0].pointer.as_deref(), Some("/message"), "{message:?}");
        }
        assert!(converse(ConversationAct::Say, Some(&long[..500])).faults().is_empty());
        for act in [ConversationAct::Read, ConversationAct::Info, ConversationAct::End] {
            assert!(converse(act, None).faults().is_empty());
            assert!(!converse(act, Some("x")).faults().is_empty());
        }
    }

    #[test]
    fn nobody_chooses_a_target() {
        let body =
            |more: &str| format!("{{\"person\":\"A\",\"act\":\"info\",\"cookie_jar\":true{more}}}");
        assert!(serde_json::from_str::<Converse>(&body("")).is_ok());
        for more in [",\"url\":\"http://192.0.2.7\"", ",\"path\":\"/\"", ",\"headers\":[]"] {
            assert!(serde_json::from_str::<Converse>(&body(more)).is_err(), "{more}");
        }
        assert!(serde_json::from_str::<Converse>(&body("").replace('A', "E")).is_err());
    }
}
