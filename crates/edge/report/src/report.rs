//! From a story and figures to a document.

use std::collections::BTreeMap;

use crate::document::{Block, Document, Span, Spans};
use crate::figures::{Counts, Figures, Judged, Lost, Priced};
use crate::plot::{Curve, Mark, plot};
use crate::story::{Class, LessonTold, Line, Moment, Story};
use crate::time::{day_and_time, span, time_of_day};

const UNKNOWN: &str = "unknown";

/// `figures` are absent, with the reason, where nothing was measured or what was is gone.
pub fn report(platform: &str, story: &Story, figures: Result<&Figures, &str>) -> Document {
    let mut blocks = summary(platform, story);
    blocks.push(Block::Heading("Impact".to_owned()));
    match figures {
        Ok(figures) => blocks.extend(impact(story, figures)),
        Err(why) => blocks.push(Block::Text(vec![Span::plain(format!(
            "Unknown in budget, requests and money: {why}."
        ))])),
    }
    blocks.push(Block::Heading("Intervals".to_owned()));
    blocks.push(intervals(story));
    blocks.push(Block::Heading("What automation decided".to_owned()));
    blocks.push(lines(story, Class::Decided, "Nothing."));
    blocks.push(Block::Heading("What automation refused".to_owned()));
    blocks.push(lines(story, Class::Refused, "Nothing."));
    blocks.push(Block::Text(vec![Span::plain(notices(story))]));
    for (lesson, heading) in [
        ("factor", "Contributing factors"),
        ("well", "What went well"),
        ("badly", "What went badly"),
        ("luck", "Where luck helped"),
    ] {
        blocks.push(Block::Heading(heading.to_owned()));
        blocks.push(lessons(story, lesson));
    }
    blocks.push(Block::Heading("Actions".to_owned()));
    blocks.push(actions(story));
    blocks.push(Block::Heading("Timeline (UTC)".to_owned()));
    blocks.push(timeline(story));
    blocks.push(Block::Heading("Evidence".to_owned()));
    blocks.push(Block::Text(vec![
        Span::plain(
            "The entries of the journal that are named above. Each hash is that of a leaf of the journal's tree (RFC 6962): ",
        ),
        Span::Code("mainstay journal verify".to_owned()),
        Span::plain(" proves the tree, "),
        Span::Code("mainstay journal show --from POSITION".to_owned()),
        Span::plain(" shows an entry."),
    ]));
    let evidence = story.timeline.iter();
    let evidence = evidence.map(|line| (line.position, line.kind.clone(), line.hash.clone()));
    blocks.push(Block::Evidence(evidence.collect()));
    Document {
        title: format!("Incident {}: {}", story.incident, story.title),
        blocks,
    }
}

fn plain(text: impl Into<String>) -> Spans {
    vec![Span::plain(text)]
}

fn facts(rows: Vec<(&str, Spans)>) -> Block {
    Block::Table {
        head: vec!["what".to_owned(), "as known".to_owned()],
        rows: rows
            .into_iter()
            .map(|(name, told)| vec![plain(name), told])
            .collect(),
    }
}

fn joined<'t>(texts: impl IntoIterator<Item = &'t String>) -> String {
    let texts: Vec<&str> = texts.into_iter().map(String::as_str).collect();
    texts.join(", ")
}

fn summary(platform: &str, story: &Story) -> Vec<Block> {
    let severity = match &story.severity {
        (first, last) if first == last => first.clone(),
        (first, last) => format!("{last} (opened as {first})"),
    };
    let mut state = story.state.clone();
    match story.reopened {
        0 => {}
        1 => state.push_str("; it came back once"),
        times => state.push_str(&format!("; it came back {times} times")),
    }
    if let Some(into) = &story.merged_into {
        state.push_str(&format!(
            "; it goes on in {into}, whose report has the rest"
        ));
    }
    let began = |moment: &Option<Moment>| match moment {
        Some(moment) => vec![
            Span::plain(format!("{}: {} (", day_and_time(moment.at_ms), moment.what)),
            Span::Entry(moment.position),
            Span::plain(")"),
        ],
        None => plain("unknown: nothing in the journal tells of it"),
    };
    let roles = story.roles.iter();
    let roles: Vec<String> = roles.map(|(role, who)| format!("{role} {who}")).collect();
    let mut rows = vec![
        ("platform", plain(platform)),
        ("severity", plain(severity)),
        ("state", plain(state)),
        ("opened", plain(day_and_time(story.opened_ms))),
        ("began with", began(&story.moments.began)),
        ("noticed by", began(&story.moments.detected)),
        ("about", plain(joined(&story.things))),
        (
            "people",
            match roles.is_empty() {
                true => plain("nobody took it"),
                false => plain(roles.join(", ")),
            },
        ),
    ];
    if !story.absorbed.is_empty() {
        rows.push(("took up", plain(joined(&story.absorbed))));
    }
    if let Some(follows) = &story.follows {
        rows.push(("follows", plain(follows.clone())));
    }
    for (link, position) in &story.links {
        let spans = vec![
            Span::Link(link.clone()),
            Span::plain(" ("),
            Span::Entry(*position),
            Span::plain(")"),
        ];
        rows.push(("see also", spans));
    }
    vec![Block::Heading("Summary".to_owned()), facts(rows)]
}

fn whole(count: f64) -> String {
    let text = format!("{:.0}", count.round());
    let mut grouped = String::new();
    for (place, digit) in text.chars().enumerate() {
        if place > 0 && (text.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn percent(share: f64) -> String {
    format!("{:.3} %", share * 100.0)
}

fn share(part: f64, whole: f64) -> String {
    match whole > 0.0 {
        true => percent(part / whole),
        false => UNKNOWN.to_owned(),
    }
}

fn length(ms: f64) -> String {
    // Lengths of incidents fit.
    span(ms.max(0.0).round() as u64)
}

fn impact(story: &Story, figures: &Figures) -> Vec<Block> {
    let mut blocks = vec![Block::Text(plain(format!(
        "From {} to {} ({}), as the watch on {} measured it; {}.",
        day_and_time(figures.from_ms),
        day_and_time(figures.to_ms),
        span(figures.to_ms - figures.from_ms),
        figures.watch,
        match figures.requests {
            Some(_) => format!(
                "the longest time without a sample of any gateway is {}",
                span(figures.gap_ms)
            ),
            None => "no gateway was measured".to_owned(),
        }
    )))];
    if !figures.judged.is_empty() {
        blocks.push(budgets(&figures.judged));
    }
    blocks.extend(requests(figures));
    blocks.push(Block::Text(plain(match &figures.priced[..] {
        [] => "Money: unknown, since the platform file names no costPerMinute.".to_owned(),
        priced => priced.iter().map(price).collect::<Vec<_>>().join(" "),
    })));
    blocks.extend(plots(story, figures));
    blocks
}

fn budgets(judged: &[Judged]) -> Block {
    let row = |judged: &Judged| {
        let left = |left: Option<f64>| left.map_or(UNKNOWN.to_owned(), percent);
        let found = judged.found.as_ref();
        let unknown = || UNKNOWN.to_owned();
        let cells = [
            format!("{} ({})", judged.name, judged.target),
            found.map_or_else(unknown, |found| share(found.lost.ms, judged.budget_ms)),
            found.map_or_else(unknown, |found| lost(found.lost, judged.budget_ms)),
            found.map_or_else(unknown, |found| {
                format!("{} of {}", whole(found.bad), whole(found.total))
            }),
            format!("{} → {}", left(judged.left.0), left(judged.left.1)),
        ];
        cells.map(plain).to_vec()
    };
    let head = [
        "objective",
        "budget spent",
        "lost time of what the period allows",
        "bad events",
        "left of the budget by events, before → after",
    ];
    Block::Table {
        head: head.map(ToOwned::to_owned).to_vec(),
        rows: judged.iter().map(row).collect(),
    }
}

/// What went by without any count may have been lost whole, which nobody knows.
fn lost(lost: Lost, budget_ms: f64) -> String {
    let known = format!("{} of {}", length(lost.ms), length(budget_ms));
    match lost.uncounted_ms >= 1_000.0 {
        true => format!(
            "{known}; in {} more nothing was counted",
            length(lost.uncounted_ms)
        ),
        false => known,
    }
}

fn requests(figures: &Figures) -> Vec<Block> {
    let Some(all) = &figures.requests else {
        return vec![Block::Text(plain(
            "Requests: unknown, since no gateway was measured.",
        ))];
    };
    let row = |name: &str, counts: &Counts, held: String| {
        let cells = [
            name.to_owned(),
            whole(counts.total),
            format!(
                "{} ({})",
                whole(counts.failed),
                share(counts.failed, counts.total)
            ),
            held,
            whole(counts.slow),
        ];
        cells.map(plain).to_vec()
    };
    let held = figures.held.map_or(UNKNOWN.to_owned(), whole);
    let mut rows = vec![row("all", all, held)];
    for (route, counts) in &figures.routes {
        rows.push(row(route, counts, String::new()));
    }
    let head = [
        "route".to_owned(),
        "requests".to_owned(),
        "failed".to_owned(),
        "held".to_owned(),
        format!("slower than {} s", figures.slow_seconds),
    ];
    vec![Block::Table {
        head: head.to_vec(),
        rows,
    }]
}

/// Hundredths with two decimals.
fn money(hundredths: f64, currency: &str) -> String {
    let all = hundredths.max(0.0).round();
    let (units, rest) = ((all / 100.0).floor(), all % 100.0);
    format!("{}.{rest:02.0} {currency}", whole(units))
}

fn price(priced: &Priced) -> String {
    let of = match &priced.service {
        Some(service) => format!("service {service}"),
        None => "the platform".to_owned(),
    };
    let rate = money(priced.per_minute as f64, &priced.currency);
    match priced.hundredths {
        Some(hundredths) if priced.uncounted >= 0.5 => format!(
            "Money: {of} lost {} to {} at {rate} a minute: more than the first where requests were lost while none was \
             counted.",
            money(hundredths, &priced.currency),
            money(hundredths + priced.uncounted, &priced.currency)
        ),
        Some(hundredths) => format!(
            "Money: {of} lost {} at {rate} a minute.",
            money(hundredths, &priced.currency)
        ),
        None => format!("Money: what {of} lost is unknown ({rate} a minute)."),
    }
}

fn marks(story: &Story) -> Vec<Mark> {
    let moments = &story.moments;
    let named = [
        ("fault", &moments.began),
        ("noticed", &moments.detected),
        ("first action", &moments.acted),
        ("acknowledged", &moments.acknowledged),
        ("mitigated", &moments.mitigated),
        ("resolved", &moments.resolved),
    ];
    let marks = named.iter().filter_map(|(name, moment)| {
        let moment = moment.as_ref()?;
        Some(Mark {
            at_ms: moment.at_ms,
            text: format!("{name} {}", time_of_day(moment.at_ms)),
        })
    });
    marks.collect()
}

fn plots(story: &Story, figures: &Figures) -> Vec<Block> {
    let marks = marks(story);
    let shown: Vec<String> = (1..)
        .zip(&marks)
        .map(|(number, mark)| format!("{number} {}", mark.text))
        .collect();
    let curve = |name, colour, of: &dyn Fn(&crate::figures::Point) -> Option<f64>| Curve {
        name,
        colour,
        points: figures
            .points
            .iter()
            .map(|point| (point.at_ms, of(point)))
            .collect(),
    };
    let caption = |what: &str| format!("{what}; {}", shown.join(", "));
    let seconds = |value: f64| match value < 1.0 {
        true => {
            format!("{:.3} ms", value * 1_000.0)
                .trim_end_matches("0 ms")
                .trim_end_matches('.')
                .trim_end_matches(" ms")
                .to_owned()
                + " ms"
        }
        false => format!("{value} s"),
    };
    let drawn = [
        plot(
            "requests",
            &caption("Requests in a second"),
            &|value| format!("{value:.1}"),
            &[curve("requests", "--one", &|point| Some(point.rate))],
            &marks,
        ),
        plot(
            "errors",
            &caption("Share of requests that failed"),
            &|value| format!("{:.1} %", value * 100.0),
            &[curve("failed", "--two", &|point| point.failed)],
            &marks,
        ),
        plot(
            "latency",
            &caption("How long requests took"),
            &seconds,
            &[
                curve("median", "--one", &|point| point.p50),
                curve("99th percentile", "--three", &|point| point.p99),
            ],
            &marks,
        ),
    ];
    drawn.into_iter().flatten().map(Block::Plot).collect()
}

fn intervals(story: &Story) -> Block {
    let moments = &story.moments;
    let row = |name: &str, from: &Option<Moment>, to: &Option<Moment>| {
        let length = match (from, to) {
            (Some(from), Some(to)) if to.at_ms >= from.at_ms => span(to.at_ms - from.at_ms),
            _ => UNKNOWN.to_owned(),
        };
        let end = match to {
            Some(moment) => vec![
                Span::plain(format!("{} {} (", time_of_day(moment.at_ms), moment.what)),
                Span::Entry(moment.position),
                Span::plain(")"),
            ],
            None => plain("unknown, or not yet"),
        };
        vec![plain(name), plain(length), end]
    };
    Block::Table {
        head: ["interval", "length", "ends with"]
            .map(ToOwned::to_owned)
            .to_vec(),
        rows: vec![
            row("fault → noticed", &moments.began, &moments.detected),
            row("noticed → first action", &moments.detected, &moments.acted),
            row(
                "noticed → acknowledged",
                &moments.detected,
                &moments.acknowledged,
            ),
            row("noticed → mitigated", &moments.detected, &moments.mitigated),
            row("fault → mitigated", &moments.began, &moments.mitigated),
            row(
                "mitigated → resolved",
                &moments.mitigated,
                &moments.resolved,
            ),
        ],
    }
}

fn lines(story: &Story, class: Class, nothing: &str) -> Block {
    let lines: Vec<Spans> = story.of_class(class).map(told).collect();
    match lines.is_empty() {
        true => Block::Text(plain(nothing)),
        false => Block::List(lines),
    }
}

fn told(line: &Line) -> Spans {
    vec![
        Span::plain(format!("{} {} (", time_of_day(line.at_ms), line.text)),
        Span::Entry(line.position),
        Span::plain(")"),
    ]
}

fn notices(story: &Story) -> String {
    let told = story.told;
    match told.ordered {
        0 => "Nobody was called: no notice was ordered.".to_owned(),
        ordered => format!(
            "Notices: {ordered} ordered, {} said, {} failed, {} with an unknown outcome.",
            told.said, told.failed, told.unknown
        ),
    }
}

fn lessons(story: &Story, lesson: &str) -> Block {
    let of: Vec<&LessonTold> = story
        .lessons
        .iter()
        .filter(|told| told.lesson == lesson)
        .collect();
    if of.is_empty() {
        return Block::Text(vec![
            Span::plain("Nobody has noted any: "),
            Span::Code(format!(
                "mainstay incident note {} --as {lesson} TEXT",
                story.incident
            )),
        ]);
    }
    let item = |told: &&LessonTold| {
        vec![
            Span::plain(format!("{} ({}, ", told.text, told.by)),
            Span::Entry(told.position),
            Span::plain(")"),
        ]
    };
    Block::List(of.iter().map(item).collect())
}

fn actions(story: &Story) -> Block {
    if story.actions.is_empty() {
        return Block::Text(vec![
            Span::plain("None is agreed: "),
            Span::Code(format!(
                "mainstay incident action add {} TEXT --owner OPERATOR --due DAY",
                story.incident
            )),
        ]);
    }
    let rows = story.actions.iter().map(|action| {
        let state = match &action.done {
            None => plain("open"),
            Some((how, position)) => vec![
                Span::plain(format!("done: {how} (")),
                Span::Entry(*position),
                Span::plain(")"),
            ],
        };
        vec![
            plain(action.action.clone()),
            plain(action.text.clone()),
            plain(action.owner.clone()),
            plain(action.due.clone()),
            state,
            plain(action.became.clone().unwrap_or_default()),
        ]
    });
    Block::Table {
        head: ["action", "what", "owner", "due", "state", "became"]
            .map(ToOwned::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}

fn timeline(story: &Story) -> Block {
    let mut days: BTreeMap<String, ()> = BTreeMap::new();
    let rows = story.timeline.iter().map(|line| {
        // The day stands where it begins.
        let day = day_and_time(line.at_ms)
            .chars()
            .take(10)
            .collect::<String>();
        let is_first = days.insert(day.clone(), ()).is_none();
        let time = time_of_day(line.at_ms);
        vec![
            plain(if is_first {
                format!("{day} {time}")
            } else {
                time
            }),
            plain(line.text.clone()),
            vec![
                Span::Entry(line.position),
                Span::plain(" "),
                Span::Code(line.hash.chars().take(16).collect()),
            ],
        ]
    });
    Block::Table {
        head: ["when", "what", "entry and leaf hash"]
            .map(ToOwned::to_owned)
            .to_vec(),
        rows: rows.collect(),
    }
}
