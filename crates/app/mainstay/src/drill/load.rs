//! Who uses the platform while it is rehearsed: programs of their own, each with its notes.
//!
//! They are children of the command and do not outlive it: when it dies they are asked to end, and answer what is under way
//! first. Besides, each is told how long it lasts. A region that is lost
//! takes its clients with it, by SIGKILL; what they wrote down until then is evidence of what was promised.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use mainstay_derive::Layout;
use mainstay_drill::document::{Document, Load, Source};
use mainstay_drill::notes::{self, End};
use mainstay_model::Platform;
use mainstay_model::address::Slot;
use mainstay_recovery::interruption::{Fate, Request};
use mainstay_rt::clock;
use mainstay_units::Instant;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::arguments::TetherProcess;
use crate::interrupt::Interrupt;
use crate::print::problem;

/// A witness log of a drill; more is no drill but a load test.
const NOTES_BYTES_MAX: u64 = 1 << 30;
/// Programs that were asked to end answer what is under way first.
const FAREWELL: Duration = Duration::from_secs(30);
/// After the limit of the document. Half a minute later whoever leads ends the run as one that nobody carries.
const MEASURED: Duration = Duration::from_secs(150);

/// Where the clients of a region knock.
#[derive(Clone, Debug)]
pub struct Door {
    pub region: String,
    pub address: std::net::Ipv4Addr,
}

/// The gateways of a platform, region by region, in the order of the file.
pub fn doors(platform: &Platform, slot: Slot) -> Vec<Door> {
    let mut doors: Vec<Door> = Vec::new();
    for gateway in platform.gateways() {
        for host in platform.hosts() {
            let is_there = platform
                .gateways_on(&host.name)
                .any(|other| other.name == gateway.name);
            let region = host.region.to_string();
            if is_there && !doors.iter().any(|door| door.region == region) {
                let address = host.address(slot);
                doors.push(Door { region, address });
            }
        }
    }
    doors
}

/// What the programs of one drill share.
pub struct Field<'a> {
    pub layout: &'a Layout,
    pub doors: Vec<Door>,
    pub seed: u64,
    /// The drill's own folder.
    pub folder: PathBuf,
    pub document: &'a Document,
    /// Names the writes of this run.
    pub run: String,
    pub interrupt: &'a Interrupt,
    began_ms: u64,
    began: Instant,
}

/// One program under way.
pub struct Client {
    pub load: usize,
    /// Its home; clients without one are of no region.
    pub region: Option<String>,
    pub folder: PathBuf,
    child: Child,
    number: usize,
    /// Killed with its region.
    pub is_lost: bool,
    /// That it ended early stands in the journal.
    pub is_told: bool,
}

impl<'a> Field<'a> {
    pub fn new(
        layout: &'a Layout,
        doors: Vec<Door>,
        document: &'a Document,
        seed: u64,
        (id, interrupt): (&str, &'a Interrupt),
    ) -> Result<Self> {
        let began_ms = clock::wall_ms();
        let run = format!("{began_ms}-{id}-{}", document.name);
        let folder = layout.drills().join(&run);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("make the drill's folder {}", folder.display()))?;
        Ok(Self {
            layout,
            doors,
            seed,
            folder,
            document,
            run,
            interrupt,
            began_ms,
            began: clock::now(),
        })
    }

    /// Whoever measures has ended by then.
    pub fn measured_by(&self) -> Instant {
        self.began + self.document.limit + MEASURED
    }

    /// Where all flows of the platform leave their witness logs: whoever audits the books needs all of them.
    pub fn flows(&self) -> PathBuf {
        self.layout.data().join("flows")
    }

    /// Starts every load.
    pub fn start(&self) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for (index, load) in self.document.loads.iter().enumerate() {
            let homes: Vec<Option<&Door>> = match load.per_region {
                true => self.doors.iter().map(Some).collect(),
                false => vec![None],
            };
            for home in homes {
                let number = clients.len();
                clients.push(self.client(index, load, home, number)?);
            }
        }
        Ok(clients)
    }

    fn client(
        &self,
        index: usize,
        load: &Load,
        home: Option<&Door>,
        number: usize,
    ) -> Result<Client> {
        let region = home.map(|door| door.region.clone());
        let name = match &region {
            Some(region) => format!("{}-{}-{region}", self.run, load.name),
            None => format!("{}-{}", self.run, load.name),
        };
        // What an auditor of the books reads stands where he looks for it.
        let folder = match load.audit {
            Some(_) => self.flows().join(name),
            None => self.folder.join(name),
        };
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("make the client's folder {}", folder.display()))?;
        // Its own first, then the others in order.
        let first = region.as_deref().unwrap_or_default();
        let (own, others): (Vec<&Door>, Vec<&Door>) =
            self.doors.iter().partition(|door| door.region == first);
        let doors: Vec<&Door> = own.into_iter().chain(others).collect();
        let mut command = match &load.source {
            Source::Program {
                command,
                each_gateway,
            } => self.program(command, each_gateway, &doors, &folder, number)?,
            Source::Probe {
                database,
                port,
                rate,
            } => self.probe(database, *port, *rate, &doors, &folder, number)?,
        };
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("output"))
            .context("open a client's output")?;
        let child = command
            .stdin(Stdio::null())
            .stderr(output.try_clone().context("share a client's output")?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("start the load {}", load.name))?;
        Ok(Client {
            load: index,
            region,
            folder,
            child,
            number,
            is_lost: false,
            is_told: false,
        })
    }

    fn program(
        &self,
        words: &[String],
        each_gateway: &[String],
        doors: &[&Door],
        folder: &Path,
        number: usize,
    ) -> Result<Command> {
        let unique = self.began_ms / 1_000 * 1_000_000 + number as u64 * 100_000;
        let fill = |text: &str, door: Option<&Door>| {
            let region = door.map_or("", |door| door.region.as_str());
            let address = door.map_or_else(String::new, |door| door.address.to_string());
            text.replace("${folder}", &folder.display().to_string())
                .replace("${region}", region)
                .replace("${address}", &address)
                .replace("${seconds}", &self.document.limit.as_secs().to_string())
                .replace(
                    "${seed}",
                    &self.seed.wrapping_add(number as u64).to_string(),
                )
                .replace("${unique}", &unique.to_string())
        };
        let own = doors.first().copied();
        let Some((program, arguments)) = words.split_first() else {
            bail!("there is no program");
        };
        let mut command = tethered(&found(&fill(program, own))?)?;
        command.args(arguments.iter().map(|word| fill(word, own)));
        for door in doors {
            command.args(each_gateway.iter().map(|word| fill(word, Some(door))));
        }
        Ok(command)
    }

    fn probe(
        &self,
        database: &str,
        port: u16,
        rate: u32,
        doors: &[&Door],
        folder: &Path,
        number: usize,
    ) -> Result<Command> {
        let own = std::env::current_exe().context("find this program's own path")?;
        let mut command = tethered(&own)?;
        command.args(["probe", "--database", database, "--run", &self.run]);
        command.arg("--writer").arg(number.to_string());
        command.arg("--rate").arg(rate.to_string());
        command
            .arg("--seconds")
            .arg(self.document.limit.as_secs().to_string());
        for door in doors {
            let entrance = SocketAddr::from((door.address, port));
            command.arg("--to").arg(entrance.to_string());
        }
        command.arg("--witness").arg(folder.join("witness"));
        command
            .arg("--password-file")
            .arg(self.layout.password_file(database));
        command.arg("--roots").arg(self.layout.roots());
        Ok(command)
    }
}

/// A program that is asked to end when this process dies, however that does.
pub fn tethered(program: &Path) -> Result<Command> {
    let own = std::env::current_exe().context("find this program's own path")?;
    let mut command = Command::new(own);
    command.args(["tether", "--to"]);
    command.arg(std::process::id().to_string());
    command.arg("--").arg(program);
    Ok(command)
}

/// Becomes the program that it is given, having asked the system for a signal when its parent dies.
pub fn tether(arguments: &TetherProcess) -> ExitCode {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        problem(format_args!(
            "ask for a signal at the parent's end: {error}"
        ));
        return ExitCode::FAILURE;
    }
    // It may have died before that: then whoever is the parent now would be waited for.
    if std::os::unix::process::parent_id() != arguments.to {
        return ExitCode::FAILURE;
    }
    let Some((program, words)) = arguments.program.split_first() else {
        return ExitCode::FAILURE;
    };
    // Returns only if it fails.
    let error = Command::new(program).args(words).exec();
    problem(format_args!("start {}: {error}", program.display()));
    ExitCode::FAILURE
}

/// A program by its path; by its name beside this one, or on the path.
pub fn found(program: &str) -> Result<PathBuf> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let own = std::env::current_exe().context("find this program's own path")?;
    let beside = own.parent().map(|folder| folder.join(program));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|folder| folder.join(program)));
    places.find(|place| place.is_file()).with_context(|| {
        format!(
            "no program {program} stands beside this one or on the path: build it, or give its path"
        )
    })
}

impl Client {
    /// The number under which it writes.
    pub fn writer(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }

    pub fn witness(&self) -> PathBuf {
        self.folder.join("witness")
    }

    /// Whether it has ended by itself, and how.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        Some(status.to_string())
    }

    /// At once, in the middle of whatever it does.
    pub fn lose(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
        self.is_lost = true;
    }

    /// Asked to end, and waited for; killed if it takes too long. `false`: it had to be.
    pub fn stop(&mut self) -> bool {
        if self.is_lost {
            return true;
        }
        let pid = i32::try_from(self.child.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, Signal::TERM).ok();
        }
        let deadline = clock::now() + FAREWELL;
        while clock::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            crate::down::wait(Duration::from_millis(50));
        }
        self.child.kill().ok();
        self.child.wait().ok();
        false
    }

    /// Everything it wrote down.
    pub fn notes(&self) -> Result<BTreeMap<notes::Key, notes::Note>> {
        let folder = self.witness();
        let mut all = BTreeMap::new();
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            // It has not begun to write.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
        };
        for entry in entries {
            let path = entry.context("read a witness folder")?.path();
            if path
                .extension()
                .is_none_or(|extension| extension != "jsonl")
            {
                continue;
            }
            let shown = path.display();
            let bytes = mainstay_rt::files::read_limited(&path, NOTES_BYTES_MAX)
                .with_context(|| format!("read {shown}"))?;
            let text = String::from_utf8_lossy(&bytes);
            let read = notes::read(&text).map_err(|why| anyhow::anyhow!("{shown}, {why}"))?;
            all.extend(read);
        }
        Ok(all)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// As the assessor reads them.
pub fn requests(notes: &BTreeMap<notes::Key, notes::Note>) -> Vec<Request> {
    let request = |note: &notes::Note| Request {
        due_us: note.due_us,
        fate: match note.end {
            End::Acknowledged { at_us } => Fate::Acknowledged { at_us },
            End::Failed { at_us } => Fate::Failed { at_us },
            End::Open => Fate::Open,
        },
    };
    notes.values().map(request).collect()
}

/// The good ones at the end of a client's notes, in a row, of those that were due since then.
pub fn last_in_a_row(requests: &[Request], within: Duration, since_us: u64) -> usize {
    let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
    let mut ended: Vec<(u64, bool)> = requests
        .iter()
        .filter(|request| request.due_us >= since_us)
        .filter_map(|request| match request.fate {
            Fate::Acknowledged { at_us } => {
                Some((at_us, at_us.saturating_sub(request.due_us) <= within_us))
            }
            Fate::Failed { at_us } => Some((at_us, false)),
            Fate::Open => None,
        })
        .collect();
    ended.sort_unstable();
    ended.iter().rev().take_while(|(_, good)| *good).count()
}
