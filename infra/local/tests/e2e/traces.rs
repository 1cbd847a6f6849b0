//! One request is one trace, from the gateway to the databases. A hanging collector does no harm.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use local_stack::Plan;
use proto_contracts::headers::{TRACEPARENT, TRACESTATE};
use reqwest::Method;
use serde_json::json;

use crate::api::{Api, SESSIONS};
use crate::collector::{Collector, Span};
use crate::logs;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const PRODUCTS: &str = "/api/v1/stateless/products";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const UNSAMPLED: &str = "11111111111111111111111111111111";
const CLIENT: &str = "00f067aa0ba902b7";

/// A stack that exports spans after 50 ms.
fn traced_stack(collector: &str) -> Plan {
    let binaries = ["gateway", "stateless-svc", "stateful-svc"];
    let stack = small_stack().stateful(1).traces_to(collector);
    binaries
        .into_iter()
        .fold(stack, |stack, binary| stack.env(binary, "OTEL_BSP_SCHEDULE_DELAY", "50"))
}

#[tokio::test]
async fn one_trace_holds_gateway_service_redis_and_postgresql() -> Result<()> {
    let collector = Collector::start()?;
    let stack = traced_stack(collector.url()).start().await?;
    let api = Api::on_gateway(&stack)?;
    // The client's sampling decision "not sampled" is followed.
    until("the catalogue is there", || async {
        let request = api
            .request(Method::GET, PRODUCTS)
            .header(TRACEPARENT, format!("00-{UNSAMPLED}-{CLIENT}-00"));
        Ok((Response::to(request).await?.status == 200).then_some(()))
    })
    .await?;

    let request = api.request(Method::GET, &format!("{PRODUCTS}?limit=2"));
    let request = request
        .header(TRACEPARENT, format!("00-{TRACE}-{CLIENT}-01"))
        .header(TRACESTATE, "vendor=1");
    let response = Response::to(request).await?;
    ensure!(response.status == 200, "{response}");
    let expected = [
        ("gateway", "GET /api/v1/stateless/products"),
        ("gateway", "GET"),
        ("stateless-svc", "GET /api/v1/stateless/products"),
        ("stateless-svc", "EVALSHA cache_lookup"),
        ("stateless-svc", "SELECT products"),
        ("stateless-svc", "EVALSHA cache_store"),
    ];
    let spans = until("all spans of the trace", || async {
        let spans = collector.trace(TRACE);
        Ok((spans.len() >= expected.len()).then_some(spans))
    })
    .await?;
    ensure!(spans.len() == expected.len(), "{spans:#?}");
    let find = |(service, name): (&str, &str)| -> Result<&Span> {
        let found = spans.iter().find(|span| span.service == service && span.name == name);
        found.with_context(|| format!("{service} {name} in {spans:#?}"))
    };
    let [request, attempt, served, get, select, set] = expected
        .map(find)
        .into_iter()
        .collect::<Result<Vec<_>>>()?
        .try_into()
        .expect("as many as are expected");
    ensure!(request.parent == CLIENT && request.trace_state == "vendor=1", "{request:#?}");
    ensure!(attempt.parent == request.span_id && served.parent == attempt.span_id, "{spans:#?}");
    for call in [get, select, set] {
        ensure!(call.parent == served.span_id, "{call:#?}");
        let ((begin, end), (from, to)) = (call.nanoseconds, served.nanoseconds);
        ensure!(from <= begin && begin <= end && end <= to, "{call:#?} within {served:#?}");
    }
    let attribute =
        |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    ensure!(
        attribute(request, "http.response.status_code") == "200"
            && attribute(request, "tandem.verdict") == "off"
    );
    ensure!(
        attribute(request, "tandem.instance") == "stateless-1" && served.instance == "stateless-1"
    );
    ensure!(
        attribute(request, "http.route") == PRODUCTS && attribute(served, "http.route") == PRODUCTS
    );
    ensure!(
        attribute(get, "db.system.name") == "redis"
            && attribute(select, "db.system.name") == "postgresql"
    );

    // The logs contain the trace id.
    for log in ["gateway.log", "stateless-1.log"] {
        logs::await_line(&stack, log, TRACE).await?;
    }
    ensure!(collector.trace(UNSAMPLED).is_empty(), "an unsampled request must not be recorded");
    Ok(())
}

#[tokio::test]
async fn a_trace_begins_at_the_gateway_and_contains_no_secret() -> Result<()> {
    let collector = Collector::start()?;
    let stack = traced_stack(collector.url()).start().await?;
    let api = Api::on_gateway(&stack)?;
    let session = api.create().await?;
    let path = format!("{SESSIONS}/{}/messages", session.id);
    let response = api.post(&path, &json!({"message": "a unique word"})).await?;
    ensure!(response.status == 201, "{response}");
    let append = until("the write in Redis", || async {
        Ok(collector.spans().into_iter().find(|span| span.name == "EVALSHA append"))
    })
    .await?;
    let begun = until("the request at the gateway", || async {
        let mut spans = collector.trace(&append.trace_id).into_iter();
        Ok(spans.find(|span| span.service == "gateway" && span.parent.is_empty()))
    })
    .await?;
    ensure!(begun.name == "POST /api/v1/stateful/sessions/{session_id}/messages", "{begun:#?}");
    ensure!(
        begun.attributes.get("tandem.verdict").is_some_and(|verdict| verdict == "home"),
        "{begun:#?}"
    );
    let all = format!("{:#?}", collector.spans());
    let secret = session.id.split_once('-').map_or(session.id.as_str(), |(_, secret)| secret);
    ensure!(
        !all.contains(secret) && !all.contains("a unique word"),
        "a session's id is a secret: {all}"
    );
    Ok(())
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_and_no_request() -> Result<()> {
    // The kernel accepts connections, but nothing responds.
    let hanging = TcpListener::bind("127.0.0.1:0")?;
    let stack = traced_stack(&format!("http://{}", hanging.local_addr()?))
        .env("gateway", "OTEL_BSP_MAX_QUEUE_SIZE", "4")
        .start()
        .await?;
    let (api, control) = (Api::on_gateway(&stack)?, Api::control(&stack)?);
    until("spans are dropped and counted", || async {
        let response = api.get("/api/v1/stateless/info").await?;
        ensure!(response.status == 200, "{response}");
        let metrics = String::from_utf8(control.get("/metrics").await?.body)?;
        let dropped = metrics
            .lines()
            .find_map(|line| line.strip_prefix("trace_spans_total{outcome=\"dropped\"} "));
        Ok((dropped.context("a count of dropped spans")? != "0").then_some(()))
    })
    .await
}
