//! Networks of a settings file, and whether an address is in one.

use std::net::IpAddr;

use murder_api::settings::parse_network;

/// Some networks.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Those of a checked settings file.
    pub fn new(networks: &[String]) -> Self {
        Self(
            networks
                .iter()
                .filter_map(|text| parse_network(text))
                .collect(),
        )
    }

    /// Whether an address is in one of them; one of version 4 that is written as one of version 6 is
    /// the former.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0
            .iter()
            .any(|(network, prefix)| match (network, address) {
                (IpAddr::V4(network), IpAddr::V4(address)) => {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
                    network.to_bits() & mask == address.to_bits() & mask
                }
                (IpAddr::V6(network), IpAddr::V6(address)) => {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*prefix)).unwrap_or(0);
                    network.to_bits() & mask == address.to_bits() & mask
                }
                _ => false,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::Networks;

    #[test]
    fn an_address_is_in_a_network_whose_prefix_it_has() {
        let networks = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"].map(str::to_owned);
        let networks = Networks::new(&networks);
        let contains = |address: &str| networks.contains(address.parse().unwrap());
        for inside in [
            "10.255.0.1",
            "192.0.2.7",
            "2001:db8:1::1",
            "::ffff:10.1.1.1",
        ] {
            assert!(contains(inside), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::1"] {
            assert!(!contains(outside), "{outside}");
        }
        assert!(Networks::new(&["0.0.0.0/0".to_owned()]).contains("9.9.9.9".parse().unwrap()));
    }
}
