//! What can be said of actions on a service as a whole: what stays when a later step fails, and whether the platform
//! file has what they name.

use mainstay_model::Platform;
use mainstay_model::gateway::Target;
use mainstay_playbook::{AS_FILE, Action, Condition, ParameterKind, Routed, Step, names_in};

use super::{Critic, Named};

pub(super) fn action_names(action: &Action, named: &mut Named) {
    let text = |text: &String| (ParameterKind::Text, text.clone());
    let instance = |service: &String| (ParameterKind::Instance, service.clone());
    if let Action::Shift { what, from, share } = action {
        let region = (ParameterKind::Region, from.clone());
        let what = match what {
            Routed::Service(service) => instance(service),
            Routed::Route(path) => text(path),
        };
        named.extend([what, region, text(share)]);
    }
    if let Action::Replicas { service, count } = action {
        named.extend([instance(service), text(count)]);
    }
    if let Action::Mode { service, mode } = action {
        named.extend([instance(service), text(mode)]);
    }
}

/// What an action leaves behind that nothing takes back; nothing, if it takes back itself.
fn left_behind(action: &Action) -> Option<(&'static str, &'static str)> {
    match action {
        Action::Shift { share, .. } if share != "100" => Some((
            "what is shifted stays shifted when a later step fails",
            "compensate: {shift: {…, share: 100}}",
        )),
        Action::Replicas { count, .. } if count != AS_FILE => Some((
            "the number of instances stays when a later step fails, until the file changes",
            "compensate: {replicas: {service: …, count: file}}",
        )),
        Action::Mode { .. } => Some((
            "the service stays in this mode when a later step fails",
            "compensate: {mode: {service: …, mode: …}}",
        )),
        _ => None,
    }
}

impl Critic<'_> {
    pub(super) fn stays(&mut self, path: &str, step: &Step) {
        if step.compensate.is_some() {
            return;
        }
        if let Some((message, help)) = left_behind(&step.action) {
            self.find(&format!("{path}/action"), "no-return", message, help);
        }
    }

    /// What stands in the text itself must fit the platform file; what parameters name is judged when they have values.
    pub(super) fn services(&mut self, platform: &Platform) {
        let book = self.book;
        for (index, step) in book.steps.iter().enumerate() {
            let path = format!("/spec/steps/{index}");
            self.service(&format!("{path}/action"), &step.action, platform);
            if let Some(action) = &step.compensate {
                self.service(&format!("{path}/compensate"), action, platform);
            }
            let verify = step.verify.as_ref().map(|verify| &verify.condition);
            for condition in step.when.iter().chain(verify) {
                if let Condition::Mode { service, mode } = condition {
                    self.mode(&path, service, mode, platform);
                }
            }
        }
    }

    fn service(&mut self, path: &str, action: &Action, platform: &Platform) {
        if let Action::Shift { what, .. } = action {
            match what {
                Routed::Service(service) => self.interchangeable(path, service, platform),
                Routed::Route(route) if names_in(route).is_empty() => {
                    self.route(path, route, platform);
                }
                Routed::Route(_) => {}
            }
        }
        if let Action::Replicas { service, count } = action {
            self.interchangeable(path, service, platform);
            let hosts = platform.service(service).map(|s| s.allowed_hosts().len());
            if let (Some(hosts), Ok(count)) = (hosts, count.parse::<usize>())
                && count > hosts
            {
                let message = format!(
                    "{count} instances of {service} need as many hosts, and {hosts} may run one"
                );
                self.find(
                    path,
                    "impossible",
                    message,
                    "write less, or allow more hosts in the platform file",
                );
            }
        }
        if let Action::Mode { service, mode } = action {
            self.mode(path, service, mode, platform);
        }
    }

    fn route(&mut self, path: &str, route: &str, platform: &Platform) {
        let gateways = platform.gateways().iter();
        let listeners = gateways.flat_map(|gateway| &gateway.http);
        let routes: Vec<_> = listeners.flat_map(|listener| &listener.routes).collect();
        let known = routes.iter().map(|known| known.path.as_str()).collect();
        self.compare(path, "route", route, known);
        let here = routes.iter().filter(|known| known.path.as_str() == route);
        let mut cells = here.filter(|known| matches!(known.target, Target::Cell { .. }));
        if cells.next().is_some() {
            let message = format!("{route} leads to a cell: its requests go where the primary is");
            let help = "switchover: {database: …, to: …}";
            self.find(path, "impossible", message, help);
        }
    }

    fn interchangeable(&mut self, path: &str, service: &str, platform: &Platform) {
        let known = platform.service(service);
        if let Some(database) = known.and_then(|service| service.follows()) {
            let message = format!(
                "{service} follows {database}: its requests and its instances go where that is"
            );
            let help = format!("switchover: {{database: {database}, to: …}}");
            self.find(path, "impossible", message, &help);
        }
    }

    fn mode(&mut self, path: &str, service: &str, mode: &str, platform: &Platform) {
        let Some(known) = platform.service(service) else {
            return;
        };
        let Some(modes) = &known.modes else {
            let message = format!("the platform file gives {service} no modes");
            self.find(
                path,
                "impossible",
                message,
                "modes: {path: …, names: […]} at the service",
            );
            return;
        };
        if names_in(mode).is_empty() {
            let known = modes.names.iter().map(String::as_str).collect();
            self.compare(path, "mode", mode, known);
        }
    }
}
