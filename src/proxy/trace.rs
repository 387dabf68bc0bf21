//! W3C Trace Context: carried through, and made where it is missing.
//!
//! A trace that came is left as it came, unless Vicar exports spans: then its own span stands between the caller's
//! and the upstream's.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::request_id::RequestIds;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace a request belongs to.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    id: [u8; 32],
    /// The caller's span, if the trace came with the request.
    parent: Option<[u8; 16]>,
    /// Vicar's own span.
    span: [u8; 16],
    sampled: Sampled,
}

/// Whether whoever began the trace wants it recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sampled {
    Yes,
    No,
}

/// The trace that the caller's one `traceparent` names in the right form, or a new one.
#[must_use]
pub(super) fn of(headers: &HeaderMap, ids: &RequestIds) -> Trace {
    let mut came = headers.get_all(TRACEPARENT).iter();
    let came = came.next().filter(|_| came.next().is_none()).and_then(|value| parse(value.as_bytes(), ids));
    came.unwrap_or_else(|| {
        let bits = u128::from(ids.bits()) << 64 | u128::from(ids.bits() | 1);
        Trace { id: hex(bits.to_be_bytes()), parent: None, span: span(ids), sampled: Sampled::Yes }
    })
}

/// `00-` 32 hex `-` 16 hex `-` 2 hex, neither id all zero. What a later version puts behind that is not looked at.
fn parse(value: &[u8], ids: &RequestIds) -> Option<Trace> {
    let (version, rest) = value.split_first_chunk::<2>()?;
    let (id, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<32>()?;
    let (parent, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
    let (flags, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<2>()?;
    let known = version != b"ff" && (rest.is_empty() || version != b"00" && rest.starts_with(b"-"));
    let shaped = is_hex(version) && is_hex(id) && is_hex(parent) && is_hex(flags);
    if !shaped || !known || id == &[b'0'; 32] || parent == &[b'0'; 16] {
        return None;
    }
    // The lowest bit of the flags.
    let sampled = if flags.last().is_some_and(|digit| digit % 2 == 1) != flags.last().is_some_and(u8::is_ascii_lowercase) {
        Sampled::Yes
    } else {
        Sampled::No
    };
    Some(Trace { id: *id, parent: Some(*parent), span: span(ids), sampled })
}

fn is_hex<const N: usize>(text: &[u8; N]) -> bool {
    // Without a branch inside, so that it is vectorised.
    text.iter().fold(0, |strange, b| strange | u8::from(!matches!(b, b'0'..=b'9' | b'a'..=b'f'))) == 0
}

/// A new span's id, which is never all zero.
fn span(ids: &RequestIds) -> [u8; 16] {
    hex((ids.bits() | 1).to_be_bytes())
}

fn hex<const BYTES: usize, const DIGITS: usize>(bytes: [u8; BYTES]) -> [u8; DIGITS] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    let mut text = [0; DIGITS];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
    text
}

impl Trace {
    /// The trace id, 32 hex digits.
    pub(super) fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or_default()
    }

    /// The caller's span, 16 hex digits.
    pub(super) fn parent(&self) -> Option<&str> {
        self.parent.as_ref().and_then(|span| std::str::from_utf8(span).ok())
    }

    /// Vicar's own span, 16 hex digits.
    pub(super) fn span(&self) -> &str {
        std::str::from_utf8(&self.span).unwrap_or_default()
    }

    /// Whether whoever began the trace wants it recorded.
    pub(super) fn sampled(&self) -> bool {
        self.sampled == Sampled::Yes
    }

    /// Puts the trace on the request upstream: one that came stays as it is.
    pub(super) fn carry_on(&self, headers: &mut HeaderMap) {
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
            self.write(headers, "00");
        }
    }

    /// Puts the trace on the request upstream with Vicar's own span as the parent, since that is exported.
    pub(super) fn carry_on_from_here(&self, headers: &mut HeaderMap) {
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
        self.write(headers, if self.sampled() { "01" } else { "00" });
    }

    fn write(&self, headers: &mut HeaderMap, flags: &str) {
        let mut text = Vec::with_capacity(55);
        for part in [b"00-", &self.id[..], b"-", &self.span[..], b"-", flags.as_bytes()] {
            text.extend_from_slice(part);
        }
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            headers.insert(TRACEPARENT, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(value: &str) -> Option<Trace> {
        parse(value.as_bytes(), &RequestIds::new().unwrap())
    }

    #[test]
    fn the_lowest_flag_says_whether_a_trace_is_wanted() {
        for (flags, wanted) in [("00", false), ("01", true), ("02", false), ("0a", false), ("0b", true), ("ff", true), ("fe", false)] {
            let trace = came(&format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}")).unwrap();
            assert_eq!(trace.sampled(), wanted, "{flags}");
        }
    }

    #[test]
    fn a_later_version_may_say_more() {
        assert!(came("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").is_some());
        assert!(came("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some());
        assert!(came("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more").is_none());
    }

    #[test]
    fn what_is_no_traceparent_begins_a_new_trace() {
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        ] {
            assert!(came(bad).is_none(), "{bad}");
        }
    }
}
