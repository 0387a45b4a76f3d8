//! From the form of the file to the model's draft, and from the model's paths back to places in the file.

use mainstay_model::draft as model;
use mainstay_model::violation::Violation;
use mainstay_model::{PlatformDraft, database, gateway};

use crate::diagnostic::Fault;
use crate::file;
use crate::quantity::{Bytes, Span};
use crate::tree::Node;

pub(crate) fn fault(tree: &Node, violation: &Violation) -> Fault {
    Fault {
        position: tree.locate(&violation.path),
        code: violation.code.as_str(),
        message: violation.message.clone(),
        help: violation.help.clone(),
        path: Some(violation.path.clone()),
        related: violation.related.as_ref().map(|path| tree.locate(path)),
    }
}

fn each<A, B>(from: &[A], convert: impl Fn(&A) -> B) -> Vec<B> {
    from.iter().map(convert).collect()
}

fn time(span: Option<Span>) -> Option<core::time::Duration> {
    span.map(|span| span.0)
}

pub(crate) fn from_file(form: &file::PlatformFile) -> PlatformDraft {
    let spec = &form.spec;
    PlatformDraft {
        name: form.metadata.name.clone(),
        environment: model::EnvironmentDraft {
            name: spec.environment.name.clone(),
            production: spec.environment.production,
        },
        regions: each(&spec.regions, |region| model::RegionDraft {
            name: region.name.clone(),
        }),
        distances: each(&spec.distances, |distance| model::DistanceDraft {
            between: distance.between.clone(),
            round_trip: distance.round_trip.0,
        }),
        hosts: each(&spec.hosts, |host| model::HostDraft {
            name: host.name.clone(),
            region: host.region.clone(),
        }),
        databases: each(&spec.databases, database),
        services: each(&spec.services, service),
        gateways: each(&spec.gateways, gateway),
        roles: each(&spec.roles, |role| model::RoleDraft {
            name: role.name.clone(),
            permissions: role.permissions.clone(),
        }),
        operators: each(&spec.operators, |operator| model::OperatorDraft {
            name: operator.name.clone(),
            unix_user: operator.unix.user.clone(),
            unix_uid: operator.unix.uid,
            unix_owner: operator.unix.owner,
            roles: operator.roles.clone(),
        }),
        waivers: each(&spec.waivers, |waiver| model::WaiverDraft {
            name: waiver.name.clone(),
            service: waiver.service.clone(),
            gateway: waiver.gateway.clone(),
            reason: waiver.reason.clone(),
        }),
        watch: spec.watch.as_ref().map(watch),
        chaos: spec.chaos.as_ref().map(|chaos| model::ChaosDraft {
            namespaces: chaos.namespaces.clone(),
            inner_wires: chaos.inner_wires,
            labels: each(&chaos.labels, |given| model::ServiceLabelsDraft {
                service: given.service.clone(),
                labels: given.labels.clone(),
            }),
        }),
        oncall: spec.oncall.as_ref().map(oncall),
        cost_per_minute: spec.cost_per_minute.as_ref().map(|cost| model::CostDraft {
            currency: cost.currency.clone(),
            platform: cost.platform.as_ref().map(|amount| amount.0.clone()),
            services: each(&cost.services, |cost| model::ServiceCostDraft {
                service: cost.service.clone(),
                amount: cost.amount.0.clone(),
            }),
        }),
        coordination: spec.coordination.as_ref().map(coordination),
        playbooks: spec.playbooks.clone(),
        gates: each(&spec.gates, |gate| model::GateDraft {
            name: gate.name.clone(),
            before: gate.before.clone(),
            query: gate.query.clone(),
            budget: gate.budget.as_ref().map(|budget| model::GateBudgetDraft {
                objective: budget.objective.clone(),
                left_at_least: budget.left_at_least.0.clone(),
            }),
            reason: gate.reason.clone(),
            action: gate.action.clone(),
        }),
    }
}

fn coordination(form: &file::coordination::Coordination) -> model::CoordinationDraft {
    model::CoordinationDraft {
        etcd: form.etcd.as_ref().map(|etcd| model::EtcdDraft {
            endpoints: etcd.endpoints.clone(),
            certificate_file: etcd.certificate_file.clone(),
            authority_file: etcd.authority_file.clone(),
            members: each(&etcd.members, |member| model::EtcdMemberDraft {
                host: member.host.clone(),
            }),
            ports: model::EtcdPortsDraft {
                client: etcd.ports.client,
                peer: etcd.ports.peer,
                relay: etcd.ports.relay,
            },
            prefix: etcd.prefix.clone(),
            archive: etcd.archive.clone(),
            archive_options: etcd.archive_options.as_ref().map(|options| {
                model::StoreOptionsDraft {
                    store: String::new(),
                    region: options.region.clone(),
                    endpoint: options.endpoint.clone(),
                    allow_http: options.allow_http,
                }
            }),
            keep_parts: etcd.keep_parts,
        }),
    }
}

fn oncall(form: &file::oncall::Oncall) -> model::OncallDraft {
    model::OncallDraft {
        channels: each(&form.channels, channel),
        contacts: each(&form.contacts, |contact| model::ContactDraft {
            operator: contact.operator.clone(),
            channels: contact.channels.clone(),
        }),
        rotations: each(&form.rotations, |rotation| model::RotationDraft {
            name: rotation.name.clone(),
            operators: rotation.operators.clone(),
            handover: rotation.handover.clone(),
            starts: rotation.starts.clone(),
            overrides: each(&rotation.overrides, |stand_in| model::OverrideDraft {
                operator: stand_in.operator.clone(),
                from: stand_in.from.clone(),
                to: stand_in.to.clone(),
            }),
        }),
        policies: each(&form.policies, |policy| model::PolicyDraft {
            name: policy.name.clone(),
            severity: policy.severity.clone(),
            about: policy.about.clone(),
            levels: each(&policy.levels, |level| model::LevelDraft {
                tell: level.tell.clone(),
                within: time(level.within),
            }),
            rounds: policy.rounds,
        }),
        wait: time(form.wait),
        remind: time(form.remind),
    }
}

fn channel(form: &file::oncall::Channel) -> model::ChannelDraft {
    model::ChannelDraft {
        name: form.name.clone(),
        webhook: form.webhook.as_ref().map(|webhook| model::WebhookDraft {
            url: webhook.url.clone(),
            secret_file: webhook.secret_file.clone(),
        }),
        slack: form.slack.as_ref().map(|slack| model::SlackDraft {
            url_file: slack.url_file.clone(),
        }),
        pagerduty: form
            .pagerduty
            .as_ref()
            .map(|pagerduty| model::PagerdutyDraft {
                key_file: pagerduty.key_file.clone(),
                url: pagerduty.url.clone(),
            }),
        email: form.email.as_ref().map(|email| model::EmailDraft {
            to: email.to.clone(),
            from: email.from.clone(),
            server: email.server.clone(),
            tls: match email.tls {
                file::oncall::EmailTls::None => mainstay_model::oncall::EmailTls::Off,
                file::oncall::EmailTls::Starttls => mainstay_model::oncall::EmailTls::Starttls,
                file::oncall::EmailTls::Implicit => mainstay_model::oncall::EmailTls::Implicit,
            },
            authority_file: email.authority_file.clone(),
            user: email.user.clone(),
            password_file: email.password_file.clone(),
        }),
    }
}

fn watch(form: &file::Watch) -> model::WatchDraft {
    model::WatchDraft {
        enabled: form.enabled,
        regions: form.regions.clone(),
        hosts: form.hosts.clone(),
        port: form.port,
        token_file: form.token_file.clone(),
        interval: time(form.interval),
        retention: time(form.retention),
        rules: form.rules.clone(),
        targets: each(&form.targets, |target| model::WatchTargetDraft {
            job: target.job.clone(),
            instance: target.instance.clone(),
            address: target.address.clone(),
            path: target.path.clone(),
            labels: target.labels.clone(),
            tls: target.tls.as_ref().map(|tls| model::TargetTlsDraft {
                authority_file: tls.authority_file.clone(),
                server_name: tls.server_name.clone(),
            }),
            token_file: target.token_file.clone(),
        }),
        objectives: each(&form.objectives, |objective| model::ObjectiveDraft {
            name: objective.name.clone(),
            target: objective.target.0.clone(),
            period: time(objective.period),
            gateway: objective.gateway.clone(),
            route: objective.route.clone(),
            within: time(objective.within),
            bad: objective.bad.clone(),
            total: objective.total.clone(),
            floor: objective.floor.as_ref().map(|floor| floor.0.clone()),
            recovery: time(objective.recovery),
            drill_every: time(objective.drill_every),
        }),
        metrics: form
            .metrics
            .as_ref()
            .map(|metrics| model::MetricsServerDraft {
                source: metrics.source.clone(),
                url: metrics.url.clone(),
                bearer_token_file: metrics.bearer_token_file.clone(),
                user: metrics.user.clone(),
                password_file: metrics.password_file.clone(),
                authority_file: metrics.authority_file.clone(),
                headers: metrics.headers.clone(),
            }),
        alerts: form.alerts.as_ref().map(|alerts| model::AlertsDoorDraft {
            port: alerts.port,
            token_file: alerts.token_file.clone(),
            patience: time(alerts.patience),
            ignore_labels: alerts.ignore_labels.clone(),
        }),
    }
}

fn database(form: &file::Database) -> model::DatabaseDraft {
    model::DatabaseDraft {
        name: form.name.clone(),
        home: form.home.clone(),
        survive: match form.survive {
            file::Survive::None => database::Survive::Nothing,
            file::Survive::Host => database::Survive::Host,
            file::Survive::Region => database::Survive::Region,
        },
        ports: model::DatabasePortsDraft {
            postgres: form.ports.postgres,
            peer: form.ports.peer,
            sight: form.ports.sight,
        },
        filling_rate: form.filling_rate.map(|bytes| bytes.0),
        replicas: each(&form.replicas, |replica| model::ReplicaDraft {
            host: replica.host.clone(),
        }),
        backup: form.backup.as_ref().map(|backup| model::BackupDraft {
            stores: backup.stores.clone(),
            store_options: each(&backup.store_options, |options| model::StoreOptionsDraft {
                store: options.store.clone(),
                region: options.region.clone(),
                endpoint: options.endpoint.clone(),
                allow_http: options.allow_http,
            }),
            every: time(backup.every),
            prove_every: time(backup.prove_every),
            log_every: time(backup.log_every),
            keep_for: time(backup.keep_for),
            keep_count: backup.keep_count,
            alarm_after: time(backup.alarm_after),
            backlog_limit: backup.backlog_limit.map(|bytes| bytes.0),
            metrics_port: backup.metrics_port,
        }),
        parameters: (form.parameters.iter())
            .map(|(name, value)| (name.clone(), value.0.clone()))
            .collect(),
    }
}

fn service(form: &file::Service) -> model::ServiceDraft {
    model::ServiceDraft {
        name: form.name.clone(),
        command: form.command.clone(),
        arguments: form.arguments.clone(),
        environment: form.environment.clone(),
        ports: each(&form.ports, |port| model::PortDraft {
            name: port.name.clone(),
            port: port.port,
            tls: port.tls.as_ref().map(|tls| match tls {
                file::PortTls::None => model::PortTlsDraft::Nothing,
                file::PortTls::Platform => model::PortTlsDraft::Platform,
            }),
        }),
        probes: model::ProbesDraft {
            startup: form.probes.startup.as_ref().map(probe),
            readiness: form.probes.readiness.as_ref().map(probe),
            liveness: form.probes.liveness.as_ref().map(probe),
        },
        replicas: form.replicas,
        placement: model::PlacementDraft {
            follows: form.placement.follows.clone(),
            regions: form.placement.regions.clone(),
            hosts: form.placement.hosts.clone(),
        },
        metrics: form.metrics.as_ref().map(|metrics| model::MetricsDraft {
            port: metrics.port.clone(),
            path: metrics.path.clone(),
        }),
        modes: form.modes.as_ref().map(|modes| model::ModesDraft {
            port: modes.port.clone(),
            path: modes.path.clone(),
            names: modes.names.clone(),
        }),
        objectives: model::ObjectivesDraft {
            rto: time(form.objectives.rto),
            rpo: time(form.objectives.rpo),
        },
        restart: model::RestartDraft {
            delay_first: time(form.restart.delay_first),
            delay_max: time(form.restart.delay_max),
            crash_loop_failures: form.restart.crash_loop_failures,
            crash_loop_within: time(form.restart.crash_loop_within),
        },
        stop: model::StopDraft {
            drain: time(form.stop.drain),
            grace: time(form.stop.grace),
        },
    }
}

fn probe(form: &file::Probe) -> model::ProbeDraft {
    model::ProbeDraft {
        port: form.port.clone(),
        path: form.path.clone(),
        period: time(form.period),
        timeout: time(form.timeout),
        failures: form.failures,
    }
}

fn gateway(form: &file::Gateway) -> model::GatewayDraft {
    model::GatewayDraft {
        name: form.name.clone(),
        regions: form.regions.clone(),
        metrics_port: form.metrics_port,
        http: each(&form.http, |listener| model::HttpListenerDraft {
            name: listener.name.clone(),
            port: listener.port,
            tls: listener.tls.as_ref().map(|tls| match tls {
                file::DoorTls::None => model::DoorTlsDraft::Nothing,
                file::DoorTls::Platform => model::DoorTlsDraft::Platform,
                file::DoorTls::Files => model::DoorTlsDraft::Files,
            }),
            certificate_file: listener.certificate_file.clone(),
            key_file: listener.key_file.clone(),
            client_roots: listener.client_roots.clone(),
            routes: each(&listener.routes, route),
        }),
        tcp: each(&form.tcp, |listener| model::TcpListenerDraft {
            name: listener.name.clone(),
            port: listener.port,
            primary_of: listener.primary_of.clone(),
            replicas_of: listener.replicas_of.clone(),
        }),
    }
}

fn route(form: &file::Route) -> model::RouteDraft {
    model::RouteDraft {
        host: form.host.clone(),
        path: form.path.clone(),
        methods: each(&form.methods, method),
        service: form
            .service
            .as_ref()
            .map(|service| model::ServiceTargetDraft {
                name: service.name.clone(),
                port: service.port.clone(),
            }),
        cell: form.cell.as_ref().map(|cell| model::CellTargetDraft {
            key_header: cell.key.header.clone(),
            key_path_part: cell.key.path_part.clone(),
            members: each(&cell.members, |member| model::CellMemberDraft {
                database: member.database.clone(),
                service: member.service.clone(),
                port: member.port.clone(),
            }),
        }),
        idempotency_header: form.idempotency_header.clone(),
        hold: form.hold.as_ref().map(|hold| model::HoldDraft {
            requests: hold.requests,
            bytes: hold.bytes.map(|Bytes(bytes)| bytes),
            time: time(hold.time),
        }),
    }
}

fn method(form: &file::Method) -> gateway::Method {
    match form {
        file::Method::Get => gateway::Method::Get,
        file::Method::Head => gateway::Method::Head,
        file::Method::Post => gateway::Method::Post,
        file::Method::Put => gateway::Method::Put,
        file::Method::Patch => gateway::Method::Patch,
        file::Method::Delete => gateway::Method::Delete,
        file::Method::Options => gateway::Method::Options,
    }
}
