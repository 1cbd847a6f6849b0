//! Lessons that the traffic driver runs on systems of their own, beside one that has no agent.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use local_stack::Stack;
use proto_contracts::ErrorCode;
use proto_contracts::control::{LessonPhase, LessonPlace, LessonRun, Lessons};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::api::Api;
use crate::response::Response;
use crate::small_stack;

/// A lesson starts a system of its own. Bounds a failing test.
const TIMEOUT: Duration = Duration::from_secs(120);

struct Board<'a> {
    stack: &'a Stack,
    control: Api,
}

impl Board<'_> {
    async fn send(&self, method: Method, path: &str, body: Value) -> Result<Response> {
        let token = self.stack.control_token().expose_secret();
        let request = self.control.request(method, &format!("/control/v1{path}"));
        let request = request.bearer_auth(token);
        Response::to(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn change(&self, method: Method, path: &str, body: Value) -> Result<LessonRun> {
        let response = self.send(method, path, body).await?;
        ensure!(response.status == 200, "{path}: {response}");
        response.json::<Lessons>().run.context("a lesson")
    }

    async fn until(&self, is_so: impl Fn(&LessonRun) -> bool) -> Result<LessonRun> {
        let begin = Instant::now();
        loop {
            let lessons: Lessons = self.control.get("/control/v1/lessons").await?.json();
            let run = lessons.run.context("a lesson")?;
            if is_so(&run) {
                return Ok(run);
            }
            ensure!(begin.elapsed() < TIMEOUT, "{run:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn ask(&self, name: &str) -> Result<u32> {
        let path = format!("/lessons/{name}");
        self.change(Method::POST, &path, json!({"short": true})).await?;
        Ok(self.until(|run| run.phase == LessonPhase::Predict).await?.step)
    }
}

/// The processes that name this one as their parent.
fn children_of(pid: u32) -> Vec<u32> {
    let stat = |entry: fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let is_zombie = fields.next()? == "Z";
        (!is_zombie && fields.next()?.parse::<u32>().ok()? == pid).then_some(id)
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(stat).collect()
}

#[tokio::test]
async fn a_lesson_starts_a_system_of_its_own_and_leaves_none() -> Result<()> {
    let stack = small_stack().with_driver().start().await?;
    let board = Board { stack: &stack, control: Api::control(&stack)? };
    let driver = stack.pid_of("driver")?;
    let list: Lessons = board.control.get("/control/v1/lessons").await?.json();
    assert!(list.lessons.iter().all(|entry| entry.place == LessonPlace::OwnSystem), "{list:?}");

    // Stopped while its system starts, or just after.
    let step = board.ask("drain").await?;
    board.change(Method::POST, "/lesson", json!({"step": step})).await?;
    let starts = |run: &LessonRun| {
        run.activity.as_deref().is_some_and(|what| what.contains("a system of its own, memory"))
    };
    board.until(starts).await?;
    assert_eq!(children_of(driver).len(), 1);
    board.send(Method::DELETE, "/lesson", Value::Null).await?;
    board.until(|run| run.phase == LessonPhase::Stopped).await?;
    assert_eq!(children_of(driver), [0_u32; 0], "the lesson is gone, and its system with it");

    let step = board.ask("drain").await?;
    board.change(Method::POST, "/lesson", json!({"step": step, "guess": "none"})).await?;
    let mut run = board.until(|run| run.phase == LessonPhase::Reveal).await?;
    assert_eq!(run.system.as_deref(), Some("its own system, memory store"));
    while run.phase == LessonPhase::Reveal {
        run = board.change(Method::POST, "/lesson", json!({"step": run.step})).await?;
    }
    assert_eq!((run.phase, run.findings.len()), (LessonPhase::Finished, 3));
    assert_eq!(run.holds, Some(true), "{run:?}");
    // A start waits until the system of the last lesson is gone.
    board.ask("round-robin").await?;
    assert_eq!(children_of(driver).len(), 1);
    let metrics = Api::on_instance(&stack, "driver")?.get("/metrics").await?;
    let metrics = String::from_utf8(metrics.body)?;
    for line in [
        "driver_lessons_total{outcome=\"stopped\"} 1",
        "driver_lessons_total{outcome=\"measured\"} 1",
        "driver_lessons_total{outcome=\"failed\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }

    // A lesson that is killed alone is a failure, and the next one begins.
    for child in children_of(driver) {
        let child = nix::unistd::Pid::from_raw(i32::try_from(child)?);
        nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGKILL)?;
    }
    let failed = board.until(|run| run.phase == LessonPhase::Failed).await?;
    assert!(failed.detail.is_some_and(|why| why.contains("driver's log")));
    board.ask("round-robin").await?;
    stack.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn the_driver_starts_no_lesson_for_a_stranger_and_none_that_is_no_lesson() -> Result<()> {
    let stack = small_stack().with_driver().start().await?;
    let driver = Api::on_instance(&stack, "driver")?;
    let token = fs::read_to_string(stack.state_dir().join("driver.token"))?;
    let pid = stack.pid_of("driver")?;
    for (method, path) in [
        (Method::GET, "/driver/v1/lessons"),
        (Method::POST, "/driver/v1/lessons/round-robin"),
        (Method::POST, "/driver/v1/lesson"),
        (Method::DELETE, "/driver/v1/lesson"),
    ] {
        let stranger =
            driver.request(method, path).bearer_auth(stack.control_token().expose_secret());
        Response::to(stranger.json(&json!({}))).await?.problem(ErrorCode::Unauthorized);
    }
    for (path, body, code) in [
        ("s/..%2Flesson", json!({}), ErrorCode::BadRequest),
        ("s/all", json!({}), ErrorCode::NotFound),
        ("s/1", json!({}), ErrorCode::NotFound),
        ("s/--falsify", json!({}), ErrorCode::NotFound),
        ("s/memory%0A--state", json!({}), ErrorCode::BadRequest),
        ("s/memory", json!({"state": "/"}), ErrorCode::InvalidBody),
        ("", json!({"step": 1, "guess": "a\nb"}), ErrorCode::InvalidBody),
        ("", json!({"step": 1, "guess": "x".repeat(121)}), ErrorCode::InvalidBody),
        ("", json!({"step": 1}), ErrorCode::WrongLessonState),
    ] {
        let path = format!("/driver/v1/lesson{path}");
        let request = driver.request(Method::POST, &path).bearer_auth(token.trim()).json(&body);
        Response::to(request).await?.problem(code);
    }
    assert_eq!(children_of(pid), [0_u32; 0], "nothing was started");
    stack.shutdown().await;
    Ok(())
}
