use super::*;

#[test]
fn a_made_key_id_and_secret_read_back() {
    for _ in 0..200 {
        let id = KeyId::random().unwrap();
        assert_eq!(KeyId::parse(id.as_str().as_bytes()), Ok(id));
        let secret = Secret::random().unwrap();
        assert_eq!(Secret::parse(secret.reveal().as_bytes()), Ok(secret));
    }
}

#[test]
fn a_secret_with_any_character_changed_is_refused_by_its_checksum() {
    let secret = Secret::random().unwrap();
    for at in 0..Secret::LEN {
        let mut bytes = secret.reveal().as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        assert_eq!(Secret::parse(&bytes), Err(SecretError), "changed at {at}");
    }
}

#[test]
fn a_secret_never_shows_in_debug_output() {
    let secret = Secret::random().unwrap();
    let hash = secret.hash_for(&KeyId::random().unwrap());
    let shown = format!("{secret:?} {hash:?}");
    assert!(!shown.contains(&secret.reveal()[4..12]));
    assert!(!shown.contains(&String::from(hash)[..8]));
}

#[test]
fn one_secret_hashes_differently_under_two_keys() {
    let secret = Secret::random().unwrap();
    let (a, b) = (KeyId::random().unwrap(), KeyId::random().unwrap());
    assert!(secret.hash_for(&a) != secret.hash_for(&b));
    assert!(secret.hash_for(&a) == secret.hash_for(&a));
}

#[test]
fn a_subject_is_exactly_one_user() {
    let parse = |raw: &str| Subject::parse(raw.as_bytes()).map(|s| s.to_string());
    assert_eq!(parse(" Zoe@Acme.Example\t"), Ok("zoe@acme.example".into()));
    assert_eq!(parse("Us8KMQzGHIbZ"), Ok("Us8KMQzGHIbZ".into()));
    assert_eq!(parse("  "), Err(SubjectError::Empty));
    assert_eq!(parse("a@b,c@d"), Err(SubjectError::Several));
    assert_eq!(parse("a b"), Err(SubjectError::Several));
    assert_eq!(parse("a\nb"), Err(SubjectError::Control));
    assert_eq!(parse("a\0"), Err(SubjectError::Control));
    assert_eq!(parse("@finance"), Err(SubjectError::Address));
    assert_eq!(parse("a@"), Err(SubjectError::Address));
    assert_eq!(parse("a@b@c"), Err(SubjectError::Address));
    assert_eq!(parse("*@acme.example"), Err(SubjectError::Character('*')));
    assert_eq!(parse("jürgen@acme.example"), Err(SubjectError::NotAscii));
    assert_eq!(parse(&"x".repeat(255)), Err(SubjectError::Long));
    assert_eq!(parse(&"x".repeat(254)), Ok("x".repeat(254)));
    assert_eq!(Subject::parse(b"\xff"), Err(SubjectError::NotAscii));
}

#[test]
fn an_account_id_is_a_slug() {
    for good in ["a", "procure-to-pay", "bot7", &"x".repeat(63)] {
        assert!(good.parse::<AccountId>().is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a_b", "a b", "ä", &"x".repeat(64), "a/b"] {
        assert!(bad.parse::<AccountId>().is_err(), "{bad}");
    }
}

#[test]
fn secrets_are_found_in_any_bytes_and_nothing_else_is() {
    let (secret, token) = (Secret::random().unwrap(), AdminToken::random().unwrap());
    let text = format!("a=vsk_no\n\0b: \"{}\" // {}\nvsk_{}", secret.reveal(), token.reveal(), "a".repeat(59));
    let expected = [
        Found { offset: text.find(secret.reveal()).unwrap() as u64, kind: SecretKind::KeySecret },
        Found { offset: text.find(token.reveal()).unwrap() as u64, kind: SecretKind::AdminToken },
    ];
    assert_eq!(scan(text.as_bytes()).collect::<Vec<_>>(), expected);
}

#[test]
fn a_secret_is_found_once_wherever_a_read_ends() {
    struct Dribble<'a>(&'a [u8], usize);
    impl std::io::Read for Dribble<'_> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(out.len()).min(self.0.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }
    let secret = Secret::random().unwrap();
    let text = format!("{}{}{}", "x".repeat(300), secret.reveal(), "_".repeat(100));
    for step in [1, 7, 62, 63, 64, 1000] {
        let mut found = Vec::new();
        scan_reader(Dribble(text.as_bytes(), step), |hit| found.push(hit)).unwrap();
        assert_eq!(found, [Found { offset: 300, kind: SecretKind::KeySecret }], "reads of {step}");
    }
}

#[test]
fn an_admin_token_reads_back_and_is_no_secret() {
    let token = AdminToken::random().unwrap();
    assert_eq!(AdminToken::parse(token.reveal().as_bytes()), Ok(token.clone()));
    assert!(Secret::parse(token.reveal().as_bytes()).is_err());
    assert!(!format!("{token:?}").contains(&token.reveal()[4..12]));
}
