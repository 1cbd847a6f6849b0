//! A whole class at once: what each phone is shown is what was acknowledged to it, while the
//! strategy is switched twice and an instance is killed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use local_stack::{Classroom, Stack};
use proto_contracts::control::{Class, Strategy};
use proto_contracts::{PoolName, Verdict};
use serde::Deserialize;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::person::{Person, Seen};
use crate::small_stack;

const PHONES: u8 = 200;
/// A person presses the button, and the page looks at its session, about so often.
const THINK: Duration = Duration::from_millis(1_500);
/// Each person has done something so often in each phase, however slow the machine is.
const MIN_ACTS: u64 = 2;
/// Bounds a failing test.
const TIMEOUT: Duration = Duration::from_secs(180);
/// It is killed. A third of the sessions have their home there.
const VICTIM: &str = "stateful-2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_phone_is_shown_what_the_ledger_says() -> Result<()> {
    let stack = start().await?;
    for addresses in [Addresses::Apart, Addresses::Together] {
        talk(&stack, addresses, Duration::from_secs(10), None).await?;
    }
    stack.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium and packages of npm, and takes minutes: make class-test"]
async fn each_phone_and_two_pages_are_shown_what_the_ledger_says() -> Result<()> {
    let seconds = std::env::var("CLASS_SECONDS").ok().and_then(|text| text.parse().ok());
    let duration = Duration::from_secs(seconds.unwrap_or(120));
    let stack = start().await?;
    for addresses in [Addresses::Apart, Addresses::Together] {
        let pages = Pages::open(&stack, addresses)?;
        talk(&stack, addresses, duration, Some(pages)).await?;
    }
    stack.shutdown().await;
    Ok(())
}

/// Where the phones are.
#[derive(Clone, Copy, Debug)]
enum Addresses {
    /// Each at its own address.
    Apart,
    /// All behind one.
    Together,
}

impl Addresses {
    fn of(self, phone: u8) -> Ipv4Addr {
        match self {
            Self::Apart => Ipv4Addr::new(127, 0, 1, phone),
            Self::Together => Ipv4Addr::new(127, 0, 2, 1),
        }
    }
}

async fn start() -> Result<Stack> {
    let listen = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stack = small_stack()
        .stateful(3)
        .with_nginx()
        .class(Classroom { is_open: true, listen, ..Classroom::default() })
        // By default all of loopback is exempt; here nobody is.
        .env("gateway", "GATEWAY_RATE_LIMIT_EXEMPT", "192.0.2.1/32")
        .start()
        .await?;
    Ok(stack)
}

/// A class joins, talks for so long while things happen, and compares.
async fn talk(
    stack: &Stack,
    addresses: Addresses,
    duration: Duration,
    mut pages: Option<Pages>,
) -> Result<()> {
    let joining = (1..=PHONES)
        .map(|phone| Person::join(stack, format!("{addresses:?} {phone}"), addresses.of(phone)));
    let people = try_join_all(joining).await?;
    let acts: Arc<[AtomicU64]> = people.iter().map(|_| AtomicU64::new(0)).collect();
    let (stop, stopped) = watch::channel(false);
    let talking: Vec<_> = people
        .into_iter()
        .enumerate()
        .map(|(place, person)| {
            let (acts, stopped) = (Arc::clone(&acts), stopped.clone());
            tokio::spawn(async move { person.talk(THINK, &acts[place], &stopped).await })
        })
        .collect();
    let happening = happen(stack, duration, &acts).await;
    stop.send_replace(true);
    let ended = try_join_all(talking).await?;
    happening?;
    let mut people = ended.into_iter().collect::<Result<Vec<_>>>()?;

    if let Some(pages) = &mut pages {
        pages.end().await?;
    }
    let mut seen = Seen::default();
    let mut faults = on_the_board(stack, &people, pages.as_ref()).await?;
    for person in &mut people {
        person.reconcile().await?;
        seen.add(&person.seen);
        let nickname = &person.nickname;
        faults.extend(person.faults.drain(..).map(|fault| format!("{nickname}: {fault}")));
    }
    let messages: u64 = people.iter().map(|person| person.shown.count).sum();
    eprintln!("{addresses:?}: {PHONES} phones, {messages} messages acknowledged, {seen:?}");
    ensure!(faults.is_empty(), "{} faults: {:#?}", faults.len(), &faults[..faults.len().min(10)]);
    // Else nothing was tried.
    ensure!(seen.verdict(Verdict::Off) >= u64::from(PHONES), "the strategy was not switched");
    ensure!(seen.verdict(Verdict::Failover) > 0, "no session was at the instance that was killed");
    ensure!(seen.sources.get("memory").is_some_and(|count| *count > 0), "no memory: {seen:?}");
    Ok(())
}

/// Two switches, a crash and a restart, each after a fifth of the time.
async fn happen(stack: &Stack, duration: Duration, acts: &[AtomicU64]) -> Result<()> {
    let part = duration / 5;
    phase(part, acts).await?;
    stack.control().set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    phase(part, acts).await?;
    stack.control().set_strategy(PoolName::Stateful, Strategy::Sticky).await?;
    phase(part, acts).await?;
    stack.kill(VICTIM).await?;
    phase(part, acts).await?;
    stack.start_component(VICTIM).await?;
    phase(part, acts).await
}

/// Waits for so long, and until each person has done something.
async fn phase(part: Duration, acts: &[AtomicU64]) -> Result<()> {
    let before: Vec<_> = acts.iter().map(|acts| acts.load(Ordering::Relaxed)).collect();
    let begin = Instant::now();
    let has_acted = || {
        let mut acts = acts.iter().zip(&before);
        acts.all(|(now, before)| now.load(Ordering::Relaxed) >= before + MIN_ACTS)
    };
    while begin.elapsed() < part || !has_acted() {
        ensure!(begin.elapsed() < part + TIMEOUT, "somebody gets no more responses");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// What the board shows of them that the phones were not shown.
async fn on_the_board(
    stack: &Stack,
    people: &[Person],
    pages: Option<&Pages>,
) -> Result<Vec<String>> {
    let url = format!("{}/control/v1/class", stack.urls().control);
    let token = secrecy::ExposeSecret::expose_secret(stack.control_token());
    let response = reqwest::Client::new().get(url).bearer_auth(token).send().await?;
    let class: Class = response.error_for_status()?.json().await?;
    ensure!(class.missed.is_empty(), "{:?} did not say whom they serve", class.missed);
    let known: BTreeMap<_, _> =
        class.people.iter().map(|person| (person.served.nickname.as_str(), person)).collect();
    let mut faults = Vec::new();
    for person in people {
        let shown = &person.shown;
        let is_same = known.get(person.nickname.as_str()).is_some_and(|known| {
            (&known.instance, &known.served.source, known.served.message_count)
                == (&shown.instance, &shown.source, shown.count)
        });
        if !is_same {
            let known = known.get(person.nickname.as_str());
            faults.push(format!("{} on the board: {known:?}, not {shown:?}", person.nickname));
        }
    }
    for page in pages.iter().flat_map(|pages| &pages.ledgers) {
        // Its last look may not have reached the page before it was closed.
        let count = known.get(page.nickname.as_str()).map(|known| known.served.message_count);
        if count != Some(page.count) {
            faults.push(format!("{} on the board: {count:?}, not {}", page.nickname, page.count));
        }
    }
    Ok(faults)
}

/// Two pages in a browser.
struct Pages {
    node: Child,
    stop: std::path::PathBuf,
    ledger: std::path::PathBuf,
    ledgers: Vec<PageLedger>,
}

/// What was acknowledged to a page.
#[derive(Deserialize)]
struct PageLedger {
    nickname: String,
    count: u64,
}

impl Pages {
    fn open(stack: &Stack, addresses: Addresses) -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let file = |name: &str| stack.state_dir().join(format!("class-{addresses:?}.{name}"));
        let (stop, ledger) = (file("stop"), file("json"));
        let urls = stack.urls();
        let node = Command::new("node")
            .arg("infra/ui-tests/class-ledger.mjs")
            .env("TANDEM_TARGET", urls.https.context("Nginx runs")?)
            .env("TANDEM_CLASS", urls.class.context("the class is open")?)
            .env("TANDEM_STATE", stack.state_dir())
            .env("UI_SCREENSHOTS", repository.join("target/ui-class"))
            .env("CLASS_NAME", format!("Page {addresses:?}"))
            .env("CLASS_STOP", &stop)
            .env("CLASS_LEDGER", &ledger)
            .current_dir(&repository)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("node does not start; run make class-test")?;
        Ok(Self { node, stop, ledger, ledgers: Vec::new() })
    }

    /// Has the pages stop, and reads what was acknowledged to them.
    async fn end(&mut self) -> Result<()> {
        std::fs::write(&self.stop, "")?;
        let status = tokio::time::timeout(TIMEOUT, self.node.wait()).await??;
        ensure!(status.success(), "a page showed something else than its ledger; see above");
        self.ledgers = serde_json::from_str(&std::fs::read_to_string(&self.ledger)?)?;
        ensure!(self.ledgers.len() == 2 && self.ledgers.iter().all(|page| page.count > 0));
        Ok(())
    }
}
