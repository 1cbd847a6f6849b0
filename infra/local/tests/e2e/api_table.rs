//! The API table, row by row, through HTTPS, by canonical and legacy paths.

use anyhow::Result;
use local_stack::{Store, Topology};
use proto_contracts::{ErrorCode, Verdict, headers};
use reqwest::header::{CACHE_CONTROL, CONTENT_TYPE, LINK, LOCATION, SET_COOKIE};
use reqwest::{Method, Version};
use serde_json::{Value, json};

use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

/// One form of the API's paths, written out as the test's expectation.
struct Paths {
    info: &'static str,
    calculate: &'static str,
    random: &'static str,
    sessions: &'static str,
    session: &'static str,
    conversations: &'static str,
    history: &'static str,
    generation: Generation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Canonical,
    Legacy,
}

const CANONICAL: Paths = Paths {
    info: "/api/v1/stateless/info",
    calculate: "/api/v1/stateless/calculate",
    random: "/api/v1/stateless/random",
    sessions: "/api/v1/stateful/sessions",
    session: "/api/v1/stateful/sessions/{id}",
    conversations: "/api/v1/stateful/conversations",
    history: "/api/v1/stateful/sessions/{id}/history",
    generation: Generation::Canonical,
};

const LEGACY: Paths = Paths {
    info: "/api/stateless/info",
    calculate: "/api/stateless/calculate",
    random: "/api/stateless/random",
    sessions: "/api/stateful/session",
    session: "/api/stateful/session/{id}",
    conversations: "/api/stateful/conversation",
    history: "/api/stateful/history/{id}",
    generation: Generation::Legacy,
};

const MESSAGES: &str = "/api/v1/stateful/sessions/{id}/messages";
const SESSION_MEMBERS: [&str; 7] = [
    "session_id",
    "client_data",
    "created_at",
    "last_activity",
    "expires_at",
    "message_count",
    "version",
];
const MESSAGE_MEMBERS: [&str; 8] = [
    "session_id",
    "message_id",
    "number",
    "message",
    "reply",
    "created_at",
    "message_count",
    "version",
];

#[tokio::test]
async fn every_row_of_the_api_table_holds_by_both_paths() -> Result<()> {
    let stack = small_stack().store(Store::Redis).with_nginx().start().await?;
    every_row(&Api::through_nginx(&stack)?, Store::Redis).await?;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn every_row_is_the_same_on_a_cluster() -> Result<()> {
    let stack =
        small_stack().store(Store::Redis).redis(Topology::Cluster).with_nginx().start().await?;
    every_row(&Api::through_nginx(&stack)?, Store::Redis).await?;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn every_row_is_the_same_under_sentinels() -> Result<()> {
    let stack =
        small_stack().store(Store::Redis).redis(Topology::Sentinel).with_nginx().start().await?;
    every_row(&Api::through_nginx(&stack)?, Store::Redis).await?;
    stack.shutdown().await;
    Ok(())
}

/// `make compose-test` runs it against the containers.
#[tokio::test]
#[ignore = "needs a running system: set TANDEM_TARGET and TANDEM_CACERT"]
async fn every_row_is_the_same_at_a_running_system() -> Result<()> {
    every_row(&Api::of_running_system()?, Store::Hybrid).await
}

async fn every_row(api: &Api, store: Store) -> Result<()> {
    for paths in [&CANONICAL, &LEGACY] {
        let client = Client { api: api.clone(), paths, store };
        client.stateless_rows().await?;
        client.stateful_rows().await?;
        client.unknown_fields().await?;
    }
    rows_without_an_alias(api, store).await
}

struct Client<'a> {
    api: Api,
    paths: &'a Paths,
    store: Store,
}

impl Client<'_> {
    /// Calls a path of this generation and checks what all responses have in common.
    async fn call(
        &self,
        method: Method,
        path: &str,
        id: &str,
        body: Option<&Value>,
    ) -> Result<Response> {
        let request = self.api.request(method, &path.replace("{id}", id));
        let response =
            Response::to(body.into_iter().fold(request, |request, body| request.json(body)))
                .await?;
        assert_eq!(response.version, Version::HTTP_2);
        response.request_id();
        assert_eq!(response.header(CACHE_CONTROL.as_str()), Some("no-store"), "{response}");
        assert!(
            !response.headers.contains_key(headers::INSTANCE_ID),
            "internal: clients get X-Served-By"
        );
        let links: Vec<_> = response
            .headers
            .get_all(LINK)
            .into_iter()
            .filter_map(|link| link.to_str().ok())
            .collect();
        let successors =
            links.iter().copied().filter(|link| link.ends_with("\"successor-version\""));
        match self.paths.generation {
            Generation::Canonical => {
                assert!(!response.headers.contains_key(headers::DEPRECATION), "{response}");
                assert_eq!(successors.count(), 0, "{links:?}");
            }
            Generation::Legacy => {
                let since =
                    response.header(headers::DEPRECATION).and_then(|since| since.strip_prefix('@'));
                assert!(since.is_some_and(|since| since.parse::<u64>().is_ok()), "{response}");
                let link =
                    format!("<{}>; rel=\"successor-version\"", successor(path).replace("{id}", id));
                assert_eq!(successors.collect::<Vec<_>>(), [&*link], "{links:?}");
            }
        }
        Ok(response)
    }

    async fn stateless_rows(&self) -> Result<()> {
        let info = self.call(Method::GET, self.paths.info, "", None).await?;
        let body = info.object(200, &["service", "version", "instance", "timestamp", "uptime_s"]);
        assert_eq!(body["service"], "stateless-svc");
        assert_eq!(body["instance"], info.served_by());
        assert_eq!((info.stamp().verdict, info.stamp().key), (Verdict::Off, None));
        assert!(!info.headers.contains_key(SET_COOKIE), "nothing sticks to a stateless call");

        for (body, result) in
            [(json!({}), 0.0), (json!({"operation": "add", "operands": [1, 2]}), 3.0)]
        {
            let sum = self.call(Method::POST, self.paths.calculate, "", Some(&body)).await?;
            let sum = sum.object(200, &["operation", "operands", "result"]);
            assert_eq!((&sum["operation"], &sum["result"]), (&json!("add"), &json!(result)));
        }
        let refused = json!({"operation": "divide", "operands": [1, 0]});
        self.call(Method::POST, self.paths.calculate, "", Some(&refused))
            .await?
            .problem(ErrorCode::DivisionByZero);

        let path = format!("{}?min=5&max=7&count=20", self.paths.random);
        let random = Response::to(self.api.request(Method::GET, &path)).await?;
        let body = random.object(200, &["min", "max", "values"]);
        let values = body["values"].as_array().expect("a list");
        assert_eq!(values.len(), 20);
        assert!(
            values.iter().all(|value| value.as_i64().is_some_and(|value| (5..=7).contains(&value))),
            "{random}"
        );
        assert_eq!(random.header(CACHE_CONTROL.as_str()), Some("no-store"));
        self.call(Method::GET, self.paths.random, "", None)
            .await?
            .object(200, &["min", "max", "values"]);
        Ok(())
    }

    async fn stateful_rows(&self) -> Result<()> {
        let created = self.call(Method::POST, self.paths.sessions, "", Some(&json!({}))).await?;
        let session = created.object(201, &SESSION_MEMBERS);
        let id = session["session_id"].as_str().expect("an id");
        assert_eq!((&session["client_data"], &session["message_count"]), (&json!({}), &json!(0)));
        assert_eq!(
            created.header(LOCATION.as_str()),
            Some(&*format!("/api/v1/stateful/sessions/{id}"))
        );
        assert_eq!(created.header(headers::SESSION_SOURCE), Some("created"));
        let (key, home) = (&id[..8], created.served_by());
        assert_eq!(created.header(headers::AFFINITY_KEY), Some(key));
        assert_eq!(created.stamp().verdict, Verdict::New);
        let cookie = format!("affinity={key}; Path=/; HttpOnly; SameSite=Lax; Secure");
        assert_eq!(created.header(SET_COOKIE.as_str()), Some(&*cookie));

        let read = self.call(Method::GET, self.paths.session, id, None).await?;
        let body = read.object(200, &SESSION_MEMBERS);
        assert_eq!(
            (&body["session_id"], &body["version"]),
            (&session["session_id"], &session["version"])
        );
        self.at_home(&read, key, home);

        // No id in this path: the header routes the request.
        let message = json!({"session_id": id, "message": "hello"});
        let request = self
            .api
            .request(Method::POST, self.paths.conversations)
            .header(headers::AFFINITY_KEY, key);
        let posted = Response::to(request.json(&message)).await?;
        let body = posted.object(201, &MESSAGE_MEMBERS);
        assert_eq!(
            (&body["number"], &body["message"], &body["message_count"]),
            (&json!(1), &json!("hello"), &json!(1))
        );
        self.at_home(&posted, key, home);

        let history = self.call(Method::GET, self.paths.history, id, None).await?;
        let page = history.object(200, &["session_id", "messages", "next_cursor"]);
        assert_eq!(
            (page["messages"].as_array().map(Vec::len), &page["next_cursor"]),
            (Some(1), &Value::Null)
        );
        let member = |name: &str| page["messages"][0][name].clone();
        for name in ["message_id", "number", "message", "reply", "created_at"] {
            assert_eq!(member(name), body[name], "{name} as in the response");
        }
        let links = history.headers.get_all(LINK).into_iter();
        assert!(links.into_iter().any(|link| link == "<?limit=50>; rel=\"first\""), "{history}");
        self.at_home(&history, key, home);

        let deleted = self.call(Method::DELETE, self.paths.session, id, None).await?;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0), "{deleted}");
        self.at_home(&deleted, key, home);
        let gone = self.call(Method::GET, self.paths.session, id, None).await?;
        gone.problem(ErrorCode::SessionNotFound);
        Ok(())
    }

    fn at_home(&self, response: &Response, key: &str, home: &str) {
        assert_eq!(
            (response.stamp().verdict, response.served_by()),
            (Verdict::Home, home),
            "{response}"
        );
        assert_eq!(response.stamp().key.map(|key| key.to_string()).as_deref(), Some(key));
        assert!(
            !response.headers.contains_key(SET_COOKIE),
            "a key from a path or header rewrites no cookie: {response}"
        );
        let source = response.header(headers::SESSION_SOURCE);
        let from_memory = self.store == Store::Hybrid && source == Some("memory");
        assert!(from_memory || source == Some("redis"), "{response}");
        assert_eq!(response.header(CACHE_CONTROL.as_str()), Some("no-store"), "{response}");
    }

    /// Canonical paths reject unknown fields, legacy paths ignore them.
    async fn unknown_fields(&self) -> Result<()> {
        for (path, status) in [(self.paths.calculate, 200), (self.paths.sessions, 201)] {
            let response =
                self.call(Method::POST, path, "", Some(&json!({"flavour": "vanilla"}))).await?;
            match self.paths.generation {
                Generation::Canonical => {
                    assert!(
                        response.problem(ErrorCode::InvalidBody).detail.contains("`/flavour`"),
                        "{response}"
                    );
                }
                Generation::Legacy => assert_eq!(response.status, status, "{response}"),
            }
        }
        Ok(())
    }
}

/// The canonical path that replaces a legacy path.
fn successor(path: &str) -> &'static str {
    let pairs = [
        (LEGACY.info, CANONICAL.info),
        (LEGACY.calculate, CANONICAL.calculate),
        (LEGACY.random, CANONICAL.random),
        (LEGACY.sessions, CANONICAL.sessions),
        (LEGACY.session, CANONICAL.session),
        (LEGACY.conversations, CANONICAL.conversations),
        (LEGACY.history, CANONICAL.history),
    ];
    pairs.into_iter().find(|(legacy, _)| *legacy == path).map_or("", |(_, canonical)| canonical)
}

/// Routes without a legacy path: messages by path, patches, products.
async fn rows_without_an_alias(api: &Api, store: Store) -> Result<()> {
    let client = Client { api: api.clone(), paths: &CANONICAL, store };
    let given = json!({"client_data": {"name": "Ada", "tier": 4}});
    let created = client.call(Method::POST, CANONICAL.sessions, "", Some(&given)).await?;
    let session = created.object(201, &SESSION_MEMBERS);
    let (id, home) = (session["session_id"].as_str().expect("an id"), created.served_by());

    let posted =
        client.call(Method::POST, MESSAGES, id, Some(&json!({"message": "hello"}))).await?;
    let body = posted.object(201, &MESSAGE_MEMBERS);
    assert!(
        body["reply"].as_str().is_some_and(|reply| reply.contains("Ada")),
        "the session knows its client: {body}"
    );
    client.at_home(&posted, &id[..8], home);

    let patched = client
        .call(
            Method::PATCH,
            CANONICAL.session,
            id,
            Some(&json!({"client_data": {"tier": null, "row": 2}})),
        )
        .await?;
    let body = patched.object(200, &SESSION_MEMBERS);
    assert_eq!(body["client_data"], json!({"name": "Ada", "row": 2}));
    client.at_home(&patched, &id[..8], home);

    let page = client.api.get("/api/v1/stateless/products?limit=2").await?;
    let body = page.object(200, &["products", "next_cursor"]);
    assert_eq!(body["products"].as_array().map(Vec::len), Some(2));
    let next = body["next_cursor"].as_str().expect("there is more");
    let links = format!("<?limit=2>; rel=\"first\", <?limit=2&cursor={next}>; rel=\"next\"");
    assert_eq!(page.header(LINK.as_str()), Some(&*links));
    let second: Value =
        client.api.get(&format!("/api/v1/stateless/products?limit=2&cursor={next}")).await?.json();
    assert!(second["products"][0]["id"].as_str() > body["products"][1]["id"].as_str(), "{second}");
    let id = body["products"][0]["id"].as_str().expect("an id");
    let product = client.api.get(&format!("/api/v1/stateless/products/{id}")).await?;
    assert_eq!(
        product.object(200, &["id", "name", "price", "stock", "created_at"]),
        body["products"][0]
    );
    client.api.get("/api/v1/stateless/products/p999").await?.problem(ErrorCode::ProductNotFound);

    let health = client.api.get("/health").await?;
    assert_eq!(
        (health.status, health.header(CONTENT_TYPE.as_str())),
        (200, Some("text/plain")),
        "{health}"
    );
    assert_eq!(health.body, b"healthy");
    Ok(())
}
