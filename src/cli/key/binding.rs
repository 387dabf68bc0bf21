//! What binds a key to where it is used, as options name it: networks, and client certificates.

use std::fs;

use ipnet::IpNet;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::identity::{Fingerprint, network};

/// A network, or one address.
pub(super) fn source(raw: &str) -> Result<IpNet, String> {
    network(raw).ok_or_else(|| "write a network (10.0.0.0/8, 2001:db8::/32) or an address (10.1.2.3)".to_owned())
}

/// A certificate: a PEM file, of which the first counts, or a fingerprint.
pub(super) fn certificate(raw: &str) -> Result<Fingerprint, String> {
    if let Ok(fingerprint) = raw.parse() {
        return Ok(fingerprint);
    }
    let text = fs::read(raw)
        .map_err(|cause| format!("{cause}: name a PEM file, or write the certificate's SHA-256 fingerprint (64 hexadecimal digits)"))?;
    let first = CertificateDer::from_pem_slice(&text).map_err(|_| "there is no certificate in that file; it must be PEM".to_owned())?;
    Fingerprint::of_client(&first).map_err(|error| error.to_string())
}

/// Something that a change sets, or takes away altogether.
#[derive(Debug, Clone)]
pub(super) enum OrNone<T> {
    One(T),
    None,
}

/// A network, an address, or `any`.
pub(super) fn source_or_any(raw: &str) -> Result<OrNone<IpNet>, String> {
    if raw == "any" { Ok(OrNone::None) } else { source(raw).map(OrNone::One).map_err(|advice| format!("{advice}, or any")) }
}

/// A certificate, or `none`.
pub(super) fn certificate_or_none(raw: &str) -> Result<OrNone<Fingerprint>, String> {
    if raw == "none" { Ok(OrNone::None) } else { certificate(raw).map(OrNone::One) }
}

impl<T> OrNone<T> {
    /// What the options come to together: nothing said, or all of them.
    pub(super) fn list(given: Vec<Self>) -> Option<Vec<T>> {
        if given.is_empty() {
            return None;
        }
        Some(given.into_iter().filter_map(|one| if let Self::One(one) = one { Some(one) } else { None }).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_network_or_an_address() {
        assert_eq!(source("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(source("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert!(source("10.0.0.0/33").is_err());
    }

    #[test]
    fn a_certificate_is_a_file_or_a_fingerprint() {
        let digits = "0a".repeat(32);
        for written in [digits.clone(), digits.to_uppercase(), ["0A"; 32].join(":"), format!("sha256 Fingerprint={}", ["0A"; 32].join(":"))]
        {
            assert_eq!(certificate(&written).unwrap().to_string(), digits, "{written}");
        }
        let of_63 = "0".repeat(63);
        for wrong in ["", "none", "/nowhere", &of_63, "Cargo.toml", &["0a"; 31].join(":"), &"zz".repeat(32)] {
            assert!(certificate(wrong).is_err(), "{wrong}");
        }
    }
}
