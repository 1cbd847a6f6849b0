//! What of lessons the control plane passes on to a driver, and what it does not.

use proto_contracts::ErrorCode;
use proto_contracts::control::{DRIVER_LESSON_PATH, DRIVER_LESSONS_PATH, Lessons};
use serde_json::{Value, json};

use crate::client::Request;
use crate::testbed::{DRIVER_TOKEN, Setup, TestGateway};
use crate::upstream::{Act, Upstream};

const LESSONS: &str = "/control/v1/lessons";
const LESSON: &str = "/control/v1/lesson";
const SHOWN: &str = r#"{"driver": true, "lessons": [{"number": 1, "name": "round-robin",
    "title": "Round robin is even", "question": "What share?", "needs": "sessions in Redis",
    "place": "running_system", "about_s": 3}]}"#;

fn start() -> (Upstream, TestGateway) {
    let driver = Upstream::start("driver");
    driver.act(Act::Respond(200, vec![], SHOWN));
    let gateway = Setup::new().driver(driver.addr()).start();
    (driver, gateway)
}

fn changes() -> [Request; 3] {
    [
        Request::new("POST", &format!("{LESSONS}/round-robin")).json("{}"),
        Request::new("POST", LESSON).json(r#"{"step": 2}"#),
        Request::new("DELETE", LESSON),
    ]
}

#[test]
fn each_operation_reaches_the_driver_with_its_own_token() {
    let (driver, gateway) = start();
    let shown: Lessons = serde_json::from_str(SHOWN).expect("its type");
    let guess = json!({"step": 2, "guess": "⅔, „zwei Drittel“"});
    let started = format!("{DRIVER_LESSONS_PATH}/round-robin");
    let start_path = format!("{LESSONS}/round-robin");
    for (request, method, path, body) in [
        (Request::get(LESSONS), "GET", DRIVER_LESSONS_PATH, None),
        (
            Request::new("POST", &start_path).json(r#"{"short": true}"#),
            "POST",
            &*started,
            Some(json!({"short": true})),
        ),
        (Request::new("POST", &start_path), "POST", &*started, Some(json!({"short": false}))),
        (
            Request::new("POST", LESSON).json(&guess.to_string()),
            "POST",
            DRIVER_LESSON_PATH,
            Some(guess),
        ),
        (Request::new("DELETE", LESSON), "DELETE", DRIVER_LESSON_PATH, None),
    ] {
        let reply = gateway.change(request);
        assert_eq!(
            (reply.status, reply.json::<Lessons>()),
            (200, shown.clone()),
            "{method} {path}"
        );
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let seen = driver.last();
        assert_eq!((seen.method.as_str(), seen.target.as_str()), (method, path));
        let sent_token = format!("Bearer {DRIVER_TOKEN}");
        assert_eq!(seen.header("authorization"), Some(&*sent_token), "not the operator's token");
        assert_eq!(serde_json::from_slice::<Value>(&seen.body).ok(), body, "{method} {path}");
        assert!(!String::from_utf8_lossy(&reply.body).contains(DRIVER_TOKEN));
    }
}

#[test]
fn only_a_read_needs_no_token() {
    let (driver, gateway) = start();
    assert_eq!(gateway.request(Request::get(LESSONS)).status, 200);
    let before = driver.targets().len();
    for request in changes() {
        assert_eq!(gateway.request(request.clone()).code(), ErrorCode::Unauthorized);
        let with_the_drivers = request.header("authorization", &format!("Bearer {DRIVER_TOKEN}"));
        assert_eq!(gateway.request(with_the_drivers).code(), ErrorCode::Unauthorized);
    }
    assert_eq!(driver.targets().len(), before, "the driver was not asked");
}

#[test]
fn what_is_no_name_of_a_lesson_never_reaches_the_driver() {
    let (driver, gateway) = start();
    let long = "a".repeat(41);
    for name in [
        "..%2Ftraffic",
        "%2e%2e",
        "round%2Drobin%2F..",
        "Round-Robin",
        "memory%00",
        "memory%20--falsify",
        "--state",
        "%F0%9F%99%82",
        "%FF",
        "memory%0A",
        "1",
        &long,
        "a/b",
        "",
    ] {
        // Names of small letters and '-' are for the driver to judge.
        let is_name = name == "--state";
        let reply = gateway.change(Request::new("POST", &format!("{LESSONS}/{name}")).json("{}"));
        if is_name {
            assert_eq!(driver.last().target, format!("{DRIVER_LESSONS_PATH}/--state"));
            continue;
        }
        assert!(matches!(reply.status, 400 | 404 | 405), "{name}: {}", reply.status);
    }
    assert_eq!(driver.targets().len(), 1, "{:?}", driver.targets());
}

#[test]
fn a_body_of_another_form_never_reaches_the_driver() {
    let (driver, gateway) = start();
    let start = format!("{LESSONS}/memory");
    let long = json!({"step": 1, "guess": "x".repeat(121)}).to_string();
    for (path, body, code) in [
        (&*start, r#"{"short": "yes"}"#, ErrorCode::InvalidBody),
        (&start, r#"{"state": "/etc"}"#, ErrorCode::InvalidBody),
        (&start, r#"{"falsify": true}"#, ErrorCode::InvalidBody),
        (&start, "[]", ErrorCode::InvalidBody),
        (&start, "{", ErrorCode::MalformedJson),
        (LESSON, "{}", ErrorCode::InvalidBody),
        (LESSON, r#"{"step": -1}"#, ErrorCode::InvalidBody),
        (LESSON, r#"{"step": 4294967296}"#, ErrorCode::InvalidBody),
        (LESSON, r#"{"step": 1, "guess": "two\nlines"}"#, ErrorCode::InvalidBody),
        (LESSON, r#"{"step": 1, "guess": 66}"#, ErrorCode::InvalidBody),
        (LESSON, &long, ErrorCode::InvalidBody),
    ] {
        let reply = gateway.change(Request::new("POST", path).json(body));
        assert_eq!(reply.code(), code, "{path} {body}");
    }
    for (method, path) in [("POST", &*start), ("POST", LESSON), ("DELETE", LESSON)] {
        let with_query = Request::new(method, &format!("{path}?force=1")).json(r#"{"step": 1}"#);
        let code = gateway.change(with_query).code();
        assert!(
            matches!(code, ErrorCode::InvalidQuery | ErrorCode::InvalidBody),
            "{path}: {code:?}"
        );
    }
    let read = gateway.request(Request::get(&format!("{LESSONS}?all=1")));
    assert_eq!(read.code(), ErrorCode::InvalidQuery);
    assert!(driver.targets().is_empty(), "{:?}", driver.targets());
}

#[test]
fn a_gateway_without_a_driver_says_so() {
    let gateway = Setup::new().start();
    let lessons: Lessons = gateway.request(Request::get(LESSONS)).json();
    assert_eq!(lessons, Lessons::without_driver());
    assert!(lessons.unavailable.is_some());
    for request in changes() {
        assert_eq!(gateway.change(request).code(), ErrorCode::NotFound);
    }
}

#[test]
fn a_conflict_is_passed_on_and_a_silent_driver_named() {
    let (mut driver, gateway) = start();
    let conflict = r#"{"type": "/docs/errors/wrong_lesson_state", "title": "x", "status": 409,
        "detail": "A lesson runs.", "code": "wrong_lesson_state"}"#;
    driver.act(Act::Respond(409, vec![], conflict));
    for request in changes() {
        let reply = gateway.change(request);
        assert_eq!((reply.status, reply.code()), (409, ErrorCode::WrongLessonState));
    }
    driver.leave();
    for request in changes().into_iter().chain([Request::get(LESSONS)]) {
        assert_eq!(gateway.change(request).code(), ErrorCode::UpstreamFailed);
    }
}
