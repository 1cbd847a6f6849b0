//! The details of the stateful pool's operations.

use crate::accounts::Role;
use crate::error::ErrorCode;
use crate::live::{LiveQuery, NoMembers, Ticket};
use crate::openapi::{Caller, Details, header};
use crate::security_event;
use crate::stateful::{
    ClaimedSession, CreateSession, EndSessionsQuery, HistoryPage, HistoryQuery, MessagePosted,
    PatchSession, PostConversation, PostMessage, Session, SessionPage, SessionsQuery,
};

const SESSIONS: &str = "Sessions";
const MESSAGES: &str = "Messages";
const LIVE: &str = "Live";

const SESSION: &str = r#"{"session_id": "0badcafe-00112233445566778899aabbccddeeff",
    "client_data": {"name": "Ada"}, "created_at": "2026-11-28T17:00:00.123Z",
    "last_activity": "2026-11-28T17:00:00.123Z", "expires_at": "2026-11-28T17:30:00.123Z",
    "message_count": 0, "version": 1}"#;
const POSTED: &str = r#"{"session_id": "0badcafe-00112233445566778899aabbccddeeff",
    "message_id": "01a2074b-388c-7649-8b4d-fa847e1ea26c", "number": 1, "message": "Hello",
    "reply": "Hello Ada, this is message 1.", "created_at": "2026-11-28T17:00:01.456Z",
    "message_count": 1, "version": 2}"#;

/// An operation on an existing session.
const fn on_session(tag: &'static str, summary: &'static str) -> Details {
    Details::new(tag, summary)
        .called_by(Caller::SessionHolder)
        .with_headers(&[header::SESSION_SOURCE])
        .fails_with(&[
            ErrorCode::InvalidSessionId,
            ErrorCode::InvalidToken,
            ErrorCode::TokenKeysUnavailable,
            ErrorCode::SessionNotFound,
            ErrorCode::SessionStoreUnavailable,
        ])
}

pub(super) const CREATE_SESSION: Details = Details::new(SESSIONS, "Create a session")
    .described_as(
        "The session's id begins with its creator's affinity key, so the gateway keeps it on one \
         instance. With a bearer token the session belongs to the token's subject: every other \
         caller gets 404. A client that kept the messages of an earlier session, such as one of \
         the legacy API, brings them as `messages`: the history shows them as `restored`.",
    )
    .called_by(Caller::Everyone { with_token: true })
    .takes(&[header::AFFINITY_KEY])
    .optional_body::<CreateSession>(r#"{"client_data": {"name": "Ada"}}"#)
    .returns::<Session>(201, "The session.", SESSION)
    .with_headers(&[header::SESSION_SOURCE, header::LOCATION, header::ETAG, header::AFFINITY_KEY])
    .identifies("session_id", "/session_id")
    .keyed()
    .guarded()
    .fails_with(&[
        ErrorCode::InvalidToken,
        ErrorCode::TokenKeysUnavailable,
        ErrorCode::SessionNotFound,
        ErrorCode::ClientDataTooLarge,
        ErrorCode::MessageTooLarge,
        ErrorCode::TooManySessions,
        ErrorCode::SessionStoreUnavailable,
    ]);

pub(super) const LIST_SESSIONS: Details = Details::new(SESSIONS, "List your sessions")
    .described_as(
        "One page of the caller's live sessions, newest first. They are shown without their ids, \
         which the service does not store. `handle` names one to `DELETE`. Being listed does not \
         extend a session. With the store `memory`, an instance lists only its own.",
    )
    .called_by(Caller::User(Role::User))
    .query::<SessionsQuery>()
    .returns::<SessionPage>(
        200,
        "The page.",
        r#"{"sessions": [{"handle": "6c1f0d9be2a94f4c8e2d5a7b30c4f1e8",
            "affinity_key": "0badcafe", "created_at": "2026-11-28T17:00:00.123Z",
            "last_activity": "2026-11-28T17:00:01.456Z",
            "expires_at": "2026-11-28T17:30:01.456Z", "message_count": 1, "version": 2}],
            "next_cursor": null}"#,
    )
    .with_headers(&[header::LINK])
    .fails_with(&[
        ErrorCode::InvalidToken,
        ErrorCode::InvalidCursor,
        ErrorCode::SessionStoreUnavailable,
    ]);

pub(super) const END_SESSIONS: Details = Details::new(SESSIONS, "End your sessions")
    .described_as(
        "Ends all sessions that the caller has at this moment, or with `handle` that one. Each ends \
         as by a `DELETE` of its own: its streams end, and later requests get 404. After 503 some \
         may be left; repeat the request.",
    )
    .called_by(Caller::User(Role::User))
    .query::<EndSessionsQuery>()
    .returns_nothing(204, "They have ended.")
    .fails_with(&[
        ErrorCode::InvalidToken,
        ErrorCode::SessionNotFound,
        ErrorCode::SessionStoreUnavailable,
    ]);

pub(super) const GET_SESSION: Details = on_session(SESSIONS, "Read a session")
    .described_as("Reading extends the session: it expires 30 minutes after its last use.")
    .returns::<Session>(200, "The session.", SESSION)
    .conditional();

pub(super) const PATCH_SESSION: Details = on_session(SESSIONS, "Change the client data")
    .described_as(
        "Applies a merge patch (RFC 7396) to `client_data`: a member that is null is removed. \
         `If-Match` prevents that another client's change is lost.",
    )
    .body::<PatchSession>(r#"{"client_data": {"name": "Grace", "nick": null}}"#)
    .returns::<Session>(200, "The session after the change.", SESSION)
    .with_headers(&[header::ETAG])
    .keyed()
    .guarded()
    .fails_with(&[ErrorCode::ClientDataTooLarge, ErrorCode::ConcurrentUpdate]);

pub(super) const DELETE_SESSION: Details = on_session(SESSIONS, "Delete a session")
    .described_as("Final: all later requests get 404. A repeated delete gets 204 for 24 hours.")
    .guarded();

pub(super) const CLAIM_SESSION: Details = on_session(SESSIONS, "Claim a session without owner")
    .described_as(
        "Gives a session that was created without a token to the caller, under a new id with the \
         same affinity key: whoever knows the old id loses access. The old id gets 404, and its \
         streams end. A repetition by the same user gets the same new id for 24 hours, also with \
         another `Idempotency-Key` or without one. A session that is the caller's keeps its id; \
         another's is 404.",
    )
    .called_by(Caller::User(Role::User))
    .optional_body::<NoMembers>("{}")
    .returns::<ClaimedSession>(
        200,
        "The session is the caller's.",
        r#"{"session_id": "0badcafe-ffeeddccbbaa99887766554433221100"}"#,
    )
    .with_headers(&[header::AFFINITY_KEY])
    .keyed()
    .guarded()
    .fails_with(&[ErrorCode::TooManySessions]);

pub(super) const POST_CONVERSATION: Details =
    on_session(MESSAGES, "Post a message, with the session's id in the body")
        .described_as(
            "As posting to `/sessions/{session_id}/messages`. A client without cookies sends \
             `X-Affinity-Key`, so that the gateway finds the session's instance.",
        )
        .takes(&[header::AFFINITY_KEY])
        .body::<PostConversation>(
            r#"{"session_id": "0badcafe-00112233445566778899aabbccddeeff", "message": "Hello"}"#,
        )
        .returns::<MessagePosted>(201, "The message and its reply.", POSTED)
        .with_headers(&[header::ETAG, header::AFFINITY_KEY])
        .identifies("session_id", "/session_id")
        .keyed()
        .guarded()
        .fails_with(&[ErrorCode::MessageTooLarge, ErrorCode::SessionFull]);

pub(super) const POST_MESSAGE: Details = on_session(MESSAGES, "Post a message")
    .described_as("The session accepts 10,000 messages. Each is stored exactly once, in one order.")
    .body::<PostMessage>(r#"{"message": "Hello"}"#)
    .returns::<MessagePosted>(201, "The message and its reply.", POSTED)
    .with_headers(&[header::ETAG, header::AFFINITY_KEY])
    .identifies("session_id", "/session_id")
    .keyed()
    .guarded()
    .fails_with(&[ErrorCode::MessageTooLarge, ErrorCode::SessionFull]);

pub(super) const GET_HISTORY: Details = on_session(MESSAGES, "Read the messages")
    .described_as(
        "One page of the session's messages, oldest first, or newest first with `order=desc`. The \
         next page in the same order is `cursor=next_cursor`, also as `Link` with `rel=\"next\"`.",
    )
    .query::<HistoryQuery>()
    .returns::<HistoryPage>(
        200,
        "The page.",
        r#"{"session_id": "0badcafe-00112233445566778899aabbccddeeff", "messages": [
            {"message_id": "01a2074b-388c-7649-8b4d-fa847e1ea26c", "number": 1,
             "message": "Hello", "reply": "Hello Ada, this is message 1.",
             "created_at": "2026-11-28T17:00:01.456Z"}], "next_cursor": null}"#,
    )
    .with_headers(&[header::LINK])
    .fails_with(&[ErrorCode::InvalidCursor]);

pub(super) const STREAM_EVENTS: Details = on_session(LIVE, "Receive messages as they are posted")
    .described_as(
        "Server-sent events: `session` first, and when the client data changes; `message` for each \
         message, whose id is its number; `ended` when the session is deleted or expires; \
         `going_away` when the instance stops. Reconnect with the last id, as `EventSource` does \
         by itself, and nothing is missed.\n\n\
         ```\n\
         event: session\n\
         data: {\"session_id\": …, \"message_count\": 1, …}\n\n\
         id: 2\n\
         event: message\n\
         data: {\"number\": 2, \"message\": \"Hello\", …}\n\
         ```",
    )
    .query::<LiveQuery>()
    .takes(&[header::LAST_EVENT_ID])
    .streams_any("The events.")
    .fails_with(&[
        ErrorCode::InvalidLastEventId,
        ErrorCode::InvalidTicket,
        ErrorCode::OriginNotAllowed,
        ErrorCode::TooManyStreams,
        ErrorCode::TooManyClientStreams,
    ]);

pub(super) const OPEN_LIVE: Details = on_session(LIVE, "Receive and post messages by a WebSocket")
    .described_as(
        "A WebSocket handshake (RFC 6455). Each frame is JSON: the events of `/events` as \
         `{\"event\": \"message\", \"id\": 3, \"data\": {…}}`. Post with \
         `{\"message\": \"Hello\", \"idempotency_key\": \"…\", \"ref\": \"mine-1\"}`; the last two \
         are optional. The response is a frame `posted` or `error` with the same `ref`.",
    )
    .query::<LiveQuery>()
    .takes(&[header::LAST_EVENT_ID])
    .returns_nothing(101, "The connection is a WebSocket from now on.")
    .endless()
    .fails_with(&[
        ErrorCode::UpgradeRequired,
        ErrorCode::InvalidLastEventId,
        ErrorCode::InvalidTicket,
        ErrorCode::OriginNotAllowed,
        ErrorCode::TooManyStreams,
        ErrorCode::TooManyClientStreams,
    ]);

pub(super) const CREATE_TICKET: Details = on_session(LIVE, "Get a ticket for a live connection")
    .described_as(
        "Browsers cannot set `Authorization` on `EventSource` and `WebSocket`. For 60 seconds, \
         `?ticket=…` opens both in the caller's name.",
    )
    .optional_body::<NoMembers>("{}")
    .returns::<Ticket>(
        201,
        "The ticket.",
        r#"{"ticket": "eyJ…", "expires_at": "2026-11-28T17:01:00.123Z"}"#,
    )
    .guarded();

pub(super) const RECEIVE_SECURITY_EVENT: Details =
    Details::new(SESSIONS, "Receive an event of the issuer")
        .described_as(
            "A Security Event Token (RFC 8417, pushed as in RFC 8935) that the issuer of tokens has \
             signed: tokens of its `sub` that were issued before `not_before` are revoked. They are \
             refused from then on, and streams and tickets of them end. The stateless service sends \
             it; a repetition changes nothing.",
        )
        .called_by(Caller::Issuer)
        .text_body(security_event::MEDIA_TYPE, security_event::MAX_BYTES, r#""eyJ0eXAiOiJz.e30.c2ln""#)
        .returns_nothing(202, "The event is applied.")
        .fails_with(&[ErrorCode::SessionStoreUnavailable]);
