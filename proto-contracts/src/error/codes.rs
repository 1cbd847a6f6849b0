//! The table of error codes. `make error-pages` writes a page for each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! error_codes {
    ($(
        $variant:ident = $code:literal, $title:literal, repeat $repeat:ident;
        cause $cause:literal;
        cure $cure:literal;
    )*) => {
        /// What went wrong, for programs to match on. Each code has one HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $(#[doc = $cause] #[serde(rename = $code)] $variant,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the definition.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code in the problem document and the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// A short summary, the same for each occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What leads to this error, for a user of the API.
            pub const fn cause(self) -> &'static str {
                match self { $(Self::$variant => $cause,)* }
            }

            /// What a user of the API can do about it.
            pub const fn cure(self) -> &'static str {
                match self { $(Self::$variant => $cure,)* }
            }

            /// Whether repeating the same request can help, and is safe.
            pub const fn repeat(self) -> Repeat {
                match self { $(Self::$variant => Repeat::$repeat,)* }
            }
        }
    };
}

/// Whether a client may send the same request again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The same request gets the same error.
    Changed,
    /// Nothing was done, so any request may be repeated.
    Safe,
    /// A write may have been done.
    IfIdempotent,
}

error_codes! {
    // Faults of the request.
    BadRequest = "bad_request", "The request is malformed", repeat Changed;
        cause "The request breaks a rule of HTTP, or two parsers could read it differently. The \
            detail names the fault.";
        cure "Correct what the detail names. Most HTTP libraries build valid requests, so look at \
            headers and paths that your program assembles by itself.";
    MalformedJson = "malformed_json", "The body is not valid JSON", repeat Changed;
        cause "The body cannot be parsed as JSON. The detail says where the parser stopped.";
        cure "Build the body by a JSON library instead of joining strings, and send it as UTF-8.";
    InvalidQuery = "invalid_query", "A query parameter is invalid", repeat Changed;
        cause "A query parameter is unknown, missing, of the wrong type or out of range. \
            The member `errors` names each.";
        cure "Compare the parameters with the reference of the operation.";
    InvalidSessionId = "invalid_session_id", "The session id is malformed", repeat Changed;
        cause "The session id in the path or the body does not have the form of a session id.";
        cure "Send the `session_id` of the response that created the session, unchanged.";
    InvalidProductId = "invalid_product_id", "The product id is malformed", repeat Changed;
        cause "The product id in the path does not have the form of a product id.";
        cure "Send an id from the list of products, unchanged.";
    InvalidCursor = "invalid_cursor", "The cursor is malformed", repeat Changed;
        cause "The cursor was not issued for this list in this order, or was changed on its way.";
        cure "Send the `next_cursor` of the previous page, unchanged. Omit it to read from the \
            start.";
    InvalidIdempotencyKey = "invalid_idempotency_key", "The idempotency key is malformed",
        repeat Changed;
        cause "The header Idempotency-Key is there, but its value does not have the form of a key. \
            Nothing was done.";
        cure "Send one key in the form that the detail names, and a new random key for each \
            request.";
    InvalidFileName = "invalid_file_name", "The file's name is missing or cannot be used",
        repeat Changed;
        cause "Content-Disposition has no file name, or one that cannot be used: it is too long, has \
            a slash, or characters that are not shown. Nothing was stored.";
        cure "Send `Content-Disposition: attachment; filename=\"report.pdf\"`. For other letters \
            than ASCII, send `filename*=UTF-8''` and the percent-encoded name.";
    InvalidForm = "invalid_form", "The form is malformed", repeat Changed;
        cause "The form is cut short, is not `multipart/form-data`, or has more or less than one \
            part, which is a file. Nothing was stored.";
        cure "Let your HTTP library build the form, with the file as its only part.";
    InvalidEntityTag = "invalid_entity_tag", "An entity tag is malformed", repeat Changed;
        cause "If-Match or If-None-Match is neither `*` nor a list of entity tags in quotes. A \
            condition that cannot be read is never ignored, so nothing was done.";
        cure "Send the `ETag` of an earlier response with its quotes.";
    InvalidLastEventId = "invalid_last_event_id", "The id of the last event is malformed",
        repeat Changed;
        cause "Last-Event-ID, or the parameter last_event_id, is not the number of a message.";
        cure "Send the id of the last event that you received. Send 0 for all messages, and \
            nothing for new ones only.";
    InvalidStrategy = "invalid_strategy", "The gateway does not offer this strategy",
        repeat Changed;
        cause "The header X-Routing-Strategy names no strategy of the gateway. Or a pool was to be \
            switched to `ip_hash` or `least_conn`, and the gateway's lab is off. Nothing was \
            changed.";
        cure "Send `sticky` or `round_robin`, or omit the header. For lessons, set `[lab] enabled \
            = true`; then the gateway offers `ip_hash` and `least_conn`, too.";
    Unauthorized = "unauthorized", "A valid token is required", repeat Changed;
        cause "This resource requires credentials, and they are missing or wrong.";
        cure "Send the credentials that `WWW-Authenticate` asks for. Changes over the control API \
            need `Authorization: Bearer` with the gateway's CONTROL_TOKEN.";
    InvalidToken = "invalid_token", "The bearer token is not valid", repeat Changed;
        cause "The bearer token is no JWT of the configured issuer and audience, has expired, or \
            is not accepted by this installation.";
        cure "Get a new token from its issuer. To act without a user, omit the Authorization \
            header.";
    InvalidCredentials = "invalid_credentials", "The username or the password is wrong",
        repeat Changed;
        cause "There is no such user, the password is another one, or the user is disabled. The \
            response does not say which.";
        cure "Check both. After several failures, wait for the seconds of `Retry-After`.";
    InvalidRefreshToken = "invalid_refresh_token", "The refresh token is not valid",
        repeat Changed;
        cause "The refresh token is unknown, has expired, was used already, or its login was ended.";
        cure "Log in again. If your program did not use the token twice, someone else may have it: \
            the use of an old token ends its login.";
    InvalidInvitation = "invalid_invitation", "The invitation cannot be used", repeat Changed;
        cause "The code of the invitation is unknown, has expired, was used already, or was replaced \
            by a later one. The response does not say which.";
        cure "If you have set a password with it, log in. Else ask an admin for another invitation.";
    UserHasPassword = "user_has_password", "The user has a password", repeat Changed;
        cause "Only users without a password, such as imported ones, can be invited to set one.";
        cure "The user logs in, and changes the password by POST to /auth/password.";
    Forbidden = "forbidden", "Your role does not allow this", repeat Changed;
        cause "The operation needs a role that the user of the token does not have.";
        cure "Ask an administrator for the role, then log in again: a token holds the role of its \
            login.";
    WrongClassCode = "wrong_class_code", "The code of the classroom is wrong", repeat Changed;
        cause "The request was sent to the classroom without the code of its room, or with another \
            one. Each start of the system has a new code.";
        cure "Ask the instructor for the present code, or scan the picture on the board again.";
    UserNotFound = "user_not_found", "There is no such user", repeat Changed;
        cause "There is no user of this name, it was deleted, or it is not you.";
        cure "Check the username. Only admins see other users.";
    LastAdmin = "last_admin", "The last admin stays one", repeat Changed;
        cause "Without this user the installation would have no admin.";
        cure "Make another user an admin first.";
    UsernameTaken = "username_taken", "The username is taken", repeat Changed;
        cause "Another user has this username, or had it: usernames are never issued again.";
        cure "Choose another username.";
    WeakPassword = "weak_password", "The password is too weak", repeat Changed;
        cause "The password is too short or too long, or it is easily guessed.";
        cure "Choose 8 to 128 characters. Several unrelated words are strong and easy to remember.";
    InvalidTicket = "invalid_ticket", "The ticket is not valid", repeat Changed;
        cause "The ticket was issued for another session, or has expired.";
        cure "Get a new ticket for this session by POST to its tickets, and connect at once.";
    OriginNotAllowed = "origin_not_allowed", "This origin may not do that", repeat Changed;
        cause "A page of another origin tried to open a WebSocket, or to use the cookie of a login. \
            A cookie is accepted with the Origin header of our own pages alone.";
        cure "Serve the page from the origin of the API. For WebSockets, the operator can allow other \
            origins, and programs other than browsers omit the header; they send refresh tokens in \
            the body.";
    NotFound = "not_found", "There is nothing at this path", repeat Changed;
        cause "No resource has this path.";
        cure "Compare the path with the reference. All paths of the API begin with /api/v1.";
    SessionNotFound = "session_not_found", "There is no such session", repeat Changed;
        cause "The session never existed, has expired, was deleted, or belongs to another user.";
        cure "Create a new session. One expires 30 minutes after its last use, and at the latest \
            24 hours after its creation.";
    ProductNotFound = "product_not_found", "There is no such product", repeat Changed;
        cause "No product has this id.";
        cure "Read the list of products for the ids that exist.";
    ProductExists = "product_exists", "A product has this id", repeat Changed;
        cause "The request adds a product with an id that another product has. Nothing was changed.";
        cure "Choose another id, or omit it: the service chooses one. Change the existing product by \
            PATCH.";
    OutOfStock = "out_of_stock", "The stock does not suffice", repeat Changed;
        cause "Fewer units are in stock than the reservation would take. Nothing was reserved.";
        cure "Reserve as many units as the detail says, or fewer, or wait until the stock is filled up.";
    FileNotFound = "file_not_found", "There is no such file", repeat Changed;
        cause "The file never existed, was deleted, or belongs to another user.";
        cure "List your files for the ids that exist.";
    PoolNotFound = "pool_not_found", "There is no such pool", repeat Changed;
        cause "The gateway has no pool of this name.";
        cure "Use `stateless` or `stateful`.";
    InstanceNotFound = "instance_not_found", "There is no such instance", repeat Changed;
        cause "The pool, or the local stack, has no instance of this name or address.";
        cure "Read the pools for the names that exist.";
    MethodNotAllowed = "method_not_allowed", "The method is not allowed here", repeat Changed;
        cause "The resource exists, but does not support this method.";
        cure "Use one of the methods in the response's `Allow` header.";
    RequestTimeout = "request_timeout", "The request took too long to arrive", repeat Safe;
        cause "The header or the body did not arrive in time, so the request was not processed.";
        cure "Send the request again, over a faster connection or with a smaller body.";
    ConcurrentUpdate = "concurrent_update", "The session was changed at the same time", repeat Safe;
        cause "Other writes to the session kept coming between reading and writing it. This change \
            was not made.";
        cure "Repeat the request after a short random delay, or let one client write at a time.";
    SessionFull = "session_full", "The session holds too many messages", repeat Changed;
        cause "The session has reached its maximum number of messages. Nothing was added.";
        cure "Continue the conversation in a new session.";
    TooManySessions = "too_many_sessions", "You have too many sessions", repeat Changed;
        cause "A user can have a limited number of live sessions, and you have reached it. Nothing \
            was changed.";
        cure "List your sessions and end those that you no longer need, or wait until they expire.";
    FileQuotaExceeded = "file_quota_exceeded", "Your files would take too much space",
        repeat Changed;
        cause "A user's files can take a limited number of bytes together, those that are being \
            uploaded included. Nothing was stored.";
        cure "Delete files that you no longer need, or wait until your other uploads have ended.";
    InstanceExists = "instance_exists", "The instance already exists", repeat Changed;
        cause "The pool already has an instance of this name or address.";
        cure "Give the new instance another name (INSTANCE_ID), or remove the existing one first.";
    LastInstance = "last_instance", "No other instance of the pool is available", repeat Changed;
        cause "The change would leave the pool without a serving instance, so its requests would \
            fail. Nothing was changed.";
        cure "Add another instance first. If the outage is intended, send the change with `force`.";
    WrongState = "wrong_state", "The component's state does not allow this", repeat Changed;
        cause "The component is already running or is not running, or the stack is starting or \
            stopping.";
        cure "Read the state of the components, and wait until the stack has started.";
    WrongLessonState = "wrong_lesson_state", "The lesson's state does not allow this",
        repeat Changed;
        cause "Another lesson runs, or no step of a lesson waits, or another step is shown than the \
            request names. Nothing was changed.";
        cure "Read the lessons. Stop the one that runs before you start another one, and name the \
            step that is shown.";
    UpgradeInProgress = "upgrade_in_progress", "The gateway is being upgraded", repeat Safe;
        cause "The gateway is handing over to its new process, which would miss this change. \
            Nothing was changed.";
        cure "Repeat the request in a few seconds; the new process serves it.";
    PreconditionFailed = "precondition_failed", "A precondition failed", repeat Changed;
        cause "The resource has changed since the version that If-Match or If-None-Match names. \
            Nothing was changed.";
        cure "Read the resource again, decide whether your change still applies, and send it with \
            the new `ETag`.";
    BodyTooLarge = "body_too_large", "The body is too large", repeat Changed;
        cause "The body exceeds the limit that the detail names.";
        cure "Send a smaller body, or split the content over several requests.";
    MessageTooLarge = "message_too_large", "The message is too large", repeat Changed;
        cause "The message exceeds the limit that the detail names. It was not added.";
        cure "Split the text over several messages.";
    ClientDataTooLarge = "client_data_too_large", "The client data is too large", repeat Changed;
        cause "With this request, `client_data` would exceed the limit that the detail names. \
            Nothing was changed.";
        cure "Store less in the session. A merge patch removes a member by setting it to null.";
    UriTooLong = "uri_too_long", "The target is too long", repeat Changed;
        cause "Path and query together are longer than the limit.";
        cure "Move the content from the query to the body where the operation has one.";
    RangeNotSatisfiable = "range_not_satisfiable", "The range is outside the content",
        repeat Changed;
        cause "The range of the header Range begins behind the end of the content, or is empty.";
        cure "Read the length in `Content-Range`, and ask for a range that begins before it.";
    ExpectationFailed = "expectation_failed", "The expectation cannot be met", repeat Changed;
        cause "The Expect header has another value than `100-continue`.";
        cure "Omit the Expect header.";
    VersionNotSupported = "version_not_supported", "This version of HTTP is not supported",
        repeat Changed;
        cause "The request line names a version of HTTP that this listener does not support.";
        cure "Use HTTP/1.1, or HTTP/2 over TLS.";
    UnsupportedMediaType = "unsupported_media_type", "The body must be application/json",
        repeat Changed;
        cause "The Content-Type is missing, or is not the one of the operation.";
        cure "Send the body as JSON with `Content-Type: application/json`.";
    MisdirectedRequest = "misdirected_request", "This host is not served here", repeat Changed;
        cause "The Host header names a host that this listener does not serve.";
        cure "Use a name of the installation. Its operator can add another one to the \
            configuration.";
    InvalidBody = "invalid_body", "The body does not have the expected form", repeat Changed;
        cause "The body is valid JSON, but a field is unknown, missing, of the wrong type or out \
            of range. The member `errors` names each by its JSON Pointer.";
        cure "Compare the body with the reference of the operation.";
    IdempotencyKeyReused = "idempotency_key_reused",
        "The idempotency key was used for another request", repeat Changed;
        cause "The same Idempotency-Key came with another body or for another operation. This \
            request was not processed.";
        cure "Draw a new random key for each new request, and repeat a request only unchanged.";
    InvalidOperands = "invalid_operands", "The operands do not fit the operation", repeat Changed;
        cause "The operation takes another number of operands.";
        cure "Send as many operands as the detail says.";
    DivisionByZero = "division_by_zero", "Division by zero", repeat Changed;
        cause "An operand after the first is 0, and the operation divides by it. The detail says \
            which.";
        cure "Remove the zero, or check for it before sending.";
    ResultNotFinite = "result_not_finite", "The result is not a finite number", repeat Changed;
        cause "The result is infinite or undefined, which JSON cannot express. The detail names \
            the operand.";
        cure "Use smaller operands: results lie within the range of a 64-bit floating-point \
            number.";
    InvalidInstance = "invalid_instance", "The instance cannot be added", repeat Changed;
        cause "The address cannot be connected to, such as one with port 0.";
        cure "Send the address and port at which the instance listens, such as 127.0.0.1:8204.";
    WrongInstance = "wrong_instance", "The process at this address is not an instance of this pool",
        repeat Changed;
        cause "Something listens at the address, but its health response is not that of this \
            pool's service. The detail says what it is.";
        cure "Check the port, and add the instance to the pool of its service.";
    InvalidConfig = "invalid_config", "The configuration is invalid", repeat Changed;
        cause "The configuration that the gateway was to reload has an error. The old one stays in \
            force.";
        cure "Correct the setting that the detail names, and reload again.";
    UpgradeRequired = "upgrade_required", "The request must open a WebSocket", repeat Changed;
        cause "The resource is a WebSocket, but the request is not a complete WebSocket handshake.";
        cure "Use a WebSocket client. Plain HTTP clients read the same events from …/events.";
    RateLimited = "rate_limited", "Too many requests", repeat Safe;
        cause "The client, or its address, sent more requests than allowed. The request was not \
            processed.";
        cure "Wait for the seconds of `Retry-After`. Watch `RateLimit` to stay below the limit.";
    TooManyInFlight = "too_many_in_flight", "Too many requests at once", repeat Safe;
        cause "The client has too many requests in flight. The request was not processed.";
        cure "Wait for responses before sending more, for example by a connection pool of fixed \
            size.";
    TooManyClientStreams = "too_many_client_streams", "Too many live connections of one client",
        repeat Safe;
        cause "The client has too many event streams and WebSockets open.";
        cure "Close the connections that are no longer read, then connect again.";
    HeaderTooLarge = "header_too_large", "The request header is too large", repeat Changed;
        cause "The request has too many header fields, or they are too large. Often cookies are.";
        cure "Send fewer or smaller fields, and delete cookies that are not needed.";

    // Faults of the system.
    Internal = "internal", "Internal error", repeat IfIdempotent;
        cause "The system failed in a way that this API has no own code for. The log has the cause \
            under the request id.";
        cure "Report it with the `request_id`.";
    ComponentFailed = "component_failed", "A component failed", repeat IfIdempotent;
        cause "A part of the local stack could not be started, stopped or registered. The detail \
            names it.";
        cure "Read the component's log (`make logs`), remove the cause, and repeat the request.";
    UpstreamFailed = "upstream_failed", "The instance failed to respond", repeat IfIdempotent;
        cause "An instance closed the connection or sent an invalid response. It may or may not \
            have processed the request.";
        cure "If you cannot repeat it, read the resource to learn whether the write was done.";
    NoInstanceAvailable = "no_instance_available", "No instance is available", repeat Safe;
        cause "No instance that could process the request is available. It was not forwarded.";
        cure "Wait for the seconds of `Retry-After`, then repeat the request.";
    Overloaded = "overloaded", "The service is overloaded", repeat Safe;
        cause "All instances are at capacity, so the request was rejected before it was forwarded.";
        cure "Wait for the seconds of `Retry-After`, and double the wait after each further \
            rejection.";
    TooManyConnections = "too_many_connections", "Too many connections", repeat Safe;
        cause "The gateway has reached its limit of connections, for this address or in total. The \
            request was not processed.";
        cure "Close idle connections, reuse the others, and connect again after a moment.";
    TooManyStreams = "too_many_streams", "Too many live connections", repeat Safe;
        cause "The server has reached its limit of event streams and WebSockets.";
        cure "Connect again after the seconds of `Retry-After`, or read the history instead.";
    SessionStoreUnavailable = "session_store_unavailable", "The session store is unavailable",
        repeat IfIdempotent;
        cause "The session store did not respond in time. A write may or may not have been done.";
        cure "Wait for the seconds of `Retry-After`. If you cannot repeat a write, read the \
            session to learn whether it was done.";
    LoginsUnavailable = "logins_unavailable", "This installation issues no tokens",
        repeat Safe;
        cause "The service has no key to sign tokens with.";
        cure "Ask the operator to set `AUTH_KEYS_DIR`, a folder with an Ed25519 private key.";
    TokenKeysUnavailable = "token_keys_unavailable", "The keys of tokens are not known yet",
        repeat Safe;
        cause "The service has just started, or the issuer has a new key. The keys that verify \
            tokens are being fetched, so nothing was done.";
        cure "Wait for the seconds of `Retry-After`, then repeat the request.";
    FileStorageUnavailable = "file_storage_unavailable", "The storage of files is unavailable",
        repeat IfIdempotent;
        cause "The storage that holds the content of files did not respond, or is full.";
        cure "Wait for the seconds of `Retry-After`, then repeat the request.";
    DatabaseUnavailable = "database_unavailable", "The database is unavailable",
        repeat IfIdempotent;
        cause "The database did not respond in time.";
        cure "Wait for the seconds of `Retry-After`, then repeat the request.";
    CacheUnavailable = "cache_unavailable", "The cache is unavailable", repeat Safe;
        cause "The cache could not be told that the catalogue changes, and would have served old \
            data. So nothing was changed.";
        cure "Wait for the seconds of `Retry-After`, then repeat the request.";
    UpstreamTimeout = "upstream_timeout", "The instance took too long to respond",
        repeat IfIdempotent;
        cause "An instance did not respond in time. It may or may not have processed the request.";
        cure "If you cannot repeat it, read the resource to learn whether the write was done.";
    StateNotSaved = "state_not_saved", "The change cannot be saved", repeat Safe;
        cause "The gateway cannot write the change to its state file, so nothing was changed.";
        cure "Remove the cause that the detail names, such as a full disk, and repeat the request.";
}
