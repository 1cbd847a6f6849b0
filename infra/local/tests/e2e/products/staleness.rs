//! The cache does not lie: a product is written 50 times a second and read through every instance,
//! the gateway and Nginx, while instances are stopped and killed and the cache's Redis restarts.
//! Each response is as recent as API.md says. A build without the check of generations is caught.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use local_stack::Stack;
use proto_contracts::products::Product;
use proto_contracts::{Role, headers};
use reqwest::Method;
use reqwest::header::{ETAG, IF_MATCH};
use serde_json::json;

use super::{KEY, User, product};
use crate::api::Api;
use crate::small_stack;

const ID: &str = "watched";
const WRITE_EVERY: Duration = Duration::from_millis(20);
const READ_EVERY: Duration = Duration::from_millis(15);
/// After this the writer turns to another instance. What is executed later fails its condition.
const WRITE_TIMEOUT: Duration = Duration::from_millis(400);
/// Longer than any request takes at an instance that is not stopped.
const READ_TIMEOUT: Duration = Duration::from_secs(3);
/// API.md: of a copy, while no instance hangs.
const AGE: Duration = Duration::from_secs(10);
/// API.md: of a copy, with faults.
const AGE_WITH_FAULTS: Duration = Duration::from_secs(45);
/// Nginx counts whole seconds, and a request takes a moment.
const ROUNDING: Duration = Duration::from_secs(2);
/// How long an instance is stopped: the gateway retries at another meanwhile.
const STOPPED: Duration = Duration::from_millis(3_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_is_as_recent_as_stated() -> Result<()> {
    let rounds = match std::env::var("TANDEM_TEST_ROUNDS") {
        Ok(rounds) => rounds.parse().context("TANDEM_TEST_ROUNDS")?,
        Err(_) => 1,
    };
    let stack = small_stack().stateless(3).with_nginx().start().await?;
    let watch = Watch::start(&stack).await?;
    let quiet = watch.during(&stack, async || {
        tokio::time::sleep(AGE + ROUNDING).await;
        Ok(())
    });
    quiet.await?.assert("without faults", AGE + ROUNDING);
    let faults = watch.during(&stack, async || {
        for _ in 0..rounds {
            every_fault(&stack).await?;
        }
        Ok(())
    });
    faults.await?.assert("with faults", AGE_WITH_FAULTS + ROUNDING);
    stack.shutdown().await;
    Ok(())
}

async fn every_fault(stack: &Stack) -> Result<()> {
    for instance in ["stateless-1", "stateless-2", "stateless-3"] {
        stack.pause(instance)?;
        tokio::time::sleep(STOPPED).await;
        stack.resume(instance)?;
        stack.kill("redis-cache").await?;
        stack.start_component("redis-cache").await?;
    }
    stack.pause("redis-cache")?;
    tokio::time::sleep(STOPPED / 2).await;
    stack.resume("redis-cache")?;
    stack.kill("stateless-2").await?;
    Ok(stack.start_component("stateless-2").await?)
}

/// `make broken` builds the program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_without_the_check_of_generations_is_caught() -> Result<()> {
    // Slow fills alone do no harm.
    for (guarantee, is_broken) in [("slow-fill", false), ("no-generation-check", true)] {
        let stack = small_stack().stateless(2).with_nginx();
        let stack = stack.without_stateless_guarantee(guarantee).start().await?;
        let watch = Watch::start(&stack).await?;
        let seen = watch.during(&stack, async || {
            let begin = Instant::now();
            while watch.stale.lock().expect("no panic").is_empty() {
                let is_over = begin.elapsed() > AGE * if is_broken { 4 } else { 1 };
                if is_over {
                    break;
                }
                tokio::time::sleep(WRITE_EVERY).await;
            }
            Ok(())
        });
        let seen = seen.await?;
        eprintln!("{guarantee}: {} stale responses", seen.stale.len());
        assert_eq!(!seen.stale.is_empty(), is_broken, "{guarantee}: {:?}", seen.stale.first());
        stack.shutdown().await;
    }
    Ok(())
}

/// The writer's ledger, and what readers found.
struct Watch {
    writer: User,
    /// When each value was acknowledged, in order.
    acknowledged: Mutex<Vec<(Instant, i32)>>,
    attempted: AtomicI32,
    stale: Mutex<Vec<String>>,
}

/// What was seen in a period.
struct Seen {
    stale: Vec<String>,
    writes: usize,
    readers: Vec<Reader>,
}

/// What one reader found.
#[derive(Debug, Default)]
struct Reader {
    name: String,
    responses: usize,
    /// Errors, and timeouts at a stopped instance.
    failures: usize,
    copies: usize,
    /// The age of the oldest state that was shown: since when a newer one was acknowledged.
    oldest: Duration,
}

impl Seen {
    fn assert(&self, when: &str, most: Duration) {
        eprintln!("{when}: {} writes", self.writes);
        for Reader { name, responses, failures, copies, oldest } in &self.readers {
            eprintln!(
                "  {name}: {responses} responses ({copies} copies), {failures} failures, at most \
                 {oldest:.1?} old"
            );
        }
        assert!(self.stale.is_empty(), "{} stale, such as {}", self.stale.len(), self.stale[0]);
        assert!(self.writes > 100, "{}", self.writes);
        for reader in &self.readers {
            assert!(reader.responses > 50, "{reader:?}");
            assert!(reader.oldest <= most, "{reader:?}");
        }
        // Else the test would say nothing about copies.
        assert!(self.readers.iter().any(|reader| reader.copies > 10), "Nginx has copies");
    }
}

impl Watch {
    async fn start(stack: &Stack) -> Result<Self> {
        let api = Api::on_gateway(stack)?;
        let writer = User::new(stack, &api, "root", Role::Admin).await?;
        let body = json!({"id": ID, "name": "Watched", "price": "1", "stock": 0});
        ensure!(writer.create(body).await?.status == 201);
        Ok(Self {
            writer,
            acknowledged: Mutex::new(vec![(Instant::now(), 0)]),
            attempted: AtomicI32::new(0),
            stale: Mutex::default(),
        })
    }

    /// Writes and reads while `course` runs.
    async fn during(
        &self,
        stack: &Stack,
        course: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Seen> {
        let is_over = AtomicBool::new(false);
        let before = self.acknowledged.lock().expect("no panic").len();
        let mut places = vec![
            ("Nginx".to_owned(), Api::through_nginx(stack)?, AGE_WITH_FAULTS + ROUNDING),
            ("gateway".to_owned(), Api::on_gateway(stack)?, Duration::ZERO),
        ];
        for part in stack.status() {
            if part.name.starts_with("stateless-") {
                let instance = Api::on_instance(stack, &part.name)?;
                places.push((part.name, instance, Duration::ZERO));
            }
        }
        let instances: Vec<_> = places.iter().skip(2).map(|(_, api, _)| api.clone()).collect();
        let readers = places.into_iter().map(|(name, api, allowed)| {
            let is_over = &is_over;
            async move { self.read(name, &api, allowed, is_over).await }
        });
        let course = async {
            let done = course().await;
            is_over.store(true, Ordering::Relaxed);
            done
        };
        let ((), readers, ()) =
            tokio::try_join!(self.write(&instances, &is_over), try_join_all(readers), course)?;
        let writes = self.acknowledged.lock().expect("no panic").len() - before;
        let stale = std::mem::take(&mut *self.stale.lock().expect("no panic"));
        Ok(Seen { stale, writes, readers })
    }

    /// Writes the next number each time, on the condition that the last one is there: so an attempt
    /// that is executed late changes nothing. After a failure it turns to another instance.
    async fn write(&self, instances: &[Api], is_over: &AtomicBool) -> Result<()> {
        let mut instances = instances.iter().cycle();
        let mut writer = self.writer.clone();
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        let mut known = None;
        while !is_over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let Some((last, tag)) = known.take() else {
                writer = self.writer.at(instances.next().context("an instance")?);
                known = self.state(&writer).await?;
                continue;
            };
            let next: i32 = last + 1;
            self.attempted.store(next, Ordering::SeqCst);
            let key = format!("watched-key-{next}-{}", tag.trim_matches('"'));
            let headers = [(IF_MATCH, &*tag), (KEY, &*key)];
            let (path, body) = (product(ID), json!({ "stock": next }));
            let sent = writer.send(Method::PATCH, &path, body, &headers);
            let Ok(Ok(response)) = tokio::time::timeout(WRITE_TIMEOUT, sent).await else {
                continue;
            };
            if response.status == 200 {
                self.acknowledge(next);
                known = Some((next, response.header(ETAG.as_str()).context("ETag")?.to_owned()));
            } else {
                // Whether it was executed shows the state.
                ensure!(matches!(response.status, 412 | 429 | 502..=504), "{response}");
            }
        }
        Ok(())
    }

    /// The state and its tag, if the instance responds.
    async fn state(&self, reader: &User) -> Result<Option<(i32, String)>> {
        let (path, body) = (product(ID), json!({}));
        let read = reader.send(Method::GET, &path, body, &[]);
        let read = tokio::time::timeout(WRITE_TIMEOUT, read).await;
        let Some(read) = read.ok().and_then(Result::ok).filter(|read| read.status == 200) else {
            return Ok(None);
        };
        let stock = read.json::<Product>().stock;
        self.acknowledge(stock);
        Ok(Some((stock, read.header(ETAG.as_str()).context("ETag")?.to_owned())))
    }

    fn acknowledge(&self, value: i32) {
        let mut acknowledged = self.acknowledged.lock().expect("no panic");
        if acknowledged.last().is_none_or(|(_, last)| *last < value) {
            acknowledged.push((Instant::now(), value));
        }
    }

    async fn read(
        &self,
        name: String,
        api: &Api,
        allowed: Duration,
        is_over: &AtomicBool,
    ) -> Result<Reader> {
        let mut reader = Reader { name, ..Reader::default() };
        while !is_over.load(Ordering::Relaxed) {
            tokio::time::sleep(READ_EVERY).await;
            let sent = Instant::now();
            let response = tokio::time::timeout(READ_TIMEOUT, api.get(&product(ID))).await;
            let Ok(Ok(response)) = response else {
                reader.failures += 1;
                continue;
            };
            if response.status != 200 {
                ensure!(matches!(response.status, 429 | 500..=504), "{response}");
                reader.failures += 1;
                continue;
            }
            let status = response.header(headers::CACHE_STATUS);
            let is_copy =
                status.is_some_and(|status| matches!(status, "HIT" | "STALE" | "UPDATING"));
            reader.copies += usize::from(is_copy);
            reader.responses += 1;
            let shown = response.json::<Product>().stock;
            let age = self.age(shown, sent);
            reader.oldest = reader.oldest.max(age);
            // What is no copy is as recent as what an instance sends.
            let allowed = if is_copy { allowed } else { Duration::ZERO };
            let attempted = self.attempted.load(Ordering::SeqCst);
            if age > allowed || shown > attempted {
                let fault = format!("{}: {shown}, {age:?} old: {response}", reader.name);
                self.stale.lock().expect("no panic").push(fault);
            }
        }
        Ok(reader)
    }

    /// How long before `sent` a newer value was acknowledged.
    fn age(&self, shown: i32, sent: Instant) -> Duration {
        let acknowledged = self.acknowledged.lock().expect("no panic");
        let newer = acknowledged.partition_point(|(_, value)| *value <= shown);
        acknowledged
            .get(newer)
            .map_or(Duration::ZERO, |(at, _)| sent.saturating_duration_since(*at))
    }
}
