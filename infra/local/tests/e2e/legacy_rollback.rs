//! `infra/server/rollback-to-legacy.sh` through the real Nginx, to a stand-in that serves the legacy
//! paths.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, Result, ensure};
use local_stack::Stack;
use proto_contracts::headers;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::api::Api;
use crate::response::Response;
use crate::small_stack;
use crate::until::until;

const INFO: &str = "/api/stateless/info";
/// How often Nginx reloads over both switches: for the notice, the change and the way back.
const RELOADS: u64 = 3;
const SESSION: &str = "/api/stateful/session";

/// The legacy system: it responds to its paths, and to no other.
struct Legacy {
    addr: SocketAddr,
    listening: JoinHandle<()>,
}

impl Legacy {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that breaks concerns itself alone.
                tokio::spawn(respond(client));
            }
        });
        Ok(Self { addr, listening })
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn respond(client: TcpStream) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        if client.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            client.read_line(&mut line).await?;
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or_default();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        tokio::io::copy(&mut (&mut client).take(length), &mut tokio::io::sink()).await?;
        let status = match first.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["GET", INFO] => "200 OK",
            ["POST", SESSION] => "201 Created",
            _ => "404 Not Found",
        };
        let body = r#"{"server":"legacy"}"#;
        let response = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(response.as_bytes()).await?;
    }
}

/// Records what is asked of systemd. Our processes go on, so that a request to them would be seen.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >>"$(dirname "$0")/calls"
[ "$1" != list-units ] || echo 'tandem-gateway@a.service loaded active running Tandem'
"#;

struct Machine {
    folder: tempfile::TempDir,
    nginx: PathBuf,
    edge: String,
    gateway: String,
}

impl Machine {
    fn of(stack: &Stack) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let systemctl = folder.path().join("systemctl");
        fs::write(&systemctl, SYSTEMCTL)?;
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755))?;
        // Elsewhere, if Nginx's workers cannot read the state folder.
        let shared = fs::read_to_string(stack.state_dir().join("shared"));
        let shared = shared.map_or(stack.state_dir().to_owned(), |shared| shared.trim().into());
        let nginx = shared.join("nginx");
        let edge = stack.urls().https.context("Nginx")?;
        Ok(Self { folder, nginx, edge, gateway: stack.urls().gateway })
    }

    fn script(&self, arguments: &[&str]) -> Result<Child> {
        let path = std::env::var("PATH").unwrap_or_default();
        let script = "../server/rollback-to-legacy.sh";
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .args(arguments)
            .env("PATH", format!("{}:{path}:/usr/sbin", self.folder.path().display()))
            .env("NGINX_STATE", &self.nginx)
            .env("EDGE", &self.edge)
            .env("TANDEM_ETC", self.folder.path())
            .env("GATEWAY", &self.gateway)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("bash")
    }

    async fn run(&self, arguments: &[&str]) -> Result<Output> {
        Ok(self.script(arguments)?.wait_with_output().await?)
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}

fn is_legacy(response: &Response) -> bool {
    response.header(headers::SERVED_BY).is_none()
}

fn says(output: &Output, what: &str) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains(what), "{output:?}");
    Ok(())
}

#[tokio::test]
async fn the_legacy_system_takes_over_with_a_notice_and_no_response_is_an_error() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let (machine, api, legacy) =
        (Machine::of(&stack)?, Api::through_nginx(&stack)?, Legacy::start().await?);
    let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (wrong, unanswered) = (AtomicU64::new(0), AtomicU64::new(0));
    let load = async {
        while !is_over.load(Ordering::SeqCst) {
            for (response, expected) in
                [(api.get(INFO).await, 200), (api.post(SESSION, &json!({})).await, 201)]
            {
                sent.fetch_add(1, Ordering::SeqCst);
                match response {
                    Ok(response) if response.status == expected => {}
                    Ok(response) => {
                        eprintln!("{response}");
                        wrong.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        eprintln!("{error:#}");
                        unanswered.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        }
    };
    let operated = async {
        let done = operate(&stack, &machine, &api, &legacy).await;
        is_over.store(true, Ordering::SeqCst);
        done
    };
    let (operated, ()) = tokio::join!(operated, load);
    operated?;
    let [sent, wrong, unanswered] = [sent, wrong, unanswered].map(AtomicU64::into_inner);
    eprintln!("{sent} requests to legacy paths: {wrong} failed, {unanswered} without a response");
    ensure!(wrong == 0 && sent > 20, "{wrong} of {sent}");
    // Nginx closes idle connections at a reload, and the client may just be sending on its own.
    ensure!(unanswered <= RELOADS, "{unanswered} without a response");
    stack.shutdown().await;
    Ok(())
}

async fn operate(stack: &Stack, machine: &Machine, api: &Api, legacy: &Legacy) -> Result<()> {
    let before = api.get(INFO).await?;
    ensure!(!is_legacy(&before) && before.header("sunset").is_none(), "{before}");
    let addr = legacy.addr.to_string();
    let child = machine.script(&[&addr, "5"])?;
    let announced = until("the notice", async || {
        let response = api.get(INFO).await?;
        Ok(response.header("sunset").map(str::to_owned))
    });
    let sunset = announced.await?;
    ensure!(sunset.ends_with(" GMT") && sunset.contains(", "), "{sunset}");
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{output:?}");
    let after = api.get(INFO).await?;
    ensure!(is_legacy(&after) && after.header("sunset").is_none(), "{after}");
    let body: Value = after.json();
    ensure!(body["server"] == "legacy", "{after}");
    let ours = api.get("/api/v1/stateless/info").await?;
    let problem: Value = ours.json();
    ensure!(ours.status == 503 && ours.header("retry-after") == Some("600"), "{ours}");
    let detail = problem["detail"].as_str().unwrap_or_default();
    ensure!(detail.contains("the legacy system serves for now"), "{ours}");
    ensure!(
        machine.calls().contains("disable --now tandem-gateway@a.service"),
        "{}",
        machine.calls()
    );
    says(&machine.run(&[&addr]).await?, "serves already")?;

    // Our processes do not serve: the legacy system goes on.
    stack.pause("gateway")?;
    let refused = machine.run(&["--return"]).await?;
    stack.resume("gateway")?;
    says(&refused, "the legacy system still serves")?;
    let output = machine.run(&["--return"]).await?;
    ensure!(output.status.success(), "{output:?}");
    until("we serve", async || Ok((!is_legacy(&api.get(INFO).await?)).then_some(()))).await?;
    ensure!(
        machine.calls().contains("enable --now tandem-gateway@a.service"),
        "{}",
        machine.calls()
    );
    let write =
        Response::to(api.request(Method::POST, "/api/v1/stateful/sessions").json(&json!({})));
    ensure!(write.await?.status == 201, "sessions again");
    Ok(())
}

#[tokio::test]
async fn without_a_legacy_system_nothing_is_changed() -> Result<()> {
    let stack = small_stack().with_nginx().start().await?;
    let (machine, api) = (Machine::of(&stack)?, Api::through_nginx(&stack)?);
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?.to_string();
    for (arguments, what) in [
        (&[&*closed, "0"][..], "does not respond to /api/stateless/info; nothing was changed"),
        (&["127.0.0.1; rm", "0"], "is no host and port"),
        (&[&*closed, "soon"], "is no number of seconds"),
        (&["--return"], "the legacy system does not serve"),
        (&[], "name the address of the legacy system"),
    ] {
        says(&machine.run(arguments).await?, what)?;
    }
    let info = api.get(INFO).await?;
    ensure!(info.status == 200 && !is_legacy(&info) && info.header("sunset").is_none(), "{info}");
    ensure!(machine.calls().is_empty(), "{}", machine.calls());
    stack.shutdown().await;
    Ok(())
}
