//! Any bytes as the beginning of a connection from a load balancer: `tests/fuzz/run proxy_header`.
//!
//! A header that holds is read to its end and not a byte further, and means the same whatever follows it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use vicar::proxy::proxy_protocol::{self, Announced};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| match tokio::runtime::Builder::new_current_thread().build() {
    Ok(runtime) => runtime,
    Err(error) => panic!("{error}"),
});

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    let Ok(announced) = RUNTIME.block_on(proxy_protocol::read(&mut rest)) else { return };
    let header = bytes.get(..bytes.len() - rest.len()).unwrap_or_default();
    match header.first() {
        Some(b'P') => {
            assert!(header.len() <= 107 && header.ends_with(b"\r\n"));
            assert!(!header.get(..header.len() - 2).unwrap_or_default().windows(2).any(|pair| pair == b"\r\n"));
            if let Announced::Client(address) = announced {
                let word = String::from_utf8_lossy(header).split(' ').nth(2).map(str::to_owned).unwrap_or_default();
                assert_eq!(word.parse().ok(), Some(address), "{word}");
            }
        }
        Some(b'\r') => {
            let length = header.get(14..16).map_or(0, |length| usize::from(length[0]) << 8 | usize::from(length[1]));
            assert_eq!(header.len(), 16 + length);
        }
        first => panic!("{first:?} begins a header"),
    }
    let longer = [header, b"GET / HTTP/1.1\r\n\r\n"].concat();
    let mut again = longer.as_slice();
    assert_eq!(RUNTIME.block_on(proxy_protocol::read(&mut again)).ok(), Some(announced));
    assert_eq!(again, b"GET / HTTP/1.1\r\n\r\n");
});
