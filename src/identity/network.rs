//! Networks that callers come from, as people write them.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Deserializer};

/// Reads a network, or an address: the network that holds just it. IPv4 written as IPv6 (`::ffff:192.0.2.0/120`,
/// RFC 4291 section 2.5.5.2) is read as IPv4, as the addresses of callers are; with the prefix that IPv4 would have
/// (`::ffff:10.0.0.0/8`) it is a slip that no IPv4 caller would match, and no network.
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let read = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(canonical)?;
    let slip = matches!(read, IpNet::V6(six) if six.addr().to_ipv4_mapped().is_some());
    (!slip).then_some(read)
}

/// Networks of a document that Vicar has written.
pub(crate) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Ok(Vec::<IpNet>::deserialize(deserializer)?.into_iter().map(canonical).collect())
}

fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    four.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok()).map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_read_as_the_addresses_of_callers_are() {
        for (written, read) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::/0", "::/0"),
        ] {
            let found = network(written).unwrap();
            assert_eq!(found, read.parse().unwrap(), "{written}");
        }
        for wrong in ["", "10.0.0.0/33", "::/129", "anywhere", "10.0.0.0/8 ", "::ffff:10.0.0.0/8", "::ffff:0:0/95"] {
            assert_eq!(network(wrong), None, "{wrong}");
        }
    }
}
