//! A quota holds whatever is uploaded at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use proto_contracts::ErrorCode;
use tokio::task::JoinHandle;

use super::*;
use crate::until::until;

const QUOTA: u64 = 1_000_000;

#[tokio::test]
async fn a_quota_is_never_exceeded() -> Result<()> {
    let stack = stack_with_short_leases()
        .env("stateless-svc", "FILES_QUOTA_BYTES", QUOTA.to_string())
        .stateless(2)
        .with_nginx()
        .start()
        .await?;
    let api = Api::through_nginx(&stack)?;
    let (ada, eve) = (User::new(&api, "ada").await?, User::new(&api, "eve").await?);
    // Ten of these fit, whatever comes first, with a length and without.
    let (piece, watch) = (100_000_usize, Watch::begin(&stack).await?);
    let content = bytes(piece);
    let uploads = (0..40).map(|number| {
        let (user, content) = (ada.clone(), content.clone());
        async move {
            match number % 2 {
                0 => user.send("a", content).await,
                _ => {
                    let pieces: Vec<std::io::Result<Vec<u8>>> =
                        content.chunks(10_000).map(|piece| Ok(piece.to_vec())).collect();
                    let stream = futures_util::stream::iter(pieces);
                    user.send("a", reqwest::Body::wrap_stream(stream)).await
                }
            }
        }
    });
    let responses = futures_util::future::try_join_all(uploads).await?;
    for response in &responses {
        if response.status != 201 {
            // On a busy machine some do not get a connection to the database in time.
            let code = response.json::<proto_contracts::Problem>().code;
            let is_expected = code == ErrorCode::FileQuotaExceeded || response.status == 503;
            assert!(is_expected, "{response}");
            response.problem(code);
        }
    }
    let stored = responses.iter().filter(|response| response.status == 201).count();
    let files = ada.all().await?;
    assert_eq!(files.len(), stored);
    eprintln!("{stored} of {} were stored", responses.len());
    assert!((1..=10).contains(&stored), "{stored}");
    // Those that reserved more than they needed have released it: now all of it is used.
    for _ in stored..10 {
        // Those without a connection to the database hold their places until their lease ends.
        until("a place is free", || async {
            Ok((ada.send("a", content.clone()).await?.status == 201).then_some(()))
        })
        .await?;
    }
    ada.send("a", content.clone()).await?.problem(ErrorCode::FileQuotaExceeded);
    let most = watch.end();
    assert!(most > 0 && most.unsigned_abs() <= QUOTA, "{most} were charged at once");
    // What is deleted may be used again, and empty files count, too.
    assert_eq!(ada.delete(&files[0].id).await?.status, 204);
    let mut empty = 0;
    while ada.send("empty", "").await?.status == 201 {
        empty += 1;
        assert!(empty <= 25, "each counts for 4 KiB");
    }
    assert_eq!(empty, 24);
    // A repetition takes no space.
    let key = async |user: &User| {
        let request = user.request(Method::POST, "").header("idempotency-key", "quota-0001");
        let request = request.header(CONTENT_DISPOSITION, "attachment; filename=a");
        Response::to(request.body(vec![b'x'; QUOTA as usize])).await
    };
    let first = key(&eve).await?;
    ensure!(first.status == 201, "{first}");
    let again = key(&eve).await?;
    assert_eq!((again.status, &again.body), (201, &first.body), "{again}");
    eve.send("more", "x").await?.problem(ErrorCode::FileQuotaExceeded);
    stack.shutdown().await;
    Ok(())
}

/// Sees what a user's files are charged, again and again, and remembers the most.
struct Watch {
    most: Arc<AtomicI64>,
    task: JoinHandle<()>,
}

impl Watch {
    async fn begin(stack: &Stack) -> Result<Self> {
        let database = crate::accounts::database(stack).await?;
        let most = Arc::new(AtomicI64::new(0));
        let seen = Arc::clone(&most);
        let task = tokio::spawn(async move {
            let sql = "SELECT sum(charged)::bigint FROM files WHERE owner = 'ada'";
            while let Ok(row) = database.query_one(sql, &[]).await {
                let charged = row.get::<_, Option<i64>>(0).unwrap_or_default();
                seen.fetch_max(charged, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        Ok(Self { most, task })
    }

    fn end(self) -> i64 {
        self.task.abort();
        self.most.load(Ordering::Relaxed)
    }
}
