//! Who asks, and whether they may.

use alloc::string::String;

use mainstay_model::name::OperatorName;
use mainstay_model::people::{Permission, UnixIdentity};

use crate::state::State;
use crate::why::Refusal;

/// The credential of the peer on a node's socket, as the operating system gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    pub uid: u32,
    /// The name that the uid has on the host, if it has one.
    pub user: Option<String>,
}

/// An actor that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    pub actor: Actor,
    /// Absent only for the very first command, before there is a file that names operators.
    pub operator: Option<OperatorName>,
}

/// May `actor` do what needs `permission`? Before a platform file is in force, whoever starts the platform
/// is its owner and may.
///
/// # Errors
/// Who is unknown, or which permission is missing.
pub fn authorize(state: &State, actor: &Actor, permission: Permission) -> Result<By, Refusal> {
    let by = |operator| By {
        actor: actor.clone(),
        operator,
    };
    let Some(desired) = &state.desired else {
        return match permission {
            Permission::PlatformApply => Ok(by(None)),
            Permission::StatusRead
            | Permission::JournalRead
            | Permission::PlatformStop
            | Permission::PlatformUpgrade
            | Permission::AutomationPause
            | Permission::DatabaseSwitchover
            | Permission::DatabaseSolo
            | Permission::DatabaseFailover
            | Permission::FaultInject
            | Permission::FaultClear
            | Permission::FaultApprove
            | Permission::GateOverride
            | Permission::DrillAdopt
            | Permission::DrillRun
            | Permission::DrillConfirm
            | Permission::DrillSign
            | Permission::IncidentManage
            | Permission::PlaybookRun
            | Permission::PlaybookApprove => Err(Refusal::NoPlatform),
        };
    };
    let mut known = desired
        .operators
        .iter()
        .filter(|(_, operator)| is_identity(state, actor, &operator.identity))
        .peekable();
    let Some((first, _)) = known.peek() else {
        return Err(Refusal::UnknownActor { uid: actor.uid });
    };
    let first = (*first).clone();
    match known.find(|(_, operator)| operator.permissions.contains(&permission)) {
        Some((name, _)) => Ok(by(Some(name.clone()))),
        None => Err(Refusal::Lacks {
            operator: first,
            permission,
        }),
    }
}

fn is_identity(state: &State, actor: &Actor, identity: &UnixIdentity) -> bool {
    match identity {
        UnixIdentity::Owner => state.owner == Some(actor.uid),
        UnixIdentity::Uid(uid) => *uid == actor.uid,
        UnixIdentity::User(user) => actor.user.as_ref() == Some(user),
    }
}
