//! Which calls the kernel does not answer (seccomp).
//!
//! Three kinds are shut: those that lead out of the process group by which a step's processes are ended; those by which a
//! process reaches into another one of its user, or into the kernel's rarer corners; and sockets, through which an ordinary
//! user's program could ask a node for anything that the user may. A call that is shut says that it is not permitted, and a
//! program that can do without goes on.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use super::ConfineError;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

const SHUT: [i64; 22] = [
    // Out of the group.
    libc::SYS_setsid,
    libc::SYS_setpgid,
    // Into others.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    // Into other views of the machine, in which it would be more than it is.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    // Into the kernel. By a ring it would make sockets that this filter does not see.
    libc::SYS_io_uring_setup,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];
/// Flags of `clone` that make another view of the machine.
const VIEWS: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// Binds this thread and everything that it becomes or starts.
pub fn restrict(connects: &[u16]) -> Result<(), ConfineError> {
    // A filter sees no flags of `clone3`; whoever hears that there is none takes `clone`.
    let newer = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    for (rules, error) in [
        (newer, libc::ENOSYS),
        (rules(connects).map_err(ConfineError::Filter)?, libc::EPERM),
    ] {
        let filter = filter(rules, error.unsigned_abs()).map_err(ConfineError::Filter)?;
        apply_filter(&filter).map_err(ConfineError::Calls)?;
    }
    Ok(())
}

fn filter(rules: Rules, error: u32) -> Result<BpfProgram, BackendError> {
    let machine = TargetArch::try_from(std::env::consts::ARCH)?;
    let shut = SeccompAction::Errno(error);
    SeccompFilter::new(rules, SeccompAction::Allow, shut, machine)?.try_into()
}

fn rules(connects: &[u16]) -> Result<Rules, BackendError> {
    let mut rules: Rules = SHUT.into_iter().map(|call| (call, Vec::new())).collect();
    let mut views = Vec::new();
    for flag in VIEWS {
        let flag = u64::from(flag.unsigned_abs());
        views.push(SeccompRule::new(vec![argument(
            SeccompCmpOp::MaskedEq(flag),
            flag,
        )?])?);
    }
    rules.insert(libc::SYS_clone, views);
    // Limits of its own it may ask for; those of others it would lower.
    let others = SeccompRule::new(vec![argument(SeccompCmpOp::Ne, 0)?])?;
    rules.insert(libc::SYS_prlimit64, vec![others]);
    // By this one a process asks the kernel for addresses and routes.
    let mut families = vec![libc::AF_NETLINK];
    if !connects.is_empty() {
        families.extend([libc::AF_INET, libc::AF_INET6]);
    }
    let other = families
        .into_iter()
        .map(|family| argument(SeccompCmpOp::Ne, u64::from(family.unsigned_abs())));
    let others = SeccompRule::new(other.collect::<Result<_, _>>()?)?;
    rules.insert(libc::SYS_socket, vec![others]);
    Ok(rules)
}

/// Of the first argument, as far as the kernel looks at it.
fn argument(compares: SeccompCmpOp, with: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(0, SeccompCmpArgLen::Dword, compares, with)
}
