//! The shipped drill of the corrupted backup, and what an auditor gets of it, played on the exchange: run from its load to its verdict,
//! signed, packed, verified by our code and by somebody else's, and refused with one byte of any part flipped. The other shipped
//! drill is played by `make demo-loop`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::c2sp::Peer;
use crate::flipped::{Pack, key_in};
use crate::flow::audit;
use crate::platform::{Afterwards, Platform, now};
use crate::step::{Profile, root};

const FILE: &str = "examples/exchange/platform-backup.yaml";
const DRILL: &str = "examples/exchange/drills/newest-backup-corrupted.yaml";
const REASON: &str = "the suite";
const PATIENCE: Duration = Duration::from_secs(90);
/// A restore, which the drill is about, and who signed its result.
const RESTORE: u64 = 9;
const SIGN_OFF: u64 = 13;
/// An incident's page, as it is packed.
const PAGE: &str = "incident.md";

#[derive(clap::Args)]
pub struct Arguments {
    /// Build profile of the programs
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let mut rehearsal = Rehearsal::begin(arguments.profile)?;
    let older = rehearsal.exported()?;
    let drill = rehearsal.the_newest_backup_is_corrupted()?;
    rehearsal.its_result_is_signed(&drill)?;
    rehearsal.its_evidence_is_verified_and_refused(&drill, &older)?;
    rehearsal.an_incident_is_told_and_signed()?;
    audit(&rehearsal.platform)?;
    rehearsal.platform.afterwards = Afterwards::Remove;
    std::fs::remove_dir_all(&rehearsal.folder).context("remove the suite's files")
}

/// A checkpoint from before, and the key that it is signed with.
struct Older {
    checkpoint: PathBuf,
    key: String,
}

struct Rehearsal {
    platform: Platform,
    /// Packs and pages.
    folder: PathBuf,
    /// Somebody else's reader of logs, where it can be built.
    peer: Option<Peer>,
    begun: Instant,
}

impl Rehearsal {
    fn begin(profile: Profile) -> Result<Self> {
        let peer = Peer::build()?;
        let name = format!("mainstay-rehearse-{}", std::process::id());
        let folder = std::env::temp_dir().join(format!("{name}-files"));
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let data = std::env::temp_dir().join(name);
        let platform = Platform::start_file(Path::new(FILE), data, 0, profile)?;
        platform.wait_healthy(PATIENCE)?;
        Ok(Self {
            platform,
            folder,
            peer,
            begun: now(),
        })
    }

    fn tell(&self, what: &str) {
        println!("{:>6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// The log as it is before anything is rehearsed.
    fn exported(&self) -> Result<Older> {
        let folder = self.folder.join("before");
        let path = folder.to_str().context("a folder with a name in UTF-8")?;
        let said = self
            .platform
            .mainstay(&["journal", "export", "--to", path])?;
        let key = key_in(&said)?;
        if let Some(peer) = &self.peer {
            print!("{}", peer.reads(&folder, std::slice::from_ref(&key), &[])?);
        }
        Ok(Older {
            checkpoint: folder.join("checkpoint"),
            key,
        })
    }

    /// By the command that its user types; every step of it is done, and its promises are met by what was measured.
    fn the_newest_backup_is_corrupted(&self) -> Result<String> {
        self.platform
            .mainstay(&["drill", "adopt", DRILL, "--reason", REASON])?;
        let ended = Command::new(self.platform.program("mainstay")?)
            .args(["drill", "run", DRILL, "--reason", REASON])
            .env("MAINSTAY_DATA", self.platform.data())
            .current_dir(root()?)
            .stdin(Stdio::null())
            .status()
            .context("start the drill")?;
        ensure!(ended.success(), "the drill did not pass: {ended}");
        let end = self.platform.entry("drill.ended", PATIENCE, |_| true)?;
        let body = &end["body"];
        ensure!(
            body["end"]["verdict"] == "passed",
            "the drill did not pass: {end}"
        );
        let id = text(&body["drill"]).to_owned();
        for entry in self.platform.journal("drill.step_ended")? {
            let step = &entry["body"]["end"];
            ensure!(step["outcome"] == "done", "not every step was done: {step}");
        }
        let measured = self.platform.journal("drill.measured")?;
        let mut measured = measured.iter().map(|entry| &entry["body"]["measurement"]);
        let restore = measured.find(|measured| measured["measured"] == "restore");
        let values = restore.context("no restore was measured")?["values"].to_string();
        for figure in ["rto", "lost_time"] {
            let is_there = values.contains(&format!("\"name\":\"{figure}\""));
            ensure!(is_there, "the restore has no {figure}: {values}");
        }
        self.tell(&format!(
            "{id}: one byte of the newest backup was flipped: refused; the older one came back: {}",
            text(&body["end"]["why"])
        ));
        Ok(id)
    }

    /// The last word of whoever signs counts.
    fn its_result_is_signed(&self, drill: &str) -> Result<()> {
        for (more, statement) in [
            (&["--refuse"][..], "the figures were not looked at"),
            (&[][..], "seen with the figures"),
        ] {
            let sign = [&["drill", "sign", drill, "--reason", statement][..], more].concat();
            self.platform.mainstay(&sign)?;
        }
        let signed = self.platform.journal("drill.signed")?;
        let words: Vec<&str> = signed
            .iter()
            .map(|entry| text(&entry["body"]["signature"]))
            .collect();
        ensure!(
            words == ["refused", "accepted"],
            "what was signed is {words:?}"
        );
        self.tell(&format!("the result of {drill} was refused, then accepted"));
        Ok(())
    }

    fn its_evidence_is_verified_and_refused(&self, drill: &str, older: &Older) -> Result<()> {
        let pack = Pack::make(
            &self.platform,
            &["--drill", drill],
            &self.folder.join("evidence"),
        )?;
        print!("{}", pack.verified()?);
        let restore = pack.item(RESTORE)?.to_string();
        ensure!(
            restore.contains("Ledger from backup): rto "),
            "the restore is not told: {restore}"
        );
        let signed = pack.item(SIGN_OFF)?.to_string();
        ensure!(
            signed.contains("seen with the figures"),
            "the last word is not told: {signed}"
        );
        if let Some(peer) = &self.peer {
            let keys = [pack.key().to_owned(), older.key.clone()];
            let before = std::slice::from_ref(&older.checkpoint);
            print!("{}", peer.reads(&pack.log(), &keys, before)?);
            self.tell("read by golang.org/x/mod/sumdb: signed, whole, and only grown since before the drill");
        }
        let files = pack.refused_flipped(self.peer.as_ref())?;
        self.tell(&format!(
            "one byte flipped in each of its {files} files: refused each time, and the file named"
        ));
        let archive = self.folder.join("evidence.tar");
        let path = archive.to_str().context("a name in UTF-8")?;
        self.platform
            .mainstay(&["evidence", "pack", "--drill", drill, "--out", path])?;
        let places = pack.archive_refused_flipped(&archive)?;
        self.tell(&format!(
            "one byte flipped at {places} places of the archive: refused each time"
        ));
        Ok(())
    }

    /// Opened by a person, told by a page, signed, and packed with it.
    fn an_incident_is_told_and_signed(&self) -> Result<()> {
        let act = |words: &[&str]| -> Result<String> {
            self.platform
                .mainstay(&[words, &["--reason", REASON]].concat())
        };
        act(&[
            "incident",
            "open",
            "a rehearsed incident",
            "--severity",
            "warning",
        ])?;
        let opened = self.platform.entry("incident.opened", PATIENCE, |_| true)?;
        let id = text(&opened["body"]["incident"]).to_owned();
        act(&["incident", "acknowledge", &id])?;
        act(&["incident", "resolve", &id, "--despite"])?;
        let page = self.folder.join(PAGE);
        let path = page.to_str().context("a name in UTF-8")?;
        self.platform
            .mainstay(&["incident", "report", &id, "--out", path])?;
        ensure!(
            std::fs::read_to_string(&page)?.contains("a rehearsed incident"),
            "the page does not tell of it"
        );
        act(&["incident", "sign", &id, path])?;
        let subject = ["--incident", &id, "--attach", path];
        let pack = Pack::make(&self.platform, &subject, &self.folder.join("incident"))?;
        print!("{}", pack.verified()?);
        let signed = pack.item(SIGN_OFF)?;
        ensure!(
            signed.to_string().contains(PAGE) && signed.to_string().contains("which is attached"),
            "the page that was signed is not the one that is packed: {signed}"
        );
        // Whoever resolved it is nobody to stand for it, and here there is nobody else.
        ensure!(
            signed["status"] == "missing" && signed.to_string().contains("who resolved it too"),
            "a signature of whoever resolved it is enough: {signed}"
        );
        let files = pack.refused_flipped(self.peer.as_ref())?;
        self.tell(&format!(
            "{id} was told, its page signed and packed; one byte flipped in each of {files} files: refused"
        ));
        Ok(())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
