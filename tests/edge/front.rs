//! What stands before a recording upstream: TLS, or a Unix socket. Bytes pass unchanged.

use std::{net::SocketAddr, path::Path, sync::Arc, thread};

use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

/// A relay to a plain address; ends with the test.
#[derive(Debug)]
pub struct Front {
    address: Option<SocketAddr>,
    _stop: oneshot::Sender<()>,
}

impl Front {
    /// Speaks TLS on a port of its own.
    pub fn tls(config: Arc<ServerConfig>, behind: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stop = serve(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let acceptor = TlsAcceptor::from(config);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        pass(stream, behind).await;
                    }
                });
            }
        });
        Self { address: Some(address), _stop: stop }
    }

    /// Listens on a Unix socket.
    pub fn unix(path: &Path, behind: SocketAddr) -> Self {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = serve(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(stream, behind));
            }
        });
        Self { address: None, _stop: stop }
    }

    pub fn port(&self) -> u16 {
        self.address.unwrap().port()
    }
}

fn serve(work: impl Future<Output = ()> + Send + 'static) -> oneshot::Sender<()> {
    let (stop, stopped) = oneshot::channel::<()>();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            tokio::select! {
                () = work => {}
                _ = stopped => {}
            }
        });
    });
    stop
}

async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, behind: SocketAddr) {
    let mut inner = TcpStream::connect(behind).await.unwrap();
    let _ = copy_bidirectional(&mut stream, &mut inner).await;
}
