//! Live connections through the whole path, with TLS: no event is lost, duplicated or reordered
//! while the session's home moves.

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use local_stack::Stack;
use proto_contracts::PoolName;
use proto_contracts::control::Strategy;
use proto_contracts::headers::{LAST_EVENT_ID, SERVED_BY};
use proto_contracts::live::{ClientFrame, EventName, ServerFrame};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::api::{Api, Created};
use crate::raw;
use crate::small_stack;

/// Longer than any event here takes.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The error at the end of an event stream.
const ENDED: &str = "the stream ended";

/// A WebSocket through Nginx and the gateway.
struct Socket {
    stream: WebSocketStream<TlsStream<TcpStream>>,
    served_by: String,
}

impl Socket {
    async fn open(stack: &Stack, session: &Created) -> Result<Self> {
        let url = format!("wss://localhost{}/live", session.path());
        let (stream, response) = client_async(url, raw::tls(stack).await?).await?;
        let served_by =
            response.headers().get(SERVED_BY).context("X-Served-By")?.to_str()?.to_owned();
        Ok(Self { stream, served_by })
    }

    async fn post(&mut self, message: &str) -> Result<()> {
        let frame = ClientFrame { message: message.to_owned(), ..ClientFrame::default() };
        Ok(self.stream.send(Message::text(serde_json::to_string(&frame)?)).await?)
    }

    /// The code of the Close frame, and how long it took until the connection had ended.
    async fn end(&mut self) -> Result<(Option<u16>, Duration)> {
        let (started, mut code) = (std::time::Instant::now(), None);
        loop {
            match timeout(TIMEOUT, self.stream.next()).await.context("the connection stays open")? {
                Some(Ok(Message::Close(reason))) => code = reason.map(|reason| reason.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok((code, started.elapsed())),
            }
        }
    }

    /// The next messages, as number and text.
    async fn messages(&mut self, count: usize) -> Result<Vec<(u64, String)>> {
        let mut messages = Vec::new();
        while messages.len() < count {
            match timeout(TIMEOUT, self.stream.next())
                .await
                .context("no event")?
                .context("it was closed")??
            {
                Message::Text(text) => {
                    let frame: ServerFrame<Value> = serde_json::from_str(&text)?;
                    if frame.event == EventName::Message {
                        let text = frame.data["message"].as_str().context("a text")?.to_owned();
                        messages.push((frame.id.context("an id")?, text));
                    }
                }
                Message::Close(reason) => bail!("closed: {reason:?}"),
                _ => {}
            }
        }
        Ok(messages)
    }
}

/// A stream of events through Nginx and the gateway.
struct Events {
    response: reqwest::Response,
    served_by: String,
    unread: String,
}

impl Events {
    async fn open(api: &Api, session: &Created, last: u64) -> Result<Self> {
        let path = format!("{}/events", session.path());
        let response = api.request(Method::GET, &path).header(LAST_EVENT_ID, last).send().await?;
        ensure!(response.status() == 200, "{response:?}");
        let served_by =
            response.headers().get(SERVED_BY).context("X-Served-By")?.to_str()?.to_owned();
        Ok(Self { response, served_by, unread: String::new() })
    }

    /// The ids of the next messages.
    async fn ids(&mut self, count: usize) -> Result<Vec<u64>> {
        timeout(TIMEOUT, self.read_ids(count)).await.context("no event")?
    }

    async fn read_ids(&mut self, count: usize) -> Result<Vec<u64>> {
        let mut ids = Vec::new();
        while ids.len() < count {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let id = event.lines().find_map(|line| line.strip_prefix("id: "));
                ids.extend(id.map(str::parse::<u64>).transpose()?);
                self.unread = rest.to_owned();
                continue;
            }
            let chunk = self.response.chunk().await?.context(ENDED)?;
            self.unread += std::str::from_utf8(&chunk)?;
        }
        Ok(ids)
    }
}

async fn post(api: &Api, session: &Created, message: &str) -> Result<String> {
    let posted =
        api.post(&format!("{}/messages", session.path()), &json!({"message": message})).await?;
    ensure!(posted.status == 201, "{posted}");
    Ok(posted.served_by().to_owned())
}

#[tokio::test]
async fn two_clients_on_different_instances_get_the_same_while_the_home_moves() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;
    let mut events = Events::open(&api, &session, 0).await?;

    let mut home = Socket::open(&stack, &session).await?;
    assert_eq!(
        home.served_by,
        session.response.served_by(),
        "a WebSocket sticks, as any request does"
    );
    stack.control().set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    let mut elsewhere = Socket::open(&stack, &session).await?;
    while elsewhere.served_by == home.served_by {
        elsewhere = Socket::open(&stack, &session).await?;
    }

    // Round robin, sticky, and with another home: each time both clients post over their sockets,
    // and a third one by requests.
    let mut served = Vec::new();
    for phase in ["apart", "at home", "moved"] {
        match phase {
            "apart" => {}
            "at home" => stack.control().set_strategy(PoolName::Stateful, Strategy::Sticky).await?,
            // The instance keeps running with its WebSocket; it only leaves the pool.
            _ => stack.control().remove(PoolName::Stateful, &home.served_by).await?,
        }
        for number in 0..10 {
            home.post(&format!("{phase} {number} from home")).await?;
            elsewhere.post(&format!("{phase} {number} from elsewhere")).await?;
            served.push(post(&api, &session, &format!("{phase} {number} by request")).await?);
        }
    }
    assert!(served[..10].iter().any(|by| *by != served[0]), "round robin: {served:?}");
    assert!(served[10..20].iter().all(|by| *by == home.served_by), "at home: {served:?}");
    assert!(
        served[20..].iter().all(|by| *by != home.served_by && *by == served[20]),
        "moved: {served:?}"
    );

    let (received, received_elsewhere) = (home.messages(90).await?, elsewhere.messages(90).await?);
    assert_eq!(received, received_elsewhere);
    assert_eq!(
        received.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        (1..=90).collect::<Vec<_>>()
    );

    // A stream opened at the start, left, and resumed twice.
    assert_eq!(events.ids(40).await?, (1..=40).collect::<Vec<_>>());
    let mut resumed = Events::open(&api, &session, 40).await?;
    assert_eq!(resumed.ids(30).await?, (41..=70).collect::<Vec<_>>());
    post(&api, &session, "one more").await?;
    let mut again = Events::open(&api, &session, 70).await?;
    assert_eq!(again.ids(21).await?, (71..=91).collect::<Vec<_>>());
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_client_whose_instance_is_stopped_resumes_without_a_gap() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;
    let mut events = Events::open(&api, &session, 0).await?;
    let mut last = 0;
    for round in 0..3 {
        post(&api, &session, &format!("before {round}")).await?;
        assert_eq!(events.ids(1).await?, [last + 1]);
        stack.stop(&events.served_by).await?;
        // The instance has announced its stop and ended the stream; a client resumes from the last
        // id.
        let ended = events.ids(1).await.expect_err("the stream has ended");
        ensure!(ended.to_string() == ENDED, "{ended:?}");
        post(&api, &session, &format!("meanwhile {round}")).await?;
        let left =
            std::mem::replace(&mut events, Events::open(&api, &session, last + 1).await?).served_by;
        assert_eq!(events.ids(1).await?, [last + 2]);
        last += 2;
        stack.start_component(&left).await?;
    }
    stack.shutdown().await;
    Ok(())
}

/// The instance's metric of live connections.
async fn live_connections(stack: &Stack, instance: &str) -> Result<u64> {
    let metrics = Api::on_instance(stack, instance)?.get("/metrics").await?;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    let open = text.lines().filter(|line| line.starts_with("stateful_live_connections{"));
    open.map(|line| Ok(line.rsplit(' ').next().context("a value")?.parse::<f64>()? as u64)).sum()
}

#[tokio::test]
async fn a_closed_connection_ends_cleanly_through_every_hop() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;

    // The client closes: its code is echoed, and then the server closes the connection.
    let mut socket = Socket::open(&stack, &session).await?;
    socket.stream.close(Some(CloseFrame { code: 4321.into(), reason: "".into() })).await?;
    let (code, took) = socket.end().await?;
    assert_eq!(code, Some(4321), "after {took:?}");
    ensure!(took < Duration::from_millis(1_900), "the framework lingers for 2 s: {took:?}");

    // The client disconnects without a Close frame: its slot is free long before the heartbeat of
    // 15 s detects it.
    let events = Events::open(&api, &session, 0).await?;
    let socket = Socket::open(&stack, &session).await?;
    let instance = events.served_by.clone();
    assert_eq!(live_connections(&stack, &instance).await?, 2);
    drop((events, socket));
    let freed = async {
        while live_connections(&stack, &instance).await? > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(Duration::from_secs(8), freed).await.context("the slots are not released")??;

    // The server closes.
    let mut socket = Socket::open(&stack, &session).await?;
    let deleted = api.request(Method::DELETE, &session.path()).send().await?;
    assert_eq!(deleted.status(), 204);
    assert_eq!(socket.end().await?.0, Some(4404));
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn an_upgrade_is_offered_over_http1_only() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;
    let target = format!("{}/live", session.path());

    let response = api.request(Method::GET, &target).send().await?;
    assert_eq!((response.version(), response.status().as_u16()), (reqwest::Version::HTTP_2, 426));
    let header = |name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap_or_default().to_owned())
    };
    assert_eq!((header("upgrade"), header("connection")), (None, None));
    assert_eq!(header("sec-websocket-version").as_deref(), Some("13"));

    let request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let response = raw::exchange(&stack, raw::Listener::Nginx, request.as_bytes()).await?;
    assert_eq!(response.status, 426, "{response}");
    let all = |name: &str| {
        let values =
            response.headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        values.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        (all("upgrade").as_str(), all("sec-websocket-version").as_str()),
        ("websocket", "13")
    );
    ensure!(all("connection").contains("upgrade"), "{}", all("connection"));
    stack.shutdown().await;
    Ok(())
}
