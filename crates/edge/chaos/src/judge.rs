//! What of a chaos can be done on one machine: exactly, nearly, or not; and by which faults.
//!
//! Nothing is skipped in silence. A process can be killed and held down exactly. A wire does to a byte stream what a bad
//! network does to it in the end: delay, partition and bandwidth are as they should be, a lost packet is one that comes
//! later. What would have to reach into a file system, a clock or a kernel is refused, by name.

use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_model::Platform;
use mainstay_record::process::{FaultDetail, FaultDoor, FaultKind, FaultWays};
use mainstay_yaml::Node;

use crate::document::{Chaos, mode, text, texts};
use crate::go;
use crate::inventory::{Inventory, Pod, What};
use crate::links::{Link, Way, links};
use crate::select::{Dice, choose, meant};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fidelity {
    Exact,
    /// Nearly, and in which way not.
    Approximated(Vec<String>),
    /// Not here, and why.
    Refused(String),
}

impl Fidelity {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Approximated(_) => "approximated",
            Self::Refused(_) => "refused",
        }
    }

    pub fn why(&self) -> String {
        match self {
            Self::Exact => String::new(),
            Self::Approximated(notes) => notes.join("; "),
            Self::Refused(why) => why.clone(),
        }
    }
}

/// A fault to be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub kind: FaultKind,
    /// As `mainstay fault inject` takes it.
    pub target: String,
    pub one_way: bool,
    pub delay_us: u64,
    pub detail: FaultDetail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub fidelity: Fidelity,
    pub orders: Vec<Order>,
    /// Whom the selector and the mode took.
    pub targets: Vec<String>,
    /// Whom the selector means.
    pub meant: usize,
    /// Who is hit besides, without being meant.
    pub besides: BTreeSet<String>,
}

impl Judgement {
    /// A line about an injection.
    pub fn told(&self, subject: &str) -> String {
        let why = self.fidelity.why();
        let whom = match self.targets.as_slice() {
            [] => String::new(),
            targets => format!(" on {}", targets.join(", ")),
        };
        let why = if why.is_empty() {
            why
        } else {
            format!(" ({why})")
        };
        format!("{subject}: {}{whom}{why}", self.fidelity.name())
    }

    fn refused(why: impl Into<String>) -> Self {
        Self {
            fidelity: Fidelity::Refused(why.into()),
            orders: Vec::new(),
            targets: Vec::new(),
            meant: 0,
            besides: BTreeSet::new(),
        }
    }
}

/// Where a chaos is judged.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    pub platform: &'a Platform,
    pub inventory: &'a Inventory,
    pub seed: u64,
}

/// A process that is asked to leave has at most so long.
const GRACE_MAX: Duration = Duration::from_secs(300);

impl Bench<'_> {
    pub fn judge(&self, chaos: &Chaos) -> Judgement {
        let mut dice = Dice::of(self.seed, &chaos.name);
        let meant = meant(&chaos.spec, &chaos.namespace, self.inventory);
        let count = meant.len();
        let chosen = choose(meant, chaos.mode(), &mut dice);
        let mut judgement = match chaos.kind.as_str() {
            "IOChaos" => Judgement::refused(
                "instances share the machine's file system: nothing stands between them and it that could be slow or fail",
            ),
            "TimeChaos" => Judgement::refused(
                "instances share the machine's clock, and Linux has no time namespace for the real-time clock",
            ),
            "DNSChaos" => {
                Judgement::refused("instances are reached by address: nobody asks a name server")
            }
            "HTTPChaos" => Judgement::refused(
                "requests are not changed here; the gateway is no proxy for faults",
            ),
            _ if count == 0 => Judgement::refused("the selector meets nobody on this platform"),
            "NetworkChaos" => self.network(chaos, &chosen, &mut dice),
            "PodChaos" => pod(chaos, &chosen),
            "StressChaos" => stress(chaos, &chosen),
            kind => Judgement::refused(format!("{kind} needs a cluster")),
        };
        judgement.targets = chosen.iter().map(|pod| pod.instance.clone()).collect();
        judgement.meant = count;
        if !text(&chaos.spec, "remoteCluster").is_empty() {
            judgement.fidelity = Fidelity::Refused("there is no other cluster here".to_owned());
            judgement.orders.clear();
        }
        judgement
    }

    fn network(&self, chaos: &Chaos, sources: &[&Pod], dice: &mut Dice) -> Judgement {
        let spec = &chaos.spec;
        if !texts(spec, "externalTargets").is_empty() {
            return Judgement::refused(
                "externalTargets are no part of this platform: no wire leads there",
            );
        }
        let (harm, mut notes) = match Harm::of(spec) {
            Ok(harm) => harm,
            Err(why) => return Judgement::refused(why),
        };
        let targets: Option<Vec<&Pod>> = spec.get("target").map(|target| {
            let meant = meant(target, &chaos.namespace, self.inventory);
            choose(meant, mode(target), dice)
        });
        if targets.as_ref().is_some_and(Vec::is_empty) {
            return Judgement::refused("the target's selector meets nobody on this platform");
        }
        let direction = Direction::of(text(spec, "direction"));
        let mut orders = self.whole_regions(sources, targets.as_deref(), direction, &harm);
        let done: BTreeSet<(String, String)> = orders
            .iter()
            .filter_map(|order| order.target.split_once(':'))
            .flat_map(|(a, b)| [(a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned())])
            .collect();
        let links = links(self.platform, self.inventory);
        let is_in =
            |pods: &[&Pod], pod: &Pod| pods.iter().any(|other| other.instance == pod.instance);
        let is_target = |pod: &Pod| targets.as_ref().is_none_or(|targets| is_in(targets, pod));
        let (mut straight, mut besides) = (Vec::new(), BTreeSet::new());
        for link in &links {
            let ways = match (
                is_in(sources, link.from) && is_target(link.to),
                is_in(sources, link.to) && is_target(link.from),
            ) {
                (true, true) => FaultWays::Both,
                (true, false) => direction.towards(),
                (false, true) => direction.back(),
                (false, false) => continue,
            };
            if done.contains(&(link.from.region.clone(), link.to.region.clone())) {
                continue;
            }
            match link.way {
                Way::Straight => {
                    straight.push(format!("{} to {}", link.from.instance, link.to.instance))
                }
                Way::Door => {
                    for other in shared(&links, link, sources, targets.as_deref()) {
                        notes.push(format!(
                            "{} goes through the same door to {} and is hit too",
                            other.from.instance, other.to.instance
                        ));
                        besides.insert(other.from.instance.clone());
                    }
                    orders.push(harm.at_door(link, ways));
                }
            }
        }
        orders.dedup();
        Judgement {
            besides,
            ..conclude(orders, notes, &straight, self.platform)
        }
    }

    /// Where all of a region is meant, the region is: what nobody named (nodes, watches) is parted too.
    fn whole_regions(
        &self,
        sources: &[&Pod],
        targets: Option<&[&Pod]>,
        direction: Direction,
        harm: &Harm,
    ) -> Vec<Order> {
        let whole = |pods: &[&Pod]| -> Vec<&str> {
            let regions = self
                .platform
                .regions()
                .iter()
                .map(|region| region.name.as_str());
            regions
                .filter(|region| {
                    let mut all = self
                        .inventory
                        .pods
                        .iter()
                        .filter(|pod| pod.region == **region)
                        .peekable();
                    all.peek().is_some()
                        && all.all(|pod| pods.iter().any(|p| p.instance == pod.instance))
                })
                .collect()
        };
        let near = whole(sources);
        let far = match targets {
            Some(targets) => whole(targets),
            None => self
                .platform
                .regions()
                .iter()
                .map(|region| region.name.as_str())
                .collect(),
        };
        let mut orders = Vec::new();
        for from in &near {
            for to in far.iter().filter(|to| *to != from) {
                let (from, to, one_way) = match direction {
                    Direction::To => (from, to, true),
                    Direction::From => (to, from, true),
                    Direction::Both => (from, to, false),
                };
                orders.push(harm.order(format!("{from}:{to}"), one_way, None));
            }
        }
        orders
    }
}

fn conclude(
    orders: Vec<Order>,
    mut notes: Vec<String>,
    straight: &[String],
    platform: &Platform,
) -> Judgement {
    if let Some(first) = straight.first() {
        let more = match straight.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        let remedy = match platform.has_inner_wires() {
            true => "",
            false => {
                "; for services and their servers `innerWires: true` below `chaos:` of the platform file puts a wire there"
            }
        };
        let why = format!("no wire stands on the way from {first}{more}{remedy}");
        if orders.is_empty() {
            return Judgement::refused(why);
        }
        notes.push(why);
    }
    if orders.is_empty() {
        return Judgement::refused("nothing passes between the two: there is nothing to break");
    }
    notes.sort();
    notes.dedup();
    Judgement {
        fidelity: match notes.is_empty() {
            true => Fidelity::Exact,
            false => Fidelity::Approximated(notes),
        },
        orders,
        targets: Vec::new(),
        meant: 0,
        besides: BTreeSet::new(),
    }
}

/// Whoever reaches the same door from the same region without being meant.
fn shared<'a>(
    links: &[Link<'a>],
    door: &Link<'_>,
    sources: &[&Pod],
    targets: Option<&[&Pod]>,
) -> Vec<Link<'a>> {
    let is_meant = |pod: &Pod| {
        let among = |pods: &[&Pod]| pods.iter().any(|other| other.instance == pod.instance);
        among(sources) || targets.is_none_or(among)
    };
    let others = links.iter().filter(|link| {
        link.way == Way::Door
            && link.from.region == door.from.region
            && link.to.host == door.to.host
            && link.port == door.port
            && link.from.instance != door.from.instance
            && !is_meant(link.from)
            // Within a region only services go through the wire.
            && (link.from.region != link.to.region || link.from.host == link.to.host)
    });
    others.copied().collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    To,
    From,
    Both,
}

impl Direction {
    fn of(word: &str) -> Self {
        match word {
            "from" => Self::From,
            "both" => Self::Both,
            _ => Self::To,
        }
    }

    /// On a connection that the source makes.
    const fn towards(self) -> FaultWays {
        match self {
            Self::To => FaultWays::Towards,
            Self::From => FaultWays::Back,
            Self::Both => FaultWays::Both,
        }
    }

    /// On a connection that the target makes.
    const fn back(self) -> FaultWays {
        match self {
            Self::To => FaultWays::Back,
            Self::From => FaultWays::Towards,
            Self::Both => FaultWays::Both,
        }
    }
}

/// What a wire is to do.
#[derive(Clone, Debug)]
struct Harm {
    kind: FaultKind,
    delay_us: u64,
    detail: FaultDetail,
}

impl Harm {
    fn of(spec: &Node) -> Result<(Self, Vec<String>), String> {
        let action = text(spec, "action");
        let mut notes = Vec::new();
        let mut harm = Self {
            kind: FaultKind::Cut,
            delay_us: 0,
            detail: FaultDetail::default(),
        };
        match action {
            "partition" => return Ok((harm, notes)),
            "duplicate" => {
                return Err("TCP throws away what comes twice: there is nothing to see".to_owned());
            }
            "corrupt" => {
                return Err(
                    "TCP throws away what is damaged: use loss, which is what is left of it"
                        .to_owned(),
                );
            }
            "delay" => harm.delay(spec, &mut notes)?,
            "loss" => harm.loss(spec, &mut notes)?,
            "bandwidth" => harm.bandwidth(spec, &mut notes)?,
            _ => {
                if spec.get("duplicate").is_some() || spec.get("corrupt").is_some() {
                    return Err(
                        "TCP throws away what comes twice or damaged: there is nothing to see"
                            .to_owned(),
                    );
                }
                if spec.get("loss").is_some() {
                    harm.loss(spec, &mut notes)?;
                }
                if spec.get("delay").is_some() {
                    harm.delay(spec, &mut notes)?;
                }
                if spec.get("rate").is_some() {
                    return Err("rate is a shape of packets; use the action bandwidth".to_owned());
                }
            }
        }
        Ok((harm, notes))
    }

    /// Latency plus or minus jitter, uniformly, as netem draws it without a distribution.
    fn delay(&mut self, spec: &Node, notes: &mut Vec<String>) -> Result<(), String> {
        let delay = spec
            .get("delay")
            .ok_or("the action is delay, and there is no delay")?;
        let micros = |key: &str| {
            let text = text(delay, key);
            let time = match text {
                "" => Duration::ZERO,
                _ => go::duration(text)?,
            };
            Ok::<u64, String>(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        let (latency, jitter) = (
            micros("latency")?,
            micros("jitter")?.min(micros("latency")?),
        );
        if latency == 0 {
            return Err("a delay of nothing is no fault".to_owned());
        }
        self.kind = FaultKind::Delay;
        self.delay_us = (latency - jitter).max(1);
        self.detail.jitter_us = (jitter > 0).then_some(jitter * 2);
        let correlation = go::percent(text(delay, "correlation")).unwrap_or(0.0);
        let correlation = correlation.clamp(0.0, 100.0) as u8;
        self.detail.correlation_percent = (correlation > 0 && jitter > 0).then_some(correlation);
        if delay.get("reorder").is_some() {
            notes.push("nothing is reordered: TCP hands over in order, later".to_owned());
        }
        Ok(())
    }

    fn loss(&mut self, spec: &Node, notes: &mut Vec<String>) -> Result<(), String> {
        let loss = spec
            .get("loss")
            .ok_or("the action is loss, and there is no loss")?;
        let percent = go::percent(text(loss, "loss"))?;
        if percent <= 0.0 {
            return Err("a loss of nothing is no fault".to_owned());
        }
        if percent >= 100.0 {
            self.kind = FaultKind::Cut;
            return Ok(());
        }
        self.kind = FaultKind::Loss;
        self.detail.loss_ppm = Some((percent * 10_000.0) as u32);
        notes.push("what is lost comes 200 ms later, doubled each time it is lost again, as TCP would send it".to_owned());
        if go::percent(text(loss, "correlation")).is_ok_and(|percent| percent > 0.0) {
            notes.push("losses are drawn without correlation".to_owned());
        }
        Ok(())
    }

    fn bandwidth(&mut self, spec: &Node, notes: &mut Vec<String>) -> Result<(), String> {
        let bandwidth = spec
            .get("bandwidth")
            .ok_or("the action is bandwidth, and there is no bandwidth")?;
        let rate = go::rate(text(bandwidth, "rate"))?;
        if rate == 0 {
            return Err("a bandwidth of nothing is a partition".to_owned());
        }
        self.kind = FaultKind::Throttle;
        self.detail.bytes_per_second = Some(rate);
        notes.push("each connection has this rate for itself, and a tenth of a second of it waits in line: limit and buffer are not followed".to_owned());
        Ok(())
    }

    fn order(&self, target: String, one_way: bool, door: Option<FaultDoor>) -> Order {
        Order {
            kind: self.kind,
            target,
            one_way,
            delay_us: self.delay_us,
            detail: FaultDetail {
                door,
                ..self.detail.clone()
            },
        }
    }

    fn at_door(&self, link: &Link<'_>, ways: FaultWays) -> Order {
        let door = FaultDoor {
            host: link.to.host.clone(),
            port: link.port,
            ways,
        };
        let target = format!("{}:{}", link.from.region, link.to.region);
        self.order(target, false, Some(door))
    }
}

fn of_process(kind: FaultKind, pod: &Pod, grace: Option<Duration>) -> Order {
    Order {
        kind,
        target: pod.instance.clone(),
        one_way: false,
        delay_us: 0,
        detail: FaultDetail {
            grace_ms: grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
            ..FaultDetail::default()
        },
    }
}

fn judged(orders: Vec<Order>, notes: Vec<String>) -> Judgement {
    Judgement {
        fidelity: match notes.is_empty() {
            true => Fidelity::Exact,
            false => Fidelity::Approximated(notes),
        },
        orders,
        targets: Vec::new(),
        meant: 0,
        besides: BTreeSet::new(),
    }
}

fn pod(chaos: &Chaos, chosen: &[&Pod]) -> Judgement {
    let spec = &chaos.spec;
    let mut notes = Vec::new();
    let grace: u64 = text(spec, "gracePeriod").parse().unwrap_or(0);
    let grace = Duration::from_secs(grace);
    let (kind, grace) = match text(spec, "action") {
        "pod-failure" => {
            let mut servers = chosen
                .iter()
                .filter(|pod| matches!(pod.what, What::Server(_)));
            if let Some(server) = servers.next() {
                return Judgement::refused(format!(
                    "{} is started again by its keeper, so nobody would hold it down: use pod-kill",
                    server.instance
                ));
            }
            (FaultKind::ProcessDown, None)
        }
        "container-kill" => {
            let names = texts(spec, "containerNames");
            let is_named = |pod: &&&Pod| {
                let own = pod.instance.split_once('/').map_or("", |(_, name)| name);
                names.iter().any(|name| name == own)
            };
            let orders: Vec<Order> = chosen
                .iter()
                .filter(is_named)
                .map(|pod| of_process(FaultKind::ProcessKill, pod, None))
                .collect();
            return match orders.is_empty() {
                true => Judgement::refused(format!(
                    "nobody chosen has a container called {}; an instance has one, of its own name",
                    names.join(" or ")
                )),
                false => judged(orders, notes),
            };
        }
        _ => {
            if grace > GRACE_MAX {
                notes.push("a grace lasts at most five minutes".to_owned());
            }
            let grace = (!grace.is_zero()).then(|| grace.min(GRACE_MAX));
            (FaultKind::ProcessKill, grace)
        }
    };
    let orders = chosen.iter().map(|pod| of_process(kind, pod, grace));
    judged(orders.collect(), notes)
}

fn stress(chaos: &Chaos, chosen: &[&Pod]) -> Judgement {
    let spec = &chaos.spec;
    if !text(spec, "stressngStressors").is_empty() {
        return Judgement::refused("stress-ng is not at hand; use stressors");
    }
    let part = |key: &str| spec.get("stressors").and_then(|node| node.get(key));
    let number =
        |node: Option<&Node>, key: &str| node.and_then(|node| text(node, key).parse::<u64>().ok());
    let (cpu, memory) = (part("cpu"), part("memory"));
    let mut detail = FaultDetail::default();
    if let Some(workers) = number(cpu, "workers").filter(|workers| *workers > 0) {
        detail.cpu_workers = Some(u16::try_from(workers).unwrap_or(u16::MAX));
        let load = number(cpu, "load").unwrap_or(100).min(100);
        detail.cpu_load_percent = Some(u8::try_from(load).unwrap_or(100));
    }
    if let Some(workers) = number(memory, "workers").filter(|workers| *workers > 0) {
        let size = memory.map_or("", |node| text(node, "size"));
        match go::bytes(size) {
            Ok(bytes) => detail.memory_bytes = Some(bytes.saturating_mul(workers)),
            Err(_) => {
                return Judgement::refused(
                    "memory needs a size in bytes: a share of the machine would end processes that have nothing to do with it",
                );
            }
        }
    }
    if detail.is_at_rest() {
        return Judgement::refused("no workers: there is nothing to do");
    }
    let hosts: BTreeSet<&str> = chosen.iter().map(|pod| pod.host.as_str()).collect();
    let orders = hosts.into_iter().map(|host| Order {
        kind: FaultKind::Stress,
        target: host.to_owned(),
        one_way: false,
        delay_us: 0,
        detail: detail.clone(),
    });
    let notes = vec![
        "workers run beside the host's processes and not within their limits, and all hosts of this machine share its processors and memory".to_owned(),
    ];
    judged(orders.collect(), notes)
}
