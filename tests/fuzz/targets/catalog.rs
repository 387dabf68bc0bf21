//! Any bytes as a catalog file, and its first line as a request to it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vicar::{
    catalog::{self, CanonicalPath, PathRules},
    source::{Complaints, Source},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut complaints = Complaints::default();
    let catalog = catalog::load(&[Source::new("catalog.yaml", text)], &mut complaints);
    assert_eq!(catalog.is_none(), complaints.has_errors());
    let request = text.lines().next().unwrap_or_default().trim_start_matches(['#', ' ']);
    if let Some(catalog) = catalog
        && let Some((method, path)) = request.split_once(' ')
        && let Ok(path) = CanonicalPath::parse(path, PathRules::default())
    {
        let _ = catalog.classify(method, &path);
    }
    let _ = complaints.to_string();
});
