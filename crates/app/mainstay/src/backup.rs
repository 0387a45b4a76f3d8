//! Backups: made, listed, proven, thrown away, and brought back.
//!
//! These commands work on the archive itself and need no node: a platform whose nodes are all dead is exactly when one
//! wants to restore. What they did stands in the archive.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_backup::{
    Archive, Catalogue, Entry, Piece, Restored, Sources, Wanted, chain, choose, create, join,
    moment, name_point, needed_bytes, offer, prove, prune, restore,
};
use mainstay_derive::Layout;
use mainstay_record::backup::{
    ArchiverState, BackupConfig, BackupLimits, BackupRetention, BackupSchedule, VERSION,
};
use mainstay_rt::files;
use serde_json::json;

use crate::arguments::Restore;
use crate::arguments::{Backup, BackupCreate, BackupPoint, BackupPrune, BackupSee, BackupVerify};
use crate::client::{find, is_barred, not_yours};
use crate::exit::{Failure, Outcome};
use crate::print::{json, line, progress};

const FILE_LIMIT: u64 = 1 << 20;

pub fn run(command: &Backup) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Fault(error.into()))?;
    runtime.block_on(async {
        match command {
            Backup::Create(arguments) => make(arguments).await,
            Backup::List(arguments) => list(arguments).await,
            Backup::Verify(arguments) => verify(arguments).await,
            Backup::Prune(arguments) => throw_away(arguments).await,
            Backup::Point(arguments) => point(arguments).await,
        }
    })
}

pub fn bring_database_back(arguments: &Restore) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Fault(error.into()))?;
    runtime.block_on(bring_back(arguments))
}

fn failed(error: impl std::error::Error) -> Failure {
    Failure::Finding(chain(&error))
}

/// The archivers' configurations of a database, one for each host that has a replica.
pub fn configs(layout: &Layout, database: &str) -> Result<Vec<BackupConfig>, Failure> {
    let mut found = Vec::new();
    let hosts = std::fs::read_dir(layout.hosts());
    for entry in hosts.into_iter().flatten().flatten() {
        let host = entry.file_name().to_string_lossy().into_owned();
        let path = layout.archive_config(&host, database);
        match files::read_limited(&path, FILE_LIMIT) {
            Ok(bytes) => {
                let config = serde_json::from_slice(&bytes);
                found.push(config.map_err(|error| {
                    Failure::Finding(format!("understand {}: {error}", path.display()))
                })?);
            }
            Err(error) if is_barred(&error) => return Err(not_yours(&path)),
            Err(_) => {}
        }
    }
    if found.is_empty() {
        return Err(Failure::Usage(format!(
            "the platform does not put away a database `{database}`\n  next: give it a `backup:` section in the \
             platform file, and `mainstay up` the file"
        )));
    }
    found.sort_by(|one: &BackupConfig, other| one.host.cmp(&other.host));
    Ok(found)
}

/// The archive of a platform's database, through a host that hears the primary, or any.
async fn open(see: &BackupSee) -> Result<(Archive, Option<Sources>), Failure> {
    let (_, layout) = find(&see.platform)?;
    archive_of(&layout, &see.database, None).await
}

/// As above, of a platform that was found; or the archive that is named.
pub async fn archive_of(
    layout: &Layout,
    database: &str,
    named: Option<&str>,
) -> Result<(Archive, Option<Sources>), Failure> {
    let mut last = None;
    for config in configs(layout, database)? {
        let sources = Sources::look(&config).await;
        let hears = sources.primary().is_ok();
        last = Some((config, sources));
        if hears {
            break;
        }
    }
    let Some((config, sources)) = last else {
        return Err(Failure::Usage("no host has an archiver".to_owned()));
    };
    let mut archive = Archive::open(config).map_err(failed)?;
    match (named, sources.primary()) {
        (None, Ok(primary)) => {
            join(&mut archive, primary).await.map_err(failed)?;
            Ok((archive, Some(sources)))
        }
        // The archive is there without its database: that is what it is for.
        (named, _) => {
            archive.find(named).await.map_err(failed)?;
            Ok((archive, None))
        }
    }
}

fn alive(sources: Option<Sources>) -> Result<Sources, Failure> {
    sources.ok_or_else(|| Failure::NoAnswer {
        what: "no keeper says that the database has an open primary".to_owned(),
        next: "`mainstay status` says why".to_owned(),
    })
}

async fn make(arguments: &BackupCreate) -> Outcome {
    let (mut archive, sources) = open(&arguments.see).await?;
    alive(sources)?;
    let record = create(&mut archive).await.map_err(failed)?;
    if arguments.see.json {
        return json(&record);
    }
    let took = record.stopped_ms.saturating_sub(record.started_ms);
    let kind = if record.standby { "standby" } else { "primary" };
    line(format_args!(
        "backup {}: {} MB of {} {}, {} parts, in {:.1} s; a backup is worth what `mainstay backup verify {}` says of it",
        record.id,
        record.bytes / 1_000_000,
        kind,
        record.host,
        record.parts,
        seconds(took),
        arguments.see.database
    ))
}

fn seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

async fn list(arguments: &BackupSee) -> Outcome {
    let (archive, _) = open(arguments).await?;
    let catalogue = archive.catalogue().await.map_err(failed)?;
    if arguments.json {
        let entries: Vec<_> = catalogue
            .entries
            .iter()
            .map(|entry| json!({ "backup": entry.record, "proofs": entry.proofs }))
            .collect();
        let damaged = catalogue.damaged.iter();
        let damaged = damaged.map(|damaged| (&damaged.name, &damaged.why));
        return json(&json!({
            "archive": archive.archive_name(),
            "stores": archive.stores.addresses(),
            "key": archive.stores.fingerprint().to_string(),
            "backups": entries,
            "points": catalogue.points,
            "damaged": damaged.collect::<Vec<_>>(),
            "segments": catalogue.shelf.segments.len(),
            "days": mainstay_backup::proven_days(&archive, &catalogue)
                .into_iter()
                .map(|(day, proof)| json!({ "day": day, "proven": proof }))
                .collect::<Vec<_>>(),
        }));
    }
    line(format_args!(
        "archive {} of {} in {}, key {}",
        archive.archive_name(),
        arguments.database,
        archive.stores.addresses().join(" and "),
        archive.stores.fingerprint()
    ))?;
    for entry in &catalogue.entries {
        line(row(&catalogue, entry))?;
    }
    for damaged in &catalogue.damaged {
        let how = match damaged.what {
            Piece::Unfinished => {
                "begun and not ended: nothing is restored from it, and retention removes it"
            }
            Piece::Backup | Piece::History | Piece::Point => &format!("damaged: {}", damaged.why),
        };
        line(format_args!("  {}  {how}", damaged.name))?;
    }
    for point in &catalogue.points {
        line(format_args!(
            "  point {}: {} on timeline {}, {}",
            point.name,
            point.lsn,
            point.timeline,
            moment::show(point.at_ms)
        ))?;
    }
    states(arguments)?;
    days(&archive, &catalogue)
}

fn row(catalogue: &Catalogue, entry: &Entry) -> String {
    let record = &entry.record;
    let proof = entry.proofs.iter().max_by_key(|proof| proof.at_ms);
    let proof = proof.map_or("not proven".to_owned(), |proof| {
        let rpo = proof
            .rpo_ms
            .map_or("unknown".to_owned(), |ms| format!("{:.1} s", seconds(ms)));
        format!(
            "proven {}{}, RTO {:.1} s, RPO {rpo}",
            moment::show(proof.at_ms),
            match proof.is_full() {
                true => "",
                false => " (to the end of its log only)",
            },
            seconds(proof.rto_ms)
        )
    });
    let reach = mainstay_backup::reach(catalogue, entry);
    format!(
        "  {}  {} MB from {} ({}), timeline {}, complete at {}; {reach}; {proof}",
        record.id,
        record.bytes / 1_000_000,
        record.host,
        if record.standby { "standby" } else { "primary" },
        record.timeline,
        record.stop_lsn,
    )
}

/// What the archivers say of themselves.
fn states(arguments: &BackupSee) -> Outcome {
    let (_, layout) = find(&arguments.platform)?;
    for config in configs(&layout, &arguments.database)? {
        let bytes = files::read_limited(&config.folder.join("state.json"), FILE_LIMIT);
        let state: Option<ArchiverState> = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(state) = state else { continue };
        if state.receiving {
            line(format_args!(
                "  log: {} archives, as far as {} at {}",
                config.host,
                state.shipped_lsn.as_deref().unwrap_or("nothing"),
                moment::show(state.shipped_ms)
            ))?;
        }
        if let Some(alarm) = &state.alarm {
            line(format_args!("  alarm of {}: {alarm}", config.host))?;
        }
    }
    Ok(())
}

/// For each day of the period, the newest restore point that was proven, or that there is none.
fn days(archive: &Archive, catalogue: &Catalogue) -> Outcome {
    for said in day_lines(&mainstay_backup::proven_days(archive, catalogue)) {
        line(format_args!("  {said}"))?;
    }
    Ok(())
}

/// Days in a row that have none share a line.
fn day_lines(days: &[(String, Option<String>)]) -> Vec<String> {
    let mut lines = Vec::new();
    for group in days.chunk_by(|(_, one), (_, other)| one.is_none() && other.is_none()) {
        lines.push(match group {
            [(day, Some(proof))] => format!("{day}: proven restore point {proof}"),
            [(day, None)] => format!("{day}: no proven restore point"),
            [(first, _), .., (last, _)] => {
                format!(
                    "{first} to {last}: no proven restore point on any of {} days",
                    group.len()
                )
            }
            [] => continue,
        });
    }
    let proven = days.iter().filter(|(_, proof)| proof.is_some()).count();
    lines.push(format!(
        "{proven} of {} days have a proven restore point",
        days.len()
    ));
    lines
}

async fn verify(arguments: &BackupVerify) -> Outcome {
    let (archive, _) = open(&arguments.see).await?;
    let catalogue = archive.catalogue().await.map_err(failed)?;
    let backup = arguments.backup.as_deref();
    let proof = match prove(&archive, &catalogue, backup).await {
        Ok(proof) => proof,
        Err(error) => {
            let tried = choose(&catalogue, &Wanted::Latest, backup);
            let tried = tried.map(|(entry, _)| entry.record.id.clone());
            let said = chain(&error);
            return Err(refused(
                &catalogue,
                tried.ok(),
                &Wanted::Latest,
                &said,
                "backup verify",
            ));
        }
    };
    if arguments.see.json {
        return json(&proof);
    }
    line(format_args!("backup {} is proven:", proof.backup))?;
    for shown in &proof.shown {
        line(format_args!("  {shown}"))?;
    }
    let rpo = proof
        .rpo_ms
        .map_or("unknown, no primary answered".to_owned(), |ms| {
            format!("{:.1} s", seconds(ms))
        });
    line(format_args!(
        "  measured: RTO {:.1} s (from the first byte to a server that accepts writes), RPO {rpo}",
        seconds(proof.rto_ms)
    ))
}

/// What was wrong, and which older proven backup to try.
pub fn refused(
    catalogue: &Catalogue,
    tried: Option<String>,
    wanted: &Wanted,
    said: &str,
    command: &str,
) -> Failure {
    let tried = tried.or_else(|| Some(catalogue.entries.first()?.record.id.clone()));
    let next = match tried.as_deref().and_then(|id| offer(catalogue, id, wanted)) {
        Some((older, Ok(_))) => format!(
            "the next older proven backup reaches it: `mainstay {command} … --backup {}`",
            older.record.id
        ),
        Some((older, Err(refusal))) => format!(
            "the next older proven backup is {0}, but {refusal}; alone it brings back {1}: `mainstay database restore … \
             --to {0}`",
            older.record.id,
            moment::show(older.record.stopped_ms)
        ),
        None => "no older backup is proven".to_owned(),
    };
    Failure::Finding(format!("{said}\n  next: {next}"))
}

async fn throw_away(arguments: &BackupPrune) -> Outcome {
    let (archive, _) = open(&arguments.see).await?;
    let catalogue = archive.catalogue().await.map_err(failed)?;
    let pruned = prune(&archive, &catalogue, arguments.dry_run)
        .await
        .map_err(failed)?;
    if arguments.see.json {
        let kept: Vec<_> = pruned
            .kept
            .iter()
            .map(|(id, why)| json!({ "backup": id, "because": format!("{why:?}") }))
            .collect();
        return json(&json!({
            "kept": kept, "removed": pruned.removed, "segments": pruned.segments, "dry_run": arguments.dry_run,
            "unreadable": pruned.unreadable
        }));
    }
    let verb = if arguments.dry_run {
        "would go"
    } else {
        "removed"
    };
    for (id, why) in &pruned.kept {
        line(format_args!("  {id} stays: {why:?}"))?;
    }
    for id in &pruned.removed {
        line(format_args!("  {id} {verb}"))?;
    }
    for id in &pruned.unreadable {
        line(format_args!(
            "  {id} cannot be read and may need any of the log: none of it goes until it is brought back, or removed from the \
             stores by hand"
        ))?;
    }
    line(format_args!("  {} segments of log {verb}", pruned.segments))
}

async fn point(arguments: &BackupPoint) -> Outcome {
    let (archive, sources) = open(&arguments.see).await?;
    let sources = alive(sources)?;
    let primary = sources.primary().map_err(failed)?;
    let point = name_point(&archive, primary, &arguments.name)
        .await
        .map_err(failed)?;
    if arguments.see.json {
        return json(&point);
    }
    line(format_args!(
        "{} is {} on timeline {}; `mainstay database restore {} --to {} --into DIR` brings it back",
        point.name, point.lsn, point.timeline, arguments.see.database, point.name
    ))
}

/// The archive that the arguments mean: by stores and key where they are given, else the platform's.
async fn source_of(arguments: &Restore) -> Result<Archive, Failure> {
    if arguments.store.is_empty() {
        let (_, layout) = find(&arguments.platform)?;
        let named = arguments.archive.as_deref();
        let (archive, _) = archive_of(&layout, &arguments.database, named).await?;
        return Ok(archive);
    }
    let Some(key) = &arguments.key else {
        return Err(Failure::Usage("--store needs --key".to_owned()));
    };
    if !key.exists() {
        return Err(Failure::Usage(format!(
            "there is no key in {}",
            key.display()
        )));
    }
    if let Some(credentials) = &arguments.credentials
        && !credentials.exists()
    {
        return Err(Failure::Usage(format!(
            "there are no credentials in {}",
            credentials.display()
        )));
    }
    let mut config = detached(
        &arguments.database,
        arguments.store.clone(),
        key.clone(),
        &arguments.user,
    );
    config.credentials = arguments.credentials.clone();
    let mut archive = Archive::open(config).map_err(failed)?;
    let found = archive.find(arguments.archive.as_deref()).await;
    found.map_err(failed)?;
    Ok(archive)
}

/// For what is only needed while something is restored; short, because sockets stand in it.
pub fn own_folder(database: &str) -> PathBuf {
    std::env::temp_dir().join(format!("mainstay-{database}-{}", std::process::id()))
}

/// For an archive that is read where none of its platform is left.
pub fn detached(database: &str, stores: Vec<String>, key: PathBuf, user: &str) -> BackupConfig {
    let own = own_folder("restore");
    let root = rustix::process::geteuid().is_root();
    BackupConfig {
        version: VERSION,
        platform: String::new(),
        database: database.to_owned(),
        application: database.to_owned(),
        host: String::new(),
        servers: Vec::new(),
        folder: own.clone(),
        run_folder: own.join("run"),
        key,
        stores,
        store_options: Vec::new(),
        credentials: None,
        limits: BackupLimits::default(),
        programs: None,
        user: root.then(|| user.to_owned()),
        password: PathBuf::new(),
        identity: None,
        schedule: BackupSchedule {
            base_ms: 0,
            proof_ms: 0,
            log_ms: 0,
        },
        retention: BackupRetention {
            period_ms: u64::MAX,
            count: u32::MAX,
        },
        listen: None,
    }
}

async fn bring_back(arguments: &Restore) -> Outcome {
    let archive = source_of(arguments).await?;
    let done = bring_back_from(&archive, arguments).await;
    if !arguments.store.is_empty() {
        std::fs::remove_dir_all(&archive.config.folder).ok();
    }
    done
}

async fn bring_back_from(archive: &Archive, arguments: &Restore) -> Outcome {
    let catalogue = archive.catalogue().await.map_err(failed)?;
    let wanted =
        Wanted::parse(&arguments.to, &catalogue).map_err(|error| Failure::Usage(chain(&error)))?;
    let backup = arguments.backup.as_deref();
    let (entry, route) = match choose(&catalogue, &wanted, backup) {
        Ok(chosen) => chosen,
        Err(error) => {
            let tried = backup.map(str::to_owned);
            return Err(refused(
                &catalogue,
                tried,
                &wanted,
                &chain(&error),
                "database restore",
            ));
        }
    };
    let into =
        std::path::absolute(&arguments.into).map_err(|error| Failure::Fault(error.into()))?;
    if !arguments.json {
        let needed = needed_bytes(archive, entry, &route).map_err(failed)?;
        progress(format_args!(
            "restoring backup {} of archive {} into {}: it takes {} MB for the copy and the log after it",
            entry.record.id,
            archive.archive_name(),
            into.display(),
            needed / 1_000_000
        ));
    }
    let restored = match restore(archive, entry, &route, &wanted, &into).await {
        Ok(restored) => restored,
        Err(error) => {
            let code_and_next = match error {
                mainstay_backup::RestoreError::NotEmpty { .. } => {
                    Some(("not_empty", "name an empty folder"))
                }
                mainstay_backup::RestoreError::Room { .. } => Some((
                    "no_room",
                    "name a folder on a larger disk, or a target that needs less log",
                )),
                _ => None,
            };
            let why = chain(&error);
            let Some((code, next)) = code_and_next else {
                let tried = Some(entry.record.id.clone());
                return Err(refused(
                    &catalogue,
                    tried,
                    &wanted,
                    &why,
                    "database restore",
                ));
            };
            return Err(Failure::Refused {
                code: code.to_owned(),
                why,
                next: next.to_owned(),
            });
        }
    };
    tell_restored(arguments, archive.archive_name(), &restored, &into)
}

fn tell_restored(arguments: &Restore, from: &str, restored: &Restored, into: &Path) -> Outcome {
    if arguments.json {
        return json(&json!({
            "backup": restored.backup, "from_archive": from, "lsn": restored.lsn, "timeline": restored.timeline.0,
            "archive": restored.archive, "took_ms": restored.took_ms, "folder": into,
        }));
    }
    line(format_args!(
        "restored {} from backup {} of archive {from} into {} in {:.1} s: timeline {}, {}; it is cleanly stopped, and belongs to \
         archive {}, not to the original's",
        arguments.to,
        restored.backup,
        into.display(),
        seconds(restored.took_ms),
        restored.timeline.0,
        restored.lsn,
        restored.archive
    ))
}

#[cfg(test)]
mod tests {
    use super::day_lines;

    #[test]
    fn each_day_has_its_proof_or_is_said_to_have_none() {
        let days = [
            ("2026-11-01", None),
            ("2026-11-02", None),
            ("2026-11-03", None),
            ("2026-11-04", Some("A")),
            ("2026-11-05", Some("B")),
            ("2026-11-06", None),
        ];
        let days = days.map(|(day, proof)| (day.to_owned(), proof.map(str::to_owned)));
        assert_eq!(
            day_lines(&days),
            [
                "2026-11-01 to 2026-11-03: no proven restore point on any of 3 days",
                "2026-11-04: proven restore point A",
                "2026-11-05: proven restore point B",
                "2026-11-06: no proven restore point",
                "2 of 6 days have a proven restore point",
            ]
        );
        assert_eq!(day_lines(&[]), ["0 of 0 days have a proven restore point"]);
    }
}
