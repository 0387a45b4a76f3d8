//! `mainstay validate` and `mainstay schema`.

use std::path::Path;

use mainstay_manifest::{FILE_BYTES_MAX, load, render, render_json, schema};
use mainstay_model::Platform;
use mainstay_model::gateway::{DoorTls, HttpListener};
use mainstay_model::name::{GatewayName, PortName, ServiceName};
use mainstay_model::service::{PortTls, ServicePort};
use mainstay_rt::files;

use crate::arguments::Validate;
use crate::exit::{Failure, Outcome};
use crate::print::{json, line};
use crate::{playbook_files, rule_files};

pub fn run(arguments: &Validate) -> Outcome {
    let text = read(&arguments.file)?;
    match load(&arguments.file.display().to_string(), &text) {
        Ok(platform) => {
            rule_files::read(&platform, &arguments.file)?;
            let playbooks = playbook_files::read(&platform, &arguments.file, &text)?;
            if arguments.json {
                json(&render_json(&[]))?;
            } else {
                line(format_args!(
                    "{}: valid: {}",
                    arguments.file.display(),
                    summary(&platform)
                ))?;
                for objective in platform.watch().map_or(&[][..], |watch| &watch.objectives) {
                    line(format_args!(
                        "  objective {}: {}",
                        objective.name,
                        objective.allows()
                    ))?;
                }
                if !playbooks.is_empty() {
                    let names = playbooks.iter().map(|playbook| playbook.book.name.as_str());
                    let names: Vec<&str> = names.collect();
                    line(format_args!("  playbooks: {}", names.join(", ")))?;
                }
                for (gateway, listener) in unsaid_doors(&platform) {
                    line(format_args!(
                        "  listener {listener} of gateway {gateway} is spoken to in the clear: say `tls: platform` or `tls: files`, or `tls: none` if it shall be so (docs/security.md)"
                    ))?;
                }
                for (service, port) in unsaid(&platform) {
                    line(format_args!(
                        "  port {port} of service {service} is spoken to in the clear: say `tls: platform`, or `tls: none` if it shall be so (docs/security.md)"
                    ))?;
                }
            }
            Ok(())
        }
        Err(diagnostics) if arguments.json => {
            json(&render_json(&diagnostics))?;
            Err(Failure::Finding(format!("{} errors", diagnostics.len())))
        }
        Err(diagnostics) => Err(Failure::Finding(render(&diagnostics))),
    }
}

pub fn print_schema() -> Outcome {
    json(&schema())
}

/// A platform file with its text, or every error in it.
pub fn read_valid(file: &Path) -> Result<(Platform, String), Failure> {
    let text = read(file)?;
    let platform = load(&file.display().to_string(), &text)
        .map_err(|diagnostics| Failure::Finding(render(&diagnostics)))?;
    Ok((platform, text))
}

fn read(file: &Path) -> Result<String, Failure> {
    let unreadable = |problem: String| {
        Failure::Usage(format!(
            "{}: {problem}\n  next: give the path of a platform file",
            file.display()
        ))
    };
    let bytes = files::read_limited(file, FILE_BYTES_MAX as u64)
        .map_err(|error| unreadable(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| unreadable(format!("not UTF-8: {error}")))
}

/// Listeners of which nobody has said what their clients are shown.
fn unsaid_doors(platform: &Platform) -> impl Iterator<Item = (&GatewayName, &PortName)> {
    platform.gateways().iter().flat_map(|gateway| {
        let unsaid = |listener: &&HttpListener| listener.tls == DoorTls::Unsaid;
        let listeners = gateway.http.iter().filter(unsaid);
        listeners.map(move |listener| (&gateway.name, &listener.name))
    })
}

/// Ports of which nobody has said how they are spoken to.
fn unsaid(platform: &Platform) -> impl Iterator<Item = (&ServiceName, &PortName)> {
    platform.services().iter().flat_map(|service| {
        let unsaid = |port: &&ServicePort| port.tls == PortTls::Unsaid;
        let ports = service.ports.iter().filter(unsaid);
        ports.map(move |port| (&service.name, &port.name))
    })
}

fn summary(platform: &Platform) -> String {
    format!(
        "{} regions, {} hosts, {} databases, {} services, {} gateways",
        platform.regions().len(),
        platform.hosts().len(),
        platform.databases().len(),
        platform.services().len(),
        platform.gateways().len()
    )
}
