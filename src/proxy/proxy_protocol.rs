//! The PROXY protocol (HAProxy's `proxy-protocol.txt`, versions 1 and 2): who a load balancer says is calling.
//!
//! Only peers in `trusted_proxies` are heard, and they must say it: a listener that expects the header closes every
//! connection that begins with anything else.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What version 2 begins with; version 1 begins with `PROXY `.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, its CRLF included.
const LINE: usize = 107;
/// Longest block of version 2 that is read: its addresses, and what balancers add to them.
const BLOCK: u16 = 4096;

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// A client at this address.
    Client(IpAddr),
    /// The balancer itself (a health check), or somebody it cannot name.
    Nobody,
}

/// Reads the header and not a byte more.
///
/// # Errors
/// When there is none, or none that can be understood.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Announced> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == SIGNATURE {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let [command, family, high, low] = fixed;
        let length = u16::from_be_bytes([high, low]);
        if length > BLOCK {
            return Err(io::Error::other("a PROXY header of unreasonable length"));
        }
        let mut block = vec![0; length.into()];
        stream.read_exact(&mut block).await?;
        return second(command, family, &block).ok_or_else(|| io::Error::other("not a PROXY header of version 2"));
    }
    if !start.starts_with(b"PROXY ") {
        return Err(io::Error::other("no PROXY header"));
    }
    let mut line = start.to_vec();
    // A byte at a time, so that nothing behind the line is taken from it.
    while !line.ends_with(b"\r\n") {
        if line.len() >= LINE {
            return Err(io::Error::other("a PROXY line without end"));
        }
        line.push(stream.read_u8().await?);
    }
    first(&line).ok_or_else(|| io::Error::other("not a PROXY line"))
}

/// `PROXY TCP4 SOURCE DESTINATION SPORT DPORT`.
fn first(line: &[u8]) -> Option<Announced> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ');
    if words.next()? != "PROXY" {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Announced::Nobody);
    }
    let [source, destination, sport, dport] = [words.next()?, words.next()?, words.next()?, words.next()?];
    let port = |text: &str| !text.starts_with('+') && text.parse::<u16>().is_ok();
    if words.next().is_some() || !port(sport) || !port(dport) {
        return None;
    }
    let client = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some(Announced::Client(client))
}

fn second(command: u8, family: u8, block: &[u8]) -> Option<Announced> {
    match (command, family) {
        // LOCAL: the balancer's own connection; what stands in the block is to be ignored.
        (0x20, _) => Some(Announced::Nobody),
        (0x21, 0x11) => {
            let [source, _destination, ..] = *block.first_chunk::<12>()?.as_chunks::<4>().0 else { return None };
            Some(Announced::Client(Ipv4Addr::from(source).into()))
        }
        (0x21, 0x21) => {
            block.get(..36)?;
            Some(Announced::Client(Ipv6Addr::from(*block.first_chunk::<16>()?).into()))
        }
        // A Unix socket, UDP, or a family nobody has named: somebody, but no address.
        (0x21, _) => Some(Announced::Nobody),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(bytes: &[u8]) -> (io::Result<Announced>, Vec<u8>) {
        let mut rest = bytes;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let announced = runtime.block_on(read(&mut rest));
        (announced, rest.to_vec())
    }

    fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    #[test]
    fn a_client_is_named_by_either_version_and_nothing_behind_is_taken() {
        for (header, client) in [
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443\r\n".to_vec(), "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 ::1 5000 443\r\n".to_vec(), "2001:db8::7"),
            (version_2(0x21, 0x11, &[192, 0, 2, 7, 10, 0, 0, 1, 1, 2, 3, 4, 9, 9, 9]), "192.0.2.7"),
            (
                version_2(
                    0x21,
                    0x21,
                    &[[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], [1; 16]]
                        .concat()
                        .into_iter()
                        .chain([0; 4])
                        .collect::<Vec<u8>>(),
                ),
                "2001:db8::7",
            ),
        ] {
            let (announced, rest) = said(&[header, b"GET /".to_vec()].concat());
            assert_eq!(announced.unwrap(), Announced::Client(client.parse().unwrap()));
            assert_eq!(rest, b"GET /");
        }
    }

    #[test]
    fn a_health_check_of_the_balancer_names_nobody() {
        assert_eq!(said(b"PROXY UNKNOWN\r\n").0.unwrap(), Announced::Nobody);
        assert_eq!(said(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n").0.unwrap(), Announced::Nobody);
        assert_eq!(said(&version_2(0x20, 0, &[])).0.unwrap(), Announced::Nobody);
    }

    #[test]
    fn anything_else_is_no_header() {
        for wrong in [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 +443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 10.0.0.1 5000 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5000 443 more\r\n".to_vec(),
            [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
            version_2(0x21, 0x11, &[1, 2, 3]),
            version_2(0x31, 0x11, &[0; 12]),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(),
        ] {
            assert!(said(&wrong).0.is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), version in 0..3usize) {
            let start: &[u8] = [&b""[..], &SIGNATURE[..], b"PROXY "][version];
            let _ = said(&[start, &bytes].concat());
        }
    }
}
