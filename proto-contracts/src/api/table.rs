//! The table.

use super::{accounts, files, stateful, stateless};
use crate::openapi::{Described, Details, Method};
use crate::pool_name::PoolName;

/// Generates [`Endpoint`], [`operations`] and, for each pool, the struct of its handlers.
macro_rules! api {
    ($(
        $(#[$handlers_doc:meta])*
        $pool:ident $handlers:ident {
            $(
                $(#[$doc:meta])*
                $endpoint:ident $canonical:literal $(legacy $legacy:literal)? {
                    $($id:ident: $method:ident $details:path;)*
                }
            )*
        }
    )*) => {
        /// An endpoint of the API: one path and its legacy alias. Its templates are the bounded set
        /// of route labels in metrics and access logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Endpoint {
            $($($(#[$doc])* $endpoint,)*)*
            /// A path under a pool's prefix that matches no template; the service responds with
            /// 404.
            Unknown,
        }

        impl Endpoint {
            /// Every endpoint that has a path.
            pub const ALL: &[Self] = &[$($(Self::$endpoint,)*)*];

            /// The endpoint's paths.
            pub const fn templates(self) -> Templates {
                match self {
                    $($(Self::$endpoint => Templates {
                        canonical: $canonical,
                        legacy: optional!($($legacy)?),
                    },)*)*
                    Self::Unknown => Templates { canonical: "unmatched", legacy: None },
                }
            }

            /// The pool that serves it; `None` for [`Endpoint::Unknown`].
            pub const fn pool(self) -> Option<PoolName> {
                match self {
                    $($(Self::$endpoint => Some(PoolName::$pool),)*)*
                    Self::Unknown => None,
                }
            }

            /// Whether its responses are endless.
            pub const fn is_stream(self) -> bool {
                match self {
                    $($(Self::$endpoint => const { false $(|| $details.is_stream)* },)*)*
                    Self::Unknown => false,
                }
            }

            /// Whether it takes files, which are larger than other bodies and are forwarded while
            /// they arrive.
            pub const fn is_upload(self) -> bool {
                match self {
                    $($(Self::$endpoint => const { false $(|| $details.is_upload)* },)*)*
                    Self::Unknown => false,
                }
            }

            /// Its operations, one for each method.
            pub const fn operations(self) -> &'static [Operation] {
                match self {
                    $($(Self::$endpoint => const { &[$(Operation {
                        id: stringify!($id),
                        method: Method::$method,
                        endpoint: Self::$endpoint,
                        details: $details,
                    },)*] },)*)*
                    Self::Unknown => &[],
                }
            }
        }

        $(
            $(#[$handlers_doc])*
            #[expect(missing_docs, reason = "each field is the operation of the same id")]
            pub struct $handlers<H> {
                $($(pub $id: H,)*)*
            }

            impl<H> $handlers<H> {
                /// Each endpoint of the pool with its methods and their handlers.
                pub fn into_endpoints(self) -> Vec<(Endpoint, Vec<(Method, H)>)> {
                    vec![$((Endpoint::$endpoint, vec![$((Method::$method, self.$id),)*]),)*]
                }
            }
        )*
    };
}

/// `Some` of the given value, `None` without one.
macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

api! {
    /// A handler for each operation of the stateless pool.
    Stateless StatelessHandlers {
        /// Service, version and instance.
        Info "/api/v1/stateless/info" legacy "/api/stateless/info" {
            get_info: Get stateless::GET_INFO;
        }
        /// Arithmetic.
        Calculate "/api/v1/stateless/calculate" legacy "/api/stateless/calculate" {
            calculate: Post stateless::CALCULATE;
        }
        /// Random numbers.
        Random "/api/v1/stateless/random" legacy "/api/stateless/random" {
            draw_random: Get stateless::DRAW_RANDOM;
        }
        /// The catalogue, paged.
        Products "/api/v1/stateless/products" {
            list_products: Get stateless::LIST_PRODUCTS;
            create_product: Post stateless::CREATE_PRODUCT;
        }
        /// One product.
        Product "/api/v1/stateless/products/{product_id}" {
            get_product: Get stateless::GET_PRODUCT;
            patch_product: Patch stateless::PATCH_PRODUCT;
            delete_product: Delete stateless::DELETE_PRODUCT;
        }
        /// Units taken from a product's stock.
        Reservations "/api/v1/stateless/products/{product_id}/reservations" {
            reserve_product: Post stateless::RESERVE_PRODUCT;
        }
        /// A new user.
        Register "/api/v1/auth/register" {
            register: Post accounts::REGISTER;
        }
        /// Tokens for a username and a password.
        Login "/api/v1/auth/login" {
            log_in: Post accounts::LOG_IN;
        }
        /// Tokens for a refresh token.
        Refresh "/api/v1/auth/refresh" {
            refresh: Post accounts::REFRESH;
        }
        /// The end of logins.
        Logout "/api/v1/auth/logout" {
            log_out: Post accounts::LOG_OUT;
        }
        /// The user's password.
        Password "/api/v1/auth/password" {
            change_password: Post accounts::CHANGE_PASSWORD;
        }
        /// A user's first password.
        AcceptInvitation "/api/v1/auth/invitation" {
            accept_invitation: Post accounts::ACCEPT_INVITATION;
        }
        /// The user of the token.
        Me "/api/v1/auth/me" {
            get_me: Get accounts::GET_ME;
        }
        /// All users.
        Users "/api/v1/users" {
            list_users: Get accounts::LIST_USERS;
        }
        /// One user.
        User "/api/v1/users/{user_id}" {
            get_user: Get accounts::GET_USER;
            patch_user: Patch accounts::PATCH_USER;
            delete_user: Delete accounts::DELETE_USER;
        }
        /// How a user without a password gets one.
        Invitation "/api/v1/users/{user_id}/invitation" {
            invite_user: Post accounts::INVITE_USER;
        }
        /// Who changed what.
        Audit "/api/v1/audit" {
            list_audit: Get accounts::LIST_AUDIT;
        }
        /// The caller's files.
        Files "/api/v1/files" {
            list_files: Get files::LIST_FILES;
            upload_file: Post files::UPLOAD_FILE;
        }
        /// What is known of one file.
        File "/api/v1/files/{file_id}" {
            get_file: Get files::GET_FILE;
            delete_file: Delete files::DELETE_FILE;
        }
        /// Its bytes.
        FileContent "/api/v1/files/{file_id}/content" {
            download_file: Get files::DOWNLOAD_FILE;
        }
        /// The public keys of access tokens.
        Jwks "/.well-known/jwks.json" {
            get_jwks: Get accounts::GET_JWKS;
        }
        /// The document of this API.
        Document "/api/v1/openapi.json" {
            get_openapi: Get stateless::GET_OPENAPI;
        }
    }

    /// A handler for each operation of the stateful pool.
    Stateful StatefulHandlers {
        /// All sessions.
        Sessions "/api/v1/stateful/sessions" legacy "/api/stateful/session" {
            list_sessions: Get stateful::LIST_SESSIONS;
            create_session: Post stateful::CREATE_SESSION;
            end_sessions: Delete stateful::END_SESSIONS;
        }
        /// One session.
        Session
            "/api/v1/stateful/sessions/{session_id}" legacy "/api/stateful/session/{session_id}"
        {
            get_session: Get stateful::GET_SESSION;
            patch_session: Patch stateful::PATCH_SESSION;
            delete_session: Delete stateful::DELETE_SESSION;
        }
        /// Take over a session without owner.
        Claim "/api/v1/stateful/sessions/{session_id}/claim" {
            claim_session: Post stateful::CLAIM_SESSION;
        }
        /// Post a message with the session's id in the body.
        Conversations "/api/v1/stateful/conversations" legacy "/api/stateful/conversation" {
            post_conversation: Post stateful::POST_CONVERSATION;
        }
        /// Post a message with the session's id in the path.
        Messages "/api/v1/stateful/sessions/{session_id}/messages" {
            post_message: Post stateful::POST_MESSAGE;
        }
        /// The messages of a session, paged.
        History
            "/api/v1/stateful/sessions/{session_id}/history"
            legacy "/api/stateful/history/{session_id}"
        {
            get_history: Get stateful::GET_HISTORY;
        }
        /// Receive a session's messages: server-sent events.
        Events "/api/v1/stateful/sessions/{session_id}/events" {
            stream_events: Get stateful::STREAM_EVENTS;
        }
        /// Receive and post messages: a WebSocket.
        Live "/api/v1/stateful/sessions/{session_id}/live" {
            open_live: Get stateful::OPEN_LIVE;
        }
        /// Events of the issuer of tokens.
        SecurityEvents "/api/v1/stateful/security-events" {
            receive_security_event: Post stateful::RECEIVE_SECURITY_EVENT;
        }
        /// Tickets, with which a browser opens one of these two.
        Tickets "/api/v1/stateful/sessions/{session_id}/tickets" {
            create_ticket: Post stateful::CREATE_TICKET;
        }
    }
}

/// The canonical and the legacy template of an endpoint. `{…}` is one path segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Templates {
    /// Under `/api/v1`.
    pub canonical: &'static str,
    /// The deprecated alias (Phase 1), if there is one.
    pub legacy: Option<&'static str>,
}

/// A method of an endpoint: one row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The name by which generated clients call it.
    pub id: &'static str,
    /// Its method. `GET` includes `HEAD`.
    pub method: Method,
    /// Its path.
    pub endpoint: Endpoint,
    /// What it takes, returns and rejects.
    pub details: Details,
}

impl Operation {
    /// Its entry in the document, under its canonical path.
    pub(super) fn described(&self) -> Described<'_> {
        Described {
            path: self.endpoint.templates().canonical,
            method: self.method,
            id: self.id,
            details: &self.details,
            successor: None,
        }
    }
}

/// Every row of the table.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    Endpoint::ALL.iter().flat_map(|endpoint| endpoint.operations())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::openapi::check_examples;

    #[test]
    fn ids_and_methods_of_a_path_are_unique() {
        let mut seen = HashSet::new();
        for operation in operations() {
            assert!(seen.insert(operation.id.to_owned()), "{} twice", operation.id);
            let path = operation.endpoint.templates().canonical;
            assert!(seen.insert(format!("{} {path}", operation.method)), "{path} twice");
        }
        for endpoint in Endpoint::ALL {
            assert!(!endpoint.operations().is_empty(), "{endpoint:?} has an operation");
        }
    }

    #[test]
    fn examples_have_their_types() {
        let described = operations().map(Operation::described);
        check_examples(&described.collect::<Vec<_>>());
    }
}
