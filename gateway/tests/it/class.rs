//! The class in the control API: people of all instances, kick and reset.

use proto_contracts::ErrorCode;
use proto_contracts::control::Class;

use crate::client::Request;
use crate::testbed::{Setup, TestGateway};
use crate::upstream::{Act, Upstream};

const URL: &str = "https://192.0.2.7:8444/class#KHWXTM";
const CLASS: &str = "/control/v1/class";
const ADA: &str = "00112233445566778899aabbccddeeff";
const OF_FIRST: &str = r#"{"people":[
    {"nickname":"Ada","digest":"00112233445566778899aabbccddeeff","key":"0badcafe",
     "message_count":7,"source":"memory","served_at_ms":2000},
    {"nickname":"<b>Bob","digest":"ffffffffffffffffffffffffffffffff","key":"0badcaff",
     "message_count":1,"source":"redis","served_at_ms":1000}]}"#;
const OF_SECOND: &str = r#"{"people":[
    {"nickname":"Ada","digest":"00112233445566778899aabbccddeeff","key":"0badcafe",
     "message_count":6,"source":"redis","served_at_ms":1000}]}"#;

fn start(upstreams: &[Upstream; 2]) -> TestGateway {
    Setup::new().stateful(upstreams).class_url(URL).start()
}

fn delete(gateway: &TestGateway, path: &str) -> (u16, String) {
    let reply = gateway.change(Request::new("DELETE", path));
    (reply.status, String::from_utf8_lossy(&reply.body).into_owned())
}

#[test]
fn each_person_is_shown_where_served_last() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = start(&upstreams);
    upstreams[0].act(Act::Respond(200, vec![], OF_FIRST));
    upstreams[1].act(Act::Respond(200, vec![], OF_SECOND));
    assert_eq!(gateway.request(Request::get(CLASS)).status, 401, "it has the room's code");
    // The path may be written in another way.
    assert_eq!(gateway.request(Request::get("/control/v1/clas%73")).status / 100, 4);
    let class: Class = gateway.change(Request::get(CLASS)).json();
    assert_eq!((class.url.as_str(), class.code.as_str()), (URL, "KHWXTM"));
    // A square with the three patterns by which a reader finds it.
    let (rows, width) = (&class.qr, class.qr.len());
    assert!(rows.iter().all(|row| row.len() == width && row.bytes().all(|m| b"01".contains(&m))));
    assert!(rows[0].starts_with("11111110") && rows[0].ends_with("01111111"), "{rows:?}");
    assert!(rows[width - 1].starts_with("11111110"), "{rows:?}");
    let shown: Vec<_> = class
        .people
        .iter()
        .map(|person| {
            (person.served.nickname.as_str(), person.instance.as_str(), person.served.message_count)
        })
        .collect();
    assert_eq!(shown, [("<b>Bob", "stateful-1", 1), ("Ada", "stateful-1", 7)]);
    assert!(class.missed.is_empty());

    upstreams[1].act(Act::Respond(404, vec![], ""));
    let class: Class = gateway.change(Request::get(CLASS)).json();
    assert_eq!((class.people.len(), class.missed), (2, vec!["stateful-2".to_owned()]));
}

#[test]
fn a_kick_and_a_reset_reach_every_instance() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = start(&upstreams);
    let kick = format!("{CLASS}/{ADA}");
    for (first, second, path, expected) in [
        (404, 204, kick.as_str(), 204),
        (404, 404, kick.as_str(), ErrorCode::SessionNotFound.status()),
        (404, 503, kick.as_str(), ErrorCode::UpstreamFailed.status()),
        (204, 204, CLASS, 204),
        (204, 404, CLASS, 204),
        (204, 503, CLASS, ErrorCode::UpstreamFailed.status()),
    ] {
        let before = upstreams.each_ref().map(|upstream| upstream.targets().len());
        upstreams[0].act(Act::Respond(first, vec![], ""));
        upstreams[1].act(Act::Respond(second, vec![], ""));
        let (status, body) = delete(&gateway, path);
        assert_eq!(status, expected, "{first} {second} {path}: {body}");
        let target = path.replace(CLASS, "/internal/class");
        for (upstream, before) in upstreams.iter().zip(before) {
            assert_eq!(upstream.targets()[before..], [target.as_str()], "{first} {second} {path}");
        }
        if second == 503 {
            assert!(body.contains("stateful-2") && !body.contains("stateful-1"), "{body}");
        }
    }
    let before = upstreams.each_ref().map(|upstream| upstream.targets().len());
    for bad in ["x", "..%2f..%2fdrain", &ADA.to_uppercase()] {
        let (status, body) = delete(&gateway, &format!("{CLASS}/{bad}"));
        assert!(matches!(status, 400 | 404), "{bad}: {status} {body}");
    }
    assert_eq!(gateway.request(Request::new("DELETE", CLASS)).status, 401);
    assert_eq!(gateway.request(Request::new("DELETE", &kick)).status, 401);
    let after = upstreams.each_ref().map(|upstream| upstream.targets().len());
    assert_eq!(after, before, "nobody was asked");
}

#[test]
fn without_a_class_there_is_nothing() {
    let upstream = Upstream::start("stateful-1");
    let gateway = Setup::new().stateful([&upstream]).start();
    let kick = format!("{CLASS}/{ADA}");
    for request in
        [Request::get(CLASS), Request::new("DELETE", CLASS), Request::new("DELETE", &kick)]
    {
        let reply = gateway.change(request);
        assert_eq!((reply.status, reply.code()), (404, ErrorCode::NotFound));
    }
    assert!(upstream.targets().is_empty());
}
