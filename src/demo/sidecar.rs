//! Vicar itself, in front of the sample API.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{DemoError, files::Folder};

/// A running Vicar.
#[derive(Debug)]
pub(super) struct Sidecar {
    address: SocketAddr,
    child: Child,
}

impl Sidecar {
    pub(super) async fn start(folder: &Folder) -> Result<Self, DemoError> {
        let failed = |cause: std::io::Error| DemoError::Start(cause.to_string());
        // Free a moment ago; whoever takes it in between makes Vicar say so.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).map_err(failed)?;
        let log = folder.path().join("serve.log");
        let child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["serve", "--listen", &address.to_string()])
            .env("VICAR_CONFIG", folder.settings())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).map_err(failed)?)
            .spawn()
            .map_err(failed)?;
        let mut sidecar = Self { address, child };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(address).await.is_ok() {
                return Ok(sidecar);
            }
            if let Ok(Some(_)) = sidecar.child.try_wait() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err(DemoError::Start(std::fs::read_to_string(log).unwrap_or_default().trim().to_owned()))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stop(self) {
        drop(self);
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
