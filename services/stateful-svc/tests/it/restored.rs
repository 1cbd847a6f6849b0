//! Sessions that bring the messages that a client kept, in all stores and over the API.

use proto_contracts::stateful::{MAX_MESSAGE_BYTES, MAX_RESTORED_MESSAGES};
use proto_contracts::{Endpoint, ErrorCode, MessageId};
use serde_json::{Value, json};
use stateful_svc::domain::cursor::{Cursor, PageSize};
use stateful_svc::domain::keyed::Keyed;
use stateful_svc::domain::message::{MessageText, RestoredMessage};
use stateful_svc::domain::session::NewSession;
use stateful_svc::store::{CreateError, SessionStore as _, WriteOutcome};

use crate::app::{App, assert_problem, path, spawn_app};
use crate::behaviour::{all_messages, at_once, each_store};
use crate::redis_proxy::RedisProxy;
use crate::redis_server::RedisServer;
use crate::subject::{LIFETIME, Subject, any_session, data, key, message, redis_store};

each_store! {
    restored_messages_are_the_first_ones(LIFETIME);
    the_most_messages_are_restored_at_once(LIFETIME);
    a_repeated_create_restores_them_once(LIFETIME);
}

fn text(text: &str) -> MessageText {
    MessageText::parse(text.to_owned()).expect("fits")
}

fn kept(message: &str, reply: &str) -> RestoredMessage {
    RestoredMessage { id: MessageId::generate(), text: text(message), reply: text(reply) }
}

fn new(messages: Vec<RestoredMessage>) -> NewSession {
    NewSession { client_data: data(r#"{"name":"Ada"}"#), messages }
}

async fn restored_messages_are_the_first_ones(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    // What looks like a part of the stored form, and every kind of character.
    let given = vec![
        kept("2:0:x:1:", "1:2:3:"),
        kept("two\n\u{0}\u{7f} “é” 🚲", "\u{0}"),
        kept(&"ä".repeat(MAX_MESSAGE_BYTES / 2), &"y".repeat(MAX_MESSAGE_BYTES)),
    ];
    let created = store.create_from(id, new(given.clone()), None).await.expect("created").value;
    assert_eq!((created.version, created.message_count), (1, 3));
    let read = store.read(id).await.expect("found").value;
    assert_eq!((read.tag(), read.message_count), (created.tag(), 3));

    let messages = all_messages(&**store, id, 2).await;
    assert_eq!(messages.len(), 3);
    for (index, (message, given)) in messages.iter().zip(&given).enumerate() {
        assert_eq!((message.id, message.number), (given.id, index as u64 + 1));
        assert_eq!((&message.text, message.reply.as_str()), (&given.text, given.reply.as_str()));
        assert!(message.is_restored && message.created_at == created.created_at);
    }

    let next = store.append(id, message("next"), None).await.expect("appended").value;
    assert_eq!((next.message.number, next.version, next.message.is_restored), (4, 2, false));
    let reply = &next.message.reply;
    assert!(reply.starts_with("Hello Ada. This is message 4 of our conversation."), "{reply}");
    let quoted = "It began with “2:0:x:1:”; before this you said “ää";
    assert!(reply.contains(quoted), "{reply}");
    let page = store.history(id, Cursor::END, PageSize::default()).await.expect("found").value;
    assert_eq!(page.messages.last(), Some(&next.message));
    assert_eq!(page.messages[..3], messages);
    store.delete(id).await.expect("deleted");
    let again = store.create_from(id, new(given), None).await;
    assert!(matches!(again, Err(CreateError::Deleted)), "{again:?}");
}

async fn the_most_messages_are_restored_at_once(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    let all: Vec<_> =
        (1..=MAX_RESTORED_MESSAGES).map(|number| kept(&format!("m{number}"), "r")).collect();
    let created = store.create_from(id, new(all), None).await.expect("created").value;
    assert_eq!(created.message_count, MAX_RESTORED_MESSAGES as u64);
    let found = all_messages(&**store, id, 200).await;
    assert_eq!(found.len(), MAX_RESTORED_MESSAGES);
    assert!(found.iter().all(|message| message.text.as_str() == format!("m{}", message.number)));
}

async fn a_repeated_create_restores_them_once(subject: Subject) {
    let (store, id) = (&subject.store, any_session());
    // Each repetition has ids of its own.
    let given = || new(vec![kept("one", "first"), kept("two", "second")]);
    let keyed = |new: &NewSession| Some(Keyed::create_from(key(1), new));
    let creates = (0..8).map(|number| {
        let (store, new) = (subject.instance(number).clone(), given());
        async move {
            let keyed = keyed(&new);
            store.create_from(id, new, keyed).await.expect("created")
        }
    });
    let all = at_once(creates).await;
    let applied = all.iter().filter(|created| created.outcome == WriteOutcome::Applied);
    assert_eq!(applied.count(), 1);
    assert!(all.iter().all(|created| created.value.message_count == 2));
    assert!(all.iter().all(|created| created.value.tag() == all[0].value.tag()));
    assert_eq!(all_messages(&**store, id, 50).await.len(), 2);

    store.append(id, message("three"), None).await.expect("appended");
    let (again, keyed_again) = (given(), keyed(&given()));
    let again = store.create_from(id, again, keyed_again).await.expect("replayed");
    assert_eq!((again.outcome, again.value.message_count), (WriteOutcome::Replayed, 2));
    for other in [
        new(vec![kept("one", "first")]),
        new(vec![kept("one", "first"), kept("two", "secon")]),
        // The same texts, split differently.
        new(vec![kept("one", "firsttwo"), kept("s", "econd")]),
        new(vec![]),
    ] {
        let key = keyed(&other);
        let reused = store.create_from(id, other, key).await;
        assert!(matches!(reused, Err(CreateError::KeyReused)), "{reused:?}");
    }
    assert_eq!(all_messages(&**store, id, 50).await.len(), 3);
}

#[test]
fn a_create_without_messages_has_the_key_that_it_always_had() {
    let given = data(r#"{"a":1}"#);
    assert_eq!(Keyed::create_from(key(1), &given.clone().into()), Keyed::create(key(1), &given));
}

/// Also when the connection breaks before the response, and the script is sent again.
#[tokio::test]
async fn messages_are_restored_once_when_a_reply_is_lost() {
    let server = RedisServer::start().await;
    let proxy = RedisProxy::to(&server);
    let (store, beside) = (proxy.store(), redis_store(&server, LIFETIME));
    store.create(any_session(), data("{}"), None).await.expect("created");
    store.append(any_session(), message("hi"), None).await.expect_err("no such session");
    let id = any_session();
    proxy.cut_at_once_after(0);
    let given = new(vec![kept("one", "first"), kept("two", "second")]);
    let created = store.create_from(id, given, None).await.expect("created");
    assert!(proxy.was_cut() && created.outcome == WriteOutcome::Applied);
    assert_eq!(all_messages(&beside, id, 50).await.len(), 2);
    // This script looks for its message among those that are there.
    proxy.cut_at_once_after(0);
    let three = store.append(id, message("three"), None).await.expect("appended");
    assert!(proxy.was_cut() && three.value.message.number == 3);
    assert_eq!(all_messages(&beside, id, 50).await.len(), 3);
}

const CREATE: &str = "/api/v1/stateful/sessions";
const LEGACY: &str = "/api/stateful/session";

async fn create(app: &App, at: &str, messages: Value) -> Value {
    let body = json!({"client_data": {"name": "Ada"}, "messages": messages});
    let response = app.post(at, &body).await;
    assert_eq!(response.status, 201, "{response:?}");
    response.json().expect("JSON")
}

#[tokio::test]
async fn the_history_marks_restored_messages_alone() {
    let app = spawn_app();
    for at in [CREATE, LEGACY] {
        let kept = json!([{"message": "Hi\u{0}", "reply": "Hello.\n"}]);
        let created = create(&app, at, kept).await;
        assert_eq!((&created["message_count"], &created["version"]), (&json!(1), &json!(1)));
        let id = serde_json::from_value(created["session_id"].clone()).expect("an id");
        let posted = app.post_message(&id, "next").await;
        assert_eq!((posted.number, posted.version), (2, 2));
        let history = app.get(&path(Endpoint::History, &id)).await;
        let history: Value = history.json().expect("JSON");
        let [first, second] = &history["messages"].as_array().expect("messages")[..] else {
            panic!("two messages: {history}");
        };
        assert_eq!((&first["message"], &first["reply"]), (&json!("Hi\u{0}"), &json!("Hello.\n")));
        assert_eq!((&first["restored"], &first["number"]), (&json!(true), &json!(1)));
        assert_eq!(second.get("restored"), None);
    }
    assert_eq!(create(&app, CREATE, json!([])).await["message_count"], 0);
}

#[tokio::test]
async fn hostile_messages_create_no_session() {
    let app = spawn_app();
    let kept = |message: &str, reply: &str| json!({"message": message, "reply": reply});
    let (good, long) = (kept("m", "r"), "x".repeat(MAX_MESSAGE_BYTES + 1));
    for (messages, code, fault) in [
        (json!("hi"), ErrorCode::InvalidBody, "/messages"),
        (json!({}), ErrorCode::InvalidBody, "/messages"),
        (json!(null), ErrorCode::InvalidBody, "/messages"),
        (json!([null]), ErrorCode::InvalidBody, "/messages/0"),
        (json!(["hi"]), ErrorCode::InvalidBody, "/messages/0"),
        (json!([good, {"message": "m"}]), ErrorCode::InvalidBody, "/messages/1/reply"),
        (json!([{"message": 7, "reply": "r"}]), ErrorCode::InvalidBody, "/messages/0/message"),
        (json!([{"message": "m", "reply": ["r"]}]), ErrorCode::InvalidBody, "/messages/0/reply"),
        (
            json!([{"message": "m", "reply": "r", "number": 7}]),
            ErrorCode::InvalidBody,
            "/messages/0/number",
        ),
        (json!([good, kept("", "r")]), ErrorCode::InvalidBody, "/messages/1/message"),
        (json!([kept("m", "")]), ErrorCode::InvalidBody, "/messages/0/reply"),
        (json!([kept(&long, "r")]), ErrorCode::MessageTooLarge, "/messages/0/message"),
        (json!([kept("m", &long)]), ErrorCode::MessageTooLarge, "/messages/0/reply"),
        (
            Value::Array(vec![good.clone(); MAX_RESTORED_MESSAGES + 1]),
            ErrorCode::InvalidBody,
            "/messages",
        ),
    ] {
        let response = app.post(CREATE, &json!({"messages": messages})).await;
        let problem = assert_problem(&response, code);
        let pointers: Vec<_> =
            problem.errors.iter().filter_map(|error| error.pointer.as_deref()).collect();
        assert_eq!(pointers, [fault], "{problem:?}");
    }
    // Each is allowed, and all of them are more than a body may have.
    let half = kept(&"x".repeat(8_000), &"y".repeat(8_000));
    let response = app.post(CREATE, &json!({"messages": vec![half; 100]})).await;
    assert_problem(&response, ErrorCode::BodyTooLarge);
}
