//! Which paths and ports a program can reach, as far as the kernel offers to watch over it (Landlock).
//!
//! Everything is shut that is not named here. What the kernel is too old for is left out, and the rest holds.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use mainstay_record::process::ConfineSpec;

use super::ConfineError;

/// The newest version of the kernel's interface of which anything is used here.
const NEWEST: ABI = ABI::V6;

/// The system's programs and libraries, and what they read to find each other, names and the time. Of `/etc` no more: keys
/// for channels and calls may stand there.
pub const SYSTEM: [&str; 32] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/proc",
    "/sys",
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/timezone",
];
/// Devices that hold nothing.
const DEVICES: [&str; 5] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
];

/// Binds this thread and everything that it becomes or starts.
pub fn restrict(spec: &ConfineSpec) -> Result<(), ConfineError> {
    rules(spec)
        .and_then(RulesetCreated::restrict_self)
        .map(|_| ())
        .map_err(ConfineError::Reach)
}

fn rules(spec: &ConfineSpec) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::from_read(NEWEST);
    let ports: BitFlags<AccessNet> = AccessNet::BindTcp | AccessNet::ConnectTcp;
    let scopes: BitFlags<Scope> = Scope::Signal | Scope::AbstractUnixSocket;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(ports)?
        .scope(scopes)?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules([&spec.program], read))?
        .add_rules(path_beneath_rules(&spec.reads, read))?
        .add_rules(path_beneath_rules(
            DEVICES,
            AccessFs::ReadFile | AccessFs::WriteFile,
        ))?
        .add_rules(path_beneath_rules(
            [&spec.place],
            AccessFs::from_all(NEWEST),
        ))?;
    for port in &spec.connects {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    Ok(rules)
}

/// What the kernel offers to watch over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// All that is asked of it.
    All,
    /// An older version of its interface: ports are watched over from 4, signals from 6.
    Part(u32),
    Nothing,
}

/// Asks the kernel, by a thread that binds itself to nothing and ends.
pub fn offered() -> Offered {
    let ask = || {
        let rules = Ruleset::default()
            .handle_access(AccessFs::MakeBlock)
            .and_then(Ruleset::create)
            .and_then(RulesetCreated::restrict_self);
        match rules.map(|status| status.landlock) {
            Ok(LandlockStatus::Available { effective_abi, .. }) => effective_abi as u32,
            Ok(LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) | Err(_) => 0,
        }
    };
    let version = std::thread::spawn(ask).join().unwrap_or(0);
    match version {
        0 => Offered::Nothing,
        version if version < NEWEST as u32 => Offered::Part(version),
        _ => Offered::All,
    }
}
