//! Active health checks: is there an answer below 500 at each address?

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::service::Service;
use crate::proxy::tls::Alpn;

/// How long one check may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at every address of `service` once. Runs on the background runtime, away from requests.
pub async fn check(service: &Arc<Service>) {
    let Some(health) = service.health() else { return };
    let mut looks = tokio::task::JoinSet::new();
    for (index, address) in service.addresses().iter().enumerate() {
        let (service, path, address) = (service.clone(), health.path.clone(), address.to_string());
        looks.spawn(async move {
            let found = tokio::time::timeout(PATIENCE, look(&service, index, &path)).await.unwrap_or_else(|_| Err("no answer".to_owned()));
            let changed = service.found(index, found.is_err());
            match found {
                Ok(()) if changed => tracing::info!(address, "healthy again"),
                Err(why) if changed => tracing::warn!(address, why, "unhealthy: requests go to other addresses while there are any"),
                Ok(()) | Err(_) => {}
            }
        });
    }
    looks.join_all().await;
}

async fn look(service: &Service, index: usize, path: &str) -> Result<(), String> {
    let address = service.addresses().get(index).ok_or("no such address")?;
    let stream = service.connect(index).await.map_err(|error| error.to_string())?;
    service.connected(index);
    let authority = address.authority();
    let status = match service.speaks() {
        Alpn::Http1 => {
            let request = Request::get(path).header(header::HOST, authority).header(header::CONNECTION, "close");
            let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
            let connection = tokio::spawn(connection);
            let answer = sender.send_request(request).await;
            connection.abort();
            answer.map_err(|error| error.to_string())?.status()
        }
        Alpn::Http2 => {
            let request = Request::get(format!("{}://{authority}{path}", address.scheme()));
            let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
            let connection = tokio::spawn(connection);
            let answer = sender.send_request(request).await;
            connection.abort();
            answer.map_err(|error| error.to_string())?.status()
        }
    };
    if status < StatusCode::INTERNAL_SERVER_ERROR { Ok(()) } else { Err(format!("answers {status}")) }
}
