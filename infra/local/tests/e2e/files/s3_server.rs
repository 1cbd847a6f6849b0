//! A server of S3 in this process: `s3s`, over a folder. It checks signatures as any other does.

use std::path::PathBuf;

use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

const ACCESS_KEY: &str = "tandem-files";
pub(crate) const SECRET_KEY: &str = "a secret of the tests alone";
const BUCKET: &str = "files";
const PREFIX: &str = "live";

/// Ends with the test.
pub(crate) struct S3Server {
    endpoint: String,
    folder: TempDir,
    is_up: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl S3Server {
    /// Starts it, with an empty bucket.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(BUCKET))?;
        let files = FileSystem::new(folder.path());
        let files = files.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (is_up, seen) = watch::channel(true);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, service.build(), seen));
        Ok(Self { endpoint, folder, is_up, _serving: serving })
    }

    /// The settings of a service that keeps its files here.
    pub(crate) fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("FILES_URL", format!("s3://{BUCKET}/{PREFIX}")),
            ("FILES_S3_ENDPOINT", self.endpoint.clone()),
            ("FILES_S3_ACCESS_KEY", ACCESS_KEY.to_owned()),
            ("FILES_S3_SECRET_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// The folder of the bucket's objects.
    pub(crate) fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// What is below the prefix of the service.
    pub(crate) fn objects(&self) -> PathBuf {
        self.bucket().join(PREFIX)
    }

    /// How many parts of uploads there are that were neither completed nor aborted.
    pub(crate) fn parts(&self) -> Result<usize> {
        let mut parts = 0;
        for entry in std::fs::read_dir(self.folder.path())? {
            let name = entry?.file_name();
            let name = name.to_str().context("text")?;
            parts += usize::from(name.starts_with(".upload_id-") && name.contains(".part-"));
        }
        Ok(parts)
    }

    /// Cuts all connections and accepts no more, or serves again.
    pub(crate) fn set_up(&self, is_up: bool) {
        self.is_up.send_replace(is_up);
    }
}

async fn serve(listener: TcpListener, service: S3Service, mut is_up: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if !*is_up.borrow_and_update() {
            // The port stays ours, so nothing else can listen there meanwhile.
            continue;
        }
        let (service, mut is_up) = (service.clone(), is_up.clone());
        connections.spawn(async move {
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service);
            tokio::select! {
                _ended = serving => {}
                _down = is_up.wait_for(|is_up| !is_up) => {}
            }
        });
    }
}
