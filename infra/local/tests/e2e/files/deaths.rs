//! An upload that dies with the client, the gateway or the service leaves neither row nor content.

use futures_util::stream;
use tokio::task::JoinHandle;

use super::*;
use crate::until::until;

/// How many uploads die together.
const UPLOADS: i64 = 4;
/// What has arrived of each: more than is held in memory.
const BEGINNING: usize = 400_000;

#[tokio::test]
async fn an_upload_that_dies_leaves_nothing() -> Result<()> {
    let stack = stack_with_short_leases().with_nginx().start().await?;
    let api = Api::through_nginx(&stack)?;
    let user = User::new(&api, "mortal").await?;
    let kept = user.upload("kept", bytes(500_000)).await?;
    for victim in ["client", "gateway", "stateless-1", "nginx"] {
        let uploads = begin(&stack, &user).await?;
        match victim {
            "client" => uploads.iter().for_each(JoinHandle::abort),
            victim => {
                stack.kill(victim).await?;
                stack.start_component(victim).await?;
            }
        }
        for upload in uploads {
            // Cancelled, broken off, or rejected by whoever is left.
            if let Ok(Ok(status)) = upload.await {
                assert!(status >= 500, "{victim}: {status}");
            }
        }
        settled(&stack, &[&kept]).await.with_context(|| format!("kill -9 of {victim}"))?;
        eprintln!("{victim}: nothing is left of {UPLOADS} uploads");
    }
    assert!(user.content(&kept.id, &[]).await?.body == bytes(500_000));
    stack.shutdown().await;
    Ok(())
}

/// An instance that is stopped for longer than its lease finds that its upload is gone.
#[tokio::test]
async fn an_upload_that_was_given_up_cannot_come_back() -> Result<()> {
    let stack = stack_with_short_leases().stateless(2).start().await?;
    let paused = User::new(&Api::on_instance(&stack, "stateless-1")?, "sleeper").await?;
    let (go_on, waiting) = tokio::sync::oneshot::channel();
    let upload = tokio::spawn(resumed(paused.clone(), waiting));
    uploading(&stack, 1).await?;
    stack.pause("stateless-1")?;
    // The other instance sweeps.
    settled(&stack, &[]).await?;
    go_on.send(()).ok().context("the upload waits")?;
    stack.resume("stateless-1")?;
    let response = upload.await??;
    // The instance notices that its lease is over, or that its client was silent meanwhile.
    assert!(matches!(response.status, 408 | 503), "{response}");
    settled(&stack, &[]).await?;
    assert_eq!(paused.all().await?, []);
    stack.shutdown().await;
    Ok(())
}

/// Content without a row is deleted; what is no content of ours is not touched.
#[tokio::test]
async fn content_without_a_row_is_swept() -> Result<()> {
    let stack = stack_with_short_leases().start().await?;
    let user = User::new(&Api::on_gateway(&stack)?, "tidy").await?;
    let kept = user.upload("kept", "kept").await?;
    let shard = stack.files().join("9d");
    std::fs::create_dir_all(&shard)?;
    let id = "019ac8f5-7a3b-7c35-8d21-5e0f6a7b8c9d";
    let foreign = stack.files().join("README");
    for path in [shard.join(id), shard.join(format!("{id}#1")), foreign.clone()] {
        std::fs::write(path, "left")?;
    }
    let database = crate::accounts::database(&stack).await?;
    database.execute("UPDATE file_scans SET next_at = now()", &[]).await?;
    until("the content is swept", || async { Ok(stored(&shard)?.is_empty().then_some(())) })
        .await?;
    assert!(foreign.exists());
    std::fs::remove_file(foreign)?;
    settled(&stack, &[&kept]).await?;
    stack.shutdown().await;
    Ok(())
}

/// Begins uploads that never end, and waits until their beginning has arrived.
async fn begin(stack: &Stack, user: &User) -> Result<Vec<JoinHandle<Result<u16>>>> {
    let uploads = (0..UPLOADS).map(|_| {
        let user = user.clone();
        tokio::spawn(async move {
            let beginning = stream::once(async { Ok::<_, std::io::Error>(bytes(BEGINNING)) });
            let body = stream::StreamExt::chain(beginning, stream::pending());
            Ok(user.send("endless", reqwest::Body::wrap_stream(body)).await?.status)
        })
    });
    let uploads = uploads.collect();
    uploading(stack, UPLOADS).await?;
    Ok(uploads)
}

/// Waits until so many uploads have a row, and content in the store.
async fn uploading(stack: &Stack, count: i64) -> Result<()> {
    let database = crate::accounts::database(stack).await?;
    until("the uploads have begun", || async {
        let sql = "SELECT count(*) FROM files WHERE state = 'uploading'";
        let rows: i64 = database.query_one(sql, &[]).await?.get(0);
        let content = stored(&stack.files())?.into_iter().filter(|name| name.contains('#'));
        Ok((rows == count && content.count() as i64 == count).then_some(()))
    })
    .await
}

/// An upload that goes on when it is told to.
async fn resumed(user: User, go_on: tokio::sync::oneshot::Receiver<()>) -> Result<Response> {
    let beginning = stream::once(async { Ok::<_, std::io::Error>(bytes(BEGINNING)) });
    let rest = stream::once(async {
        let _told = go_on.await;
        Ok(bytes(BEGINNING))
    });
    let body = reqwest::Body::wrap_stream(stream::StreamExt::chain(beginning, rest));
    user.send("late", body).await
}
