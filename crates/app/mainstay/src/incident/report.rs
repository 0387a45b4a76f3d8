//! `mainstay incident report`, `replay` and `action list`: projections of the journal, made where it stands.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use mainstay_derive::Layout;
use mainstay_model::Platform;
use mainstay_model::gateway::Target;
use mainstay_model::watch::Events;
use mainstay_report::{
    ActionTold, Block, Cost, Counted, Entry, Expectations, Figures, Promise, Recorded, RulesHeld,
    Story, actions, day_and_time, figures, html, markdown, report, rules_held, span, time_of_day,
};
use mainstay_rt::{clock, files};
use mainstay_rules::file::Group;
use mainstay_rules::replay::{Fired, Replayed, called, replay as play, written};
use serde_json::json as object;

use super::measured::{self, EVERYTHING, OF_REPORTS, Wanted};
use crate::arguments::incident::{ActionList, Format, Replay, Report};
use crate::client::find;
use crate::exit::{Failure, Outcome};
use crate::journal;
use crate::print::{json, line, picture, progress};
use crate::rule_files;
use crate::rules;
use crate::validate::read_valid;

/// Shown and measured beyond what was felt.
const AROUND_MS: u64 = 60_000;
/// From one sample to the next, where the file does not say it.
const INTERVAL_MS: u64 = 5_000;
/// Taken of what was before, so that a rule finds its past.
const RULE_BEFORE_MS: u64 = 15 * 60_000;

/// What is known of a platform whose journal is read.
struct Ground {
    layout: Layout,
    name: String,
    /// Nothing if its file cannot be read any more.
    platform: Option<Platform>,
    entries: Vec<Entry>,
}

impl Ground {
    fn find(platform: &crate::arguments::Platform) -> Result<Self, Failure> {
        let (machine, layout) = find(platform)?;
        let known = read_valid(&layout.platform_file()).ok();
        Ok(Self {
            platform: known.map(|(platform, _)| platform),
            entries: journal::entries(&machine, &layout)?,
            name: machine.platform,
            layout,
        })
    }

    fn story(&self, id: &str) -> Result<Story, Failure> {
        Story::of(&self.entries, id).map_err(|error| {
            Failure::Usage(format!(
                "{error}\n  next: `mainstay incident list --all` names those that there are"
            ))
        })
    }

    fn interval_ms(&self) -> u64 {
        let watch = self.platform.as_ref().and_then(Platform::watch);
        let interval = watch.map(|watch| watch.interval.as_millis());
        interval
            .and_then(|ms| u64::try_from(ms).ok())
            .unwrap_or(INTERVAL_MS)
    }

    /// What was measured from `before_ms` ahead of what was felt.
    fn measured(
        &self,
        story: &Story,
        folder: Option<&Path>,
        (selector, before_ms): (&str, u64),
    ) -> Result<Recorded, Failure> {
        if let Some(folder) = folder {
            return measured::read(folder, &self.name, &story.incident);
        }
        let now_ms = clock::wall_ms();
        let (from_ms, to_ms) = story.felt(now_ms);
        let wanted = Wanted {
            platform: &self.name,
            incident: &story.incident,
            selector,
            from_ms: from_ms.saturating_sub(before_ms),
            to_ms: to_ms.saturating_add(AROUND_MS).min(now_ms),
            interval_ms: self.interval_ms(),
        };
        measured::fetch(&self.layout, &wanted)
    }
}

pub fn length_ms(name: &str, text: &str) -> Result<u64, Failure> {
    let length = mainstay_promql::number::parse_duration(text);
    length.and_then(|ms| u64::try_from(ms).ok()).ok_or_else(|| {
        Failure::Usage(format!(
            "{name} {text:?} is no length of time; write 5m or 1h30m"
        ))
    })
}

pub fn write(arguments: &Report) -> Outcome {
    let id = super::id(&arguments.id)?;
    let ground = Ground::find(&arguments.platform)?;
    let story = ground.story(&id)?;
    let expectations = ground.platform.as_ref().map(expectations);
    let expectations = expectations.unwrap_or_default();
    let asks_rates = |promise: &Promise| matches!(promise.counted, Counted::Rates { .. });
    let wants_all = arguments.keep.is_some() || expectations.promises.iter().any(asks_rates);
    let reach = match wants_all {
        true => (EVERYTHING, length_ms("--before", &arguments.before)?),
        false => (OF_REPORTS, AROUND_MS),
    };
    let recorded = ground.measured(&story, arguments.figures.as_deref(), reach);
    if let (Some(folder), Ok(recorded)) = (&arguments.keep, &recorded) {
        measured::keep(folder, recorded)?;
    }
    // A report of what the journal tells is worth having, though nothing was measured or it is gone. A folder that was
    // named and cannot be used, or not be written, is something else.
    let recorded = match recorded {
        Err(failure) if arguments.figures.is_some() || arguments.keep.is_some() => {
            return Err(failure);
        }
        recorded => recorded.map_err(|failure| first_line(&failure)),
    };
    let felt = story.felt(clock::wall_ms());
    let figures: Result<Figures, String> = recorded.map(|recorded| {
        let felt = (felt.0, felt.1.min(recorded.to_ms).max(felt.0));
        figures(&recorded, &expectations, felt)
    });
    let document = report(
        &ground.name,
        &story,
        figures.as_ref().map_err(String::as_str),
    );
    let Some(out) = &arguments.out else {
        return picture(match arguments.format {
            Format::Markdown => markdown(&document, None),
            Format::Html => html(&document),
        });
    };
    let text = match arguments.format {
        Format::Html => html(&document),
        Format::Markdown => {
            let stem = out.file_stem().unwrap_or_default().to_string_lossy();
            for block in &document.blocks {
                if let Block::Plot(plot) = block {
                    let path = out.with_file_name(format!("{stem}-{}.svg", plot.name));
                    put(&path, &plot.svg)?;
                }
            }
            markdown(&document, Some(&stem.replace([' ', '(', ')'], "-")))
        }
    };
    put(out, &text)?;
    line(format_args!(
        "{} of incident {id}: {} journal entries, {}",
        out.display(),
        story.timeline.len(),
        match &figures {
            Ok(figures) => format!("measured by the watch on {}", figures.watch),
            Err(why) => format!("nothing measured: {why}"),
        }
    ))
}

fn first_line(failure: &Failure) -> String {
    let text = failure.to_string();
    let first = text.lines().next().unwrap_or_default();
    first.trim_end_matches('.').to_owned()
}

fn put(path: &Path, text: &str) -> Outcome {
    files::write_atomic(path, text.as_bytes())
        .with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

/// What the file promises, and what it costs when that is broken.
fn expectations(platform: &Platform) -> Expectations {
    let objectives = platform.watch().map_or(&[][..], |watch| &watch.objectives);
    let promises = objectives.iter().map(|objective| {
        let period_ms = u64::try_from(objective.period.as_millis()).unwrap_or(u64::MAX);
        Promise {
            name: objective.name.to_string(),
            target: objective.target.to_string(),
            budget: objective.target.budget_text().parse().unwrap_or(0.0),
            period_ms,
            counted: counted(&objective.events),
        }
    });
    let mut costs = Vec::new();
    if let Some(cost) = platform.cost_per_minute() {
        let currency = cost.currency.as_str().to_owned();
        costs.extend(cost.platform.map(|amount| Cost {
            service: None,
            hundredths: amount.hundredths(),
            currency: currency.clone(),
            routes: Vec::new(),
        }));
        costs.extend(cost.services.iter().map(|(service, amount)| Cost {
            service: Some(service.to_string()),
            hundredths: amount.hundredths(),
            currency: currency.clone(),
            routes: routes(platform, service.as_str()),
        }));
    }
    Expectations {
        promises: promises.collect(),
        costs,
    }
}

fn counted(events: &Events) -> Counted {
    match events {
        Events::Answered { gateway, route } => Counted::Requests {
            gateway: gateway.to_string(),
            path: route.clone(),
            within: None,
        },
        Events::Fast {
            gateway,
            route,
            within,
        } => Counted::Requests {
            gateway: gateway.to_string(),
            path: route.clone(),
            within: Some(within.as_secs_f64()),
        },
        Events::Expressions { bad, total } => Counted::Rates {
            bad: bad.clone(),
            total: total.clone(),
        },
    }
}

/// Gateway and path of every route that leads to a service.
fn routes(platform: &Platform, service: &str) -> Vec<(String, String)> {
    let mut routes = Vec::new();
    for gateway in platform.gateways() {
        for route in gateway.http.iter().flat_map(|listener| &listener.routes) {
            let leads = match &route.target {
                Target::Service { service: name, .. } => name == service,
                Target::Cell { members, .. } => {
                    members.iter().any(|member| member.service == *service)
                }
            };
            if leads {
                routes.push((gateway.name.to_string(), route.path.as_str().to_owned()));
            }
        }
    }
    routes
}

pub fn replay(arguments: &Replay) -> Outcome {
    let id = super::id(&arguments.id)?;
    let groups = rules::load(&arguments.rules)?;
    let ground = Ground::find(&arguments.look.platform)?;
    let story = ground.story(&id)?;
    let before_ms = length_ms("--before", &arguments.before)?;
    let recorded = ground.measured(
        &story,
        arguments.figures.as_deref(),
        (EVERYTHING, before_ms),
    )?;
    if recorded.sample_count() == 0 {
        return Err(Failure::Usage(format!(
            "nothing is left of what was measured over incident {id}\n  next: with --figures, name a folder that `mainstay incident report {id} --keep FOLDER` wrote in time"
        )));
    }
    let (from_ms, to_ms) = story.felt(clock::wall_ms());
    let held = rules_held(&ground.entries, from_ms, to_ms);
    let replayed = played(&groups, &recorded);
    let caught = caught(&story, &replayed, |_| true);
    match arguments.look.json {
        true => in_json(&story, &replayed, caught.is_some(), &held)?,
        false => in_words(&story, &recorded, &replayed, &held)?,
    }
    if let Some(cut_at) = replayed.cut_at {
        return Err(Failure::Usage(format!(
            "after {} evaluations only {} was reached\n  next: take less of what was before, with --before",
            replayed.evaluations,
            day_and_time(u64::try_from(cut_at).unwrap_or_default())
        )));
    }
    match caught {
        Some(_) => Ok(()),
        None => Err(Failure::Finding(format!(
            "with these rules no alert would have fired while incident {id} was felt"
        ))),
    }
}

fn moment(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn played(groups: &[Group], recorded: &Recorded) -> Replayed {
    play(
        groups,
        recorded.store(&written(groups)),
        (moment(recorded.from_ms), moment(recorded.to_ms)),
        moment(recorded.interval_ms),
    )
}

/// The first of these alerts that would have fired while the incident was felt.
fn caught<'a>(
    story: &Story,
    replayed: &'a Replayed,
    is_meant: impl Fn(&Fired) -> bool,
) -> Option<&'a Fired> {
    let (from_ms, to_ms) = story.felt(clock::wall_ms());
    // What fired long before and went on says nothing, where it is known when it began.
    let is_known = story.moments.began.is_some();
    let mut fired = replayed.fired.iter();
    fired.find(|fired| {
        let goes_on = fired.ended_at.is_none_or(|ended| ended >= moment(from_ms));
        let comes = fired.fired_at >= moment(from_ms) || !is_known;
        is_meant(fired) && fired.fired_at <= moment(to_ms) && goes_on && comes
    })
}

/// Whether a rule that the platform follows would have caught an incident, in words; also that nobody can say.
pub fn said_of_rule(platform: &crate::arguments::Platform, id: &str, rule: &str) -> String {
    match catches(platform, id, rule) {
        Ok(text) => text,
        Err(failure) => format!(
            "whether {rule} would have caught incident {id} cannot be said: {}",
            first_line(&failure)
        ),
    }
}

fn catches(platform: &crate::arguments::Platform, id: &str, rule: &str) -> Result<String, Failure> {
    let ground = Ground::find(platform)?;
    let watch = ground.platform.as_ref().and_then(Platform::watch);
    let groups = rule_files::needed_by(rule, rule_files::followed(&ground.layout, watch)?);
    let mut rules = groups.iter().flat_map(|group| &group.rules);
    if !rules.any(|known| known.name() == rule && known.alert().is_some()) {
        return Ok(format!("{rule} records a series and raises no alert"));
    }
    let story = ground.story(id)?;
    let recorded = ground.measured(&story, None, (EVERYTHING, RULE_BEFORE_MS))?;
    if recorded.sample_count() == 0 {
        return Err(Failure::Usage(
            "nothing is left of what was measured then".to_owned(),
        ));
    }
    let replayed = played(&groups, &recorded);
    let caught = caught(&story, &replayed, |fired| fired.alert == rule);
    Ok(match caught {
        Some(fired) => {
            let at_ms = u64::try_from(fired.fired_at).unwrap_or_default();
            let noticed = story.moments.detected.as_ref();
            let noticed = noticed.map_or(String::new(), |noticed| {
                format!("; it was noticed {}", day_and_time(noticed.at_ms))
            });
            format!(
                "{rule} would have caught incident {id}: it would have fired {}{noticed}",
                day_and_time(at_ms)
            )
        }
        None => format!(
            "{rule} would NOT have caught incident {id}: it would not have fired while that was felt"
        ),
    })
}

fn in_json(story: &Story, replayed: &Replayed, caught: bool, held: &[RulesHeld]) -> Outcome {
    let at = |moment: &Option<mainstay_report::Moment>| moment.as_ref().map(|moment| moment.at_ms);
    let fired = replayed.fired.iter().map(|fired| {
        object!({
            "alert": called(fired),
            "active_ms": fired.active_at,
            "fired_ms": fired.fired_at,
            "ended_ms": fired.ended_at,
        })
    });
    let held = held.iter().map(|held| {
        object!({
            "watch": held.watch,
            "file": held.file,
            "digest": held.digest,
            "since_ms": held.since_ms,
            "position": held.position,
            "adopted": held.adopted.as_ref().map(|adopted| adopted.position),
        })
    });
    json(&object!({
        "version": 1,
        "incident": story.incident,
        "followed": held.collect::<Vec<_>>(),
        "began_ms": at(&story.moments.began),
        "noticed_ms": at(&story.moments.detected),
        "mitigated_ms": at(&story.moments.mitigated),
        "caught": caught,
        "evaluations": replayed.evaluations,
        "cut_ms": replayed.cut_at,
        "fired": fired.collect::<Vec<_>>(),
        "failed": replayed.problems,
    }))
}

fn in_words(
    story: &Story,
    recorded: &Recorded,
    replayed: &Replayed,
    held: &[RulesHeld],
) -> Outcome {
    line(format_args!(
        "incident {}: {}\n  measured by the watch on {} from {} to {}: {} samples; {} evaluations",
        story.incident,
        story.title,
        recorded.watch,
        day_and_time(recorded.from_ms),
        day_and_time(recorded.to_ms),
        recorded.sample_count(),
        replayed.evaluations
    ))?;
    then(story)?;
    for held in held {
        line(format_args!(
            "  was followed by the watch on {}",
            held.told()
        ))?;
    }
    for fired in &replayed.fired {
        now(story, fired)?;
    }
    for (rule, why) in &replayed.problems {
        progress(format_args!("  {rule} failed: {why}"));
    }
    Ok(())
}

fn then(story: &Story) -> Outcome {
    for (name, moment) in [
        ("began", &story.moments.began),
        ("was noticed", &story.moments.detected),
        ("was mitigated", &story.moments.mitigated),
    ] {
        match moment {
            Some(moment) => line(format_args!(
                "  it {name} {} (journal entry {}): {}",
                time_of_day(moment.at_ms),
                moment.position,
                moment.what
            ))?,
            None => line(format_args!("  when it {name} is unknown"))?,
        }
    }
    Ok(())
}

fn now(story: &Story, fired: &Fired) -> Outcome {
    let at_ms = u64::try_from(fired.fired_at).unwrap_or_default();
    let beside = |name: &str, moment: &Option<mainstay_report::Moment>| {
        moment.as_ref().map(|moment| match at_ms >= moment.at_ms {
            true => format!("{} after it {name}", span(at_ms - moment.at_ms)),
            false => format!("{} before it {name}", span(moment.at_ms - at_ms)),
        })
    };
    let beside = [
        beside("began", &story.moments.began),
        beside("was noticed", &story.moments.detected),
    ];
    let beside: Vec<String> = beside.into_iter().flatten().collect();
    let ended = match fired.ended_at {
        Some(ended) => format!("until {}", time_of_day(u64::try_from(ended).unwrap_or(0))),
        None => "to the end".to_owned(),
    };
    line(format_args!(
        "  would have fired {} {ended}: {} ({})",
        time_of_day(at_ms),
        called(fired),
        beside.join(", ")
    ))
}

pub fn list_actions(arguments: &ActionList) -> Outcome {
    let (record, layout) = find(&arguments.look.platform)?;
    let entries = journal::entries(&record, &layout)?;
    let incidents: BTreeSet<String> = entries
        .iter()
        .filter_map(|entry| entry.incident().map(ToOwned::to_owned))
        .collect();
    let mut told = actions(&entries, &incidents);
    told.retain(|action| arguments.all || action.done.is_none());
    told.sort_by(|one, other| (&one.due, one.position).cmp(&(&other.due, other.position)));
    if arguments.look.json {
        let rows = told.iter().map(|action| {
            object!({
                "action": action.action,
                "text": action.text,
                "owner": action.owner,
                "due": action.due,
                "position": action.position,
                "done": action.done.as_ref().map(|(how, _)| how),
                "became": action.became,
            })
        });
        return json(&rows.collect::<Vec<_>>());
    }
    if told.is_empty() {
        return line("no action is open");
    }
    let today = day_and_time(clock::wall_ms());
    for action in &told {
        show(action, &today)?;
    }
    Ok(())
}

/// Days compare as texts.
fn show(action: &ActionTold, today: &str) -> Outcome {
    let late = action.done.is_none() && action.due.as_str() < &today[..10];
    let state = match &action.done {
        Some((how, position)) => format!("done: {how} (journal entry {position})"),
        None if late => "LATE".to_owned(),
        None => "open".to_owned(),
    };
    let became = action.became.as_ref();
    let became = became.map_or(String::new(), |became| format!("; became {became}"));
    line(format_args!(
        "{:<8} {}  {:<12} {}\n         {state}{became}",
        action.action, action.due, action.owner, action.text
    ))
}
