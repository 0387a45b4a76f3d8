//! `mainstay oncall …` and `mainstay silence …`

use mainstay_notify::Matcher;
use mainstay_record::node::Command;
use mainstay_record::notice::{NoticeAskRecord, OncallAnswer, ShiftView, SilenceView};

use crate::arguments::oncall::{Add, End, Oncall, Silence};
use crate::client::{command, find};
use crate::exit::{Failure, Outcome};
use crate::incident::{get, span};
use crate::print::{json, line};

pub fn run(arguments: &Oncall) -> Outcome {
    let Oncall::Show(look) = arguments;
    let (_, layout) = find(&look.platform)?;
    let answer: OncallAnswer = get(&layout, "/v1/oncall")?;
    if look.json {
        return json(&answer);
    }
    if answer.rotations.is_empty() {
        line("nobody takes turns: the platform file has no rotation under spec.oncall")?;
    }
    for shift in &answer.rotations {
        row(shift, answer.at_ms)?;
    }
    for climb in &answer.climbing {
        line(format_args!(
            "{}: level {}, round {} was called; the next in {} if nobody acknowledges",
            climb.incident,
            climb.level,
            climb.round,
            span(climb.next_ms.saturating_sub(answer.at_ms))
        ))?;
    }
    for incident in &answer.nobody_came {
        line(format_args!(
            "{incident}: NOBODY CAME: everybody was called, and nobody is called any more; `mainstay incident \
             acknowledge {incident}`"
        ))?;
    }
    for unreached in &answer.unreached {
        let incident = &unreached.incident;
        let then = match unreached.next_ms {
            Some(ms) => format!(
                "people are called anew in {}, or when a way works again",
                span(ms.saturating_sub(answer.at_ms))
            ),
            None => "it is tried on".to_owned(),
        };
        line(format_args!(
            "{incident}: NOBODY WAS REACHED so far; {then}; `mainstay incident acknowledge {incident}`"
        ))?;
    }
    for channel in &answer.channels {
        let ago = span(answer.at_ms.saturating_sub(channel.at_ms));
        match &channel.failed {
            Some(why) => line(format_args!(
                "{}: THE LAST CALL FAILED, {ago} ago: {why}",
                channel.channel
            ))?,
            None => line(format_args!("{}: called {ago} ago", channel.channel))?,
        }
    }
    silences(&answer.silences, answer.at_ms)
}

fn row(shift: &ShiftView, now_ms: u64) -> Outcome {
    let (Some(who), Some(to_ms)) = (&shift.who, shift.to_ms) else {
        return line(format_args!("{}: nobody yet", shift.rotation));
    };
    let instead = match &shift.instead_of {
        Some(instead_of) => format!(" instead of {instead_of}"),
        None => String::new(),
    };
    let channels = match shift.channels.is_empty() {
        true => "NOTHING LEADS THERE".to_owned(),
        false => format!("by {}", shift.channels.join(", ")),
    };
    line(format_args!(
        "{}: {who}{instead} for {}, {channels}; then {}",
        shift.rotation,
        span(to_ms.saturating_sub(now_ms)),
        shift.next.as_deref().unwrap_or("nobody")
    ))
}

fn silences(silences: &[SilenceView], now_ms: u64) -> Outcome {
    for silence in silences {
        line(format_args!(
            "{}: {} for {}, by {}: {}",
            silence.silence,
            silence.matchers.join(" "),
            span(silence.until_ms.saturating_sub(now_ms)),
            silence.by,
            silence.reason
        ))?;
    }
    Ok(())
}

pub fn silence(arguments: &Silence) -> Outcome {
    match arguments {
        Silence::Add(arguments) => add(arguments),
        Silence::End(arguments) => end(arguments),
        Silence::List(look) => {
            let (_, layout) = find(&look.platform)?;
            let answer: OncallAnswer = get(&layout, "/v1/oncall")?;
            if look.json {
                return json(&answer.silences);
            }
            if answer.silences.is_empty() {
                line("nothing is silenced")?;
            }
            silences(&answer.silences, answer.at_ms)
        }
    }
}

fn add(arguments: &Add) -> Outcome {
    let matchers = arguments.matchers.iter().map(|text| {
        let matcher = Matcher::parse(text).ok_or_else(|| {
            let what = format!("{text:?} is no matcher: expected NAME=VALUE or NAME!=VALUE");
            Failure::Usage(what)
        })?;
        Ok(matcher.to_string())
    });
    let ask = NoticeAskRecord::Silence {
        matchers: matchers.collect::<Result<_, Failure>>()?,
        lasts_ms: u64::try_from(arguments.lasts.as_millis()).unwrap_or(u64::MAX),
    };
    command(&arguments.act, Command::Notice(ask))
}

fn end(arguments: &End) -> Outcome {
    let number = arguments
        .id
        .strip_prefix('s')
        .and_then(|digits| digits.parse().ok());
    let silence = number.ok_or_else(|| {
        let what = format!(
            "{:?} is no silence: they are called s1, s2, and so on",
            arguments.id
        );
        Failure::Usage(what)
    })?;
    command(
        &arguments.act,
        Command::Notice(NoticeAskRecord::EndSilence { silence }),
    )
}
