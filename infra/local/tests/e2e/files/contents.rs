//! What was uploaded is downloaded, by its owner alone: whole, in ranges and under conditions.

use proto_contracts::ErrorCode;
use proto_contracts::audit::AuditPage;
use proto_contracts::files::{File, FilePage};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_DISPOSITION, CONTENT_ENCODING, IF_MATCH, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE,
};

use super::*;
use crate::accounts::users::token_of;

#[tokio::test]
async fn files_are_stored_and_downloaded() -> Result<()> {
    let stack = stack_with_short_leases().stateless(2).with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let (ada, eve) = (User::new(&api, "ada").await?, User::new(&api, "eve").await?);
    what_is_uploaded_is_downloaded(&ada).await?;
    a_form_has_the_file_as_its_part(&ada).await?;
    a_part_is_downloaded(&ada).await?;
    conditions_hold(&ada).await?;
    text_is_not_compressed(&ada).await?;
    an_upload_is_repeated_by_its_key(&ada).await?;
    nobody_else_has_them(&stack, &ada, &eve).await?;
    pages_are_the_newest_first(&eve).await?;
    deleted_files_are_gone(&stack, &ada, &eve).await?;
    stack.shutdown().await;
    Ok(())
}

pub(super) async fn what_is_uploaded_is_downloaded(ada: &User) -> Result<()> {
    for content in [Vec::new(), b"hello".to_vec(), bytes(70_000), bytes(3_000_000)] {
        let uploaded = ada.send("a b.bin", content.clone()).await?;
        let members = ["id", "name", "size", "sha256", "content_type", "created_at"];
        let file = uploaded.object(201, &members);
        assert_eq!((&file["name"], &file["size"]), (&"a b.bin".into(), &content.len().into()));
        assert_eq!(file["sha256"], sha256(&content));
        let id = file["id"].as_str().context("an id")?;
        assert_eq!(uploaded.header(LOCATION.as_str()), Some(&*format!("{FILES}/{id}")));
        assert_eq!(ada.get(&format!("/{id}")).await?.object(200, &members), file);

        let downloaded = ada.content(id, &[]).await?;
        assert_eq!(downloaded.status, 200, "{downloaded}");
        assert!(downloaded.body == content, "{} bytes", downloaded.body.len());
        for (name, value) in [
            ("content-disposition", "attachment; filename=\"a b.bin\""),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "private, no-store"),
            ("accept-ranges", "bytes"),
            ("etag", &format!("\"{}\"", sha256(&content))),
            ("content-length", &content.len().to_string()),
            ("content-type", file["content_type"].as_str().context("a type")?),
        ] {
            assert_eq!(downloaded.header(name), Some(value), "{name}");
        }
        let policies = downloaded.headers.get_all("content-security-policy");
        assert!(policies.iter().any(|policy| policy == "sandbox; default-src 'none'"));
        let head = ada.request(Method::HEAD, &format!("/{id}/content"));
        let head = Response::to(head).await?;
        assert_eq!(head.header("content-length"), Some(&*content.len().to_string()), "{head}");
        assert!(head.body.is_empty());
    }
    // Without a length.
    let pieces: Vec<std::io::Result<Vec<u8>>> =
        bytes(200_000).chunks(999).map(|piece| Ok(piece.to_vec())).collect();
    let stream = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    assert_eq!(ada.upload("stream", stream).await?.sha256, sha256(&bytes(200_000)));
    Ok(())
}

pub(super) async fn a_form_has_the_file_as_its_part(ada: &User) -> Result<()> {
    let mut form =
        b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\xce\xa9.pdf\"\r\n\
                     Content-Type: text/html\r\n\r\n%PDF-1.7\n"
            .to_vec();
    let content = [b"%PDF-1.7\n".to_vec(), bytes(300_000)].concat();
    form.extend_from_slice(&content[9..]);
    form.extend_from_slice(b"\r\n--b--\r\n");
    let response = ada.send_form(form).await?;
    ensure!(response.status == 201, "{response}");
    let file: File = response.json();
    assert_eq!((&*file.name, &*file.content_type), ("Ω.pdf", "application/pdf"));
    assert_eq!(file.sha256, sha256(&content));
    let downloaded = ada.content(&file.id, &[]).await?;
    let named = "attachment; filename=\"_.pdf\"; filename*=UTF-8''%CE%A9.pdf";
    assert_eq!(downloaded.header(CONTENT_DISPOSITION.as_str()), Some(named));
    assert!(downloaded.body == content);
    Ok(())
}

pub(super) async fn a_part_is_downloaded(ada: &User) -> Result<()> {
    let content = bytes(300_000);
    let file = ada.upload("parts", content.clone()).await?;
    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=100-199", 100..200),
        ("bytes=131071-131072", 131_071..131_073),
        ("bytes=299999-", 299_999..300_000),
        ("bytes=-5", 299_995..300_000),
        ("bytes=-999999", 0..300_000),
        ("bytes=299990-999999999999999999999999", 299_990..300_000),
    ] {
        let response = ada.content(&file.id, &[(RANGE, range)]).await?;
        assert_eq!(response.status, 206, "{range}: {response}");
        assert!(response.body == content[part.clone()], "{range}");
        let sent = format!("bytes {}-{}/300000", part.start, part.end - 1);
        assert_eq!(response.header("content-range"), Some(&*sent));
        assert_eq!(response.header("etag"), Some(&*format!("\"{}\"", file.sha256)));
    }
    for range in ["bytes=300000-", "bytes=-0", "bytes=400000-500000"] {
        let response = ada.content(&file.id, &[(RANGE, range)]).await?;
        response.problem(ErrorCode::RangeNotSatisfiable);
        assert_eq!(response.header("content-range"), Some("bytes */300000"));
    }
    for range in ["bytes=5-1", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes"] {
        let response = ada.content(&file.id, &[(RANGE, range)]).await?;
        assert_eq!((response.status, response.body.len()), (200, 300_000), "{range}");
    }
    let tag = format!("\"{}\"", file.sha256);
    for (condition, status) in [
        (tag.clone(), 206),
        (format!("W/{tag}"), 200),
        ("\"another\"".to_owned(), 200),
        ("Sat, 29 Nov 2025 19:43:31 GMT".to_owned(), 200),
    ] {
        let headers = [(RANGE, "bytes=0-9"), (IF_RANGE, &*condition)];
        assert_eq!(ada.content(&file.id, &headers).await?.status, status, "{condition}");
    }
    let empty = ada.upload("empty", "").await?;
    let response = ada.content(&empty.id, &[(RANGE, "bytes=0-")]).await?;
    response.problem(ErrorCode::RangeNotSatisfiable);
    Ok(())
}

pub(super) async fn conditions_hold(ada: &User) -> Result<()> {
    let file = ada.upload("conditions", "once").await?;
    let tag = format!("\"{}\"", file.sha256);
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let response = ada.content(&file.id, &[(IF_NONE_MATCH, &known)]).await?;
        assert_eq!((response.status, response.body.len()), (304, 0), "{known}: {response}");
        assert_eq!(response.header("etag"), Some(&*tag));
        // A range of what the client has.
        let headers = [(IF_NONE_MATCH, &*known), (RANGE, "bytes=0-1")];
        assert_eq!(ada.content(&file.id, &headers).await?.status, 304);
    }
    assert_eq!(ada.content(&file.id, &[(IF_NONE_MATCH, "\"x\"")]).await?.status, 200);
    assert_eq!(ada.content(&file.id, &[(IF_MATCH, &tag)]).await?.status, 200);
    let changed = ada.content(&file.id, &[(IF_MATCH, "\"x\"")]).await?;
    changed.problem(ErrorCode::PreconditionFailed);
    ada.content(&file.id, &[(IF_NONE_MATCH, "x")]).await?.problem(ErrorCode::InvalidEntityTag);
    Ok(())
}

async fn text_is_not_compressed(ada: &User) -> Result<()> {
    let content = "compressible ".repeat(10_000);
    let file = ada.upload("text", content.clone()).await?;
    assert_eq!(file.content_type, "text/plain");
    let response = ada.content(&file.id, &[(ACCEPT_ENCODING, "br, gzip")]).await?;
    assert_eq!(response.header(CONTENT_ENCODING.as_str()), None, "its tag would be another");
    assert!(response.body == content.as_bytes());
    Ok(())
}

pub(super) async fn an_upload_is_repeated_by_its_key(ada: &User) -> Result<()> {
    let send = async |key: &str, name: &str, content: &'static str| {
        let request = ada.request(Method::POST, "").header("idempotency-key", key);
        let named = format!("attachment; filename={name}");
        Response::to(request.header(CONTENT_DISPOSITION, named).body(content)).await
    };
    let before = ada.all().await?.len();
    let first = send("upload-0001", "a", "content").await?;
    ensure!(first.status == 201, "{first}");
    assert_eq!(first.header("idempotency-replayed"), None);
    let again = send("upload-0001", "a", "content").await?;
    assert_eq!((again.status, &again.body), (201, &first.body), "{again}");
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header(LOCATION.as_str()), first.header(LOCATION.as_str()));
    for (name, content) in [("a", "another"), ("b", "content")] {
        send("upload-0001", name, content).await?.problem(ErrorCode::IdempotencyKeyReused);
    }
    // Of many at once, one is executed.
    let all = (0..8).map(|_| send("upload-0002", "a", "at once"));
    let all = futures_util::future::try_join_all(all).await?;
    assert!(all.iter().all(|response| response.status == 201 && response.body == all[0].body));
    assert_eq!(ada.all().await?.len(), before + 2);
    Ok(())
}

async fn nobody_else_has_them(stack: &Stack, ada: &User, eve: &User) -> Result<()> {
    let file = ada.upload("secret", "secret").await?;
    let admin = User {
        token: token_of(stack, &ada.api, "boss", proto_contracts::Role::Admin).await?,
        ..ada.clone()
    };
    let id = file.id.to_uppercase();
    for (user, id) in [
        (eve, &*file.id),
        (&admin, &file.id),
        (ada, &id),
        (ada, "x"),
        (ada, "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d"),
    ] {
        user.get(&format!("/{id}")).await?.problem(ErrorCode::FileNotFound);
        user.content(id, &[]).await?.problem(ErrorCode::FileNotFound);
        user.delete(id).await?.problem(ErrorCode::FileNotFound);
    }
    for path in ["", "/x", "/x/content"] {
        ada.api.get(&format!("{FILES}{path}")).await?.problem(ErrorCode::Unauthorized);
    }
    assert_eq!(ada.content(&file.id, &[]).await?.body, b"secret");
    assert_eq!(eve.all().await?, []);
    // What changed is in the log, once.
    let log = ada.api.request(Method::GET, "/api/v1/audit?action=file_uploaded&limit=1");
    let log: AuditPage = Response::to(log.bearer_auth(&admin.token)).await?.json();
    let entry = log.entries.first().context("an entry")?;
    assert_eq!(entry.after.as_ref().context("what")?["id"], file.id);
    assert_eq!(entry.object.as_deref(), Some("ada"));
    Ok(())
}

async fn pages_are_the_newest_first(eve: &User) -> Result<()> {
    let mut uploaded = Vec::new();
    for number in 0..5 {
        uploaded.insert(0, eve.upload(&number.to_string(), "x").await?);
    }
    let page: FilePage = eve.get("?limit=2").await?.json();
    assert_eq!(page.files, uploaded[..2]);
    let cursor = page.next_cursor.context("more")?;
    let page: FilePage = eve.get(&format!("?limit=3&cursor={cursor}")).await?.json();
    assert_eq!((&page.files[..], page.next_cursor), (&uploaded[2..], None));
    eve.get("?limit=0").await?.problem(ErrorCode::InvalidQuery);
    eve.get("?page=1").await?.problem(ErrorCode::InvalidQuery);
    eve.get("?cursor=00").await?.problem(ErrorCode::InvalidCursor);
    Ok(())
}

async fn deleted_files_are_gone(stack: &Stack, ada: &User, eve: &User) -> Result<()> {
    let kept = eve.upload("kept", "kept").await?;
    for file in eve.all().await? {
        if file.id != kept.id {
            assert_eq!(eve.delete(&file.id).await?.status, 204);
            eve.content(&file.id, &[]).await?.problem(ErrorCode::FileNotFound);
            eve.delete(&file.id).await?.problem(ErrorCode::FileNotFound);
        }
    }
    // A user's files end with the user.
    let deleted = ada.api.request(Method::DELETE, "/api/v1/users/ada").bearer_auth(&ada.token);
    assert_eq!(Response::to(deleted).await?.status, 204);
    ada.send("late", "late").await?.problem(ErrorCode::InvalidToken);
    settled(stack, &[&kept]).await
}
