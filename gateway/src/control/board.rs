//! The board: the page at `/` that shows the event stream, and its files.
//!
//! The files are part of the program, and a browser runs them as they are.

use std::sync::LazyLock;

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::web::ServiceConfig;
use actix_web::{HttpRequest, HttpResponse};
use service_kit::routes::{get, mount_at};
use xxhash_rust::xxh3::xxh3_64;

/// Nothing but the files below and this listener's own API.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

struct File {
    path: &'static str,
    media_type: &'static str,
    content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($path:literal = $name:literal $media_type:expr,)*) => {
        const FILES: &[File] = &[$(File {
            path: $path,
            media_type: $media_type,
            content: include_bytes!(concat!("../../board/", $name)),
        },)*];
    };
}

files! {
    "/" = "index.html" HTML,
    "/board/board.css" = "board.css" "text/css; charset=utf-8",
    "/board/icon.svg" = "icon.svg" "image/svg+xml",
    "/board/board.mjs" = "board.mjs" SCRIPT,
    "/board/canvas.mjs" = "canvas.mjs" SCRIPT,
    "/board/charts.mjs" = "charts.mjs" SCRIPT,
    "/board/class.mjs" = "class.mjs" SCRIPT,
    "/board/conversation.mjs" = "conversation.mjs" SCRIPT,
    "/board/controls.mjs" = "controls.mjs" SCRIPT,
    "/board/inspector.mjs" = "inspector.mjs" SCRIPT,
    "/board/lab.mjs" = "lab.mjs" SCRIPT,
    "/board/lessons.mjs" = "lessons.mjs" SCRIPT,
    "/board/poll.mjs" = "poll.mjs" SCRIPT,
    "/board/panels.mjs" = "panels.mjs" SCRIPT,
    "/board/rendezvous.mjs" = "rendezvous.mjs" SCRIPT,
    "/board/scene.mjs" = "scene.mjs" SCRIPT,
    "/board/state.mjs" = "state.mjs" SCRIPT,
    "/board/stream.mjs" = "stream.mjs" SCRIPT,
    "/board/traffic.mjs" = "traffic.mjs" SCRIPT,
    "/board/verdicts.mjs" = "verdicts.mjs" SCRIPT,
    "/board/words.mjs" = "words.mjs" SCRIPT,
}

/// The entity tags, in the order of the files.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    FILES.iter().map(|file| format!("\"{:016x}\"", xxh3_64(file.content))).collect()
});

/// Mounts the page and its files.
pub(super) fn mount(app: &mut ServiceConfig) {
    for (place, file) in FILES.iter().enumerate() {
        let serve = move |request: HttpRequest| async move { respond(&request, place) };
        mount_at(app, file.path, [get(serve)]);
    }
}

fn respond(request: &HttpRequest, place: usize) -> HttpResponse {
    let (file, tag) = (&FILES[place], &TAGS[place]);
    let known = request.headers().get_all(IF_NONE_MATCH).any(|value| value == tag.as_str());
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Asked for again each time, so that the page fits the gateway after an upgrade.
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")));
    response.insert_header((ETAG, tag.as_str()));
    response.insert_header((CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)));
    response.insert_header((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    response.insert_header((X_FRAME_OPTIONS, HeaderValue::from_static("DENY")));
    response.insert_header((REFERRER_POLICY, HeaderValue::from_static("no-referrer")));
    if known {
        return response.finish();
    }
    response.insert_header((CONTENT_TYPE, HeaderValue::from_static(file.media_type)));
    response.body(file.content)
}
