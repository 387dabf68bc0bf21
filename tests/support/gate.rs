//! A TCP proxy that can hold back what a server says, cut every connection, and let nobody through.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// A gate in front of a server on loopback. It opens when made, and is gone when dropped.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    moved: Condvar,
    /// Bytes that the server has said and nobody has heard yet.
    held: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What the server says stays here.
    Held,
    /// There is no connection, and no new one.
    Cut,
    Gone,
}

impl Gate {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: SocketAddr::from(([127, 0, 0, 1], port)),
            state: Mutex::new(State::Open),
            moved: Condvar::new(),
            held: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let state = *accepting.state.lock().unwrap();
                match (state, client) {
                    (State::Gone, _) => return,
                    (State::Cut, _) | (_, Err(_)) => {}
                    (State::Open | State::Held, Ok(client)) => accepting.clone().join(client),
                }
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on, what the server says waits; what it is told goes through.
    pub fn hold(&self) {
        self.shared.held.store(0, Ordering::SeqCst);
        self.turn(State::Held);
    }

    /// How many bytes wait.
    pub fn held(&self) -> usize {
        self.shared.held.load(Ordering::SeqCst)
    }

    /// What waited goes on, in its order.
    pub fn release(&self) {
        self.turn(State::Open);
    }

    /// Cuts every connection, and lets no new one through.
    pub fn cut(&self) {
        self.turn(State::Cut);
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// Cuts what there is (what waited is lost), and lets new connections through.
    pub fn mend(&self) {
        self.cut();
        self.turn(State::Open);
    }

    fn turn(&self, state: State) {
        *self.shared.state.lock().unwrap() = state;
        self.shared.moved.notify_all();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.cut();
        self.turn(State::Gone);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn join(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.to) else { return };
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            self.connections.lock().unwrap().push(stream.try_clone().unwrap());
        }
        let (mut client_in, mut server_out) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut client_in, &mut server_out);
            let _ = server_out.shutdown(Shutdown::Both);
        });
        std::thread::spawn(move || self.backwards(server, client));
    }

    fn backwards(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut buffer = [0u8; 16 << 10];
        while let Ok(read @ 1..) = server.read(&mut buffer) {
            let mut state = self.state.lock().unwrap();
            if *state == State::Held {
                self.held.fetch_add(read, Ordering::SeqCst);
            }
            while *state == State::Held {
                state = self.moved.wait_timeout(state, Duration::from_millis(50)).unwrap().0;
            }
            let open = *state == State::Open;
            drop(state);
            if !open || client.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}
