//! Roles and operators: every permission known, every operator recognisable, nobody locked out.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::draft::{OperatorDraft, PlatformDraft};
use crate::name::{OperatorName, RoleName};
use crate::nearest::nearest;
use crate::people::{Operator, Permission, Role, UnixIdentity};
use crate::violation::Code;

use super::inspector::Inspector;

/// Stands for every permission.
const EVERYTHING: &str = "*";

pub(super) fn roles(inspector: &mut Inspector, draft: &PlatformDraft) -> Vec<Role> {
    let list = "/spec/roles";
    let texts = draft.roles.iter().map(|role| &role.name);
    let names = inspector.names(list, "role", texts, RoleName::new);
    let mut roles = Vec::new();
    for (place, (declared, name)) in draft.roles.iter().zip(names).enumerate() {
        let mut permissions = BTreeSet::new();
        for (number, text) in declared.permissions.iter().enumerate() {
            if text == EVERYTHING {
                permissions.extend(Permission::ALL);
            } else if let Some(permission) = Permission::parse(text) {
                permissions.insert(permission);
            } else {
                let path = format!("{list}/{place}/permissions/{number}");
                unknown_permission(inspector, path, text);
            }
        }
        if let Some(name) = name {
            roles.push(Role { name, permissions });
        }
    }
    roles
}

fn unknown_permission(inspector: &mut Inspector, path: String, text: &str) {
    let known = Permission::ALL.map(Permission::as_str);
    let help = match nearest(text, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}, or `*` for all of them", known.join(", ")),
    };
    let message = format!("there is no permission `{text}`");
    inspector
        .report(path, Code::UnknownPermission, message)
        .help(help);
}

pub(super) fn operators(
    inspector: &mut Inspector,
    draft: &PlatformDraft,
    roles: &[Role],
) -> Vec<Operator> {
    let list = "/spec/operators";
    let texts = draft.operators.iter().map(|operator| &operator.name);
    let names = inspector.names(list, "operator", texts, OperatorName::new);
    let declared_roles = || draft.roles.iter().map(|role| role.name.as_str());
    let mut first_seen: BTreeMap<UnixIdentity, usize> = BTreeMap::new();
    let mut operators = Vec::new();
    let mut sound = true;
    for (place, (declared, name)) in draft.operators.iter().zip(names).enumerate() {
        let path = format!("{list}/{place}");
        for (number, role) in declared.roles.iter().enumerate() {
            let path = format!("{path}/roles/{number}");
            sound &= inspector.reference(&path, "role", role, declared_roles());
        }
        let identity = identity(inspector, declared, &path);
        if let Some(identity) = &identity {
            if let Some(first) = first_seen.get(identity) {
                let message = format!("{identity} is already another operator");
                inspector
                    .report(format!("{path}/unix"), Code::DuplicateName, message)
                    .help("give one operator the roles of both")
                    .related(format!("{list}/{first}/unix"));
            }
            first_seen.insert(identity.clone(), place);
        }
        let (Some(name), Some(identity)) = (name, identity) else {
            sound = false;
            continue;
        };
        let roles = declared
            .roles
            .iter()
            .filter_map(|role| RoleName::new(role).ok());
        let roles = roles.collect();
        operators.push(Operator {
            name,
            identity,
            roles,
        });
    }
    if sound {
        somebody_may(inspector, &operators, roles);
    }
    operators
}

fn identity(
    inspector: &mut Inspector,
    operator: &OperatorDraft,
    path: &str,
) -> Option<UnixIdentity> {
    let path = format!("{path}/unix");
    match (&operator.unix_user, operator.unix_uid, operator.unix_owner) {
        (None, None, true) => Some(UnixIdentity::Owner),
        (None, Some(uid), false) => Some(UnixIdentity::Uid(uid)),
        (Some(user), None, false) => {
            let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '/');
            if user.is_empty() || user.len() > 32 || !user.chars().all(plain) {
                let message = format!("{user:?} is not a user name");
                inspector.report(format!("{path}/user"), Code::InvalidValue, message);
                return None;
            }
            Some(UnixIdentity::User(user.to_string()))
        }
        (None, None, false) | (Some(_), ..) | (None, Some(_), true) => {
            let message =
                "an operator is recognised by exactly one of `user`, `uid` and `owner: true`";
            inspector
                .report(path, Code::InvalidValue, message)
                .help("`owner: true` stands for whoever started the platform");
            None
        }
    }
}

fn somebody_may(inspector: &mut Inspector, operators: &[Operator], roles: &[Role]) {
    let held: BTreeSet<Permission> = operators
        .iter()
        .flat_map(|operator| &operator.roles)
        .filter_map(|name| roles.iter().find(|role| role.name == *name))
        .flat_map(|role| role.permissions.iter().copied())
        .collect();
    let wanting = Permission::VITAL.into_iter().filter(|p| !held.contains(p));
    let wanting: Vec<&str> = wanting.map(Permission::as_str).collect();
    if !wanting.is_empty() {
        let message = format!("no operator has {}", wanting.join(", "));
        inspector
            .report("/spec/operators", Code::NobodyMay, message)
            .help("without them nobody could run or stop the platform: give some operator such a role");
    }
}
