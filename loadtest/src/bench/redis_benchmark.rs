//! `redis-benchmark` with the script that the service runs for a message.
//!
//! The script and its arguments are captured by `MONITOR` while the service creates a session and
//! accepts a message. So the benchmark always runs what the service runs.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use redis::aio::MultiplexedConnection;
use redis::{Client as Redis, Cmd, Pipeline, Value};
use tokio::process::Command;
use tokio::time::timeout;

use super::rounds::Done;
use super::sessions::{Routed, Sessions};
use crate::target::Target;

/// Digits that `redis-benchmark` substitutes for [`RANDOM`].
const DIGITS: usize = 12;
/// A random number below the keyspace's length. Each occurrence in a command gets its own, so a
/// session's list and record have different keys: the same work.
const RANDOM: &str = "__rand_int__";
/// Commands in one pipeline.
const BATCH: usize = 500;
/// Limit for `MONITOR` to show the commands.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(10);

/// The benchmark, with its own sessions in the same Redis.
pub(crate) struct RedisBenchmark {
    addr: (String, u16),
    connections: usize,
    sessions: usize,
    message: Vec<String>,
}

impl RedisBenchmark {
    /// Captures the calls of this instance and makes the sessions.
    pub(crate) async fn prepare(
        url: &str,
        instance: &Arc<Target>,
        sessions: usize,
        connections: usize,
    ) -> Result<Self> {
        let redis = Redis::open(url)?;
        let port = url
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .context("a URL with a port")?;
        // Loads the scripts first, so that no NOSCRIPT error is captured.
        create_and_post(instance).await?;
        let mut monitor = redis.get_async_monitor().await?.into_on_message::<String>();
        create_and_post(instance).await?;
        let mut calls = Vec::new();
        while calls.len() < 2 {
            let line = timeout(MONITOR_TIMEOUT, monitor.next())
                .await
                .context("MONITOR did not show the service's calls")?;
            calls.extend(script_call(&line.context("Redis closed the connection")?));
        }
        let [create, message] = calls.try_into().map_err(|_| anyhow::anyhow!("two calls"))?;
        let digest = digest_of(&create).context("a call on a session's keys")?.to_owned();
        let mut connection = redis.get_multiplexed_async_connection().await?;
        make_sessions(&mut connection, &create, &digest, sessions).await?;
        let message = with_key(&message, &digest, RANDOM);
        // An error reply would be cheap, and would go unnoticed.
        let response: Value =
            command(&with_key(&message, RANDOM, &key(0))).query_async(&mut connection).await?;
        let Value::Array(response) = response else {
            anyhow::bail!("the script returned {response:?}")
        };
        ensure!(
            matches!(response.last(), Some(Value::Array(_))),
            "the script did nothing: {response:?}"
        );
        Ok(Self { addr: ("127.0.0.1".to_owned(), port), connections, sessions, message })
    }

    /// Runs that many calls.
    pub(crate) async fn run(&self, calls: usize) -> Result<Done> {
        let (host, port) = &self.addr;
        let mut command = Command::new("redis-benchmark");
        command.args([
            "-q",
            "-h",
            host,
            "-p",
            &port.to_string(),
            "-c",
            &self.connections.to_string(),
        ]);
        command
            .args(["-n", &calls.to_string(), "-r", &self.sessions.to_string()])
            .args(&self.message);
        let begin = Instant::now();
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
        let output =
            output.context("redis-benchmark does not start; it comes with Debian's redis-tools")?;
        let elapsed = begin.elapsed();
        let output_text = String::from_utf8_lossy(&output.stdout);
        ensure!(
            output.status.success() && !output_text.contains("Error"),
            "redis-benchmark failed: {output_text}"
        );
        Ok(Done { good: calls as u64, failed: 0, elapsed, p99_ms: None, from_memory: None })
    }
}

async fn create_and_post(instance: &Arc<Target>) -> Result<()> {
    Sessions::create(instance, 1, 1, Routed::Unmarked).await?.post_messages(instance, 1, 1).await
}

async fn make_sessions(
    connection: &mut MultiplexedConnection,
    create: &[String],
    digest: &str,
    sessions: usize,
) -> Result<()> {
    let numbers: Vec<usize> = (0..sessions).collect();
    for batch in numbers.chunks(BATCH) {
        let mut pipeline = Pipeline::new();
        for &number in batch {
            pipeline.add_command(command(&with_key(create, digest, &key(number)))).ignore();
        }
        pipeline.exec_async(connection).await?;
    }
    Ok(())
}

fn command(arguments: &[String]) -> Cmd {
    let mut command = Cmd::new();
    for word in arguments {
        command.arg(word);
    }
    command
}

fn key(number: usize) -> String {
    format!("{number:0DIGITS$}")
}

fn with_key(arguments: &[String], from: &str, to: &str) -> Vec<String> {
    arguments.iter().map(|word| word.replace(from, to)).collect()
}

/// The hash tag in the first key of a script's call.
fn digest_of(call: &[String]) -> Option<&str> {
    Some(call.get(3)?.split_once('{')?.1.split_once('}')?.0)
}

/// The arguments of a line of `MONITOR`, if it is a script's call on a session.
fn script_call(line: &str) -> Option<Vec<String>> {
    let (_, arguments) = line.split_once("] ")?;
    let arguments = quoted_strings(arguments)?;
    let is_call = arguments.first().is_some_and(|word| word.eq_ignore_ascii_case("EVALSHA"));
    (is_call && arguments.get(3)?.starts_with("session:")).then_some(arguments)
}

/// The quoted strings of a line. Ours contain no byte that Redis would escape as hex.
fn quoted_strings(mut text: &str) -> Option<Vec<String>> {
    let mut arguments = Vec::new();
    while let Some(rest) = text.trim_start().strip_prefix('"') {
        let (mut word, mut chars) = (String::new(), rest.chars());
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => word.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
                c => word.push(c),
            }
        }
        arguments.push(word);
        text = chars.as_str();
    }
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_parsed_and_gets_other_keys() {
        let line = r#"1339518083.107412 [0 127.0.0.1:60866] "EVALSHA" "ab" "2" "session:{0c}:record" "session:{0c}:messages" "a \"b\" \\" """#;
        let call = script_call(line).expect("a call");
        assert_eq!(call.last().map(String::as_str), Some(""));
        assert_eq!(call[5], r#"a "b" \"#);
        let digest = digest_of(&call).expect("keys").to_owned();
        assert_eq!(with_key(&call, &digest, &key(7))[3], "session:{000000000007}:record");
        for other in
            [r#"1.0 [0 127.0.0.1:1] "PING""#, r#"1.0 [0 lua] "HSET" "session:{0c}:record""#, "OK"]
        {
            assert_eq!(script_call(other), None, "{other}");
        }
    }
}
