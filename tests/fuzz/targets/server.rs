//! Any bytes on a connection to a whole sidecar, in this process: `tests/fuzz/run server`.
//!
//! `~` in the input stands for the headers of a good key. What the service behind sees must be a request that it can
//! read in one way only, in Vicar's name, and no more of them than there are answers.
//!
//! A request may get to the service when its connection is long over. So each input has a key of its own, and Vicar's word
//! for the key tells which input a request is from.

#![no_main]

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::{LazyLock, Mutex, PoisonError},
    thread,
    time::Duration,
};

use libfuzzer_sys::fuzz_target;
use vicar::{
    identity::{KeyId, Secret},
    lifecycle,
    settings::{Overrides, Settings},
};

struct Whole {
    socket: PathBuf,
    /// The headers of each key.
    keys: Vec<String>,
    /// Which one a key id is.
    numbers: HashMap<String, usize>,
    inputs: Mutex<Inputs>,
    _folder: tempfile::TempDir,
}

#[derive(Default)]
struct Inputs {
    /// The key of the next one.
    next: usize,
    /// What came of the last input of each key.
    last: HashMap<usize, Count>,
}

#[derive(Default)]
struct Count {
    requests: usize,
    answers: usize,
}

/// Inputs until a key is used again: far more than there are while a request is on its way.
const KEYS: usize = 2_000;

/// Heads that reached the service.
static SEEN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
static WHOLE: LazyLock<Whole> = LazyLock::new(|| start().unwrap_or_else(|error| panic!("no sidecar: {error}")));

fn start() -> Result<Whole, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let listener = UnixListener::bind(at("service.sock"))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    let (socket, service, admin) = (at("vicar.sock"), at("service.sock"), at("admin.sock"));
    std::fs::write(
        at("vicar.yaml"),
        format!(
            "version: 1\nlisten: [{{address: 'unix:{}'}}]\nupstream: {{url: 'unix:{}'}}\nadmin: {{address: 'unix:{}'}}\nworkers: 1\n\
             directory: {{file: keys.yaml}}\npolicy: policy.yaml\ncatalog: [catalog.yaml]\n\
             impersonation: {{upstream_headers: {{X-Forwarded-Account: '{{account}}', X-Forwarded-Key: '{{key}}', X-Forwarded-User: '{{user}}'}}}}\n\
             audit: {{journal: {{path: audit}}, refusals_per_minute: 1}}\n\
             limits: {{failed_sign_ins_per_minute: 1000000, timeouts: {{head: 300ms, body: 300ms, keep_alive: 300ms}}}}\n",
            socket.display(),
            service.display(),
            admin.display()
        ),
    )?;
    std::fs::write(
        at("policy.yaml"),
        "version: 1\nservice_accounts: {app: {shares: [{resource: '*', actions: '*', impersonate: {users: ['*']}}]}}\n",
    )?;
    std::fs::write(at("catalog.yaml"), include_str!("../../../config/catalog/kissflow.yaml"))?;
    let (mut keys, mut numbers) = (Vec::with_capacity(KEYS), HashMap::with_capacity(KEYS));
    let made = "status: active, created: 2026-01-01T00:00:00Z";
    let mut file = format!("version: 1\naccounts:\n  - id: app\n    name: App\n    {}\n    keys:\n", made.replace(", ", "\n    "));
    for number in 0..KEYS {
        let (id, secret) = (KeyId::random()?, Secret::random()?);
        writeln!(file, "      - {{id: {id}, name: key, {made}, hash: {:?}}}", String::from(secret.hash_for(&id)))?;
        keys.push(format!("X-Access-Key-Id: {id}\r\nX-Access-Key-Secret: {}\r\n", secret.reveal()));
        numbers.insert(id.to_string(), number);
    }
    std::fs::write(at("keys.yaml"), file)?;
    let loaded = Settings::load(&at("vicar.yaml"), &Overrides::default()).map_err(|complaints| complaints.to_string())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let running = runtime.block_on(lifecycle::start(loaded))?;
    // They last as long as the process.
    std::mem::forget((runtime, running));
    Ok(Whole { socket, keys, numbers, inputs: Mutex::default(), _folder: folder })
}

/// Reads requests as strictly as can be, and answers them.
fn serve(mut stream: UnixStream) -> Option<()> {
    let mut to = stream.try_clone().ok()?;
    let mut read = Vec::new();
    let mut more = |read: &mut Vec<u8>| -> Option<()> {
        let mut piece = [0; 16 << 10];
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(piece.get(..count)?);
        Some(())
    };
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            more(&mut read)?;
        };
        let head: Vec<u8> = read.drain(..end).collect();
        let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(head);
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        if let Some(length) = header("content-length") {
            let length = length.parse().unwrap_or_else(|_| panic!("a length of {length}"));
            while read.len() < length {
                more(&mut read)?;
            }
            read.drain(..length);
        } else if header("transfer-encoding").is_some() {
            loop {
                let line = loop {
                    if let Some(at) = read.windows(2).position(|two| two == b"\r\n") {
                        break read.drain(..at + 2).collect::<Vec<u8>>();
                    }
                    more(&mut read)?;
                };
                let line = String::from_utf8_lossy(&line);
                let size = usize::from_str_radix(line.trim(), 16).unwrap_or_else(|_| panic!("a chunk of {line:?}"));
                // A chunk and its line end, or the trailers and theirs.
                let wanted = |read: &[u8]| match size {
                    0 if read.starts_with(b"\r\n") => Some(2),
                    0 => read.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4),
                    size => (read.len() >= size + 2).then_some(size + 2),
                };
                let end = loop {
                    if let Some(end) = wanted(&read) {
                        break end;
                    }
                    more(&mut read)?;
                };
                let piece: Vec<u8> = read.drain(..end).collect();
                assert!(piece.ends_with(b"\r\n"), "a chunk without its end");
                if size == 0 {
                    break;
                }
            }
        }
        to.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
    }
}

fuzz_target!(|bytes: &[u8]| {
    let whole = &*WHOLE;
    let mut inputs = whole.inputs.lock().unwrap_or_else(PoisonError::into_inner);
    let own = inputs.next;
    inputs.next = (own + 1) % KEYS;
    let text = bytes.split(|byte| *byte == b'~').collect::<Vec<_>>().join(whole.keys[own].as_bytes());
    let Ok(mut stream) = UnixStream::connect(&whole.socket) else { panic!("the sidecar is gone") };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(15)));
    let _ = stream.write_all(&text);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answers = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answers) {
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "the connection stays open");
    }
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    let answered = answers.windows(9).filter(|nine| nine == b"HTTP/1.1 " || nine == b"HTTP/1.0 ").count();
    inputs.last.insert(own, Count { requests: 0, answers: answered });
    for head in &seen {
        let text = String::from_utf8_lossy(head);
        let (line, fields) = text.trim_end().split_once("\r\n").unwrap_or((&text, ""));
        let words: Vec<_> = line.split(' ').collect();
        assert!(words.len() == 3 && words[1].starts_with('/') && words[2] == "HTTP/1.1", "{line}");
        let named = |want: &str| -> Vec<&str> {
            let fold = |name: &str| name.to_ascii_lowercase().replace('_', "-");
            fields
                .split("\r\n")
                .filter_map(|field| field.split_once(':'))
                .filter(|(name, _)| fold(name) == want)
                .map(|(_, value)| value.trim())
                .collect()
        };
        assert!(fields.split("\r\n").all(|field| field.contains(':') && !field.starts_with([' ', '\t'])), "{fields}");
        assert_eq!(named("x-forwarded-account"), ["app"]);
        let number = match named("x-forwarded-key")[..] {
            [id] => whole.numbers.get(id),
            _ => None,
        };
        let Some(count) = number.and_then(|number| inputs.last.get_mut(number)) else { panic!("a key that no input had: {fields}") };
        count.requests += 1;
        // One whose body broke off may have been seen and have no answer any more.
        assert!(count.requests <= count.answers + 1, "{} requests and {} answers", count.requests, count.answers);
        assert!(named("x-forwarded-user").len() <= 1 && named("x-request-id").len() == 1 && named("host").len() == 1, "{fields}");
        assert!(
            named("x-access-key-id").is_empty() && named("x-access-key-secret").is_empty() && named("authorization").is_empty(),
            "{fields}"
        );
        assert!(named("content-length").len() + named("transfer-encoding").len() <= 1, "{fields}");
        assert!(!text.contains("vsk_"), "a secret reached the service");
    }
});
