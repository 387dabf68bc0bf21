//! Any bytes as an OpenAPI document: what comes out is a catalog that holds, or a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vicar::{
    catalog::{
        self,
        openapi::{ImportError, import},
    },
    source::{Complaints, Source},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match import(&Source::new("openapi.yaml", text)) {
        Ok(imported) => {
            let mut complaints = Complaints::default();
            let catalog = catalog::load(&[Source::new("catalog.yaml", imported.yaml.as_str())], &mut complaints);
            match catalog {
                Some(catalog) => assert_eq!(catalog.endpoints().len(), imported.endpoints),
                None => panic!("{complaints}\n{}", imported.yaml),
            }
        }
        Err(mistake @ ImportError::Unfit(_)) => panic!("{mistake}"),
        Err(told) => drop(told.to_string()),
    }
});
