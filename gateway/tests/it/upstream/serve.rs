//! Serves connections of a scripted instance.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto_contracts::control::DrainInstance;
use proto_contracts::headers;
use proto_contracts::health::{DRAIN_PATH, DrainDecision, WEIGHT_PATH};

use crate::client::read_line;
use crate::upstream::{Act, Health, INSTANCE_TOKEN, Script, Seen, Shared};

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no panic")
    }

    pub(super) fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        loop {
            let (act, name) = {
                let script = self.lock();
                (script.act.clone(), script.name.clone())
            };
            if matches!(act, Act::RejectBody | Act::CloseUnread)
                && !reader.fill_buf()?.starts_with(b"GET /health ")
            {
                let seen = read_head(&mut reader)?;
                self.lock().seen.push(seen);
                if act == Act::RejectBody {
                    writer.write_all(&response(
                        413,
                        &name,
                        "connection: close\r\n",
                        "too much",
                        "POST",
                    ))?;
                }
                return writer.shutdown(Shutdown::Both);
            }
            let seen = read_request(&mut reader)?;
            if seen.target == "/health" {
                writer.write_all(&self.health_response())?;
                continue;
            }
            if seen.target == "/readyz" {
                let (status, name) = {
                    let mut script = self.lock();
                    script.readiness_checks += 1;
                    (if script.ready { 200 } else { 503 }, script.name.clone())
                };
                writer.write_all(&response(status, &name, "", "", "GET"))?;
                continue;
            }
            if seen.target == DRAIN_PATH {
                writer.write_all(&self.drain_response(&seen))?;
                continue;
            }
            if seen.target == WEIGHT_PATH {
                writer.write_all(&self.weight_response(&seen))?;
                continue;
            }
            let (method, target) = (seen.method.clone(), seen.target.clone());
            let number = {
                let mut script = self.lock();
                script.seen.push(seen);
                script.seen.len() as u64
            };
            let Some((act, name)) = self.next_act() else { return Ok(()) };
            match act {
                Act::Respond(status, headers, body) => {
                    let extra: String = headers
                        .iter()
                        .map(|(name, value)| format!("{name}: {value}\r\n"))
                        .collect();
                    writer.write_all(&response(status, &name, &extra, body, &method))?;
                }
                Act::Interim(statuses) => {
                    for status in statuses {
                        write!(
                            writer,
                            "HTTP/1.1 {status} Wait\r\nlink: </style.css>; rel=preload\r\n\r\n"
                        )?;
                    }
                    writer.write_all(&response(200, &name, "", "ok", &method))?;
                }
                Act::FailOneIn(number_of) => {
                    let status = if number.is_multiple_of(number_of) { 500 } else { 200 };
                    writer.write_all(&response(status, &name, "", "", &method))?;
                }
                Act::Late(time) => {
                    thread::sleep(time);
                    writer.write_all(&response(200, &name, "", "", &method))?;
                }
                Act::Mirror => writer.write_all(&response(200, &name, "", &target, &method))?,
                Act::Close => return writer.shutdown(Shutdown::Both),
                Act::Echo => {
                    let head = "connection: upgrade\r\nupgrade: websocket\r\n\
                                sec-websocket-accept: yes\r\n";
                    write!(
                        writer,
                        "HTTP/1.1 101 Switching\r\n{head}x-instance-id: {name}\r\n\r\n"
                    )?;
                    io::copy(&mut reader, &mut writer)?;
                    return writer.shutdown(Shutdown::Both);
                }
                Act::Long(bytes) => {
                    writer.write_all(&response(200, &name, "", &"x".repeat(bytes), &method))?
                }
                Act::Stream => {
                    let head = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";
                    write!(
                        writer,
                        "HTTP/1.1 200 OK\r\n{head}x-instance-id: {name}\r\n\r\n3\r\n: \n\r\n"
                    )?;
                    self.lock().streams += 1;
                    let ended = reader.read_exact(&mut [0]);
                    self.lock().streams -= 1;
                    return ended;
                }
                Act::RejectBody | Act::CloseUnread => return writer.shutdown(Shutdown::Both),
                Act::Raw(bytes) => writer.write_all(&bytes)?,
                Act::RawThenClose(bytes) => {
                    writer.write_all(&bytes)?;
                    return writer.shutdown(Shutdown::Both);
                }
                Act::RawThenMore(ref bytes, ref more) => {
                    writer.write_all(bytes)?;
                    let waits = |script: &mut Script| script.act == act && script.listening;
                    drop(self.changed.wait_while(self.lock(), waits).expect("no panic"));
                    // The gateway may have closed the connection.
                    let sent = writer.write_all(more);
                    self.lock().unsolicited += 1;
                    sent?;
                }
                Act::Hang => unreachable!("handled by next_act"),
            }
        }
    }

    /// What to do with a request, and the instance's name; `None` if it was stopped meanwhile.
    fn next_act(&self) -> Option<(Act, String)> {
        let waits = |script: &mut Script| script.act == Act::Hang && script.listening;
        let script = self.changed.wait_while(self.lock(), waits).expect("no panic");
        script.listening.then(|| (script.act.clone(), script.name.clone()))
    }

    fn health_response(&self) -> Vec<u8> {
        let mut script = self.lock();
        script.health_checks += 1;
        let sessions =
            script.live_sessions.map(|count| format!("{}: {count}\r\n", headers::LIVE_SESSIONS));
        let mut sessions = sessions.unwrap_or_default();
        if let Some([hot, reads, memory]) = script.session_use {
            let counts = [
                (headers::HOT_SESSIONS, hot),
                (headers::SESSION_READS, reads),
                (headers::MEMORY_READS, memory),
            ];
            counts.iter().for_each(|(name, count)| sessions += &format!("{name}: {count}\r\n"));
        }
        if let Some(at) = script.drained_at {
            let left = at.saturating_duration_since(Instant::now()).as_secs_f64().ceil();
            sessions += &format!("{}: {left}\r\n", headers::DRAINING);
        }
        // A drain without a decision is a shutdown, which announces none.
        if script.supports_drain && (script.drained_at.is_none() || script.decided_ms > 0) {
            let now = Instant::now();
            let until_ms = script.drained_at.map(|at| {
                let left = at.saturating_duration_since(now).as_millis() as u64;
                unix_ms().saturating_sub(now.saturating_duration_since(at).as_millis() as u64)
                    + left
            });
            let decision = DrainDecision { decided_ms: script.decided_ms, until_ms };
            sessions += &format!("{}: {decision}\r\n", headers::DRAIN_DECISION);
        }
        if script.supports_drain {
            let weight = script.weight.unwrap_or_default();
            sessions += &format!("{}: {weight}\r\n", headers::WEIGHT);
        }
        match script.health {
            Health::Well => response(200, &script.name, &sessions, "healthy", "GET"),
            Health::Failing(status) => response(status, &script.name, &sessions, "ill", "GET"),
            Health::As(ref identity) => {
                let extra: String =
                    identity.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                response(200, &script.name, &extra, "healthy", "GET")
            }
            Health::Nameless => b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nhealthy".to_vec(),
        }
    }
}

/// The status of a rejected internal request: unsupported, or without the token.
fn rejection(script: &Script, seen: &Seen) -> Option<u16> {
    if !script.supports_drain {
        return Some(404);
    }
    (seen.header("authorization") != Some(&format!("Bearer {INSTANCE_TOKEN}"))).then_some(401)
}

impl Shared {
    fn weight_response(&self, seen: &Seen) -> Vec<u8> {
        let mut script = self.lock();
        let status = if let Some(rejection) = rejection(&script, seen) {
            rejection
        } else {
            script.weight = Some(
                seen.header(headers::WEIGHT).and_then(|text| text.parse().ok()).expect("a weight"),
            );
            204
        };
        response(status, &script.name, "", "", &seen.method)
    }

    fn drain_response(&self, seen: &Seen) -> Vec<u8> {
        let mut script = self.lock();
        let status = if let Some(rejection) = rejection(&script, seen) {
            rejection
        } else {
            let wanted = serde_json::from_slice::<DrainInstance>(&seen.body);
            let deadline = || {
                let wanted = wanted.ok().and_then(|wanted| wanted.deadline_s).expect("a deadline");
                Instant::now() + Duration::from_secs(wanted)
            };
            let decision = seen.header(headers::DRAIN_DECISION).and_then(|text| text.parse().ok());
            script.decided_ms = decision.map_or(0, |decision: DrainDecision| decision.decided_ms);
            let is_drained = script.drained_at.is_some_and(|at| at <= Instant::now());
            if seen.method == "DELETE" {
                script.drained_at = None;
            } else if !is_drained {
                script.drained_at = Some(deadline());
            }
            204
        };
        response(status, &script.name, "", "", &seen.method)
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

fn response(status: u16, name: &str, extra: &str, body: &str, method: &str) -> Vec<u8> {
    let length = body.len();
    let body = if method == "HEAD" { "" } else { body };
    format!(
        "HTTP/1.1 {status} Scripted\r\nx-instance-id: {name}\r\n\
             {extra}content-length: {length}\r\n\r\n{body}"
    )
    .into()
}

fn read_head(stream: &mut impl BufRead) -> io::Result<Seen> {
    let first = read_line(stream)?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.entry(name.to_ascii_lowercase()).or_default().push(value.trim().to_owned());
    }
    Ok(Seen { method, target, headers, body_bytes: 0, body: Vec::new() })
}

fn read_request(stream: &mut impl BufRead) -> io::Result<Seen> {
    let Seen { method, target, headers, mut body_bytes, mut body } = read_head(stream)?;
    let declared =
        headers.get("content-length").and_then(|values| values.first()?.parse::<u64>().ok());
    if let Some(length) = declared {
        body_bytes = read_body(stream, length, &mut body)?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let length = u64::from_str_radix(&read_line(stream)?, 16)
                .map_err(|_| io::ErrorKind::InvalidData)?;
            body_bytes += read_body(stream, length, &mut body)?;
            read_line(stream)?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(Seen { method, target, headers, body_bytes, body })
}

/// Reads exactly so many bytes; fewer are an error.
fn read_body(stream: &mut impl BufRead, length: u64, to: &mut impl Write) -> io::Result<usize> {
    let read = io::copy(&mut stream.take(length), to)?;
    if read == length { Ok(read as usize) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
