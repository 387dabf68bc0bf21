//! The yardstick: a reverse proxy on hyper that checks nothing, on one thread, with hyper-util's pool.
//!
//! `bare LISTEN UPSTREAM`, both `host:port`. It is what Vicar's cost a request is compared with.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::convert::Infallible;

use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::TcpListener;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut words = std::env::args().skip(1);
    let (listen, upstream) = (words.next().expect("LISTEN"), words.next().expect("UPSTREAM"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(&listen).await.unwrap();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let pool: Client<_, Incoming> = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1024).build(connector);
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let (pool, upstream) = (pool.clone(), upstream.clone());
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| {
                    let (pool, upstream) = (pool.clone(), upstream.clone());
                    async move { Ok::<_, Infallible>(forward(&pool, &upstream, request).await) }
                });
                let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

async fn forward(
    pool: &Client<HttpConnector, Incoming>,
    upstream: &str,
    mut request: Request<Incoming>,
) -> Response<BoxBody<Bytes, hyper::Error>> {
    request.headers_mut().remove(header::CONNECTION);
    let path = request.uri().path_and_query().cloned().unwrap();
    *request.uri_mut() = Uri::builder().scheme("http").authority(upstream).path_and_query(path).build().unwrap();
    match pool.request(request).await {
        Ok(answer) => answer.map(|body| body.boxed()),
        Err(_) => {
            let mut answer = Response::new(Empty::new().map_err(|never| match never {}).boxed());
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        }
    }
}
