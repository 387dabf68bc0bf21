use proptest::prelude::*;

use super::*;

const STRICT: PathRules = PathRules { allow_parameters: false };
const LAX: PathRules = PathRules { allow_parameters: true };

fn canonical(raw: &str) -> Result<String, PathError> {
    CanonicalPath::parse(raw, STRICT).map(|path| path.as_str().to_owned())
}

fn values(path: &CanonicalPath<'_>) -> Vec<String> {
    path.segments().map(|segment| segment.decode().into_owned()).collect()
}

#[test]
fn a_plain_path_is_borrowed_and_stays_as_it_is() {
    for raw in ["/", "/a", "/a/", "/user/2/Ac1", "/a-b_c.d~e/!$&'()*+,=:@", "/...", "/..a", "/a..", "/%20", "/%E2%82%AC"] {
        let path = CanonicalPath::parse(raw, STRICT).unwrap();
        assert_eq!(path.as_str(), raw);
        assert!(path.is_as_sent(), "{raw}");
    }
}

#[test]
fn escapes_are_written_in_one_way() {
    assert_eq!(canonical("/%7Euser/%41%62c/%2dx"), Ok("/~user/Abc/-x".to_owned()));
    assert_eq!(canonical("/a%c3%a9"), Ok("/a%C3%A9".to_owned()));
    assert_eq!(canonical("/é/ü"), Ok("/%C3%A9/%C3%BC".to_owned()));
    assert_eq!(canonical("/100%25"), Ok("/100%25".to_owned()));
    assert_eq!(canonical("/%25zz"), Ok("/%25zz".to_owned()));
    // What is reserved stays escaped: `%40` and `@` may differ for the service.
    assert_eq!(canonical("/a%40b/a@b"), Ok("/a%40b/a@b".to_owned()));
}

#[test]
fn what_two_servers_could_read_in_two_ways_is_refused() {
    use PathError as E;
    for (raw, error) in [
        ("", E::NotAbsolute),
        ("*", E::NotAbsolute),
        ("a/b", E::NotAbsolute),
        ("http://host/a", E::NotAbsolute),
        ("/.", E::DotSegment),
        ("/a/..", E::DotSegment),
        ("/a/../b", E::DotSegment),
        ("/a/%2e/b", E::DotSegment),
        ("/a/%2E%2e/b", E::DotSegment),
        ("/a/.%2e", E::DotSegment),
        ("/a/./", E::DotSegment),
        ("//", E::EmptySegment),
        ("//a", E::EmptySegment),
        ("/a//b", E::EmptySegment),
        ("/a//", E::EmptySegment),
        ("/a%2Fb", E::EscapedSlash),
        ("/a%2fb", E::EscapedSlash),
        ("/..%2fb", E::EscapedSlash),
        ("/a\\b", E::Backslash),
        ("/a%5Cb", E::Backslash),
        ("/..%5c..", E::Backslash),
        ("/a%00b", E::Control),
        ("/a\0b", E::Control),
        ("/a%0d%0aX: y", E::Control),
        ("/a\tb", E::Control),
        ("/a%7F", E::Control),
        // The C1 set, as UTF-8: NEL ends a line for some.
        ("/a%C2%85", E::Control),
        ("/a\u{85}", E::Control),
        ("/%", E::BadEscape),
        ("/%2", E::BadEscape),
        ("/%zz", E::BadEscape),
        ("/%u002e", E::BadEscape),
        ("/%+2e", E::BadEscape),
        // Overlong: `/` and `.` in two and three bytes.
        ("/%C0%AF", E::NotUtf8),
        ("/%c0%ae%c0%ae", E::NotUtf8),
        ("/%E0%80%AF", E::NotUtf8),
        ("/%F0%80%80%AE", E::NotUtf8),
        ("/%FF", E::NotUtf8),
        ("/%C3", E::NotUtf8),
        // Half of a surrogate pair, and beyond Unicode.
        ("/%ED%A0%80", E::NotUtf8),
        ("/%F4%90%80%80", E::NotUtf8),
        ("/%252e", E::DoubleEscape),
        ("/%252F", E::DoubleEscape),
        ("/%25%32%65", E::DoubleEscape),
        ("/%25252e", E::DoubleEscape),
        ("/%25u002e", E::DoubleEscape),
        ("/%25U002e", E::DoubleEscape),
        ("/a;b=c", E::Parameters),
        ("/a%3bb", E::Parameters),
        ("/..;/b", E::Parameters),
        ("/a#b", E::Fragment),
        ("/a b", E::Unescaped(' ')),
        ("/a\"b", E::Unescaped('"')),
        ("/a<b>", E::Unescaped('<')),
        ("/a|b", E::Unescaped('|')),
        ("/a{b}", E::Unescaped('{')),
        ("/a^b", E::Unescaped('^')),
        ("/a`b", E::Unescaped('`')),
        ("/[a]", E::Unescaped('[')),
        ("/a?b", E::Unescaped('?')),
    ] {
        assert_eq!(canonical(raw), Err(error), "{raw:?}");
    }
    assert_eq!(CanonicalPath::parse_bytes(b"/a\xFFb", STRICT), Err(E::NotUtf8));
}

#[test]
fn parameters_pass_where_they_are_allowed_and_count_for_nothing() {
    let path = CanonicalPath::parse("/a;v=1/b;x;y=%7e/c", LAX).unwrap();
    assert_eq!(path.as_str(), "/a;v=1/b;x;y=~/c");
    assert_eq!(values(&path), ["a", "b", "c"]);
    for (raw, error) in [
        ("/..;a", PathError::DotSegment),
        ("/.;/b", PathError::DotSegment),
        ("/%2e%2e;a", PathError::DotSegment),
        ("/;a/b", PathError::EmptySegment),
        ("/a%3Bb", PathError::Parameters),
        ("/a;%2e%2e%2f", PathError::EscapedSlash),
    ] {
        assert_eq!(CanonicalPath::parse(raw, LAX), Err(error), "{raw}");
    }
}

#[test]
fn an_error_says_what_to_write() {
    assert_eq!(canonical("/a b").unwrap_err().to_string(), "the path holds ' ' as it is: write %20");
    assert!(canonical("/%").unwrap_err().to_string().contains("%25"));
}

// ===== whatever is sent =====

/// Paths with more than their share of what goes wrong.
fn paths() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z0-9]{1,4}",
        2 => prop::sample::select(vec!["/", "/", "/", ".", "..", ";", "%", "\\", "#", "@", "~", "é", "€", "\u{85}", "\0", " "]).prop_map(str::to_owned),
        3 => any::<u8>().prop_map(|byte| format!("%{byte:02x}")),
        2 => prop::sample::select(vec!["2e", "2E", "2f", "5c", "25", "3b", "00", "c0", "af", "7e", "41", "C3", "a9"]).prop_map(|hex| format!("%{hex}")),
        1 => "\\PC{0,3}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// How the laxest server decodes: every escape it can find, and nothing is an error.
fn decode_naively(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%'
            && let [high, low, after @ ..] = tail
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            out.push(high << 4 | low);
            rest = after;
        } else {
            out.push(*first);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_canonical_stays_so(raw in paths(), lax: bool) {
        let rules = PathRules { allow_parameters: lax };
        if let Ok(path) = CanonicalPath::parse(&raw, rules) {
            let again = CanonicalPath::parse(path.as_str(), rules).unwrap();
            prop_assert!(again.is_as_sent(), "{path:?} became {again:?}");
            prop_assert_eq!(values(&path), values(&again));
        }
    }

    #[test]
    fn what_passes_is_safe_in_every_reading(raw in paths(), lax: bool) {
        let rules = PathRules { allow_parameters: lax };
        let Ok(path) = CanonicalPath::parse(&raw, rules) else { return Ok(()) };
        let text = path.as_str();
        prop_assert!(text.is_ascii() && !text.bytes().any(|b| b.is_ascii_control() || b.is_ascii_whitespace()), "{text}");
        prop_assert!(!text.contains(['\\', '#', '?']) && !text.contains("//"), "{text}");
        prop_assert_eq!(text.ends_with('/'), raw.ends_with('/'));
        // A server that decodes before it splits sees as many segments as one that splits first, and no dots.
        let decoded = String::from_utf8(decode_naively(text)).expect("escapes are UTF-8");
        prop_assert_eq!(decoded.matches('/').count(), text.matches('/').count());
        prop_assert!(!decoded.contains('\\') && !decoded.chars().any(char::is_control), "{decoded:?}");
        for segment in decoded.split('/').skip(1) {
            let name = segment.split(';').next().unwrap_or_default();
            prop_assert!(!matches!(name, "." | ".."), "{decoded}");
        }
        // A server that decodes twice reads the same.
        prop_assert_eq!(String::from_utf8(decode_naively(&decoded)).unwrap(), decoded);
    }

    #[test]
    fn a_segment_decodes_to_what_any_server_makes_of_it(raw in paths()) {
        let Ok(path) = CanonicalPath::parse(&raw, STRICT) else { return Ok(()) };
        // Of the canonical text, and of what was sent.
        for text in [path.as_str(), &raw] {
            let trimmed = text.strip_prefix('/').unwrap();
            let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
            let naive: Vec<String> = if trimmed.is_empty() {
                Vec::new()
            } else {
                trimmed.split('/').map(|segment| String::from_utf8(decode_naively(segment)).unwrap()).collect()
            };
            prop_assert_eq!(values(&path), naive);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(raw in prop::collection::vec(any::<u8>(), 0..64)) {
        for rules in [STRICT, LAX] {
            if let Ok(path) = CanonicalPath::parse_bytes(&raw, rules) {
                prop_assert!(path.as_str().starts_with('/'));
            }
        }
    }
}
