//! Where a platform runs: everything that is true of this machine and not of the platform file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use mainstay_model::address::{self, Slot};
use mainstay_model::{Host, Platform};

use crate::layout::Layout;

/// Searched after the folder of Mainstay's own program.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where nodes tell each other what they see; the same on every platform, and so reserved on every host.
pub const NODE_PORT: u16 = 7400;

/// `PATH` of what is started, where Mainstay's program was installed at this path.
pub fn search_path(installed: &Path) -> String {
    match installed.parent().filter(|folder| folder.is_absolute()) {
        Some(folder) => format!("{}:{SYSTEM_PATH}", folder.display()),
        None => SYSTEM_PATH.to_owned(),
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    pub platform: &'a Platform,
    pub slot: Slot,
    pub layout: &'a Layout,
    /// Mainstay's own program, which every process but the services is started from.
    pub program: &'a Path,
    /// Where that program was installed: programs of services stand beside it.
    pub installed: &'a Path,
    /// Whom PostgreSQL runs as: set exactly when Mainstay runs as root.
    pub server_user: Option<&'a str>,
    /// PostgreSQL's programs; found by the keeper if absent.
    pub server_programs: Option<&'a Path>,
}

impl Machine<'_> {
    /// Where a host listens on a declared port.
    pub(crate) fn listen(&self, host: &Host, declared: u16) -> SocketAddr {
        SocketAddr::from((host.address(self.slot), host.index.port(declared)))
    }

    /// Where `reader` reaches a declared port of `host`.
    pub(crate) fn reach(&self, reader: &Host, host: &Host, declared: u16) -> SocketAddr {
        let address = host.address_from(self.slot, reader.region_index);
        SocketAddr::from((address, host.index.port(declared)))
    }

    /// Where services of a host reach a server on the same host.
    pub(crate) fn server_of(&self, host: &Host, declared: u16) -> SocketAddr {
        let straight = self.listen(host, declared);
        match self.platform.has_inner_wires() {
            true => {
                let door = address::door(self.slot, host.region_index, host.region_index);
                SocketAddr::from((door, straight.port()))
            }
            false => straight,
        }
    }

    /// Where a host's node listens for other nodes.
    pub fn node_listen(&self, host: &Host) -> SocketAddr {
        self.listen(host, NODE_PORT)
    }

    /// Where `reader` reaches the node of `host`.
    pub fn node_reach(&self, reader: &Host, host: &Host) -> SocketAddr {
        self.reach(reader, host, NODE_PORT)
    }

    /// `PATH` of services: programs beside Mainstay's own, as it was installed, come first.
    pub(crate) fn search_path(&self) -> String {
        search_path(self.installed)
    }

    pub(crate) fn own(&self, words: &[&str], config: Option<PathBuf>) -> Vec<String> {
        let mut command = vec![self.program.display().to_string()];
        command.extend(words.iter().map(|word| (*word).to_owned()));
        command.extend(config.map(|path| path.display().to_string()));
        command
    }
}
