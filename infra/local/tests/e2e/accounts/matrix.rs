//! The authorization matrix: every operation of the API's table under each of its paths, called by
//! nobody, with a forged token and in each role, on the caller's own objects, another's and
//! nobody's.
//!
//! What is expected stands in the structs that the table generates, so an operation without an
//! expectation does not compile.

use anyhow::{Context as _, Result};
use local_stack::Stack;
use proto_contracts::api::{Endpoint, Operation, StatefulHandlers, StatelessHandlers};
use proto_contracts::openapi::Caller as Column;
use proto_contracts::{ErrorCode, Problem, Role, security_event};
use reqwest::header::{
    CONNECTION, CONTENT_DISPOSITION, CONTENT_TYPE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::register;
use super::users::token_of;

use crate::api::{Api, Created, SESSIONS};
use crate::response::Response;
use crate::small_stack;

const FORGED: &str =
    "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiJyb290Iiwicm9sZSI6ImFkbWluIn0.AA";

/// Who may call an operation.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Everyone. Tokens have no meaning, not even a forged one.
    Everyone,
    /// Everyone, but a token must be valid.
    EveryoneOrAUser,
    /// A user of this role or a higher one.
    Role(Role),
    /// Users for themselves, admins for everyone. Others do not learn that the user exists.
    OwnUser,
    /// The issuer of tokens, by a body that it has signed.
    Issuer,
    /// The owner of a session, and everyone for a session without one. Others do not learn that
    /// the session exists.
    OwnSession,
    /// Users, for a session without owner or their own.
    UnownedSession,
    /// Users, for their own file. Others do not learn that the file exists, admins neither.
    OwnFile,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Nobody,
    WithForgedToken,
    InRole(Role),
}

const CALLERS: [Caller; 5] = [
    Caller::Nobody,
    Caller::WithForgedToken,
    Caller::InRole(Role::User),
    Caller::InRole(Role::Instructor),
    Caller::InRole(Role::Admin),
];

/// Whose object the operation is called on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    TheCaller,
    Another,
    Nobody,
}

impl Rule {
    /// Every caller with every owner of the object that it may have.
    fn cells(self) -> impl Iterator<Item = (Caller, Owner)> {
        let owners: &[_] = match self {
            Self::Everyone | Self::EveryoneOrAUser | Self::Role(_) | Self::Issuer => {
                &[Owner::Nobody]
            }
            Self::OwnUser | Self::OwnFile => &[Owner::TheCaller, Owner::Another],
            Self::OwnSession | Self::UnownedSession => {
                &[Owner::TheCaller, Owner::Another, Owner::Nobody]
            }
        };
        let all =
            CALLERS.iter().flat_map(|&caller| owners.iter().map(move |&owner| (caller, owner)));
        all.filter(|(caller, owner)| {
            *owner != Owner::TheCaller || matches!(caller, Caller::InRole(_))
        })
    }

    /// Whether the table's column, from which the reference is made, says the same.
    fn is_documented_by(self, column: Column) -> bool {
        match column {
            Column::Everyone { with_token: false } => matches!(self, Self::Everyone),
            Column::Everyone { with_token: true } => matches!(self, Self::EveryoneOrAUser),
            Column::User(Role::User) => {
                matches!(
                    self,
                    Self::Role(Role::User) | Self::OwnUser | Self::UnownedSession | Self::OwnFile
                )
            }
            Column::User(role) => matches!(self, Self::Role(required) if required == role),
            Column::SessionHolder => matches!(self, Self::OwnSession),
            Column::Issuer => matches!(self, Self::Issuer),
            Column::TokenHolder => false,
        }
    }

    /// The refusal; `None` when the operation is executed.
    fn refuses(self, caller: Caller, owner: Owner) -> Option<ErrorCode> {
        match (self, caller) {
            (Self::Everyone, _) => None,
            (_, Caller::WithForgedToken) | (Self::Issuer, _) => Some(ErrorCode::InvalidToken),
            (Self::EveryoneOrAUser, _) => None,
            (Self::Role(_) | Self::OwnUser | Self::OwnFile, Caller::Nobody) => {
                Some(ErrorCode::Unauthorized)
            }
            (Self::OwnFile, Caller::InRole(_)) => {
                (owner == Owner::Another).then_some(ErrorCode::FileNotFound)
            }
            (Self::Role(required), Caller::InRole(role)) => {
                (role < required).then_some(ErrorCode::Forbidden)
            }
            (Self::OwnUser, Caller::InRole(role)) => {
                let may = owner == Owner::TheCaller || role >= Role::Admin;
                (!may).then_some(ErrorCode::UserNotFound)
            }
            (Self::UnownedSession, Caller::Nobody) => Some(ErrorCode::Unauthorized),
            (Self::OwnSession | Self::UnownedSession, Caller::Nobody | Caller::InRole(_)) => {
                (owner == Owner::Another).then_some(ErrorCode::SessionNotFound)
            }
        }
    }
}

/// What is expected of an operation.
#[derive(Clone, Copy, Debug)]
struct Expected {
    rule: Rule,
    /// In place of the example of the reference.
    body: Option<&'static str>,
    /// The error of whoever may call it; a success if there is none.
    fails_with: Option<ErrorCode>,
}

const fn may(rule: Rule) -> Expected {
    Expected { rule, body: None, fails_with: None }
}

impl Expected {
    const fn with_body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn failing_with(self, code: ErrorCode) -> Self {
        Self { fails_with: Some(code), ..self }
    }
}

/// In bodies, `{new_user}` is a name that nobody has, and `{session_id}` the session.
fn expectations() -> Vec<(&'static Operation, Expected)> {
    let everyone = may(Rule::Everyone);
    let user = may(Rule::Role(Role::User));
    let admin = may(Rule::Role(Role::Admin));
    let own_user = may(Rule::OwnUser);
    let own_session = may(Rule::OwnSession);
    let stateless = StatelessHandlers {
        get_info: everyone,
        calculate: everyone,
        draw_random: everyone,
        list_products: everyone,
        create_product: admin,
        get_product: everyone,
        patch_product: admin,
        delete_product: admin,
        reserve_product: user,
        register: everyone.with_body(
            r#"{"username": "{new_user}", "name": "x", "password": "correct horse battery staple"}"#,
        ),
        log_in: everyone.with_body(
            r#"{"username": "matrix", "password": "correct horse battery staple"}"#,
        ),
        refresh: everyone.failing_with(ErrorCode::InvalidRefreshToken),
        log_out: may(Rule::EveryoneOrAUser).with_body(r#"{"refresh_token": "rt_unknown"}"#),
        // The weak password is noticed after the current one was right.
        change_password: user
            .with_body(
                r#"{"current_password": "correct horse battery staple", "new_password": "weak"}"#,
            )
            .failing_with(ErrorCode::WeakPassword),
        accept_invitation: everyone.failing_with(ErrorCode::InvalidInvitation),
        get_me: user,
        list_users: admin,
        get_user: own_user,
        patch_user: own_user.with_body(r#"{"name": "x"}"#),
        delete_user: own_user,
        invite_user: admin.failing_with(ErrorCode::UserNotFound),
        list_audit: admin,
        list_files: user,
        upload_file: user,
        get_file: may(Rule::OwnFile),
        delete_file: may(Rule::OwnFile),
        download_file: may(Rule::OwnFile),
        get_jwks: everyone,
        get_openapi: everyone,
    };
    let stateful = StatefulHandlers {
        list_sessions: user,
        create_session: may(Rule::EveryoneOrAUser),
        end_sessions: user,
        get_session: own_session,
        patch_session: own_session,
        delete_session: own_session,
        claim_session: may(Rule::UnownedSession),
        post_conversation: own_session
            .with_body(r#"{"session_id": "{session_id}", "message": "hi"}"#),
        post_message: own_session,
        get_history: own_session,
        stream_events: own_session,
        open_live: own_session,
        receive_security_event: may(Rule::Issuer),
        create_ticket: own_session,
    };
    let endpoints = stateless.into_endpoints().into_iter().chain(stateful.into_endpoints());
    let of_endpoint = |(endpoint, methods): (Endpoint, Vec<(_, Expected)>)| {
        methods.into_iter().zip(endpoint.operations()).map(|((method, expected), operation)| {
            assert_eq!(method, operation.method);
            let column = operation.details.caller;
            assert!(expected.rule.is_documented_by(column), "{}: {column:?}", operation.id);
            (operation, expected)
        })
    };
    endpoints.flat_map(of_endpoint).collect()
}

#[tokio::test]
async fn every_operation_is_refused_to_whom_it_should_be() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::by_http1(&stack)?;
    register(&api, "matrix").await?;
    let another = token_of(&stack, &api, "another", Role::User).await?;
    let mut matrix = Matrix { stack: &stack, api, another, names: 0 };
    let (mut tried, mut wrong) = (0, Vec::new());
    for (operation, expected) in expectations() {
        let templates = operation.endpoint.templates();
        for template in [Some(templates.canonical), templates.legacy].into_iter().flatten() {
            for (caller, owner) in expected.rule.cells() {
                let refused = expected.rule.refuses(caller, owner).or(expected.fails_with);
                let seen = matrix.call(operation, template, &expected, caller, owner).await;
                let seen = seen.with_context(|| format!("{} {template}", operation.method))?;
                tried += 1;
                if seen != refused {
                    let method = operation.method;
                    wrong.push(format!(
                        "{method} {template} by {caller:?} on an object of {owner:?}: {seen:?} in \
                         place of {refused:?}"
                    ));
                }
            }
        }
    }
    eprintln!("{tried} cells");
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.shutdown().await;
    Ok(())
}

struct Matrix<'a> {
    stack: &'a Stack,
    api: Api,
    /// The token of a user who owns what is another's.
    another: String,
    /// How many names were given.
    names: u32,
}

impl Matrix<'_> {
    /// Calls an operation, and returns the error's code; `None` for a success. Users and sessions
    /// are new ones each time, since some operations end them.
    async fn call(
        &mut self,
        operation: &Operation,
        template: &str,
        expected: &Expected,
        caller: Caller,
        owner: Owner,
    ) -> Result<Option<ErrorCode>> {
        let own_name = self.new_name();
        let token = match caller {
            Caller::Nobody => None,
            Caller::WithForgedToken => Some(FORGED.to_owned()),
            Caller::InRole(role) => Some(token_of(self.stack, &self.api, &own_name, role).await?),
        };
        let object = match (expected.rule, owner) {
            (Rule::OwnSession | Rule::UnownedSession, Owner::TheCaller) => {
                self.new_session(token.as_deref()).await?
            }
            (Rule::OwnSession | Rule::UnownedSession, Owner::Another) => {
                self.new_session(Some(&self.another)).await?
            }
            (Rule::OwnSession | Rule::UnownedSession, Owner::Nobody) => {
                self.new_session(None).await?
            }
            (Rule::OwnFile, Owner::TheCaller) => {
                self.new_file(token.as_deref().context("a caller")?).await?
            }
            (Rule::OwnFile, _) => self.new_file(&self.another).await?,
            (_, Owner::TheCaller) => own_name,
            (_, Owner::Another | Owner::Nobody) => {
                let name = self.new_name();
                if owner == Owner::Another {
                    register(&self.api, &name).await?;
                }
                name
            }
        };
        let fill = |template: &str| {
            let named = template.replace("{session_id}", &object).replace("{user_id}", &object);
            let named = named.replace("{file_id}", &object);
            // One that no other operation is called on.
            let is_delete = operation.id == "delete_product";
            let product = if is_delete { "p024" } else { "p001" };
            named.replace("{product_id}", product).replace("{new_user}", &object)
        };
        let method = Method::from_bytes(operation.method.as_str().as_bytes())?;
        let mut request = self.api.request(method, &fill(template));
        let example = operation.details.body.map(|body| body.example);
        if let Some(body) = expected.body.or(example) {
            let body: Value = serde_json::from_str(&fill(body))?;
            request = match &body {
                // The text of a body that is no JSON.
                Value::String(text) => request.body(text.clone()),
                body => request.json(body),
            };
        }
        if operation.details.is_upload {
            request = request.header(CONTENT_DISPOSITION, "attachment; filename=x").body("x");
        }
        if operation.endpoint == Endpoint::SecurityEvents {
            request = request.header(CONTENT_TYPE, security_event::MEDIA_TYPE);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if operation.endpoint == Endpoint::Live {
            request = request.header(CONNECTION, "upgrade").header(UPGRADE, "websocket");
            request = request.header(SEC_WEBSOCKET_VERSION, "13");
            request = request.header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
        }
        let response = request.send().await?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Its body is dropped: that of a stream has no end.
            return Ok(None);
        }
        let response = Response::of(response).await?;
        let problem: Problem = response.json();
        Ok(Some(response.problem(problem.code).code))
    }

    fn new_name(&mut self) -> String {
        self.names += 1;
        format!("matrix-{}", self.names)
    }

    async fn new_file(&self, token: &str) -> Result<String> {
        let request = self.api.request(Method::POST, "/api/v1/files").bearer_auth(token);
        let request = request.header(CONTENT_DISPOSITION, "attachment; filename=x").body("x");
        let file: Value = Response::to(request).await?.json();
        Ok(file["id"].as_str().context("an id")?.to_owned())
    }

    async fn new_session(&self, token: Option<&str>) -> Result<String> {
        let mut request = self.api.request(Method::POST, SESSIONS);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Ok(Created::by(request).await?.id)
    }
}
