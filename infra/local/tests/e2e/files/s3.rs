//! The content of files in a bucket of S3.

use futures_util::{StreamExt as _, stream};
use local_stack::Builds;
use proto_contracts::ErrorCode;
use reqwest::header::RANGE;
use tokio::process::Command;

use super::s3_server::{S3Server, SECRET_KEY};
use super::{contents, *};
use crate::until::until;

/// More than two parts of S3.
const LARGE: usize = 12_000_000;

fn stack_on(s3: &S3Server) -> Plan {
    let mut plan = stack_with_short_leases();
    for (name, value) in s3.settings() {
        plan = plan.env("stateless-svc", name, value);
    }
    plan
}

#[tokio::test]
async fn files_are_kept_in_s3() -> Result<()> {
    let s3 = S3Server::start().await?;
    let stack = stack_on(&s3).stateless(2).with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let ada = User::new(&api, "ada").await?;
    contents::what_is_uploaded_is_downloaded(&ada).await?;
    contents::a_form_has_the_file_as_its_part(&ada).await?;
    contents::a_part_is_downloaded(&ada).await?;
    contents::conditions_hold(&ada).await?;
    contents::an_upload_is_repeated_by_its_key(&ada).await?;
    for file in ada.all().await? {
        assert_eq!(ada.delete(&file.id).await?.status, 204);
    }
    settled_in(&stack, &s3.objects(), &[]).await?;

    let content = bytes(LARGE);
    let large = ada.upload("large", content.clone()).await?;
    assert_eq!((large.size, &large.sha256), (LARGE as u64, &sha256(&content)));
    assert!(ada.content(&large.id, &[]).await?.body == content);
    // Across the end of a part.
    let part = ada.content(&large.id, &[(RANGE, "bytes=5242879-5242881")]).await?;
    assert_eq!((part.status, &*part.body), (206, &content[5_242_879..5_242_882]), "{part}");
    assert_eq!(s3.parts()?, 0, "they are one object");
    settled_in(&stack, &s3.objects(), &[&large]).await?;

    uploads_that_break_off(&stack, &s3, &ada, &large).await?;
    objects_without_a_row(&stack, &s3, &large).await?;
    stack.shutdown().await;
    Ok(())
}

/// A client that leaves and a limit leave no part. After `kill -9` of the instance nobody knows of
/// the parts, and the bucket's own rule deletes them; there is neither a row nor an object.
async fn uploads_that_break_off(
    stack: &Stack,
    s3: &S3Server,
    ada: &User,
    kept: &File,
) -> Result<()> {
    let pieces = stream::iter((0..600).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 100_000])));
    let response = ada.send("too large", reqwest::Body::wrap_stream(pieces)).await?;
    assert_eq!(response.status, 413, "{response}");
    until("the parts of the rejected upload are deleted", || async {
        Ok((s3.parts()? == 0).then_some(()))
    })
    .await?;
    let upload = begin(s3, ada).await?;
    upload.abort();
    until("the parts are deleted", || async { Ok((s3.parts()? == 0).then_some(())) }).await?;

    let upload = begin(s3, ada).await?;
    for instance in ["stateless-1", "stateless-2"] {
        stack.kill(instance).await?;
        stack.start_component(instance).await?;
    }
    if let Ok(Ok(status)) = upload.await {
        assert!(status >= 500, "{status}");
    }
    settled_in(stack, &s3.objects(), &[kept]).await
}

/// Begins an upload that never ends, and waits until S3 has a part of it.
async fn begin(s3: &S3Server, user: &User) -> Result<tokio::task::JoinHandle<Result<u16>>> {
    let user = user.clone();
    let upload = tokio::spawn(async move {
        let beginning = stream::once(async { Ok::<_, std::io::Error>(bytes(LARGE)) });
        let body = reqwest::Body::wrap_stream(beginning.chain(stream::pending()));
        Ok(user.send("endless", body).await?.status)
    });
    until("S3 has a part", || async { Ok((s3.parts()? > 0).then_some(())) }).await?;
    Ok(upload)
}

async fn objects_without_a_row(stack: &Stack, s3: &S3Server, kept: &File) -> Result<()> {
    let shard = s3.objects().join("9d");
    std::fs::create_dir_all(&shard)?;
    let ours = shard.join("019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d");
    let foreign = s3.bucket().join("019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d");
    for path in [&ours, &foreign] {
        std::fs::write(path, "left")?;
    }
    let database = crate::accounts::database(stack).await?;
    database.execute("UPDATE file_scans SET next_at = now()", &[]).await?;
    until("the object is swept", || async { Ok((!ours.exists()).then_some(())) }).await?;
    assert!(foreign.exists(), "what is outside of the prefix is not ours");
    settled_in(stack, &s3.objects(), &[kept]).await
}

/// While S3 is gone, clients get 503 and when to come back; what was acknowledged is there after.
#[tokio::test]
async fn nothing_is_lost_while_s3_is_gone() -> Result<()> {
    let s3 = S3Server::start().await?;
    let stack = stack_on(&s3).start().await?;
    let user = User::new(&Api::on_gateway(&stack)?, "patient").await?;
    let content = bytes(LARGE);
    let kept = user.upload("kept", content.clone()).await?;
    let deleted = user.upload("deleted", "deleted").await?;
    let midway = begin(&s3, &user).await?;

    s3.set_up(false);
    let unavailable = ErrorCode::FileStorageUnavailable;
    assert!(unavailable.retry_after_s().is_some());
    user.send("new", "new").await?.problem(unavailable);
    user.send("new and large", content.clone()).await?.problem(unavailable);
    user.content(&kept.id, &[]).await?.problem(unavailable);
    // The rows are there, and a deletion is one of its row.
    assert_eq!(user.get(&format!("/{}", kept.id)).await?.status, 200);
    assert_eq!(user.delete(&deleted.id).await?.status, 204);
    user.content(&deleted.id, &[]).await?.problem(ErrorCode::FileNotFound);
    midway.abort();

    s3.set_up(true);
    assert!(user.content(&kept.id, &[]).await?.body == content);
    let new = user.upload("new", "new").await?;
    settled_in(&stack, &s3.objects(), &[&kept, &new]).await?;
    stack.shutdown().await;
    Ok(())
}

/// A service with settings that cannot work ends, and says what to do.
#[tokio::test]
async fn a_bucket_that_cannot_be_used_ends_the_start() -> Result<()> {
    let s3 = S3Server::start().await?;
    for (name, value, cause) in [
        ("FILES_S3_SECRET_KEY", "another", "S3 rejects the credentials: check FILES_S3_ACCESS_KEY"),
        ("FILES_S3_ACCESS_KEY", "nobody", "S3 rejects the credentials: check FILES_S3_ACCESS_KEY"),
        ("FILES_S3_SECRET_KEY", "", "set both FILES_S3_ACCESS_KEY and FILES_S3_SECRET_KEY"),
        ("FILES_URL", "s3://missing/live", "the bucket of FILES_URL does not exist: create it"),
    ] {
        let started = Command::new(Builds::beside_current_exe()?.binary("stateless-svc")?)
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .envs(s3.settings())
            .env(name, value)
            .kill_on_drop(true)
            .output();
        let ended = tokio::time::timeout(Duration::from_secs(30), started).await??;
        let log = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{name}={value}: {log}");
        assert!(log.contains(cause), "{name}={value}: {log}");
        assert!(!log.contains(SECRET_KEY), "{log}");
    }
    Ok(())
}
