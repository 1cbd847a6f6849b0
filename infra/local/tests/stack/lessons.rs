//! Lessons that the board starts, on the system of `local-stack up --driver`.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::{AgentClient, Control};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proto_contracts::agent::ComponentState;
use proto_contracts::control::{
    LessonPhase, LessonPlace, LessonRun, Lessons, Strategy, Traffic, TrafficSettings,
};
use proto_contracts::{ErrorCode, PoolName, Problem};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::client_without_ca;
use crate::command_line::Installation;

/// Bounds a failing test.
const TIMEOUT: Duration = Duration::from_secs(90);
const STEP: Duration = Duration::from_millis(20);

/// The board of a running system.
struct Board {
    installation: Installation,
    client: Client,
    base: String,
    token: String,
    agent: AgentClient,
    control: Control,
}

impl Board {
    async fn up() -> Result<Self> {
        let installation = tokio::task::spawn_blocking(|| {
            let installation = Installation::new()?;
            let offset = format!("--port-offset={}", installation.offset);
            installation.succeed(&["up", "--stateless=2", "--stateful=2", "--driver", &offset])?;
            anyhow::Ok(installation)
        })
        .await??;
        let token = fs::read_to_string(installation.state().join("control.token"))?;
        let token = token.trim().to_owned();
        let base = format!("http://127.0.0.1:{}", 8001 + installation.offset);
        let agent = AgentClient::of_running(installation.state())?;
        let control = Control::at(&base, token.clone().into())?;
        Ok(Self { installation, client: client_without_ca()?, base, token, agent, control })
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Result<Response> {
        let url = format!("{}/control/v1{path}", self.base);
        let request = self.client.request(method, url).bearer_auth(&self.token);
        Ok(if body.is_null() { request } else { request.json(&body) }.send().await?)
    }

    async fn change(&self, method: Method, path: &str, body: Value) -> Result<Lessons> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status == StatusCode::OK, "{path}: {status} {text}");
        Ok(serde_json::from_str(&text)?)
    }

    async fn refused(&self, method: Method, path: &str, body: Value) -> Result<Problem> {
        let response = self.send(method, path, body).await?;
        ensure!(!response.status().is_success(), "{path} is accepted");
        Ok(response.json().await?)
    }

    /// By a request without the token.
    async fn lessons(&self) -> Result<Lessons> {
        let url = format!("{}/control/v1/lessons", self.base);
        Ok(self.client.get(url).send().await?.error_for_status()?.json().await?)
    }

    async fn start(&self, name: &str) -> Result<()> {
        self.change(Method::POST, &format!("/lessons/{name}"), json!({"short": true})).await?;
        Ok(())
    }

    async fn go_on(&self, step: u32, guess: Option<&str>) -> Result<LessonRun> {
        let lessons =
            self.change(Method::POST, "/lesson", json!({"step": step, "guess": guess})).await?;
        lessons.run.context("a lesson runs")
    }

    /// Waits until the lesson is in this phase.
    async fn until(&self, phase: LessonPhase) -> Result<LessonRun> {
        let begin = Instant::now();
        loop {
            let run = self.lessons().await?.run.context("a lesson")?;
            if run.phase == phase {
                return Ok(run);
            }
            ensure!(begin.elapsed() < TIMEOUT, "not {phase:?}: {run:?}");
            tokio::time::sleep(STEP).await;
        }
    }

    async fn stop(&self) -> Result<Lessons> {
        self.change(Method::DELETE, "/lesson", Value::Null).await
    }

    async fn traffic(&self) -> Result<Traffic> {
        Ok(self.send(Method::GET, "/traffic", Value::Null).await?.json().await?)
    }

    /// What lessons may change: strategies, instances with their states, processes.
    async fn found(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for pool in self.control.pools().await? {
            lines.push(format!("{} {}", pool.name, pool.strategy));
            let instances = pool.instances.iter();
            lines.extend(instances.map(|at| format!("{:?} {:?} {}", at.name, at.state, at.addr)));
        }
        let parts = self.agent.status().await?.components.into_iter();
        let parts = parts.filter(|part| part.name != "driver");
        lines.extend(parts.map(|part| format!("{} {:?}", part.name, part.state)));
        Ok(lines)
    }

    /// Waits until something is so.
    async fn wait(&self, what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let begin = Instant::now();
        while !is_so().await? {
            ensure!(begin.elapsed() < TIMEOUT, "{what}");
            tokio::time::sleep(STEP).await;
        }
        Ok(())
    }

    /// Starts the lesson of scaling, and waits until it has added an instance.
    async fn scale_out(&self) -> Result<()> {
        self.start("scaling").await?;
        let run = self.until(LessonPhase::Predict).await?;
        self.go_on(run.step, None).await?;
        self.wait("the lesson adds an instance", async || {
            let parts = self.agent.status().await?.components;
            Ok(parts.iter().any(|part| part.name == "stateful-3"))
        })
        .await
    }

    async fn driver(&self) -> Result<Pid> {
        let parts = self.agent.status().await?.components;
        let driver = parts.iter().find(|part| part.name == "driver").context("a driver")?;
        Ok(Pid::from_raw(i32::try_from(driver.pid.context("it runs")?)?))
    }
}

#[tokio::test]
async fn a_lesson_asks_measures_and_is_revealed_step_by_step() -> Result<()> {
    let board = Board::up().await?;
    let list = board.lessons().await?;
    assert!(list.driver && list.unavailable.is_none() && list.left.is_none(), "{list:?}");
    assert!(list.run.is_none());
    let places: Vec<_> = list.lessons.iter().map(|entry| (entry.number, entry.place)).collect();
    let here = |number| [1, 2, 5, 6].contains(&number);
    let place = |number| match here(number) {
        true => LessonPlace::RunningSystem,
        false => LessonPlace::OwnSystem,
    };
    assert_eq!(places, (1..=11).map(|number| (number, place(number))).collect::<Vec<_>>());

    // Not the default, so that putting back differs from a default state.
    board.control.set_strategy(PoolName::Stateless, Strategy::Sticky).await?;
    let before = board.found().await?;
    let settings = TrafficSettings { clients: 5, ..TrafficSettings::default() };
    let running = board.send(Method::PUT, "/traffic", serde_json::to_value(settings)?).await?;
    assert_eq!(running.status(), StatusCode::OK);

    board.start("round-robin").await?;
    let run = board.until(LessonPhase::Predict).await?;
    assert!(run.short && run.theory.is_none() && run.findings.is_empty(), "{run:?}");
    assert_eq!(board.found().await?, before, "a question changes nothing");
    assert!(board.traffic().await?.running, "nor does it pause the traffic");

    // One lesson at a time, and no step twice.
    let other = board.refused(Method::POST, "/lessons/memory", json!({})).await?;
    assert_eq!(other.code, ErrorCode::WrongLessonState, "{other:?}");
    assert!(other.detail.contains("Round robin is even"), "{other:?}");
    for step in [0, run.step - 1, run.step + 1, u32::MAX] {
        let refused = board.refused(Method::POST, "/lesson", json!({"step": step})).await?;
        assert_eq!(refused.code, ErrorCode::WrongLessonState, "{step}");
    }
    let guess = "<b>half</b> \"each\" \u{1F642}";
    let measuring = board.go_on(run.step, Some(guess)).await?;
    assert_eq!(measuring.guess.as_deref(), Some(guess));
    let mut run = board.until(LessonPhase::Reveal).await?;
    assert_eq!(run.system.as_deref(), Some("the running system, hybrid store"));
    assert_eq!((run.findings.len(), run.hidden, run.holds), (0, 2, None), "{run:?}");
    assert_eq!(board.found().await?, before, "what it measured is put back before it is revealed");
    board
        .wait("the traffic goes on", async || {
            let traffic = board.traffic().await?;
            Ok(traffic.running && traffic.settings == settings)
        })
        .await?;
    for revealed in 1..=2 {
        run = board.go_on(run.step, None).await?;
        assert_eq!((run.findings.len(), run.holds), (revealed, None), "{run:?}");
    }
    for finding in &run.findings {
        let predicted = finding.predicted.context("a prediction")?;
        assert!((predicted.value - 50.0).abs() < 1e-9, "{finding:?}");
        assert!(finding.sample == Some(100) && finding.holds, "{finding:?}");
    }
    run = board.go_on(run.step, None).await?;
    assert_eq!((run.phase, run.holds), (LessonPhase::Finished, Some(true)));
    assert!(!run.explanations.is_empty());
    let end = board.refused(Method::POST, "/lesson", json!({"step": run.step})).await?;
    assert_eq!(end.code, ErrorCode::WrongLessonState);
    assert_eq!(board.lessons().await?.run.map(|run| run.phase), Some(LessonPhase::Finished));
    assert!(board.stop().await?.run.is_none(), "removed from sight");
    let nothing = board.refused(Method::POST, "/lesson", json!({"step": run.step})).await?;
    assert_eq!(nothing.code, ErrorCode::WrongLessonState);
    assert!(board.stop().await?.run.is_none(), "without a lesson it has no effect");

    // What the driver judges, and not the gateway.
    for name in ["alchemy", "all", "--falsify", "-"] {
        let unknown = board.refused(Method::POST, &format!("/lessons/{name}"), json!({})).await?;
        assert_eq!(unknown.code, ErrorCode::NotFound, "{name}");
    }
    let url = format!("{}/control/v1/lessons/memory", board.base);
    let stranger = board.client.post(url).json(&json!({})).send().await?;
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn a_lesson_that_is_stopped_or_whose_driver_dies_leaves_all_as_it_was() -> Result<()> {
    let board = Board::up().await?;
    board.control.set_strategy(PoolName::Stateful, Strategy::RoundRobin).await?;
    let before = board.found().await?;

    // Before its first change.
    board.start("scaling").await?;
    board.until(LessonPhase::Predict).await?;
    let stopped = board.stop().await?.run.context("the stopped one")?;
    assert_eq!((stopped.phase, stopped.detail), (LessonPhase::Stopped, None));
    assert_eq!(board.found().await?, before);

    // Half-way. The request waits until it is over, or says that it goes on.
    board.scale_out().await?;
    board.stop().await?;
    let stopped = board.until(LessonPhase::Stopped).await?;
    assert_eq!((stopped.theory, stopped.detail), (None, None), "nothing is revealed");
    assert_eq!(board.found().await?, before);

    // The driver alone is killed: its lesson notices.
    board.scale_out().await?;
    kill(board.driver().await?, Signal::SIGKILL)?;
    board
        .wait("the lesson puts everything back by itself", async || {
            Ok(board.found().await? == before)
        })
        .await?;
    board
        .wait("its death is known", async || {
            let parts = board.agent.status().await?.components;
            Ok(parts.iter().any(|at| at.name == "driver" && at.state == ComponentState::Died))
        })
        .await?;
    board.installation.succeed(&["start", "driver"])?;
    let fresh = board.lessons().await?;
    assert!(fresh.run.is_none() && fresh.left.is_none(), "{fresh:?}");

    // The driver and its lesson are killed: the next driver puts everything back.
    board.scale_out().await?;
    board.installation.succeed(&["kill", "driver"])?;
    assert_ne!(board.found().await?, before, "nobody could");
    let journal = board.installation.state().join("lesson.json");
    assert!(fs::metadata(&journal)?.len() > 0);
    board.installation.succeed(&["start", "driver"])?;
    board
        .wait("the next driver puts everything back", async || {
            Ok(board.found().await? == before && board.lessons().await?.left.is_none())
        })
        .await?;
    board.wait("it is noted", async || Ok(fs::metadata(&journal)?.len() == 0)).await?;

    // The system is stopped half-way: the lesson ends in time, and the next start is not disturbed.
    board.scale_out().await?;
    board.installation.succeed(&["down"])?;
    let log = fs::read_to_string(board.installation.state().join("logs/supervisor.log"))?;
    assert!(log.contains("driver stopped") && !log.contains("was killed"), "{log}");
    assert_eq!(fs::metadata(&journal)?.len(), 0, "nothing is left");
    Ok(())
}
