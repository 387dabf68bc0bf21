//! Listening sockets: one for each serving thread, on the same address.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    proxy::{
        server::{CallerBy, Entrance, Listening, Manner},
        tls::{ServerTls, TlsError},
    },
    settings::{Admin, Listen},
};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;

/// First descriptor that systemd passes (`SD_LISTEN_FDS_START`).
const FIRST_PASSED: RawFd = 3;

/// What was bound.
#[derive(Debug)]
pub(super) struct Sockets {
    /// For each serving thread, its sockets.
    pub(super) threads: Vec<Vec<Entrance>>,
    /// The TCP addresses.
    pub(super) addresses: Vec<SocketAddr>,
    /// Unix sockets to remove at the end.
    pub(super) files: Vec<PathBuf>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({setting} in the settings): {cause}{}", advice(cause))]
pub struct BindError {
    address: String,
    /// What names the address.
    setting: &'static str,
    cause: io::Error,
}

const LISTEN: &str = "listen";

/// What to do about it, where somebody can.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => "; end what listens there (`ss -lptn` shows it), or choose another address",
        io::ErrorKind::AddrNotAvailable => "; choose an address that this machine has (`ip address` shows them)",
        io::ErrorKind::PermissionDenied => "; choose a port from 1024 on, or a folder that Vicar's user may write to",
        _ => "",
    }
}

/// A socket that was bound before this program started.
#[derive(Debug)]
pub(super) enum Inherited {
    Tcp(SocketAddr, TcpListener),
    Unix(PathBuf, UnixListener),
}

/// What comes before HTTP on each of `listeners`.
pub(super) fn manners(listeners: &[Listen]) -> Result<Vec<Manner>, TlsError> {
    listeners
        .iter()
        .map(|listen| {
            let tls = listen.tls.as_ref().map(ServerTls::load).transpose()?.map(Arc::new);
            let caller = if listen.proxy_protocol { CallerBy::ProxyHeader } else { CallerBy::Address };
            Ok(Manner { tls, caller })
        })
        .collect()
}

/// The sockets that systemd passes (`sd_listen_fds(3)`): only where they are meant for this very process.
pub(super) fn inherited() -> Result<Vec<Inherited>, BindError> {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else { return Ok(Vec::new()) };
    if pid != std::process::id() {
        return Ok(Vec::new());
    }
    (FIRST_PASSED..)
        .take(count as usize)
        .map(|descriptor| {
            take_over(descriptor).map_err(|cause| BindError { address: format!("descriptor {descriptor}"), setting: LISTEN, cause })
        })
        .collect()
}

fn take_over(descriptor: RawFd) -> io::Result<Inherited> {
    // SAFETY: systemd says by LISTEN_PID and LISTEN_FDS that this descriptor is open and handed to this process; nothing
    // else here knows its number, and it is taken over once, at start. `fcntl` below fails if it is not open after all.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    let socket = Socket::from(descriptor);
    if !socket.is_listener()? {
        return Err(io::Error::other("what was passed is no listening socket"));
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    if let Some(address) = address.as_socket() {
        return Ok(Inherited::Tcp(address, socket.into()));
    }
    match address.as_pathname() {
        Some(path) => Ok(Inherited::Unix(path.to_owned(), UnixListener::from(OwnedFd::from(socket)))),
        None => Err(io::Error::other("what was passed is neither a TCP socket nor a Unix socket with a path")),
    }
}

/// Binds every listener for each of `workers` threads. One that was bound before is used as it is, and stays when this
/// process ends; its connections wait for the next one.
pub(super) fn bind(listeners: &[Listen], manners: &[Manner], mut inherited: Vec<Inherited>, workers: usize) -> Result<Sockets, BindError> {
    let mut bound = Sockets { threads: (0..workers.max(1)).map(|_| Vec::new()).collect(), addresses: Vec::new(), files: Vec::new() };
    // Before any of ours stands there: two of one sidecar may overlap.
    let taken: Vec<SocketAddr> =
        listeners.iter().filter_map(|listen| listen.address.parse().ok()).filter(|wanted| is_taken(*wanted)).collect();
    for (listen, manner) in listeners.iter().zip(manners) {
        let address = listen.address.as_str();
        let failed = |cause| BindError { address: address.to_owned(), setting: LISTEN, cause };
        if let Some(path) = address.strip_prefix("unix:") {
            let passed = inherited.extract_if(.., |one| matches!(one, Inherited::Unix(at, _) if at == Path::new(path))).next();
            let socket = match passed {
                Some(Inherited::Unix(_, socket)) => socket,
                Some(Inherited::Tcp(..)) | None => {
                    let mode = listen.mode.as_deref().and_then(|mode| u32::from_str_radix(mode, 8).ok()).unwrap_or(0o660);
                    bound.files.push(path.into());
                    unix(Path::new(path), mode).map_err(failed)?
                }
            };
            for thread in &mut bound.threads {
                let listening = Listening::Unix(socket.try_clone().map_err(failed)?);
                thread.push(Entrance { listening, manner: manner.clone() });
            }
            continue;
        }
        let wanted: SocketAddr = address.parse().map_err(|_| failed(io::Error::other("not an address")))?;
        let passed = inherited.extract_if(.., |one| matches!(one, Inherited::Tcp(at, _) if *at == wanted)).next();
        let (got, sockets) = match passed {
            Some(Inherited::Tcp(at, socket)) => {
                let clones: io::Result<Vec<_>> = bound.threads.iter().map(|_| socket.try_clone()).collect();
                (at, clones.map_err(failed)?)
            }
            Some(Inherited::Unix(..)) | None => {
                let first = tcp(wanted, Sharing::Together).map_err(failed)?;
                if taken.contains(&wanted) {
                    tracing::warn!(
                        address,
                        "another process listens there too, and connections go to either: a sidecar that takes over, or one by mistake"
                    );
                }
                let got = first.local_addr().map_err(failed)?;
                let others: io::Result<Vec<_>> = bound.threads.iter().skip(1).map(|_| tcp(got, Sharing::Together)).collect();
                (got, std::iter::once(first).chain(others.map_err(failed)?).collect())
            }
        };
        bound.addresses.push(got);
        for (thread, socket) in bound.threads.iter_mut().zip(sockets) {
            thread.push(Entrance { listening: Listening::Tcp(socket), manner: manner.clone() });
        }
    }
    match inherited.into_iter().next() {
        None => Ok(bound),
        // A socket that is passed and served by nobody would let callers wait for ever.
        Some(stray) => {
            let address = match stray {
                Inherited::Tcp(address, _) => address.to_string(),
                Inherited::Unix(path, _) => format!("unix:{}", path.display()),
            };
            Err(BindError {
                address,
                setting: LISTEN,
                cause: io::Error::other("systemd passes this socket, but no `listen` of the settings names it"),
            })
        }
    }
}

/// The admin listener's socket.
#[derive(Debug)]
pub(super) struct AdminSocket {
    pub(super) listening: Listening,
    /// Its TCP address.
    pub(super) address: Option<SocketAddr>,
    /// The Unix socket to remove at the end.
    pub(super) file: Option<PathBuf>,
}

/// Binds the admin listener. It shares its address with nobody: two sidecars there would answer in turns.
pub(super) fn bind_admin(admin: &Admin) -> Result<AdminSocket, BindError> {
    let address = admin.address.as_str();
    let failed = |cause| BindError { address: address.to_owned(), setting: "admin.address", cause };
    if let Some(path) = address.strip_prefix("unix:") {
        let socket = unix(Path::new(path), 0o660).map_err(failed)?;
        return Ok(AdminSocket { listening: Listening::Unix(socket), address: None, file: Some(path.into()) });
    }
    let wanted: SocketAddr = address.parse().map_err(|_| failed(io::Error::other("not an address")))?;
    let socket = tcp(wanted, Sharing::Alone).map_err(failed)?;
    let got = socket.local_addr().map_err(failed)?;
    Ok(AdminSocket { listening: Listening::Tcp(socket), address: Some(got), file: None })
}

/// Whether further sockets may be bound to the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Together,
}

/// With `SO_REUSEPORT` each thread has a queue of its own, and a new sidecar can take over while the old one drains.
/// A connection whose handshake is under way when the old one closes is lost, unless `net.ipv4.tcp_migrate_req` is set or
/// systemd holds the socket.
fn tcp(address: SocketAddr, sharing: Sharing) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Together)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether somebody listens there already, who shares the address as we do.
fn is_taken(address: SocketAddr) -> bool {
    let bound = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())
    };
    address.port() != 0 && bound().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

fn unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::other("another process serves this socket"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other("something that is no socket stands there")),
        Err(_) => {}
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
