//! The result of a commit is lost: the connection to PostgreSQL ends after the commit, before its
//! response. The change is made once, has one entry of the audit log, and a client with a key
//! learns of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use proto_contracts::ErrorCode;
use proto_contracts::accounts::{Tokens, User};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Client;

use super::pgbouncer::Pooler;
use super::users::USERS;
use super::{AUTH, PASSWORD, database, refresh, tokens};
use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

#[tokio::test]
async fn a_change_is_made_once_when_the_result_of_its_commit_is_lost() -> Result<()> {
    let pooler_port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let cutter = Cutter::start(([127, 0, 0, 1], pooler_port).into()).await?;
    let url = format!("postgresql://tandem:unused@{}/tandem", cutter.addr);
    let stack =
        small_stack().without_tls().env("stateless-svc", "DATABASE_URL", url).start().await?;
    let _pooler = Pooler::start(&stack, pooler_port)?;
    let instance = Api::on_instance(&stack, "stateless-1")?;
    until("the schema is current", async || {
        Ok((instance.get("/readyz").await?.status == 200).then_some(()))
    })
    .await?;
    let database = database(&stack).await?;
    let call = Caller { api: &Api::on_gateway(&stack)?, cutter: &cutter };

    let body = json!({"username": "ada", "name": "Ada", "password": PASSWORD});
    let path = format!("{AUTH}/register");
    let registered = call.losing_the_commit(Method::POST, &path, None, &body).await?;
    assert_eq!((registered.status, replayed(&registered)), (201, true), "{registered}");
    assert_eq!(entries(&database, "user_registered", "Ada").await?, 1);

    let login = tokens(call.api, "ada").await?;
    let user = format!("{USERS}/ada");
    let body = json!({"name": "With a key"});
    let token = Some(&*login.access_token);
    let changed = call.losing_the_commit(Method::PATCH, &user, token, &body).await?;
    assert_eq!((changed.status, replayed(&changed)), (200, true), "{changed}");
    assert_eq!(changed.json::<User>().name, "With a key");
    assert_eq!(entries(&database, "user_changed", "With a key").await?, 1);

    // Without a key the outcome is unknown to the client. A repetition changes nothing more.
    let body = json!({"name": "Without one"});
    let request =
        || call.api.request(Method::PATCH, &user).bearer_auth(&login.access_token).json(&body);
    cutter.arm();
    Response::to(request()).await?.problem(ErrorCode::DatabaseUnavailable);
    cutter.assert_cut()?;
    assert_eq!(entries(&database, "user_changed", "Without one").await?, 1);
    assert_eq!(Response::to(request()).await?.status, 200);
    assert_eq!(entries(&database, "user_changed", "Without one").await?, 1);

    // A refresh is resolved by the service itself, and is no theft.
    cutter.arm();
    let next: Tokens = refresh(call.api, &login.refresh_token).await?.json();
    cutter.assert_cut()?;
    assert_eq!(refresh(call.api, &next.refresh_token).await?.status, 200);

    a_reservation_is_made_once(&call, &database, &next.access_token).await?;
    stack.shutdown().await;
    Ok(())
}

async fn a_reservation_is_made_once(
    call: &Caller<'_>,
    database: &Client,
    token: &str,
) -> Result<()> {
    let reserved = async || {
        let sql = "SELECT count(*), (SELECT 6 - stock::int8 FROM products WHERE id = 'p001') \
                   FROM reservations";
        let row = database.query_one(sql, &[]).await?;
        let (rows, units): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(rows == units, "{rows} reservations of {units} units");
        anyhow::Ok(rows)
    };
    let path = "/api/v1/stateless/products/p001/reservations";
    let body = json!({"quantity": 1});
    // The service itself finds out by the key.
    let made = call.losing_the_commit(Method::POST, path, Some(token), &body).await?;
    assert_eq!((made.status, replayed(&made)), (201, true), "{made}");
    assert_eq!(reserved().await?, 1);
    // Without a key the response says that the outcome is unknown.
    call.cutter.arm();
    let request = call.api.request(Method::POST, path).bearer_auth(token).json(&body);
    let problem = Response::to(request).await?.problem(ErrorCode::DatabaseUnavailable);
    call.cutter.assert_cut()?;
    assert!(problem.detail.contains("the outcome of the change is unknown"), "{problem:?}");
    assert_eq!(reserved().await?, 2);
    // A read is repeated.
    call.cutter.arm();
    let read = call.api.get("/api/v1/stateless/products/p001").await?;
    call.cutter.assert_cut()?;
    assert_eq!(read.json::<Value>()["stock"], 4, "{read}");
    Ok(())
}

fn replayed(response: &Response) -> bool {
    response.header("idempotency-replayed") == Some("true")
}

async fn entries(database: &Client, action: &str, name: &str) -> Result<i64> {
    let sql = "SELECT count(*) FROM audit_log WHERE action = $1 AND after ->> 'name' = $2";
    Ok(database.query_one(sql, &[&action, &name]).await?.try_get(0)?)
}

struct Caller<'a> {
    api: &'a Api,
    cutter: &'a Cutter,
}

impl Caller<'_> {
    /// Sends a request with a key, and cuts the connection of its commit.
    async fn losing_the_commit(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Result<Response> {
        self.cutter.arm();
        let mut request = self.api.request(method, path).json(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = Response::to(request.header("idempotency-key", path)).await?;
        self.cutter.assert_cut()?;
        Ok(response)
    }
}

/// A proxy in front of the database. When armed, it forwards the next commit, waits for the
/// response, and closes the connection in place of forwarding it.
struct Cutter {
    addr: SocketAddr,
    armed: Arc<AtomicUsize>,
}

impl Cutter {
    async fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (addr, armed) = (listener.local_addr()?, Arc::new(AtomicUsize::new(0)));
        let shared = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let armed = Arc::clone(&shared);
                // An error ends the connection, which is all that a proxy can do.
                tokio::spawn(async move { forward(client, server, &armed).await.ok() });
            }
        });
        Ok(Self { addr, armed })
    }

    fn arm(&self) {
        self.armed.store(1, Ordering::SeqCst);
    }

    fn assert_cut(&self) -> Result<()> {
        ensure!(self.armed.load(Ordering::SeqCst) == 0, "no commit was seen");
        Ok(())
    }
}

async fn forward(client: TcpStream, server: SocketAddr, armed: &AtomicUsize) -> Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let (cut, mut is_cut) = tokio::sync::mpsc::channel::<()>(1);
    let responses = async {
        tokio::select! {
            // First, so that the response to the commit is never forwarded.
            biased;
            _ = is_cut.recv() => {
                // The commit is done when its response arrives.
                let read = from_server.read(&mut [0; 1024]).await?;
                ensure!(read > 0, "PostgreSQL closed the connection");
            }
            done = copy(&mut from_server, &mut to_client) => { done?; }
        }
        anyhow::Ok(())
    };
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_client.read(&mut buffer).await?;
            if length == 0 {
                return anyhow::Ok(());
            }
            let message = &buffer[..length];
            let is_commit = message.windows(7).any(|bytes| bytes == b"COMMIT\0");
            if is_commit && armed.swap(0, Ordering::SeqCst) == 1 {
                cut.send(()).await?;
            }
            to_server.write_all(message).await?;
        }
    };
    tokio::select! {
        ended = responses => ended,
        ended = requests => ended,
    }
}
