//! Forms and bodies that are cut, doubled, nested or lie: 4xx, and nothing is left.

use proto_contracts::ErrorCode;
use proto_contracts::ErrorCode::{
    BodyTooLarge, InvalidFileName, InvalidForm, UnsupportedMediaType,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::raw;

const PART: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n";

#[tokio::test]
async fn hostile_bodies_are_rejected_and_leave_nothing() -> Result<()> {
    let stack = stack_with_short_leases()
        .env("stateless-svc", "FILES_MAX_BYTES", "1000000")
        .with_nginx()
        .start()
        .await?;
    let user = User::new(&Api::through_nginx(&stack)?, "mallory").await?;
    forms(&user).await?;
    bodies(&user).await?;
    let polyglots = polyglots_are_kept_as_they_are(&user).await?;
    cut_bodies(&stack, &user).await?;
    large_bodies(&user).await?;
    settled(&stack, &polyglots.iter().collect::<Vec<_>>()).await?;
    stack.shutdown().await;
    Ok(())
}

async fn forms(user: &User) -> Result<()> {
    let long = format!("--b\r\n{PART}X-Long: {}\r\n\r\nx\r\n--b--\r\n", "x".repeat(200_000));
    let cut = "x".repeat(300_000);
    for (form, code) in [
        (String::new(), InvalidForm),
        ("--b--\r\n".to_owned(), InvalidForm),
        ("x".repeat(200_000), InvalidForm),
        (format!("--b\r\n{PART}\r\nx"), InvalidForm),
        (format!("--b\r\n{PART}\r\nx\r\n"), InvalidForm),
        (format!("--b\r\n{PART}\r\nx\r\n--b\r\n"), InvalidForm),
        (format!("--b\r\n{PART}\r\n{cut}"), InvalidForm),
        (format!("--b\r\n{PART}\r\nx\r\n--c--\r\n"), InvalidForm),
        (format!("--b\r\n{PART}\r\nx\r\n--b\r\n{PART}\r\ny\r\n--b--\r\n"), InvalidForm),
        ("--b\r\n\r\nx\r\n--b--\r\n".to_owned(), InvalidForm),
        (
            "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\n".to_owned(),
            InvalidFileName,
        ),
        (format!("--b\r\n{PART}{PART}\r\nx\r\n--b--\r\n"), InvalidFileName),
        (
            format!(
                "--b\r\n{PART}Content-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n"
            ),
            InvalidForm,
        ),
        (long, InvalidForm),
        ("--b\r\nContent-Disposition\r\n\r\nx\r\n--b--\r\n".to_owned(), InvalidForm),
    ] {
        let response = user.send_form(form.clone()).await?;
        let shown: String = form.chars().take(200).collect();
        assert_eq!(response.status, code.status(), "{shown:?}: {response}");
        response.problem(code);
    }
    for media_type in [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed",
        "multipart/related; boundary=b",
        "Multipart/;;",
    ] {
        let request = user.request(Method::POST, "").header(CONTENT_TYPE, media_type);
        let form = format!("--b\r\n{PART}\r\nx\r\n--b--\r\n");
        let response = Response::to(request.body(form)).await?;
        assert!((400..500).contains(&response.status), "{media_type}: {response}");
    }
    Ok(())
}

async fn bodies(user: &User) -> Result<()> {
    let send = async |headers: &[(HeaderName, &str)]| {
        let mut request = user.request(Method::POST, "").body("x");
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        Response::to(request).await
    };
    let named = (CONTENT_DISPOSITION, "attachment; filename=a");
    send(&[]).await?.problem(InvalidFileName);
    send(&[named.clone(), named.clone()]).await?.problem(InvalidFileName);
    let zipped = (reqwest::header::CONTENT_ENCODING, "gzip");
    send(&[named.clone(), zipped]).await?.problem(UnsupportedMediaType);
    let key = (HeaderName::from_static("idempotency-key"), "short");
    send(&[named, key]).await?.problem(ErrorCode::InvalidIdempotencyKey);
    Ok(())
}

/// Files that are several things at once, or would grow without bound if someone unpacked them.
async fn polyglots_are_kept_as_they_are(user: &User) -> Result<Vec<File>> {
    let zip_bomb = [&b"PK\x03\x04"[..], &[0; 50_000]].concat();
    let gif = b"GIF89a/*\0\0*/=1;/*<script>alert(1)</script>*/".to_vec();
    let html = b"<!DOCTYPE html><script>alert(document.cookie)</script>".to_vec();
    let svg =
        b"<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>"
            .to_vec();
    let pdf = [&b"%PDF-1.7\n"[..], b"PK\x03\x04", b"<html><script>"].concat();
    let form = format!("--b\r\n{PART}\r\nx\r\n--b--\r\n").into_bytes();
    let mut files = Vec::new();
    for (name, content) in [
        ("a.txt", zip_bomb),
        ("a.js", gif),
        ("a.png", html),
        ("a.svg", svg),
        ("a.html", pdf),
        ("a.form", form),
    ] {
        let file = user.upload(name, content.clone()).await?;
        let downloaded = user.content(&file.id, &[]).await?;
        assert!(downloaded.body == content, "{name}");
        assert_eq!(downloaded.header("x-content-type-options"), Some("nosniff"));
        let disposition = downloaded.header("content-disposition").context("a name")?;
        assert!(disposition.starts_with("attachment"), "{disposition}");
        let policies = downloaded.headers.get_all("content-security-policy");
        assert!(
            policies.iter().any(|policy| policy.to_str().is_ok_and(|p| p.starts_with("sandbox")))
        );
        files.push(file);
    }
    Ok(files)
}

/// Bodies that end before their length, or have more than it.
async fn cut_bodies(stack: &Stack, user: &User) -> Result<()> {
    let addr = stack.addr_of("gateway")?;
    let head = |length: &str| {
        format!(
            "POST {FILES} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\n\
             Content-Disposition: attachment; filename=a\r\n{length}\r\n\r\n",
            user.token
        )
    };
    for (length, body) in [
        ("Content-Length: 1000", "x".repeat(999)),
        ("Content-Length: 500000", "x".repeat(400_000)),
        ("Transfer-Encoding: chunked", format!("{:x}\r\n{}", 100_000, "x".repeat(99_999))),
        ("Transfer-Encoding: chunked", "1\r\nx\r\n".to_owned()),
    ] {
        let mut stream = raw::gateway(stack).await?;
        stream.write_all(head(length).as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.flush().await?;
        // The client leaves.
        drop(stream);
    }
    for (length, body) in [
        ("Content-Length: 1\r\nContent-Length: 2", "xx"),
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", "1\r\nx\r\n0\r\n\r\n"),
        ("Content-Length: -1", "x"),
        ("Transfer-Encoding: chunked", "zz\r\nx\r\n0\r\n\r\n"),
    ] {
        let mut stream = raw::gateway(stack).await?;
        stream.write_all(head(length).as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.flush().await?;
        let mut response = vec![0; 64];
        let read = stream.read(&mut response).await?;
        let status = String::from_utf8_lossy(&response[..read]).into_owned();
        assert!(status.starts_with("HTTP/1.1 400"), "{length}: {status}");
    }
    Ok(())
}

/// At each limit the client gets a response, and no reset.
async fn large_bodies(user: &User) -> Result<()> {
    assert_eq!(user.send("most", vec![b'x'; 1_000_000]).await?.status, 201);
    for file in user.all().await?.iter().filter(|file| file.name == "most") {
        assert_eq!(user.delete(&file.id).await?.status, 204);
    }
    for (length, from) in
        [(1_000_001, "the service"), (20_000_000, "the service"), (54_000_000, "Nginx")]
    {
        let response = user.send("large", vec![b'x'; length]).await?;
        assert_eq!(response.status, 413, "{from}: {response}");
        response.problem(BodyTooLarge);
        let form = [format!("--b\r\n{PART}\r\n").as_bytes(), &vec![b'x'; length], b"\r\n--b--\r\n"]
            .concat();
        user.send_form(form).await?.problem(BodyTooLarge);
        let pieces =
            (0..length.div_ceil(100_000)).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100_000]));
        let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let response = user.send("stream", stream).await?;
        assert_eq!(response.status, 413, "{from}, without a length: {response}");
    }
    // Without a token nothing of it is stored, and the client gets the reason, too.
    let nobody = User { token: "nonsense".to_owned(), ..user.clone() };
    nobody.send("a", vec![b'x'; 20_000_000]).await?.problem(ErrorCode::InvalidToken);
    Ok(())
}
