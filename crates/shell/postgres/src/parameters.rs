//! Parameters that the platform gives: read again when the file changes, tried before they are used.
//!
//! A server that is told nonsense refuses to start. So what is new is first read by a `postgres` that only
//! prints and ends; and where a start fails all the same, the server is started with what it last ran with,
//! and the status says what was refused. What no standby may have less of than its log demands is kept
//! back at a start: the server would end in the middle of its recovery.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_keeper::Renewal;
use mainstay_record::keeper::{KeeperSetting, ParametersStatus};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::commands::chain;
use crate::programs::ProgramError;
use crate::settings::{self, Stance};
use crate::setup::Setup;
use crate::sql::Session;

pub type Settings = Vec<KeeperSetting>;

/// Between two looks at the file.
const LOOK_PERIOD: Duration = Duration::from_secs(1);
const FILE_LIMIT: u64 = 1024 * 1024;
const TRIAL_LIMIT: Duration = Duration::from_secs(5);
const CONTROL_LIMIT: Duration = Duration::from_secs(2);

/// What no standby may have less of than its log demands: the parameter, how `pg_controldata` calls it, and
/// what it is if nobody says so.
const DEMANDED: [(&str, &str, u32); 4] = [
    ("max_connections", "max_connections setting:", 100),
    ("max_worker_processes", "max_worker_processes setting:", 8),
    (
        "max_prepared_transactions",
        "max_prepared_xacts setting:",
        0,
    ),
    (
        "max_locks_per_transaction",
        "max_locks_per_xact setting:",
        64,
    ),
];

/// What has become of the parameters, for the threads that use, watch and show them.
#[derive(Debug)]
pub struct Parameters {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the file says.
    wanted: Settings,
    /// What the server's configuration is written with.
    used: Settings,
    /// What is put over it, because the log demands more.
    kept_back: Settings,
    kept: Kept,
    waiting: Vec<String>,
    other_programs: bool,
    weakened: Vec<String>,
    unseen: Option<String>,
}

/// What a keeper must still know when it starts again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// What the configuration was last written with.
    used: Option<Settings>,
    /// What the server last started with.
    good: Option<Settings>,
    failed: Option<FailedSettings>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FailedSettings {
    settings: Settings,
    why: String,
}

impl Parameters {
    pub fn recall(path: PathBuf, wanted: Settings) -> Self {
        let kept = mainstay_rt::files::read_limited(&path, FILE_LIMIT).ok();
        let kept: Kept = kept
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let used = kept.used.clone().unwrap_or_else(|| wanted.clone());
        let state = State {
            wanted,
            used,
            kept,
            ..State::default()
        };
        Self {
            path,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, kept: &Kept) {
        let written = serde_json::to_vec_pretty(kept).map_err(std::io::Error::from);
        let written =
            written.and_then(|bytes| mainstay_rt::files::write_atomic(&self.path, &bytes));
        if let Err(error) = written {
            tracing::warn!(
                error = chain(&error),
                "which parameters work is not remembered"
            );
        }
    }

    /// Names and values in the order in which the configuration has them; later ones win.
    pub fn lines(&self) -> Vec<(String, String)> {
        let state = self.state();
        let all = state.used.iter().chain(&state.kept_back);
        all.map(|setting| (setting.name.clone(), setting.value.clone()))
            .collect()
    }

    fn want(&self, wanted: Settings) {
        self.state().wanted = wanted;
    }

    /// What the file says and nobody has tried yet.
    fn untried(&self) -> Option<Settings> {
        let state = self.state();
        let failed = state.kept.failed.as_ref();
        let is_known = state.wanted == state.used
            || failed.is_some_and(|failed| failed.settings == state.wanted);
        (!is_known).then(|| state.wanted.clone())
    }

    fn adopt(&self, settings: Settings) {
        let mut state = self.state();
        state.kept.used = Some(settings.clone());
        state.used = settings;
        // The server says anew what it waits for.
        state.waiting.clear();
        state.kept.failed = None;
        self.keep(&state.kept);
    }

    /// The server does not take these, and runs with what is used.
    pub fn refuse(&self, settings: Settings, why: String) {
        let mut state = self.state();
        state.kept.used = Some(state.used.clone());
        state.kept.failed = Some(FailedSettings { settings, why });
        self.keep(&state.kept);
    }

    /// The server started with what is used.
    pub fn note_started(&self) {
        let mut state = self.state();
        state.waiting.clear();
        state.other_programs = false;
        if state.kept.good.as_ref() != Some(&state.used) {
            state.kept.good = Some(state.used.clone());
            state.kept.used = state.kept.good.clone();
            self.keep(&state.kept);
        }
    }

    /// The server did not start: if there is something else to start it with, that is used, and what was tried is returned.
    /// Whether the parameters are at fault shows only when it starts without them.
    pub fn fall_back(&self) -> Option<Settings> {
        let mut state = self.state();
        let good = state.kept.good.clone();
        let good = good.filter(|good| *good != state.used)?;
        Some(std::mem::replace(&mut state.used, good))
    }

    /// The server did not start with what was good before either: what was tried is tried again.
    pub fn go_back(&self, tried: Settings) {
        self.state().used = tried;
    }

    /// What the log demands is put over what is used, where that is less.
    fn note_demand(&self, demanded: &[(&'static str, u32)]) {
        let mut state = self.state();
        let less = demanded.iter().filter(|(name, least)| {
            let given = state
                .used
                .iter()
                .rev()
                .find(|setting| setting.name == *name);
            let default = DEMANDED.iter().find(|(known, _, _)| known == name);
            let value = match given {
                // What is no number is no number to the server either.
                Some(setting) => setting.value.trim().parse().unwrap_or(*least),
                None => default.map_or(0, |(_, _, value)| *value),
            };
            value < *least
        });
        let kept_back = less.map(|(name, least)| KeeperSetting {
            name: (*name).to_owned(),
            value: least.to_string(),
        });
        state.kept_back = kept_back.collect();
    }

    /// Whether finished log is handed to an archiver, by what the file says or what the server was last given.
    pub fn are_archived(&self) -> bool {
        let state = self.state();
        let mut given = state.wanted.iter().chain(&state.used);
        given.any(|setting| setting.name == "archive_mode" && setting.value != "off")
    }

    /// Whose commits are weakened, and by what.
    pub fn note_weakened(&self, weakened: Vec<String>) {
        let mut state = self.state();
        for news in weakened
            .iter()
            .filter(|word| !state.weakened.contains(word))
        {
            tracing::warn!(what = news, "commits are weakened");
        }
        state.weakened = weakened;
    }

    /// Why nobody can tell what sessions set for themselves, if so.
    pub fn note_unseen(&self, unseen: Option<String>) {
        let mut state = self.state();
        if unseen != state.unseen {
            match &unseen {
                Some(why) => tracing::warn!(why, "what sessions set for themselves is not seen"),
                None => tracing::info!("what sessions set for themselves is seen again"),
            }
        }
        state.unseen = unseen;
    }

    /// What the server says of itself.
    pub fn note_server(&self, waiting: Vec<String>, other_programs: bool) {
        let mut state = self.state();
        state.waiting = waiting;
        state.other_programs = other_programs;
    }

    /// Whether the server should be started anew, as it said last.
    pub fn renewal(&self) -> Renewal {
        let state = self.state();
        let refused = state.kept.failed.as_ref();
        if refused.is_some_and(|failed| failed.settings == state.wanted) {
            Renewal::Refused
        } else if state.waiting.is_empty() && !state.other_programs {
            Renewal::NotNeeded
        } else {
            Renewal::Needed
        }
    }

    pub fn status(&self) -> ParametersStatus {
        let state = self.state();
        let failed = state.kept.failed.as_ref();
        ParametersStatus {
            used: state.used.clone(),
            waiting: state.waiting.clone(),
            other_programs: state.other_programs,
            kept_back: state.kept_back.clone(),
            weakened: state.weakened.clone(),
            unseen: state.unseen.clone(),
            refused: failed
                .filter(|failed| failed.settings == state.wanted)
                .map(|failed| failed.why.clone()),
        }
    }
}

/// The part of the configuration that is read again; another version may have written the rest.
#[derive(Deserialize)]
struct Told {
    #[serde(default)]
    settings: Settings,
}

/// Reads the file again and again, and says so when there is something to try.
pub async fn watch(parameters: Arc<Parameters>, path: PathBuf, news: watch::Sender<u64>) {
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        let path = path.clone();
        // A disk that hangs must not hang the thread that stops servers.
        let read = move || mainstay_rt::files::read_limited(&path, FILE_LIMIT);
        let Ok(Ok(bytes)) = tokio::task::spawn_blocking(read).await else {
            continue;
        };
        match serde_json::from_slice::<Told>(&bytes) {
            Ok(told) => parameters.want(told.settings),
            Err(error) => tracing::debug!(%error, "the configuration is not readable now"),
        }
        if parameters.untried().is_some() {
            news.send_modify(|number| *number += 1);
        }
        if news.is_closed() {
            return;
        }
    }
}

/// Tries what is new, and adopts it if the server would take it. `true` if the configuration is to be written.
pub async fn renew(setup: &Setup, stance: &Stance) -> bool {
    let Some(wanted) = setup.parameters.untried() else {
        return false;
    };
    if !setup.layout.pgdata.join("PG_VERSION").exists() {
        // Nothing to try it on; the first start will show.
        setup.parameters.adopt(wanted);
        return false;
    }
    match attempt(setup, stance, &wanted).await {
        Ok(()) => {
            tracing::info!(?wanted, "parameters of the platform's file");
            setup.parameters.adopt(wanted);
            note_demand(setup).await;
            true
        }
        Err(ProgramError::Failed { output, .. }) => {
            let why = complaint(&output);
            tracing::warn!(why, "the server would not take the parameters of the file");
            setup.parameters.refuse(wanted, why);
            false
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the parameters could not be tried");
            false
        }
    }
}

async fn attempt(setup: &Setup, stance: &Stance, wanted: &Settings) -> Result<(), ProgramError> {
    let mut fixed = setup.fixed_settings();
    fixed.extra = wanted
        .iter()
        .map(|setting| (setting.name.clone(), setting.value.clone()))
        .collect();
    let path = setup.layout.tools.join("candidate.conf");
    let text = settings::server(&fixed, stance);
    let tool = "postgres";
    mainstay_rt::files::swap_for(&path, text.as_bytes(), |path| setup.programs.give(path))
        .map_err(|source| ProgramError::Start { tool, source })?;
    let arguments = [
        "-D".to_owned(),
        setup.layout.pgdata.display().to_string(),
        format!("--config-file={}", path.display()),
        "-C".to_owned(),
        "max_connections".to_owned(),
    ];
    setup
        .programs
        .run(tool, &arguments, None, TRIAL_LIMIT, |_| {})
        .await
}

/// What the server says of a configuration, without the time, its own pid and the names of our files.
fn complaint(output: &str) -> String {
    let said = output.split("LOG:").skip(1);
    let part = |text: &str| {
        let text = text.split(" in file ").next().unwrap_or(text);
        let text = text.split("FATAL:").next().unwrap_or(text);
        // The next line begins with its time.
        let mut words: Vec<&str> = text.split_whitespace().collect();
        while words.last().is_some_and(|word| {
            word.starts_with('[')
                || *word == "GMT"
                || word.starts_with(|c: char| c.is_ascii_digit())
        }) {
            words.pop();
        }
        words.join(" ")
    };
    let complaints: Vec<String> = said.map(part).filter(|text| !text.is_empty()).collect();
    if complaints.is_empty() {
        output.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        complaints.join("; ")
    }
}

/// Finds out what the log in the data folder demands.
pub async fn note_demand(setup: &Setup) {
    let folder = setup.layout.pgdata.display().to_string();
    let arguments = ["-D".to_owned(), folder];
    let told = setup
        .programs
        .output("pg_controldata", &arguments, CONTROL_LIMIT)
        .await;
    match told {
        Ok(text) => setup.parameters.note_demand(&demanded(&text)),
        Err(error) => tracing::warn!(error = chain(&error), "what the log demands is not known"),
    }
}

/// Whether a server that runs has less of something than its log has come to demand: then it does not replay
/// any further before it is started anew.
pub async fn lacks_demanded(setup: &Setup, session: &Session) -> bool {
    let folder = setup.layout.pgdata.display().to_string();
    let arguments = ["-D".to_owned(), folder];
    let told = setup
        .programs
        .output("pg_controldata", &arguments, CONTROL_LIMIT)
        .await;
    for (name, least) in demanded(&told.unwrap_or_default()) {
        let question = format!("SHOW {name}");
        let shown = session.value("ask for a parameter", &question, CONTROL_LIMIT);
        let running: Option<u32> = shown.await.ok().and_then(|value| value.parse().ok());
        if running.is_some_and(|running| running < least) {
            return true;
        }
    }
    false
}

fn demanded(text: &str) -> Vec<(&'static str, u32)> {
    let line = |label: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(label))?;
        value.trim().parse().ok()
    };
    DEMANDED
        .iter()
        .filter_map(|(name, label, _)| Some((*name, line(label)?)))
        .collect()
}

/// Whether the program that a process runs is no longer the one at the path: it was replaced on disk.
pub fn was_replaced(running: &Path, on_disk: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (std::fs::metadata(running), std::fs::metadata(on_disk)) {
        (Ok(running), Ok(on_disk)) => {
            (running.dev(), running.ino()) != (on_disk.dev(), on_disk.ino())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str) -> KeeperSetting {
        KeeperSetting {
            name: name.to_owned(),
            value: value.to_owned(),
        }
    }

    #[test]
    fn what_does_not_start_is_remembered_and_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parameters.json");
        let old = vec![setting("work_mem", "8MB")];
        let new = vec![setting("shared_buffers", "900GB")];
        let parameters = Parameters::recall(path.clone(), old.clone());
        parameters.note_started();
        assert_eq!(parameters.fall_back(), None, "nothing else is known");
        parameters.want(new.clone());
        assert_eq!(parameters.untried(), Some(new.clone()));
        parameters.adopt(new.clone());
        parameters.note_server(vec!["shared_buffers".to_owned()], false);
        assert_eq!(parameters.renewal(), Renewal::Needed);
        // A server that starts with neither says nothing of the parameters, in this life of the keeper or the next.
        let tried = parameters.fall_back().unwrap();
        parameters.go_back(tried);
        assert_eq!(parameters.renewal(), Renewal::Needed);
        let after = Parameters::recall(path.clone(), new.clone());
        assert_eq!(after.status().refused, None);
        assert_eq!(parameters.fall_back(), Some(new.clone()));
        parameters.refuse(new.clone(), "it ended".to_owned());
        assert_eq!(parameters.renewal(), Renewal::Refused);
        assert_eq!(
            parameters.lines(),
            [("work_mem".to_owned(), "8MB".to_owned())]
        );
        // Another life of the keeper knows it too, and tries what is new.
        let parameters = Parameters::recall(path, new);
        assert_eq!(parameters.untried(), None);
        assert_eq!(parameters.status().refused.as_deref(), Some("it ended"));
        parameters.want(old.clone());
        assert_eq!(
            parameters.untried(),
            None,
            "it is what the server runs with"
        );
    }

    #[test]
    fn what_the_log_demands_is_kept_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("parameters.json");
        let given = vec![setting("max_connections", "50"), setting("work_mem", "8MB")];
        let parameters = Parameters::recall(path, given);
        let control = "max_connections setting:              200\n\
            max_worker_processes setting:         8\n\
            max_prepared_xacts setting:           0\nmax_locks_per_xact setting:           128\n";
        parameters.note_demand(&demanded(control));
        let lines = parameters.lines();
        let last = |name: &str| lines.iter().rev().find(|line| line.0 == name).cloned();
        assert_eq!(last("max_connections").unwrap().1, "200");
        assert_eq!(last("max_locks_per_transaction").unwrap().1, "128");
        assert_eq!(last("max_worker_processes"), None, "the default will do");
        parameters.note_demand(&[("max_connections", 50)]);
        assert_eq!(parameters.status().kept_back, []);
    }

    #[test]
    fn a_complaint_is_told_without_our_own_files() {
        let output = "2026-11-28 12:49:31.179 GMT [17794] LOG:  unrecognized configuration parameter \"nonsense\" \
            in file \"/tmp/c.conf\" line 2 2026-11-28 12:49:31.179 GMT [17794] LOG:  invalid value for parameter \
            \"work_mem\": \"x\" 2026-11-28 12:49:31.179 GMT [17794] FATAL:  configuration file \"/tmp/c.conf\" contains errors";
        assert_eq!(
            complaint(output),
            "unrecognized configuration parameter \"nonsense\"; invalid value for parameter \"work_mem\": \"x\""
        );
        assert_eq!(complaint("no such  file"), "no such file");
    }

    #[test]
    fn a_program_that_was_replaced_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        std::fs::write(&old, "1").unwrap();
        std::fs::hard_link(&old, &new).unwrap();
        assert!(!was_replaced(&old, &new));
        std::fs::remove_file(&new).unwrap();
        assert!(!was_replaced(&old, &new), "it is away for a moment");
        std::fs::write(&new, "2").unwrap();
        assert!(was_replaced(&old, &new));
    }
}
