//! The sample workflow API: what stands behind Vicar in the demo.
//!
//! It is the kind of service that Vicar is for. It knows human users only: one gets in with a
//! user's own session token, or through a gateway that shows the API key and says in headers who
//! is acting. Everything it keeps is in memory and bounded. `tour` and the `demo` command start it;
//! nobody else calls it.

mod answer;
mod flows;
mod people;
mod routes;
mod seed;

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use answer::Answer;
use people::Actor;
pub use people::Person;
use routes::{Ask, World};

/// Header in which the gateway names the user who is acting.
pub const USER_HEADER: &str = "x-forwarded-user";
/// Header in which the gateway names the service account behind a request.
pub const ACCOUNT_HEADER: &str = "x-forwarded-account";
/// Header with the API key that makes a caller the gateway.
pub const API_KEY_HEADER: &str = "x-api-key";

/// Largest request body that is read, in bytes.
const BODY_MAX: usize = 1 << 20;
/// Connections served at once.
const CONNECTIONS_MAX: usize = 512;
/// Requests that are remembered.
const REMEMBERED: usize = 256;
/// How long a request head or body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running sample API; dropping it stops it.
#[derive(Debug)]
pub struct WorkflowApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

/// How the API tells gateways from everybody else, and whether it talks.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The key that a gateway shows; `None` takes anybody for the gateway.
    pub api_key: Option<String>,
    /// Writes a line to standard output for each request.
    pub narrate: bool,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and target.
    pub line: String,
    /// All headers, credentials among them: for the tour's eyes only.
    pub headers: HeaderMap,
    /// Who the API believes acted, or why it believed nobody.
    pub acting: String,
}

#[derive(Debug)]
struct Shared {
    options: Options,
    world: Mutex<World>,
    received: Mutex<VecDeque<Received>>,
}

// ===== starting and asking it =====

impl WorkflowApi {
    /// Starts the API on `address` (port 0 takes a free one), with its sample data.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(address: SocketAddr, options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { options, world: Mutex::new(World::sample()), received: Mutex::default() });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, acceptor })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A session token, as the product's own front end would have for this user after sign-in.
    #[must_use]
    pub fn sign_in(&self, email: &str) -> Option<String> {
        self.shared.world().people.sign_in(email)
    }

    /// Takes a user out of service, as an administrator does when somebody leaves. Says whether there is such a user.
    pub fn deactivate(&self, email: &str) -> bool {
        self.shared.world().people.deactivate(email)
    }

    /// What arrived under this request id.
    #[must_use]
    pub fn received(&self, request_id: &str) -> Option<Received> {
        let all = self.shared.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().find(|r| r.headers.get("x-request-id").is_some_and(|id| id.as_bytes() == request_id.as_bytes())).cloned()
    }

    /// How many requests have arrived and are still remembered.
    #[must_use]
    pub fn received_count(&self) -> usize {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Drop for WorkflowApi {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

// ===== one connection, one request =====

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: a short rest lets some come back.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let service = service_fn(|request| serve(request, &shared));
            // What ends a connection early is the peer's business.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}

async fn serve(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let (head, body) = request.into_parts();
    let actor = shared.who_is_acting(&head.headers);
    let acting = match &actor {
        Ok(actor) => actor.to_string(),
        Err(answer) => format!("nobody ({})", answer.status),
    };
    shared.remember(Received { line: format!("{} {}", head.method, head.uri), headers: head.headers.clone(), acting: acting.clone() });
    let answer = match actor {
        Err(refused) => refused,
        Ok(actor) => match tokio::time::timeout(PATIENCE, Limited::new(body, BODY_MAX).collect()).await {
            Ok(Ok(body)) => shared.answer(&head.method, &head.uri, &actor, &body.to_bytes()),
            Ok(Err(_)) => Answer::refused(413, "the body is cut off or larger than 1 MiB"),
            Err(_) => Answer::refused(408, "the body did not arrive in time"),
        },
    };
    Ok(answer.into_response(&acting, head.method == Method::HEAD))
}

impl Shared {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, received: Received) {
        if self.options.narrate {
            let value =
                |name| received.headers.get(name).map_or("-".into(), |v| String::from_utf8_lossy(v.as_bytes()).escape_debug().to_string());
            // A closed standard output is no reason to stop serving.
            let _ = writeln!(
                io::stdout(),
                "{}  acting: {}  {USER_HEADER}: {}  {ACCOUNT_HEADER}: {}",
                received.line.escape_debug(),
                received.acting,
                value(USER_HEADER),
                value(ACCOUNT_HEADER)
            );
        }
        let mut all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.pop_front();
        }
        all.push_back(received);
    }

    /// A user by session token, or whom the gateway names.
    fn who_is_acting(&self, headers: &HeaderMap) -> Result<Actor, Answer> {
        let world = self.world();
        if let Some(presented) = headers.get(header::AUTHORIZATION) {
            let token = presented.to_str().ok().and_then(|v| v.strip_prefix("Bearer "));
            return token
                .and_then(|token| world.people.by_token(token))
                .filter(|person| person.active)
                .map(|person| Actor::Person(person.clone()))
                .ok_or_else(|| Answer::refused(401, "no active user has this token"));
        }
        let key = headers.get(API_KEY_HEADER).map(http::HeaderValue::as_bytes);
        if self.options.api_key.as_ref().is_some_and(|expected| key != Some(expected.as_bytes())) {
            return Err(Answer::refused(401, "sign in as a user, or come through the gateway"));
        }
        let mut named = headers.get_all(USER_HEADER).iter();
        match (named.next(), named.next(), headers.get(ACCOUNT_HEADER)) {
            (Some(_), Some(_), _) => Err(Answer::refused(400, "two users are named; one can act")),
            (Some(user), None, _) => user
                .to_str()
                .ok()
                .and_then(|user| world.people.find(user))
                .filter(|person| person.active)
                .map(|person| Actor::Person(person.clone()))
                .ok_or_else(|| Answer::refused(403, "there is no active user of this name")),
            (None, _, Some(account)) => Ok(Actor::Account(account.to_str().unwrap_or("?").to_owned())),
            (None, _, None) => Err(Answer::refused(401, "nobody is named as acting")),
        }
    }

    fn answer(&self, method: &Method, uri: &http::Uri, actor: &Actor, body: &[u8]) -> Answer {
        let body = if body.is_empty() {
            serde_json::Value::Null
        } else {
            match std::str::from_utf8(body).ok().and_then(|body| serde_json::from_str(body).ok()) {
                Some(value) => value,
                None => return Answer::refused(400, "the body is not JSON"),
            }
        };
        let path = uri.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        // HEAD is what GET is.
        let method = if method == Method::HEAD { "GET" } else { method.as_str() };
        self.world().answer(&Ask { method, segments: &segments, query: uri.query().unwrap_or_default(), actor, body: &body })
    }
}

#[cfg(test)]
mod tests;
