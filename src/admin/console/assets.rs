//! What pages load: from this binary, never from elsewhere.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};

/// A file of the console.
#[derive(Debug)]
pub(super) struct Asset {
    name: &'static str,
    media: &'static str,
    text: &'static str,
    /// Part of its address, so that a new version is loaded at once and an old one can be kept for long.
    version: String,
}

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console.css", "text/css; charset=utf-8", include_str!("assets/console.css")));
pub(super) static SCRIPT: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("console.js", "text/javascript; charset=utf-8", include_str!("assets/console.js")));
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| Asset::new("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")));

impl Asset {
    fn new(name: &'static str, media: &'static str, text: &'static str) -> Self {
        let version = blake3::hash(text.as_bytes()).to_hex().chars().take(12).collect();
        Self { name, media, text, version }
    }

    /// Its address.
    pub(super) fn href(&self) -> String {
        format!("/console/assets/{}/{}", self.version, self.name)
    }
}

pub(super) async fn serve(Path((version, name)): Path<(String, String)>) -> Response {
    let asset = [&*STYLE, &*SCRIPT, &*ICON].into_iter().find(|asset| asset.name == name && asset.version == version);
    let Some(asset) = asset else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = asset.text.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.media));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    response
}
