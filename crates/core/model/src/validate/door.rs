//! What a gateway shows at an HTTP listener, and whom it lets in.

use alloc::format;
use alloc::string::String;

use crate::draft::{DoorTlsDraft, HttpListenerDraft};
use crate::gateway::{Clients, DoorTls};
use crate::violation::Code;

use super::inspector::Inspector;

/// Means the platform's own authority where a file of roots could stand.
const PLATFORM: &str = "platform";

pub(super) fn tls(
    inspector: &mut Inspector,
    declared: &HttpListenerDraft,
    path: &str,
) -> Option<DoorTls> {
    let files = [
        ("certificateFile", &declared.certificate_file),
        ("keyFile", &declared.key_file),
    ];
    if declared.tls != Some(DoorTlsDraft::Files) {
        for (field, _) in files.iter().filter(|(_, file)| file.is_some()) {
            inspector
                .report(
                    format!("{path}/{field}"),
                    Code::InvalidValue,
                    format!("`{field}` is shown to nobody"),
                )
                .help("say `tls: files`, or remove it");
        }
    }
    match declared.tls {
        None | Some(DoorTlsDraft::Nothing) => {
            if declared.client_roots.is_some() {
                inspector
                    .report(
                        format!("{path}/clientRoots"),
                        Code::InvalidValue,
                        "clients that speak in the clear prove nothing",
                    )
                    .help("say `tls: platform` or `tls: files`, or remove `clientRoots`");
            }
            Some(match declared.tls {
                Some(_) => DoorTls::Nothing,
                None => DoorTls::Unsaid,
            })
        }
        Some(DoorTlsDraft::Platform) => Some(DoorTls::Platform {
            clients: clients(inspector, declared, path)?,
        }),
        Some(DoorTlsDraft::Files) => {
            let [certificate, key] =
                files.map(|(field, file)| needed(inspector, path, field, file.as_deref()));
            Some(DoorTls::Files {
                clients: clients(inspector, declared, path)?,
                certificate: certificate?,
                key: key?,
            })
        }
    }
}

fn clients(inspector: &mut Inspector, declared: &HttpListenerDraft, path: &str) -> Option<Clients> {
    match declared.client_roots.as_deref() {
        None => Some(Clients::Everybody),
        Some(PLATFORM) => Some(Clients::Platform),
        Some(file) => absolute(inspector, path, "clientRoots", file).map(Clients::Roots),
    }
}

fn needed(
    inspector: &mut Inspector,
    path: &str,
    field: &str,
    file: Option<&str>,
) -> Option<String> {
    let Some(file) = file else {
        inspector
            .report(
                path,
                Code::Missing,
                format!("`tls: files` shows files, and `{field}` is not there"),
            )
            .help("give `certificateFile` and `keyFile`, PEM; both may be the same file");
        return None;
    };
    absolute(inspector, path, field, file)
}

fn absolute(inspector: &mut Inspector, path: &str, field: &str, file: &str) -> Option<String> {
    if file.starts_with('/') && !file.contains('\0') {
        return Some(file.into());
    }
    let help = match field {
        "clientRoots" => "write the path of a PEM file on every host of the gateway, or `platform`",
        _ => "write the path of a PEM file on every host of the gateway",
    };
    inspector
        .report(
            format!("{path}/{field}"),
            Code::InvalidValue,
            format!("{file:?} is no absolute path"),
        )
        .help(help);
    None
}
