//! The one connection to the server in charge, kept up.
//!
//! Questions, changes and pushes share a connection, so they come in the order the server made them in: once an answer
//! is here, every change before it has been heard. Each connection is a generation of its own. Several times a second
//! the version is asked for, over that same connection: the answer proves that the push channel lives, and that
//! nothing has been missed. When it does not come, or does not fit, the connection is given up and a new one made.

mod ear;
mod keep;

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicU32},
    time::{Duration, Instant},
};

use redis::{Value, aio::MultiplexedConnection};
use tokio::sync::{Notify, watch};

use super::{
    Names,
    address::{Address, Host},
    fault::{Fault, Redirect},
};
use crate::directory::{DirectoryError, Health, Listener, News};

/// How long an admin waits for a server that is away: a failed attempt or two to reach it.
const AWAY_PATIENCE: Duration = Duration::from_secs(2);

/// The connection, and who keeps it up. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: tokio::task::AbortHandle,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: Address,
    pub(super) names: Names,
    pub(super) timeout: Duration,
    state: watch::Sender<State>,
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    /// The generation that was last vouched for, and until when.
    vouched: Mutex<Option<(u32, Instant)>>,
    generations: AtomicU32,
    /// Where somebody was sent to; taken by the next connection.
    redirect: Mutex<Option<Redirect>>,
    /// Somebody found the connection unfit.
    unfit: Notify,
}

#[derive(Debug, Clone)]
enum State {
    /// The first attempt since the start or since a connection was lost.
    Connecting,
    /// There is one.
    Up(Live),
    /// The last attempt failed; the next follows.
    Down(DirectoryError),
}

/// A connection that works.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    pub(super) generation: u32,
    pub(super) host: Host,
    /// The slot is on its way to this node, which must be told that we know.
    pub(super) asking: bool,
}

/// How long whoever asks can wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For an answer.
    pub(super) until: tokio::time::Instant,
    /// For a server that is away to come back.
    back_by: tokio::time::Instant,
}

impl Patience {
    /// A request waits for this, and not for a server that is away.
    pub(super) fn of_a_request(timeout: Duration) -> Self {
        let now = tokio::time::Instant::now();
        Self { until: now + timeout, back_by: now }
    }

    /// Nobody's request waits for this; an admin rather waits than tries again.
    pub(super) fn of_an_admin() -> Self {
        let now = tokio::time::Instant::now();
        Self { until: now + super::CHANGE_PATIENCE, back_by: now + AWAY_PATIENCE }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("generation", &self.generation).field("host", &self.host).finish_non_exhaustive()
    }
}

impl Link {
    /// Starts to connect, and waits for the first attempt to end either way.
    pub(super) async fn start(address: Address, names: Names, timeout: Duration) -> Self {
        let shared = Arc::new(Shared {
            address,
            names,
            timeout,
            state: watch::channel(State::Connecting).0,
            listeners: Mutex::default(),
            vouched: Mutex::default(),
            generations: AtomicU32::new(0),
            redirect: Mutex::default(),
            unfit: Notify::new(),
        });
        let mut state = shared.state.subscribe();
        // Made before it is waited for: whoever waits no longer leaves no keeper behind.
        let link = Self { keeper: tokio::spawn(keep::keep(shared.clone())).abort_handle(), shared };
        let _ = tokio::time::timeout(keep::CONNECT_PATIENCE, state.wait_for(|state| !matches!(state, State::Connecting))).await;
        link
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A connection newer than `after`. While the first attempt at one is being made it is waited for; when it has
    /// failed, whoever has the patience waits for the next.
    pub(super) async fn live(&self, after: u32, patience: Patience) -> Result<Live, DirectoryError> {
        let mut state = self.shared.state.subscribe();
        let fits = |state: &State| match state {
            State::Connecting => false,
            State::Up(live) => live.generation > after,
            State::Down(error) => !error.is_unavailable(),
        };
        let _ = tokio::time::timeout_at(patience.back_by, state.wait_for(fits)).await;
        let ended = |state: &State| fits(state) || matches!(state, State::Down(_));
        match tokio::time::timeout_at(patience.until, state.wait_for(ended)).await {
            Ok(Ok(state)) => match &*state {
                State::Up(live) => Ok(live.clone()),
                State::Down(error) => Err(error.clone()),
                State::Connecting => Err(self.shared.unavailable("it is being connected to")),
            },
            Ok(Err(_)) => Err(self.shared.unavailable("the process is ending")),
            Err(_) => Err(self.shared.unavailable("it does not answer; see that the server runs and is not overloaded")),
        }
    }

    /// Gives a connection up, for another in the place that `redirect` says.
    pub(super) fn give_up(&self, generation: u32, redirect: Option<Redirect>) {
        let current = matches!(&*self.shared.state.borrow(), State::Up(live) if live.generation == generation);
        if current {
            *self.shared.redirect.lock().unwrap_or_else(PoisonError::into_inner) = redirect;
            self.shared.unfit.notify_one();
        }
    }

    /// Tells a listener from now on.
    pub(super) fn listen(&self, listener: &Arc<dyn Listener>) {
        // Held while it is told where things stand, so that it misses nothing and hears nothing twice.
        let mut listeners = self.shared.listeners();
        listeners.push(Arc::downgrade(listener));
        if let State::Up(live) = &*self.shared.state.borrow() {
            let generation = live.generation;
            listener.hear(News::Generation(generation));
            if let Some((vouched, at)) = *self.shared.vouched.lock().unwrap_or_else(PoisonError::into_inner)
                && vouched == generation
            {
                listener.hear(News::Vouched { generation, at });
            }
        }
    }

    pub(super) fn health(&self) -> Health {
        match &*self.shared.state.borrow() {
            State::Up(_) => Health::Good,
            State::Connecting => Health::Away(format!("{} is being connected to", self.shared.address)),
            State::Down(error) => Health::Away(error.to_string()),
        }
    }

    /// Why there is no connection, where waiting will not help.
    pub(super) fn hopeless(&self) -> Option<DirectoryError> {
        match &*self.shared.state.borrow() {
            State::Down(error) if !error.is_unavailable() => Some(error.clone()),
            State::Down(_) | State::Up(_) | State::Connecting => None,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, news: &News) {
        self.listeners().retain(|listener| match listener.upgrade() {
            Some(listener) => {
                listener.hear(news.clone());
                true
            }
            None => false,
        });
    }

    fn vouch(&self, generation: u32, at: Instant) {
        *self.vouched.lock().unwrap_or_else(PoisonError::into_inner) = Some((generation, at));
        self.tell(&News::Vouched { generation, at });
    }

    pub(super) fn unavailable(&self, cause: impl Into<String>) -> DirectoryError {
        DirectoryError::Unavailable { place: self.address.to_string(), cause: cause.into() }
    }
}

impl Live {
    /// Sends one command.
    pub(super) async fn query(&self, command: &redis::Cmd) -> Result<Value, Fault> {
        let mut connection = self.connection.clone();
        let answer = if self.asking {
            let mut pipeline = redis::pipe();
            pipeline.cmd("ASKING").ignore().add_command(command.clone());
            pipeline.query_async::<Vec<Value>>(&mut connection).await.map(|mut answers| answers.pop().unwrap_or(Value::Nil))
        } else {
            connection.send_packed_command(command).await
        };
        match answer {
            Ok(Value::ServerError(error)) => Err(Fault::of(error.into(), &self.host)),
            Ok(value) => Ok(value),
            Err(error) => Err(Fault::of(error, &self.host)),
        }
    }
}
