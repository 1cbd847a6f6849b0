//! Live connections through the whole path, TLS and all: nothing is missed, told twice or told in another order while the
//! session's home moves.

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
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::api::{Api, Created};
use crate::raw;
use crate::small_stack;

/// Longer than any event here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// What is told of a stream of events that is at its end.
const ENDED: &str = "the stream ended";

/// A WebSocket through Nginx and the gateway.
struct Socket {
    stream: WebSocketStream<TlsStream<TcpStream>>,
    served_by: String,
}

impl Socket {
    async fn open(stack: &Stack, session: &Created) -> Result<Self> {
        let url = format!("wss://localhost{}/live", session.path());
        let (stream, answer) = client_async(url, raw::tls(stack).await?).await?;
        let served_by = answer.headers().get(SERVED_BY).context("it tells who serves it")?.to_str()?.to_owned();
        Ok(Self { stream, served_by })
    }

    async fn say(&mut self, message: &str) -> Result<()> {
        let frame = ClientFrame { message: message.to_owned(), ..ClientFrame::default() };
        Ok(self.stream.send(Message::text(serde_json::to_string(&frame)?)).await?)
    }

    /// The next messages, as number and text.
    async fn messages(&mut self, count: usize) -> Result<Vec<(u64, String)>> {
        let mut messages = Vec::new();
        while messages.len() < count {
            match timeout(PATIENCE, self.stream.next()).await.context("no event")?.context("it was closed")?? {
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
    answer: reqwest::Response,
    served_by: String,
    unread: String,
}

impl Events {
    async fn open(api: &Api, session: &Created, last: u64) -> Result<Self> {
        let path = format!("{}/events", session.path());
        let answer = api.request(Method::GET, &path).header(LAST_EVENT_ID, last).send().await?;
        ensure!(answer.status() == 200, "{answer:?}");
        let served_by = answer.headers().get(SERVED_BY).context("it tells who serves it")?.to_str()?.to_owned();
        Ok(Self { answer, served_by, unread: String::new() })
    }

    /// The ids of the next messages.
    async fn ids(&mut self, count: usize) -> Result<Vec<u64>> {
        timeout(PATIENCE, self.read_ids(count)).await.context("no event")?
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
            let chunk = self.answer.chunk().await?.context(ENDED)?;
            self.unread += std::str::from_utf8(&chunk)?;
        }
        Ok(ids)
    }
}

async fn post(api: &Api, session: &Created, message: &str) -> Result<String> {
    let posted = api.post(&format!("{}/messages", session.path()), &json!({"message": message})).await?;
    ensure!(posted.status == 201, "{posted}");
    Ok(posted.served_by().to_owned())
}

#[tokio::test]
async fn two_clients_on_different_instances_hear_the_same_while_the_home_moves() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;
    let mut events = Events::open(&api, &session, 0).await?;

    let mut home = Socket::open(&stack, &session).await?;
    assert_eq!(home.served_by, session.answer.served_by(), "a WebSocket sticks, as any request does");
    stack.control().set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    let mut elsewhere = Socket::open(&stack, &session).await?;
    while elsewhere.served_by == home.served_by {
        elsewhere = Socket::open(&stack, &session).await?;
    }

    // Round robin, sticky, and with another home: each time both post over their sockets, and a third one by requests.
    let mut served = Vec::new();
    for phase in ["apart", "at home", "moved"] {
        match phase {
            "apart" => {}
            "at home" => stack.control().set_strategy(PoolName::Stateful, Strategy::Sticky).await?,
            // The instance runs on, and with it its WebSocket; it is just no member any more.
            _ => stack.control().remove(PoolName::Stateful, &home.served_by).await?,
        }
        for number in 0..10 {
            home.say(&format!("{phase} {number} from home")).await?;
            elsewhere.say(&format!("{phase} {number} from elsewhere")).await?;
            served.push(post(&api, &session, &format!("{phase} {number} by request")).await?);
        }
    }
    assert!(served[..10].iter().any(|by| *by != served[0]), "round robin: {served:?}");
    assert!(served[10..20].iter().all(|by| *by == home.served_by), "at home: {served:?}");
    assert!(served[20..].iter().all(|by| *by != home.served_by && *by == served[20]), "moved: {served:?}");

    let (heard, also) = (home.messages(90).await?, elsewhere.messages(90).await?);
    assert_eq!(heard, also);
    assert_eq!(heard.iter().map(|(number, _)| *number).collect::<Vec<_>>(), (1..=90).collect::<Vec<_>>());

    // A stream that was begun before all of this, left, and resumed twice.
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
async fn a_client_whose_instance_is_stopped_comes_back_without_a_gap() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let session = api.create().await?;
    let mut events = Events::open(&api, &session, 0).await?;
    let mut last = 0;
    for round in 0..3 {
        post(&api, &session, &format!("before {round}")).await?;
        assert_eq!(events.ids(1).await?, [last + 1]);
        stack.stop(&events.served_by).await?;
        // The instance has said goodbye and ended the stream; a client comes back with the last id.
        let ended = events.ids(1).await.expect_err("nothing more comes");
        ensure!(ended.to_string() == ENDED, "{ended:?}");
        post(&api, &session, &format!("meanwhile {round}")).await?;
        let left = std::mem::replace(&mut events, Events::open(&api, &session, last + 1).await?).served_by;
        assert_eq!(events.ids(1).await?, [last + 2]);
        last += 2;
        stack.start_component(&left).await?;
    }
    stack.shutdown().await;
    Ok(())
}
