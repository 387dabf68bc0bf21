//! Requests that two servers might read in two ways, made from lists rather than written one by one.
//!
//! Each hides a second request (`/user/2/SMUGGLED`) where a server that frames the first differently would find it.

#![allow(unreachable_pub, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use super::support::Key;

/// The path of every hidden request.
pub const HIDDEN: &str = "/user/2/SMUGGLED";

/// One mutant: bytes to send on a connection of their own.
#[derive(Debug, Clone)]
pub struct Mutant {
    /// What it tries, for people.
    pub name: String,
    pub bytes: Vec<u8>,
    /// Whether the hidden request carries a good key, so that it may go upstream if it is audited as its own.
    pub hidden: Hidden,
}

/// What the hidden request claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// No key, but an identity of its own making: it must never reach a service.
    Forged,
    /// A good key. It may reach a service only with a record of its own, and never behind an ambiguous request.
    Keyed,
    /// There is none.
    Absent,
}

/// Everything a mutant needs to look like a good caller's request.
pub struct Maker {
    credentials: Vec<u8>,
    forged: Vec<u8>,
    keyed: Vec<u8>,
    made: Vec<Mutant>,
}

/// The whole corpus, for a caller with this key.
pub fn corpus(key: &Key) -> Vec<Mutant> {
    let credentials = format!("Host: vicar.test\r\nX-Access-Key-Id: {}\r\nX-Access-Key-Secret: {}\r\n", key.id, key.secret);
    let forged =
        format!("GET {HIDDEN} HTTP/1.1\r\nHost: vicar.test\r\nX-Forwarded-User: ceo@acme.example\r\nX-Forwarded-Account: root\r\n\r\n");
    let keyed = format!("GET {HIDDEN} HTTP/1.1\r\n{credentials}\r\n");
    let mut maker = Maker { credentials: credentials.into(), forged: forged.into(), keyed: keyed.into(), made: Vec::new() };
    maker.codings();
    maker.lengths();
    maker.bodies_nobody_expects();
    maker.chunks();
    maker.trailers();
    maker.lines();
    maker.heads();
    maker.expectations();
    maker.pipelines();
    maker.made
}

/// Ways to write `Transfer-Encoding: chunked` that some server has read and another has not.
const CODINGS: &[&[u8]] = &[
    b"Transfer-Encoding: chunked",
    b"transfer-encoding: chunked",
    b"TRANSFER-ENCODING: CHUNKED",
    b"Transfer-Encoding: chunKed",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:  chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: chunked\t",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding:\n chunked",
    b"Transfer-Encoding\n: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\r\rTransfer-Encoding: chunked",
    b"X: y\r\n\rTransfer-Encoding: chunked",
    b"X:y\0Transfer-Encoding: chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: \x0cchunked",
    b"Transfer-Encoding:\x00chunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: chunked\x0b",
    b"Transfer-Encoding: \x01chunked",
    b"Transfer-Encoding: chu\0nked",
    b"Transfer-Encoding: \xa0chunked",
    b"Transfer-Encoding\xa0: chunked",
    b"Transfer-Encoding\0: chunked",
    b"\0Transfer-Encoding: chunked",
    b"Transfer-Encoding: \xefchunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx",
    b"Transfer-Encoding: x-chunked",
    b"Transfer-Encoding: \"chunked\"",
    b"Transfer-Encoding: 'chunked'",
    b"Transfer-Encoding: (chunked)",
    b"Transfer-Encoding: chunked;",
    b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunked,",
    b"Transfer-Encoding: chunked chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip",
    b"Transfer-Encoding:",
    b"Transfer_Encoding: chunked",
    b"Transfer.Encoding: chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-Encoding; chunked",
    b"Transfer-Encoding chunked",
    b"X-Transfer-Encoding: chunked",
    b"Content-Encoding: chunked",
    b"TE: chunked",
    b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
    b"Connection: Content-Length\r\nTransfer-Encoding: chunked",
    b"Expect: 100-continue\r\nTransfer-Encoding: chunked",
];

/// Ways to write a length of 5.
const LENGTHS: &[&[u8]] = &[
    b"Content-Length: 5",
    b"content-length:5",
    b"Content-Length: 5\r\nContent-Length: 5",
    b"Content-Length: 5\r\nContent-Length: 200",
    b"Content-Length: 200\r\nContent-Length: 5",
    b"Content-Length: 0\r\nContent-Length: 5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5,200",
    b"Content-Length: 5 200",
    b"Content-Length: +5",
    b"Content-Length: -5",
    b"Content-Length: -0",
    b"Content-Length: 0x5",
    b"Content-Length: 05",
    b"Content-Length: 000000000000000000000000000005",
    b"Content-Length: 5.0",
    b"Content-Length: 5e0",
    b"Content-Length: 5;",
    b"Content-Length: \"5\"",
    b"Content-Length: 5_0",
    b"Content-Length: \xd9\xa5",
    b"Content-Length: ",
    b"Content-Length: x",
    b"Content-Length: 5\x00",
    b"Content-Length: \x005",
    b"Content-Length: 5\x0b",
    b"Content-Length: \x0c5",
    b"Content-Length: 5\r",
    b"Content-Length: 5\rX: y",
    b"Content-Length: 5\nX: y",
    b"Content-Length: 5\r\n 0",
    b"Content-Length:\r\n 5",
    b"Content-Length : 5",
    b"Content-Length\t: 5",
    b" Content-Length: 5",
    b"X: y\r\n Content-Length: 5",
    b"Content_Length: 5",
    b"Content.Length: 5",
    b"Content Length: 5",
    b"Content-Length\0: 5",
    b"Content-Length\xa0: 5",
    b"Content-Length: 18446744073709551615",
    b"Content-Length: 18446744073709551616",
    b"Content-Length: 18446744073709551621",
    b"Content-Length: 9223372036854775807",
    b"Content-Length: 4294967301",
    b"Content-Length: 99999999999999999999999999",
    b"Connection: Content-Length\r\nContent-Length: 5",
    b"Connection: close\r\nContent-Length: 5",
];

/// Ways to write the line before a chunk of five bytes, and the line end behind it.
const CHUNK_LINES: &[&[u8]] = &[
    b"5\r\n",
    b"05\r\n",
    b"0000000000000005\r\n",
    b"00000000000000000000005\r\n",
    b"0x5\r\n",
    b"0X5\r\n",
    b"+5\r\n",
    b"-5\r\n",
    b" 5\r\n",
    b"\t5\r\n",
    b"5 \r\n",
    b"5\t\r\n",
    b"5 x\r\n",
    b"5 5\r\n",
    b"5;\r\n",
    b"5;a\r\n",
    b"5;a=b\r\n",
    b"5;a=\"b\"\r\n",
    b"5;a=\"b\r\nc\"\r\n",
    b"5 ;a=b\r\n",
    b"5; a = b\r\n",
    b"5;;;\r\n",
    b"5;a\n\r\n",
    b"5;\n",
    b"5;\r\r\n",
    b"5;\0\r\n",
    b"5;a=\"\r\n0\r\n\r\n\"\r\n",
    b"5\n",
    b"5\r",
    b"5\r\r\n",
    b"5\n\r\n",
    b"\r\n5\r\n",
    b"\n5\r\n",
    b"5\0\r\n",
    b"\x005\r\n",
    b"5.0\r\n",
    b"5e0\r\n",
    b"5,5\r\n",
    b"g\r\n",
    b"\xd9\xa5\r\n",
    b"",
    b"\r\n",
    b"8000000000000005\r\n",
    b"10000000000000005\r\n",
    b"fffffffffffffffb\r\n",
    b"ffffffffffffffff\r\n",
    b"fffffffffffffffff\r\n",
    b"7fffffffffffffff\r\n",
    b"100000005\r\n",
    b"5\x0b\r\n",
    b"5\x0c\r\n",
    b"5h\r\n",
    b"5#\r\n",
    b"5%20\r\n",
];

/// Ways to end a chunked body.
const CHUNK_ENDS: &[&[u8]] = &[
    b"0\r\n\r\n",
    b"00\r\n\r\n",
    b"0;a\r\n\r\n",
    b"0;a=\"b\r\nc\"\r\n\r\n",
    b"0 \r\n\r\n",
    b"0\n\n",
    b"0\r\n\n",
    b"0\n\r\n",
    b"0\r\r\n\r\n",
    b"0\r\n\r\r\n",
    b"-0\r\n\r\n",
    b"0x0\r\n\r\n",
    b"0\r\n",
    b"0",
    b"",
    b"\r\n0\r\n\r\n",
    b"0\0\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\n: x\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\n X: y\r\n\r\n",
    b"0\r\nX: y\n\r\n",
    b"0\r\nX: a\0b\r\n\r\n",
    b"0\r\nX: a\rb\r\n\r\n",
];

/// Trailers that a server may fold into the head.
const TRAILERS: &[&str] = &[
    "Content-Length: 50",
    "Transfer-Encoding: chunked",
    "Host: other.test",
    "X-Forwarded-User: ceo@acme.example",
    "x_forwarded_user: ceo@acme.example",
    "X-Forwarded-Account: root",
    "X-Forwarded-Account: root\r\nX-Forwarded-Account: root",
    "X-Request-Id: forged",
    "Authorization: Basic eDp5",
    "Cookie: a=b",
    "Connection: close, X-Forwarded-User",
    "Expect: 100-continue",
    "Upgrade: h2c",
    "X-HTTP-Method-Override: DELETE",
    "Content-Type: text/html",
    "X-Access-Key-Id: VKAAAAAAAAAAAAAAAAAAAA",
];

/// Line ends, and what looks like one.
const ENDS: &[&[u8]] =
    &[b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r", b"\0\r\n", b"\x0b\r\n", b"\x0c", b"\xe2\x80\xa8", b"\x85", b"\r\n \r\n", b"\r\n\t"];

/// Request lines; `PATH` stands for a path that is allowed.
const REQUEST_LINES: &[&[u8]] = &[
    b"GET PATH HTTP/1.0",
    b"GET PATH HTTP/0.9",
    b"GET PATH",
    b"GET PATH ",
    b"GET PATH HTTP/1.2",
    b"GET PATH HTTP/2.0",
    b"GET PATH HTTP/1.10",
    b"GET PATH HTTP/1.1 HTTP/1.1",
    b"GET PATH HTTP/1.1 ",
    b"GET PATH http/1.1",
    b"GET PATH HTTP/1,1",
    b"GET PATH XTTP/1.1",
    b"GET  PATH HTTP/1.1",
    b"GET PATH  HTTP/1.1",
    b"GET\tPATH HTTP/1.1",
    b"GET PATH\tHTTP/1.1",
    b"GET\x0bPATH\x0bHTTP/1.1",
    b"\0GET PATH HTTP/1.1",
    b"GET\0 PATH HTTP/1.1",
    b"GET PATH\0 HTTP/1.1",
    b" GET PATH HTTP/1.1",
    b"get PATH HTTP/1.1",
    b"GET\r PATH HTTP/1.1",
    b"GET PATH\r HTTP/1.1",
    b"GET PATH HTTP/1.1\r",
    b"GET PATH HTTP/1.1\0",
    b"GET http://vicar.test/user/2/Ac1 HTTP/1.1",
    b"GET http://other.test/user/2/Ac1 HTTP/1.1",
    b"GET http://vicar.test@other.test/user/2/Ac1 HTTP/1.1",
    b"GET //other.test/user/2/Ac1 HTTP/1.1",
    b"GET vicar.test:80 HTTP/1.1",
    b"GET * HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT vicar.test:80 HTTP/1.1",
    b"CONNECT PATH HTTP/1.1",
    b"TRACE PATH HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"GET PATH#x HTTP/1.1",
    b"GET PATH?x=\r\n HTTP/1.1",
    b"GET PATH%0d%0aX:y HTTP/1.1",
    b"GET PATH?a%0d%0aHost:b HTTP/1.1",
    b"GET PATH?x HTTP/1.1\r\nX: y HTTP/1.1",
    b"GET \xe2\x80\xa8PATH HTTP/1.1",
    b"GET PATH HTTP/1.1\r\n",
    b"\r\nGET PATH HTTP/1.1",
    b"\r\n\r\n\nGET PATH HTTP/1.1",
    b"\rGET PATH HTTP/1.1",
    b"POST PATH HTTP/1.1",
    b"PUT PATH HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    b"GET PATH HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// Header lines that make one head look like another.
const HEADER_LINES: &[&[u8]] = &[
    b"Host: vicar.test",
    b"Host: other.test",
    b"Host : other.test",
    b"host: vicar.test\r\nHOST: other.test",
    b"X-Forwarded-User: ceo@acme.example",
    b"X_Forwarded_User: ceo@acme.example",
    b"X-Forwarded-User : ceo@acme.example",
    b"X-Forwarded-User\t: ceo@acme.example",
    b"X-Forwarded-User\0: ceo@acme.example",
    b" X-Forwarded-User: ceo@acme.example",
    b"X: y\r\n X-Forwarded-User: ceo@acme.example",
    b"X: y\nX-Forwarded-User: ceo@acme.example",
    b"X: y\rX-Forwarded-User: ceo@acme.example",
    b"X: y\0\r\nX-Forwarded-User: ceo@acme.example",
    b"X-Forwarded-User:\r\n ceo@acme.example",
    b"X-Forwarded-User\r\n: ceo@acme.example",
    b"X-Forwarded-Account: root",
    b"x-forwarded-account: root\r\nX-FORWARDED-ACCOUNT: root",
    b"Connection: X-Forwarded-User, X-Forwarded-Account",
    b"Connection: close\r\nConnection: X-Forwarded-Account",
    b"Connection: \xa0X-Forwarded-Account",
    b"Connection:",
    b"Connection: keep-alive, close, keep-alive",
    b"Proxy-Connection: X-Forwarded-Account",
    b"Keep-Alive: timeout=999999",
    b"NoColonAtAll",
    b": no name",
    b":",
    b"X: y\r\n\tz",
    b"X:\x7f",
    b"X: \x08",
    b"X-\xff: y",
    b"X: \xff\xfe",
    b"X-Original-URL: /user/2/SMUGGLED",
    b"X-HTTP-Method-Override: DELETE",
    b"Content-Type: application/json\r\nContent-Type: text/html",
    b"Trailer: X-Forwarded-User",
    b"TE: trailers, chunked",
    b"Expect: 200-ok",
    b"Range: bytes=0-18446744073709551615",
];

impl Maker {
    fn add(&mut self, name: String, hidden: Hidden, parts: &[&[u8]]) {
        self.made.push(Mutant { name, bytes: parts.concat(), hidden });
    }

    /// A path of its own for each mutant, so that what a service saw can be told apart.
    fn path(&self) -> String {
        format!("/process/2/Ac1/M{}", self.made.len())
    }

    fn head(&self, method: &str) -> Vec<u8> {
        [format!("{method} {} HTTP/1.1\r\n", self.path()).as_bytes(), &self.credentials, b"Content-Type: application/json\r\n"].concat()
    }

    fn hidden(&self, hidden: Hidden) -> Vec<u8> {
        match hidden {
            Hidden::Forged => self.forged.clone(),
            Hidden::Keyed => self.keyed.clone(),
            Hidden::Absent => Vec::new(),
        }
    }

    /// CL.TE, TE.CL and TE.TE: one reading takes the length, the other the chunks.
    fn codings(&mut self) {
        for coding in CODINGS {
            let shown = super::support::shown(coding);
            let hidden = self.hidden(Hidden::Forged);
            // The chunks end at once; the length covers the hidden request.
            let body = [b"0\r\n\r\n".as_slice(), &hidden].concat();
            let length = format!("Content-Length: {}", body.len());
            for lines in [[length.as_bytes(), coding], [coding, length.as_bytes()]] {
                let head = self.head("POST");
                self.add(format!("CL.TE {shown}"), Hidden::Forged, &[&head, &lines.join(&b"\r\n"[..]), b"\r\n\r\n", &body]);
            }
            // The length ends before the hidden request; one chunk covers it.
            let size = format!("{:x}\r\n", hidden.len());
            let body = [size.as_bytes(), &hidden, b"\r\n0\r\n\r\n"].concat();
            let length = format!("Content-Length: {}", size.len());
            for lines in [[length.as_bytes(), coding], [coding, length.as_bytes()]] {
                let head = self.head("POST");
                self.add(format!("TE.CL {shown}"), Hidden::Forged, &[&head, &lines.join(&b"\r\n"[..]), b"\r\n\r\n", &body]);
            }
            // No length at all.
            for method in ["POST", "GET"] {
                let head = self.head(method);
                self.add(format!("TE.0 {method} {shown}"), Hidden::Forged, &[&head, coding, b"\r\n\r\n", &body]);
            }
        }
    }

    fn lengths(&mut self) {
        for length in LENGTHS {
            for (method, hidden) in [("POST", Hidden::Forged), ("GET", Hidden::Forged), ("DELETE", Hidden::Keyed)] {
                let (head, behind) = (self.head(method), self.hidden(hidden));
                let name = format!("CL {method} {}", super::support::shown(length));
                self.add(name, hidden, &[&head, length, b"\r\n\r\n[1,2]", &behind]);
            }
        }
    }

    /// CL.0: a body that a server leaves unread, on every kind of endpoint and answer.
    fn bodies_nobody_expects(&mut self) {
        let hidden = self.hidden(Hidden::Forged);
        let length = format!("Content-Length: {}\r\n\r\n", hidden.len());
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW", "TRACE", "CONNECT"] {
            for path in ["/user/2/Ac1", "/nowhere", "/.vicar/whoami", "/process/2/Ac1/admin", "/", "/user/2/../Ac1"] {
                let head =
                    [format!("{method} {path} HTTP/1.1\r\n").as_bytes(), &self.credentials, b"Content-Type: application/json\r\n"].concat();
                self.add(format!("CL.0 {method} {path}"), Hidden::Forged, &[&head, length.as_bytes(), &hidden]);
            }
        }
        for head in [
            "POST /user/2/Ac1 HTTP/1.1\r\nHost: vicar.test\r\n",
            "POST /user/2/Ac1 HTTP/1.1\r\nHost: vicar.test\r\nX-Access-Key-Id: VKAAAAAAAAAAAAAAAAAAAA\r\nX-Access-Key-Secret: x\r\n",
            "POST /user/2/Ac1 HTTP/1.0\r\nHost: vicar.test\r\nConnection: keep-alive\r\n",
        ] {
            self.add("CL.0 without a key".to_owned(), Hidden::Forged, &[head.as_bytes(), length.as_bytes(), &hidden]);
        }
    }

    fn chunks(&mut self) {
        for line in CHUNK_LINES {
            for hidden in [Hidden::Forged, Hidden::Keyed] {
                let (head, behind) = (self.head("POST"), self.hidden(hidden));
                let name = format!("chunk line {}", super::support::shown(line));
                self.add(name, hidden, &[&head, b"Transfer-Encoding: chunked\r\n\r\n", line, b"[1,2]\r\n0\r\n\r\n", &behind]);
            }
        }
        for end in CHUNK_ENDS {
            for hidden in [Hidden::Forged, Hidden::Keyed] {
                let (head, behind) = (self.head("POST"), self.hidden(hidden));
                let name = format!("chunk end {}", super::support::shown(end));
                self.add(name, hidden, &[&head, b"Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n", end, &behind]);
            }
        }
        for (what, data) in [
            ("short", &b"[1]\r\n"[..]),
            ("long", b"[1,2,3]\r\n"),
            ("no end", b"[1,2]"),
            ("LF", b"[1,2]\n"),
            ("CR", b"[1,2]\r"),
            ("LF CR", b"[1,2]\n\r"),
            ("spaces", b"[1,2]  \r\n"),
        ] {
            let (head, behind) = (self.head("POST"), self.hidden(Hidden::Forged));
            self.add(
                format!("chunk data {what}"),
                Hidden::Forged,
                &[&head, b"Transfer-Encoding: chunked\r\n\r\n5\r\n", data, b"0\r\n\r\n", &behind],
            );
        }
        let (head, behind) = (self.head("POST"), self.hidden(Hidden::Forged));
        let long = vec![b'a'; 20 << 10];
        self.add(
            "chunk extension of 20 KiB".to_owned(),
            Hidden::Forged,
            &[&head, b"Transfer-Encoding: chunked\r\n\r\n5;", &long, b"\r\n[1,2]\r\n0\r\n\r\n", &behind],
        );
    }

    fn trailers(&mut self) {
        for trailer in TRAILERS {
            for announced in ["", "Trailer: X-Forwarded-User, X-Forwarded-Account, X-Request-Id, Content-Length, Host\r\nTE: trailers\r\n"]
            {
                let (head, behind) = (self.head("POST"), self.hidden(Hidden::Keyed));
                let body = format!("{announced}Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n{trailer}\r\n\r\n");
                self.add(format!("trailer {trailer}"), Hidden::Keyed, &[&head, body.as_bytes(), &behind]);
            }
        }
    }

    /// Line ends of other kinds, at every place where one stands.
    fn lines(&mut self) {
        for end in ENDS {
            for place in 0..4 {
                let ends: Vec<&[u8]> = (0..4).map(|at| if at == place { *end } else { &b"\r\n"[..] }).collect();
                let line = format!("GET {} HTTP/1.1", self.path());
                let credentials = self.credentials.clone();
                let behind = self.hidden(Hidden::Forged);
                let name = format!("line end {} at {place}", super::support::shown(end));
                self.add(
                    name,
                    Hidden::Forged,
                    &[line.as_bytes(), ends[0], &credentials, b"X-One: 1", ends[1], b"X-Two: 2", ends[2], ends[3], &behind],
                );
            }
        }
    }

    fn heads(&mut self) {
        for line in REQUEST_LINES {
            for hidden in [Hidden::Forged, Hidden::Absent] {
                let path = self.path();
                let line =
                    String::from_utf8_lossy(line).into_owned().replace("PATH", &path.replace("process", "user").replace("/Ac1/", "/"));
                let (credentials, behind) = (self.credentials.clone(), self.hidden(hidden));
                self.add(format!("request line {line:?}"), hidden, &[line.as_bytes(), b"\r\n", &credentials, b"\r\n", &behind]);
            }
        }
        for line in HEADER_LINES {
            for (hidden, first) in [(Hidden::Forged, true), (Hidden::Keyed, false)] {
                let start = format!("GET {} HTTP/1.1\r\n", self.path().replace("process", "user").replace("/Ac1/", "/"));
                let (credentials, behind) = (self.credentials.clone(), self.hidden(hidden));
                let line = [line, &b"\r\n"[..]].concat();
                let lines: [&[u8]; 2] = if first { [&line, &credentials] } else { [&credentials, &line] };
                let name = format!("header line {}", super::support::shown(&line));
                self.add(name, hidden, &[start.as_bytes(), lines[0], lines[1], b"\r\n", &behind]);
            }
        }
    }

    fn expectations(&mut self) {
        for expect in ["100-continue", "100-Continue", "100-continue, 100-continue", "x", "", "100-continue\r\nExpect: 100-continue"] {
            for framing in ["Content-Length: 5\r\n\r\n[1,2]", "Transfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n0\r\n\r\n", "\r\n"] {
                let (head, behind) = (self.head("POST"), self.hidden(Hidden::Forged));
                self.add(
                    format!("expect {expect}"),
                    Hidden::Forged,
                    &[&head, format!("Expect: {expect}\r\n{framing}").as_bytes(), &behind],
                );
            }
        }
    }

    /// A good request behind a bad one is never read.
    fn pipelines(&mut self) {
        for bad in [
            &b"GET /user/2/../Ac1 HTTP/1.1\r\n"[..],
            b"GET /user/2/Ac1#x HTTP/1.1\r\n",
            b"GET //user/2/Ac1 HTTP/1.1\r\n",
            b"TRACE /user/2/Ac1 HTTP/1.1\r\n",
            b"CONNECT vicar.test:80 HTTP/1.1\r\n",
            b"nonsense\r\n",
            b"GET /user/2/Ac1 HTTP/1.1\r\nHost: other.test\r\n",
            b"GET /user/2/Ac1 HTTP/1.1\r\nContent-Length: x\r\n",
            b"GET /user/2/Ac1 HTTP/1.1\r\nTransfer-Encoding: x\r\n",
            b"GET /user/2/Ac1 HTTP/1.1\r\nX-Original-URL: /\r\n",
        ] {
            let (credentials, behind) = (self.credentials.clone(), self.hidden(Hidden::Keyed));
            let name = format!("behind {}", super::support::shown(bad));
            self.add(name, Hidden::Keyed, &[bad, &credentials, b"\r\n", &behind, &behind]);
        }
    }
}
