//! Requests of somebody at the board, passed on to the traffic driver.

use proto_contracts::ErrorCode;
use proto_contracts::control::{Conversation, DRIVER_CONVERSATION_PATH};

use crate::client::Request;
use crate::testbed::{DRIVER_TOKEN, Setup};
use crate::upstream::{Act, Upstream};

const CONVERSATION: &str = "/control/v1/conversation";
const SAY: &str = r#"{"person":"A","act":"say","cookie_jar":true,"message":"Hello"}"#;
const RESPONSE: &str = r#"{"person": "A", "has_session": true, "exchanges": [{"method": "POST",
    "path": "/x", "sent": [], "status": 201, "duration_ms": 1.5, "headers": [], "body": ""}]}"#;

#[test]
fn what_is_listed_reaches_the_driver_and_nothing_else() {
    let driver = Upstream::start("driver");
    driver.act(Act::Respond(200, vec![], RESPONSE));
    let gateway = Setup::new().driver(driver.addr()).start();
    let post = |body: &str| gateway.change(Request::new("POST", CONVERSATION).json(body));
    let said = post(SAY);
    assert_eq!(said.status, 200, "{said:?}");
    assert_eq!(said.json::<Conversation>().exchanges[0].status, Some(201));
    let seen = driver.last();
    assert_eq!((seen.method.as_str(), &*seen.target), ("POST", DRIVER_CONVERSATION_PATH));
    assert_eq!(seen.body, SAY.as_bytes());
    assert_eq!(seen.header("authorization"), Some(format!("Bearer {DRIVER_TOKEN}").as_str()));

    let before = driver.targets().len();
    let anonymous = Request::new("POST", CONVERSATION).json(SAY);
    assert_eq!(gateway.request(anonymous).code(), ErrorCode::Unauthorized);
    let long = SAY.replace("Hello", &"x".repeat(501));
    for (body, pointer) in [
        (long.as_str(), "/message"),
        (r#"{"person":"A","act":"say","cookie_jar":true}"#, "/message"),
        (r#"{"person":"A","act":"read","cookie_jar":true,"message":"x"}"#, "/message"),
        (r#"{"person":"E","act":"info","cookie_jar":true}"#, "/person"),
        (r#"{"person":"A","act":"delete_all","cookie_jar":true}"#, "/act"),
        (r#"{"person":"A","act":"info","cookie_jar":true,"url":"http://192.0.2.7"}"#, "/url"),
    ] {
        let problem = post(body).problem();
        assert_eq!(problem.code, ErrorCode::InvalidBody, "{body}");
        assert_eq!(problem.errors[0].pointer.as_deref(), Some(pointer), "{body}");
    }
    assert_eq!(driver.targets().len(), before, "the driver was not asked");

    let without = Setup::new().start();
    let refused = without.change(Request::new("POST", CONVERSATION).json(SAY));
    assert_eq!(refused.code(), ErrorCode::NotFound);
}
