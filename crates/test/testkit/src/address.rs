//! Loopback addresses that belong to one test for as long as it holds the claim.
//!
//! The loopback network has 16 million addresses, so tests need not share any. A claim is a listening socket on a port
//! that nothing else uses: the kernel refuses the second claimant, and gives the claim back when its holder dies, however
//! it dies. Nobody can forget to release it, and no file is left behind.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};

use anyhow::{Context, Result, bail};

/// The port on which claims are held; below the range from which the kernel takes ephemeral ports.
pub const CLAIM_PORT: u16 = 29_999;
/// The last byte of the address on which a claim is held.
const CLAIM_HOST: u8 = 254;

/// The 254 addresses `127.network.block.1` … `.253`, ours until dropped.
#[derive(Debug)]
pub struct AddressBlock {
    network: u8,
    block: u8,
    _claim: TcpListener,
}

impl AddressBlock {
    /// Claims the first free block of `127.network.0.0/16`.
    pub fn claim(network: u8) -> Result<Self> {
        for block in 1..=254 {
            if let Some(claim) = hold(network, block)? {
                return Ok(Self {
                    network,
                    block,
                    _claim: claim,
                });
            }
        }
        bail!("claim an address block in 127.{network}.0.0/16: all are taken")
    }

    /// Address `host` (1..=253) of the block.
    #[must_use]
    pub fn address(&self, host: u8) -> Ipv4Addr {
        assert!(
            (1..CLAIM_HOST).contains(&host),
            "host {host} is not within the block"
        );
        Ipv4Addr::new(127, self.network, self.block, host)
    }

    /// Address `host` of the block with a port that was free a moment ago.
    pub fn free_socket_address(&self, host: u8) -> Result<SocketAddr> {
        let address = SocketAddrV4::new(self.address(host), 0);
        let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
        listener.local_addr().context("read the bound address")
    }
}

fn hold(network: u8, block: u8) -> Result<Option<TcpListener>> {
    let address = SocketAddrV4::new(Ipv4Addr::new(127, network, block, CLAIM_HOST), CLAIM_PORT);
    match TcpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error).with_context(|| format!("claim {address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::AddressBlock;

    #[test]
    fn two_claims_never_overlap_and_a_dropped_one_is_free_again() {
        let first = AddressBlock::claim(204).unwrap();
        let second = AddressBlock::claim(204).unwrap();
        assert_ne!(first.address(1), second.address(1));
        let address = first.free_socket_address(7).unwrap();
        assert_eq!(address.ip(), first.address(7));
        assert_ne!(address.port(), 0);
    }
}
