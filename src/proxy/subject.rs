//! Step 7: the user a request is made for, from the header or from the JSON body.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::problem::{Code, Problem};
use crate::identity::Subject;

/// Reads the user named in the header, if it is there.
///
/// # Errors
/// `subject-malformed` when it names no single user.
pub fn from_header(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Subject>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::because(Code::SubjectMalformed, format!("The header {name} stands there more than once.")));
    }
    parse(value.as_bytes()).map(Some)
}

/// Reads the users that `pointers` (RFC 6901) find in a JSON `body`, and joins them with the header's.
///
/// # Errors
/// `subject-malformed` when the body is no JSON (RFC 8259 section 8.1: UTF-8 all through), repeats a key on the way, holds
/// something else than a string there, or when two places name two users.
pub fn from_body<'p>(
    header: Option<Subject>,
    body: &[u8],
    pointers: impl IntoIterator<Item = &'p str>,
) -> Result<Option<Subject>, Problem> {
    let mut subject = header;
    // All of it, or a service that reads what is no UTF-8 in a way of its own might read another document.
    let body = std::str::from_utf8(body)
        .map_err(|_| Problem::because(Code::SubjectMalformed, "The body cannot be read as JSON: it is not UTF-8."))?;
    for pointer in pointers {
        let Some(found) = look_up(body, pointer)? else { continue };
        let found = parse(found.as_bytes())?;
        match &subject {
            None => subject = Some(found),
            Some(known) if *known == found => {}
            Some(_) => {
                let detail = format!("The body at {pointer} names another user than the rest of the request.");
                return Err(Problem::because(Code::SubjectMalformed, detail));
            }
        }
    }
    Ok(subject)
}

/// Whether the service reads the bytes of a JSON body as [`from_body`] does.
///
/// # Errors
/// `subject-malformed` where the body is compressed, or in another character set than JSON's own (RFC 8259 §8.1).
pub fn readable(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |what: &str| Err(Problem::because(Code::SubjectMalformed, format!("The body names the user to act for, but is {what}.")));
    if headers.get_all(header::CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return refused("compressed: send it plain");
    }
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let foreign = content_type.split(|b| *b == b';').skip(1).any(|parameter| {
        let mut parts = parameter.splitn(2, |b| *b == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let value = parts.next().unwrap_or_default().trim_ascii();
        let value = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
        name.eq_ignore_ascii_case(b"charset") && !value.eq_ignore_ascii_case(b"utf-8") && !value.eq_ignore_ascii_case(b"utf8")
    });
    if foreign { refused("in another character set than UTF-8") } else { Ok(()) }
}

fn parse(raw: &[u8]) -> Result<Subject, Problem> {
    Subject::parse(raw).map_err(|error| {
        let words = error.to_string();
        let (first, rest) = words.split_at(words.ceil_char_boundary(1));
        Problem::instead(Code::SubjectMalformed, format!("{}{rest}.", first.to_uppercase()))
    })
}

/// The string at `pointer`, `None` where the body has nothing or `null` there.
fn look_up(body: &str, pointer: &str) -> Result<Option<String>, Problem> {
    let tokens: Vec<String> = pointer.split('/').skip(1).map(|token| token.replace("~1", "/").replace("~0", "~")).collect();
    let mut deserializer = serde_json::Deserializer::from_str(body);
    let found = Descend { tokens: &tokens }.deserialize(&mut deserializer).and_then(|found| deserializer.end().map(|()| found)).map_err(
        |error| {
            Problem::because(
                Code::SubjectMalformed,
                format!("The body cannot be read as JSON with one user at {pointer} ({}).", about(&error)),
            )
        },
    )?;
    Ok(found)
}

/// What is wrong, without repeating what the caller wrote.
fn about(error: &serde_json::Error) -> String {
    if error.is_data() {
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or_default().to_owned()
    } else {
        format!("line {}, column {}", error.line(), error.column())
    }
}

/// Goes down one token; every key is looked at, so that a repeated one is noticed.
struct Descend<'t> {
    tokens: &'t [String],
}

impl<'de> DeserializeSeed<'de> for Descend<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Descend<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a user's name as a string")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Err(A::Error::custom("an object where a user's name should be"));
        };
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if key != *token {
                // Some servers match keys whatever their letter case, and the last one wins there.
                if crate::catalog::fold(&key) == crate::catalog::fold(token) {
                    return Err(A::Error::custom("a key on the way is written in another letter case"));
                }
                map.next_value::<IgnoredAny>()?;
            } else if found.is_some() {
                return Err(A::Error::custom("a key on the way stands there twice"));
            } else {
                found = Some(map.next_value_seed(Descend { tokens: rest })?);
            }
        }
        Ok(found.flatten())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some((token, rest)) = self.tokens.split_first() else { return Err(A::Error::custom("a list where a user's name should be")) };
        let wanted: Option<usize> = token.parse().ok().filter(|n: &usize| n.to_string() == *token);
        let mut found = None;
        let mut at = 0;
        loop {
            if Some(at) == wanted {
                match list.next_element_seed(Descend { tokens: rest })? {
                    Some(value) => found = value,
                    None => return Ok(None),
                }
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.tokens.is_empty().then(|| text.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Self::Value, E> {
        self.scalar("true or false")
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Self::Value, E> {
        self.scalar("a number")
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Self::Value, E> {
        self.scalar("a number")
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Self::Value, E> {
        self.scalar("a number")
    }
}

impl Descend<'_> {
    fn scalar<E: serde::de::Error>(&self, what: &str) -> Result<Option<String>, E> {
        if self.tokens.is_empty() { Err(E::custom(format!("{what} where a user's name should be"))) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(body: &str, pointer: &str) -> Result<Option<String>, Code> {
        from_body(None, body.as_bytes(), [pointer]).map(|s| s.map(|s| s.to_string())).map_err(|p| p.code)
    }

    #[test]
    fn a_pointer_finds_its_user_and_nothing_else() {
        let body = r#"{"a": 1, "_created_by": {"Email": "Zoe@Acme.example", "x": [1, {"id": "Us8K"}]}, "a/b": {"m~n": "q"}}"#;
        assert_eq!(found(body, "/_created_by/Email"), Ok(Some("zoe@acme.example".into())));
        assert_eq!(found(body, "/_created_by/x/1/id"), Ok(Some("Us8K".into())));
        assert_eq!(found(body, "/a~1b/m~0n"), Ok(Some("q".into())));
        assert_eq!(found(body, "/nobody"), Ok(None));
        assert_eq!(found(body, "/_created_by/x/01/id"), Ok(None));
        assert_eq!(found(r#"{"u": null}"#, "/u"), Ok(None));
        assert_eq!(found("null", "/u"), Ok(None));
    }

    #[test]
    fn a_repeated_key_on_the_way_is_refused() {
        for body in [
            r#"{"u": {"e": "a@b"}, "u": {"e": "c@d"}}"#,
            r#"{"u": {"e": "a@b", "e": "a@b"}}"#,
            r#"{"u": {"e": "a@b"}, "\u0075": {"e": "c@d"}}"#,
            r#"{"u": {"e": null}, "u": {"e": "c@d"}}"#,
            r#"{"u": {"e": "a@b"}, "U": {"e": "c@d"}}"#,
            r#"{"u": {"e": "a@b", "E": "c@d"}}"#,
            r#"{"U": {"e": "c@d"}}"#,
        ] {
            assert_eq!(found(body, "/u/e"), Err(Code::SubjectMalformed), "{body}");
        }
        assert_eq!(found(r#"{"x": 1, "x": 2, "u": {"e": "a@b"}}"#, "/u/e"), Ok(Some("a@b".into())));
    }

    #[test]
    fn what_is_no_user_there_is_refused() {
        for body in
            [r#"{"u": 7}"#, r#"{"u": {}}"#, r#"{"u": []}"#, r#"{"u": ""}"#, r#"{"u": "a,b"}"#, r#"{"u": "a"} x"#, "{", "", "\u{feff}{}"]
        {
            assert_eq!(found(body, "/u"), Err(Code::SubjectMalformed), "{body}");
        }
    }

    #[test]
    fn what_is_not_utf_8_anywhere_is_refused() {
        for body in [&b"{\"u\": \"a@b\", \"x\": \"\xff\"}"[..], b"{\"u\": \"a@b\", \"\xc0\xaf\": {\"\xff\": 1}}", b"{\"u\": \"a@b\"}\xff"] {
            let refused = from_body(None, body, ["/u"]).unwrap_err();
            assert_eq!(refused.code, Code::SubjectMalformed, "{}", body.escape_ascii());
        }
        assert_eq!(found("{\"u\": \"a@b\", \"x\": \"\u{fc}\"}", "/u"), Ok(Some("a@b".into())));
    }

    #[test]
    fn header_and_body_must_name_the_same_user() {
        let zoe = Subject::parse(b"zoe@acme.example").unwrap();
        let both = |body: &str| from_body(Some(zoe.clone()), body.as_bytes(), ["/u"]).map_err(|p| p.code);
        assert_eq!(both(r#"{"u": "ZOE@acme.example"}"#), Ok(Some(zoe.clone())));
        assert_eq!(both(r#"{}"#), Ok(Some(zoe.clone())));
        assert_eq!(both(r#"{"u": "max@acme.example"}"#), Err(Code::SubjectMalformed));
    }

    /// A document in which no key repeats, and no key is another's in capitals.
    fn document() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z]{1,6}@[a-z]{1,6}\\.example".prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c~/]{1,2}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_user_is_found_where_a_json_library_finds_one(document in document(), steps in prop::collection::vec("[a-c~/]{1,2}|[0-3]", 0..4)) {
            let pointer: String = steps.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect();
            let expected = match document.pointer(&pointer) {
                None | Some(serde_json::Value::Null) => Ok(None),
                Some(serde_json::Value::String(text)) => Subject::parse(text.as_bytes()).map(|s| Some(s.to_string())).map_err(|_| Code::SubjectMalformed),
                Some(_) => Err(Code::SubjectMalformed),
            };
            prop_assert_eq!(found(&document.to_string(), &pointer), expected, "{} in {}", pointer, document);
        }

        #[test]
        fn any_bytes_are_read_without_harm(body in prop::collection::vec(any::<u8>(), 0..200), pointer in "(/[a-z~0-9]{0,3}){0,4}") {
            let _ = from_body(None, &body, [pointer.as_str()]);
        }

        #[test]
        fn a_repeated_key_is_seen_wherever_it_stands(before in "[a-c]{0,2}", after in "[a-c]{0,2}", first in "[a-z]{1,4}", second in "[a-z]{1,4}") {
            let body = format!(r#"{{"x{before}": [1, {{"u": 2}}], "u": "{first}", "y{after}": {{"u": null}}, "\u0075": "{second}"}}"#);
            prop_assert_eq!(found(&body, "/u"), Err(Code::SubjectMalformed));
        }
    }
}
