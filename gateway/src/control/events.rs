//! `GET /control/v1/events`: server-sent events.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{Error, HttpRequest, HttpResponse, rt, web};
use futures_util::stream;
use proto_contracts::control::{Event, EventsQuery};
use service_kit::body::Query;
use service_kit::problem::ApiError;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::control::state::State;
use crate::control::{guard, pools};
use crate::events::Published;

/// Chunks that are queued for a slow reader.
const QUEUE: usize = 16;
/// How long a full queue may block before the stream ends.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// The least time between two chunks. Events in between are sent together, because a chunk costs
/// the gateway several times what an event costs.
const PAUSE: Duration = Duration::from_millis(50);
/// Interval of heartbeats (comments) on a silent stream.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Reconnection delay for browsers, in milliseconds.
const RETRY_MS: u32 = 1_000;

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Streams the current pools, then events.
pub(super) async fn stream(
    request: HttpRequest,
    state: web::Data<State>,
    Query(query): Query<EventsQuery>,
) -> Result<HttpResponse, ApiError> {
    let place =
        state.listeners.place(guard::holds_token(request.headers(), state.token.as_ref()))?;
    let mut response = HttpResponse::Ok();
    response.content_type("text/event-stream");
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    // Turns off buffering in Nginx.
    response.insert_header((X_ACCEL_BUFFERING, HeaderValue::from_static("no")));
    if request.method() == Method::HEAD {
        // A stream has no length.
        return Ok(response.body(actix_web::body::None::new()));
    }
    let (sender, receiver) = mpsc::channel(QUEUE);
    // Subscribed before the pools are read and the response begins, so that no event is missed.
    let events = state.events.listen();
    let wanted = query.selects_type(Event::ROUTED).then(|| state.events.subscribe_to_requests());
    let rates = query.selects_type(Event::RATES).then(|| state.rates.subscribe());
    rt::spawn(async move {
        let _until_it_ends = (place, wanted, rates);
        let pools = query
            .selects_type(Event::POOLS)
            .then(|| Event::Pools(pools::view_of(&state.pools, query.pool)));
        send_events(pools, events, &query, sender, state.closing.clone()).await;
    });
    let texts = stream::unfold(receiver, async |mut receiver| {
        let text = receiver.recv().await?;
        Some((Ok::<_, Error>(text), receiver))
    });
    Ok(response.streaming(texts))
}

/// Sends the first event, then those of the query, until the reader disconnects or is too slow, or
/// the control plane closes.
async fn send_events(
    first: Option<Event>,
    mut events: broadcast::Receiver<Arc<Published>>,
    query: &EventsQuery,
    sender: mpsc::Sender<Bytes>,
    mut closing: watch::Receiver<bool>,
) {
    let mut text = format!("retry: {RETRY_MS}\n\n");
    first.iter().for_each(|event| text.push_str(&text_of(event)));
    loop {
        // A reader that is too slow reconnects, and gets the pools of that time.
        if !text.is_empty()
            && !matches!(timeout(SEND_TIMEOUT, sender.send(Bytes::from(text))).await, Ok(Ok(())))
        {
            return;
        }
        text = String::new();
        let silent_until = Instant::now() + HEARTBEAT;
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        while text.is_empty() {
            tokio::select! {
                // In this order, so that the last event is sent before the stream ends.
                biased;
                event = events.recv() => match event {
                    Ok(event) => {
                        write_selected(&mut text, query, &event);
                        write_queued(&mut text, query, &mut events);
                    }
                    Err(RecvError::Lagged(events)) => {
                        text.push_str(&text_of(&Event::Missed { events }));
                    }
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(silent_until) => text.push_str(":\n\n"),
                () = sender.closed() => return,
                _ = closing.wait_for(|closing| *closing) => return,
            }
        }
    }
}

/// Writes the events that wait.
fn write_queued(
    text: &mut String,
    query: &EventsQuery,
    events: &mut broadcast::Receiver<Arc<Published>>,
) {
    loop {
        match events.try_recv() {
            Ok(event) => write_selected(text, query, &event),
            Err(TryRecvError::Lagged(events)) => {
                text.push_str(&text_of(&Event::Missed { events }));
            }
            Err(TryRecvError::Empty | TryRecvError::Closed) => return,
        }
    }
}

fn write_selected(text: &mut String, query: &EventsQuery, published: &Published) {
    if query.selects(published.event()) {
        text.push_str(published.text(text_of));
    }
}

/// One event of the stream. The JSON is a single line, because a line break would end the field.
fn text_of(event: &Event) -> String {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("event: {}\ndata: {data}\n\n", event.name())
}

#[cfg(test)]
mod tests {
    use proto_contracts::PoolName;
    use proto_contracts::control::Strategy;

    use super::*;
    use crate::events::Events;

    struct Listener {
        events: Events,
        texts: mpsc::Receiver<Bytes>,
        closing: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
    }

    fn listen() -> Listener {
        let (events, closing) = (Events::default(), watch::Sender::new(false));
        let (sender, texts) = mpsc::channel(QUEUE);
        let (receiver, closed) = (events.listen(), closing.subscribe());
        let task = tokio::spawn(async move {
            send_events(None, receiver, &EventsQuery::default(), sender, closed).await
        });
        Listener { events, texts, closing, task }
    }

    fn switch(events: &Events) {
        events.publish(|| Event::StrategyChanged {
            pool: PoolName::Stateful,
            strategy: Strategy::Sticky,
        });
    }

    async fn next(listener: &mut Listener) -> Option<String> {
        listener.texts.recv().await.map(|text| String::from_utf8_lossy(&text).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn events_in_quick_succession_are_one_chunk() {
        let mut listener = listen();
        assert_eq!(next(&mut listener).await.as_deref(), Some("retry: 1000\n\n"));
        sleep(2 * PAUSE).await;
        let begin = Instant::now();
        let switched =
            |text: Option<String>| text.map(|text| text.matches("event: strategy_changed").count());
        switch(&listener.events);
        assert_eq!(switched(next(&mut listener).await), Some(1), "the first one is sent at once");
        assert_eq!(begin.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            switch(&listener.events);
            tokio::task::yield_now().await;
        }
        assert_eq!(switched(next(&mut listener).await), Some(20));
        assert!(begin.elapsed() >= PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_gets_the_number_of_missed_events() {
        let mut listener = listen();
        for _ in 0..5_000 {
            switch(&listener.events);
            tokio::task::yield_now().await;
        }
        let (mut received, mut missed) = (0, 0);
        while received + missed < 5_000 {
            let text = next(&mut listener).await.expect("the stream continues");
            received += text.matches("event: strategy_changed").count();
            for (_, rest) in text
                .match_indices("{\"type\":\"missed\",\"events\":")
                .map(|(at, found)| text.split_at(at + found.len()))
            {
                let digits = rest.split('}').next().unwrap_or_default();
                missed += digits.parse::<usize>().expect("a number");
            }
        }
        assert_eq!(received + missed, 5_000);
        assert!(missed > 3_000, "no more than the backlog is kept: {missed} were missed");
    }

    #[tokio::test(start_paused = true)]
    async fn the_stream_of_a_blocked_reader_ends() {
        let listener = listen();
        for _ in 0..=QUEUE {
            switch(&listener.events);
            sleep(PAUSE).await;
        }
        let begin = Instant::now();
        listener.task.await.expect("no panic");
        let blocked = begin.elapsed();
        assert!(blocked <= SEND_TIMEOUT && blocked + 2 * PAUSE >= SEND_TIMEOUT, "{blocked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_has_a_heartbeat_and_ends_with_the_control_plane() {
        let mut listener = listen();
        assert_eq!(next(&mut listener).await.as_deref(), Some("retry: 1000\n\n"));
        let quiet_since = Instant::now();
        assert_eq!(next(&mut listener).await.as_deref(), Some(":\n\n"));
        assert!(quiet_since.elapsed() >= HEARTBEAT);
        listener.closing.send_replace(true);
        assert_eq!(next(&mut listener).await, None);
    }
}
