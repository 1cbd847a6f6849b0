//! The board's page, and the event that it alone asks for.

use std::collections::BTreeSet;

use proto_contracts::control::{Event, InstanceState, Rates, SessionReads};
use proto_contracts::{AffinityKey, ErrorCode, PoolName};

use crate::client::{Reply, Request};
use crate::testbed::{INFO, Setup, TestGateway, session_path};
use crate::upstream::{Act, Upstream};

fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.clone()).expect("text")
}

/// The page and all files that it and its files name.
fn files(gateway: &TestGateway) -> BTreeSet<String> {
    let mut files = BTreeSet::from(["/".to_owned()]);
    let mut left = vec!["/".to_owned()];
    while let Some(path) = left.pop() {
        let reply = gateway.request(Request::get(&path));
        assert_eq!(reply.status, 200, "{path}");
        if reply.header("content-type").is_some_and(|kind| kind.starts_with("image/")) {
            continue;
        }
        let text = text(&reply);
        let named = text.split(['"', '\'']).filter_map(|part| match part.strip_prefix("./") {
            Some(module) => module.ends_with(".mjs").then(|| format!("/board/{module}")),
            None => part.starts_with("/board/").then(|| part.to_owned()),
        });
        left.extend(named.filter(|file| files.insert(file.clone())));
    }
    files
}

#[test]
fn the_page_and_its_files_are_served_under_a_strict_policy() {
    let gateway = Setup::new().start_unready();
    let files = files(&gateway);
    assert!(files.len() > 10, "{files:?}");
    for path in &files {
        let reply = gateway.request(Request::get(path));
        let policy = reply.header("content-security-policy").expect("a policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"]
        {
            assert!(policy.split("; ").any(|known| known == part), "{part} of {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{path}");
        let tag = reply.header("etag").expect("an entity tag").to_owned();
        let again = gateway.request(Request::get(path).header("if-none-match", &tag));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header("etag"), Some(&*tag));
        let other = gateway.request(Request::get(path).header("if-none-match", "\"0\""));
        assert_eq!(other.status, 200, "{path}");
        let head = gateway.request(Request::new("HEAD", path));
        assert_eq!((head.status, head.header("etag")), (200, Some(&*tag)), "{path}");
    }
    let page = text(&gateway.request(Request::get("/")));
    for inline in ["<style", " style=", " onclick=", "<script>", "javascript:", "http:", "https:"] {
        assert!(!page.contains(inline), "{inline} in the page");
    }
}

#[test]
fn the_page_is_on_the_control_plane_alone() {
    let gateway = Setup::new().control("metrics_listen = \"127.0.0.1:0\"").start_unready();
    for path in files(&gateway) {
        assert_eq!(gateway.send(&Request::get(&path)).code(), ErrorCode::NotFound, "{path}");
        let reply = gateway.connect_metrics().send(&Request::get(&path));
        assert_eq!(reply.code(), ErrorCode::NotFound, "{path} beside the metrics");
        let foreign = Request::get(&path).header("host", "evil.test");
        let foreign = gateway.connect_control().send(&foreign);
        assert_eq!(foreign.code(), ErrorCode::MisdirectedRequest, "{path}");
        assert_eq!(
            gateway.change(Request::post(&path)).code(),
            ErrorCode::MethodNotAllowed,
            "{path}"
        );
    }
    for path in ["/board", "/board/", "/board/board.rs", "/board/..%2fboard.mjs", "/index.html"] {
        let reply = gateway.request(Request::get(path));
        assert!(matches!(reply.status, 400 | 404), "{path}: {reply:?}");
    }
}

fn rates(event: &Event, pool: PoolName) -> Option<Rates> {
    match event {
        Event::Rates(rates) if rates.pool == pool => Some(rates.clone()),
        _ => None,
    }
}

#[test]
fn rates_count_every_request_of_a_second() {
    let stateless = Upstream::start("stateless-1");
    let stateful = Upstream::start_all(["stateful-1", "stateful-2"]);
    stateful[0].report_sessions(5);
    stateful[0].report_session_use([3, 100, 80]);
    // Not sampled at all: the totals come from counters.
    let gateway = Setup::new()
        .stateless([&stateless])
        .stateful(&stateful)
        .control("event_sample_per_s = 0")
        .start();
    let mut stream = gateway.listen("?types=rates");
    stream.find("the first second", |event| rates(event, PoolName::Stateful));
    const REQUESTS: u64 = 20;
    let mut client = gateway.connect();
    for i in 0..REQUESTS {
        client.send(&Request::get(INFO));
        client.send(&Request::get(&session_path(AffinityKey::from_bits(i as u32))));
    }
    stateful[0].report_session_use([4, 110, 85]);
    let mut seen = [0; 4];
    let mut reads = SessionReads::default();
    let mut last = None;
    stream.find("all requests and reads", |event| {
        if let Some(stateless) = rates(event, PoolName::Stateless) {
            seen[0] += stateless.requests;
            assert_eq!(stateless.reads, None, "it has no sessions");
            assert_eq!(stateless.verdicts.values().sum::<u64>(), stateless.requests);
        }
        let stateful = rates(event, PoolName::Stateful)?;
        seen[1] += stateful.requests;
        seen[2] += stateful.verdicts.get("home").copied().unwrap_or_default();
        seen[3] += stateful.instances.iter().map(|instance| instance.requests).sum::<u64>();
        assert!(stateful.interval_ms >= 900, "{stateful:?}");
        assert!(stateful.p99_ms.is_some() == (stateful.requests > 0), "{stateful:?}");
        let reported = stateful.reads.expect("one instance reports them");
        reads.total += reported.total;
        reads.memory += reported.memory;
        last = Some(stateful);
        (seen[0] == REQUESTS && seen[1] == REQUESTS && reads.total == 10).then_some(())
    });
    assert_eq!(seen, [REQUESTS; 4], "stateless, stateful, home, by instance");
    assert_eq!(reads, SessionReads { memory: 5, total: 10 }, "those since the stream began");
    let last = last.expect("a second");
    let instance = &last.instances[0];
    assert_eq!(instance.name.as_ref().map(|name| name.as_str()), Some("stateful-1"));
    assert_eq!((instance.live_sessions, instance.hot_sessions), (Some(5), Some(4)));
    assert_eq!(instance.state, InstanceState::Healthy);
    assert_eq!(last.instances[1].hot_sessions, None, "it does not report them");
    assert_eq!(last.epoch, gateway.stateful().epoch);
}

#[test]
fn rates_count_lost_sessions_and_failures() {
    let mut upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let mut stream = gateway.listen("?types=rates&pool=stateful");
    // What is counted from now on is in a later one.
    stream.find("the first second", |event| rates(event, PoolName::Stateful));
    upstreams.iter().for_each(|upstream| upstream.act(Act::Respond(404, Vec::new(), "{}")));
    let get = |gateway: &TestGateway| {
        gateway.send(&Request::get(&session_path(AffinityKey::from_bits(1))))
    };
    (0..3).for_each(|_| assert_eq!(get(&gateway).status, 404));
    upstreams.iter_mut().for_each(Upstream::leave);
    (0..2).for_each(|_| assert_eq!(get(&gateway).status, 503));
    let (mut not_found, mut failed) = (0, 0);
    stream.find("all of them", |event| {
        let rates = rates(event, PoolName::Stateful).expect("nothing else was asked for");
        (not_found, failed) = (not_found + rates.not_found, failed + rates.failed);
        ((not_found, failed) == (3, 2)).then_some(())
    });
}

#[test]
fn instances_show_what_ranks_them() {
    let upstreams = Upstream::start_all(["stateful-1", "stateful-2"]);
    let gateway = Setup::new().stateful(&upstreams).start();
    let pool = gateway.stateful();
    for bits in [0, 1, 0xffff_ffff, 0x0bad_cafe] {
        let key = AffinityKey::from_bits(bits);
        // SplitMix64's finalizer, as the document describes it.
        let score = |hash: &str| {
            let hash = u64::from_str_radix(hash, 16).expect("16 hex digits");
            let mut x = hash ^ u64::from(bits).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            format!("{:016x}", x ^ (x >> 31))
        };
        for ranked in gateway.explain(key).ranking {
            let instance =
                pool.instances.iter().find(|instance| instance.name.as_ref() == Some(&ranked.name));
            let member = instance.and_then(|instance| instance.member.clone()).expect("a member");
            assert_eq!(score(&member.hash), ranked.score);
            assert!(member.usable);
        }
    }
}
