//! Access to the control plane: `Host` is checked for all requests, the token for changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::{HOST, HeaderMap, HeaderValue};
use proto_contracts::{Authority, ErrorCode};
use secrecy::SecretString;
use service_kit::edge::Admit;
use service_kit::problem::ApiError;
use service_kit::tokens::{is_secret, sent_token};

use crate::config::Control;

/// The check of each request to the control plane.
pub(super) fn admit(config: &Control, upgrading: Arc<AtomicBool>) -> Box<Admit> {
    let hosts = config.allowed_hosts.clone();
    let token = config.token.clone();
    Box::new(move |request| {
        check_host(request, &hosts)?;
        if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            Ok(())
        } else {
            check_token(request, token.as_ref())?;
            check_no_upgrade(&upgrading)
        }
    })
}

fn check_host(request: &ServiceRequest, allowed: &[String]) -> Result<(), ApiError> {
    let is_allowed =
        |host: Authority<'_>| allowed.iter().any(|name| host.has_host(name.as_bytes()));
    let in_target = request.uri().authority().map(|authority| authority.as_str());
    let fields = request.headers().get_all(HOST).map(HeaderValue::as_bytes);
    if Authority::requested(in_target, fields).is_some_and(is_allowed) {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::MisdirectedRequest,
        "This Host is not in [control] allowed_hosts.",
    ))
}

fn check_token(request: &ServiceRequest, token: Option<&SecretString>) -> Result<(), ApiError> {
    let Some(token) = token else {
        return Err(unauthorized(
            "The gateway has no CONTROL_TOKEN, so the control API is read-only.",
        ));
    };
    let Some(sent) = sent_token(request.headers()) else {
        return Err(unauthorized("Send the header 'Authorization: Bearer <CONTROL_TOKEN>'."));
    };
    if is_secret(sent, token) {
        Ok(())
    } else {
        Err(unauthorized("The token is not the gateway's CONTROL_TOKEN."))
    }
}

/// Whether the headers have the token, for requests where it is optional.
pub(super) fn holds_token(headers: &HeaderMap, token: Option<&SecretString>) -> bool {
    token.zip(sent_token(headers)).is_some_and(|(token, sent)| is_secret(sent, token))
}

/// Rejects changes during a hot restart, because the new process would miss them.
fn check_no_upgrade(upgrading: &AtomicBool) -> Result<(), ApiError> {
    if upgrading.load(Ordering::Acquire) {
        return Err(ApiError::new(
            ErrorCode::UpgradeInProgress,
            "The gateway is being upgraded; retry in a moment.",
        ));
    }
    Ok(())
}

fn unauthorized(detail: &'static str) -> ApiError {
    ApiError::new(ErrorCode::Unauthorized, detail)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn judge(
        token: Option<&str>,
        method: Method,
        headers: &[(&str, &str)],
    ) -> Result<(), ErrorCode> {
        let config = Control {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics_listen: None,
            allowed_hosts: vec!["localhost".to_owned(), "[::1]".to_owned()],
            event_sample_per_s: 0,
            token: token.map(SecretString::from),
            class: None,
            agent: None,
            driver: None,
            peers: Vec::new(),
        };
        let request =
            headers.iter().fold(TestRequest::default().method(method), |request, header| {
                request.insert_header(*header)
            });
        admit(&config, Arc::default())(&request.to_srv_request()).map_err(|error| error.code())
    }

    #[test]
    fn reads_need_a_known_host_but_no_token() {
        for host in ["localhost", "localhost:8001", "LOCALHOST:1", "[::1]:8001", "[::1]"] {
            assert_eq!(judge(Some(TOKEN), Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example", "localhost@evil.example", "::1"]
        {
            assert_eq!(
                judge(Some(TOKEN), Method::GET, &[("host", host)]),
                Err(ErrorCode::MisdirectedRequest),
                "{host}"
            );
        }
        assert_eq!(judge(Some(TOKEN), Method::GET, &[]), Err(ErrorCode::MisdirectedRequest));
    }

    #[test]
    fn the_host_in_the_target_counts_before_the_field() {
        let judge = |target: &str, hosts: &[&str]| {
            let request = TestRequest::with_uri(target);
            let request =
                hosts.iter().fold(request, |request, host| request.append_header(("host", *host)));
            check_host(&request.to_srv_request(), &["localhost".to_owned()]).is_ok()
        };
        assert!(judge("http://localhost:8001/x", &["localhost:8001"]));
        assert!(
            judge("http://LOCALHOST/x", &["evil.example"]),
            "RFC 9112, section 3.2.2: the field is ignored"
        );
        assert!(!judge("http://evil.example/x", &["localhost"]));
        assert!(!judge("http://localhost@evil.example/x", &["localhost"]));
        assert!(judge("/x", &["localhost:"]), "an empty port is none");
        assert!(!judge("/x", &["localhost", "localhost"]), "two hosts are ambiguous");
        assert!(!judge("/x", &["localhost:http"]));
    }

    #[test]
    fn changes_are_rejected_during_a_hot_restart() {
        let config = Control {
            listen: ([127, 0, 0, 1], 0).into(),
            metrics_listen: None,
            allowed_hosts: vec!["localhost".to_owned()],
            event_sample_per_s: 0,
            token: Some(TOKEN.to_owned().into()),
            class: None,
            agent: None,
            driver: None,
            peers: Vec::new(),
        };
        let admit = admit(&config, Arc::new(AtomicBool::new(true)));
        let check = |method| {
            let request =
                TestRequest::default().method(method).insert_header(("host", "localhost"));
            let request = request.insert_header(("authorization", "Bearer 0123456789abcdef"));
            admit(&request.to_srv_request()).map_err(|error| error.code())
        };
        assert_eq!(check(Method::GET), Ok(()));
        assert_eq!(check(Method::PUT), Err(ErrorCode::UpgradeInProgress));
    }

    #[test]
    fn every_change_needs_the_token() {
        let with = |value| [("host", "localhost"), ("authorization", value)];
        for method in [Method::PUT, Method::POST, Method::DELETE, Method::PATCH] {
            assert_eq!(
                judge(Some(TOKEN), method.clone(), &with("Bearer 0123456789abcdef")),
                Ok(())
            );
            for wrong in [
                "",
                "Bearer",
                "Bearer ",
                "Bearer 0123456789abcde",
                "Basic 0123456789abcdef",
                "0123456789abcdef",
            ] {
                let refused = judge(Some(TOKEN), method.clone(), &with(wrong));
                assert_eq!(refused, Err(ErrorCode::Unauthorized), "{wrong:?}");
            }
            assert_eq!(
                judge(None, method, &with("Bearer ")),
                Err(ErrorCode::Unauthorized),
                "no token opens nothing"
            );
        }
    }
}
