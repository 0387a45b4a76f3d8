//! Who is on call, what is silenced, and what climbs a ladder: `GET /v1/oncall`.

use mainstay_kernel::{Outcome, State};
use mainstay_notify::Settings;
use mainstay_record::node::VERSION;
use mainstay_record::notice::{
    ChannelView, ClimbView, OncallAnswer, ShiftView, SilenceView, UnreachedView,
};

pub const PATH: &str = "/v1/oncall";

pub fn answer(state: &State, now_ms: u64) -> OncallAnswer {
    let settings = state.desired.as_ref().map(|desired| &desired.oncall);
    let silences = state.notices.silences();
    let climbing = state.incidents.iter().filter_map(|(id, incident)| {
        let name = id.to_string();
        let (level, round, next_ms) = state.notices.climbing(&name)?;
        let is_open = incident.phase == mainstay_incident::Phase::Open;
        is_open.then_some(ClimbView {
            incident: name,
            level,
            round,
            next_ms,
        })
    });
    let open = state.incidents.iter().filter(|(_, incident)| {
        incident.phase == mainstay_incident::Phase::Open && incident.acknowledged.is_none()
    });
    let open: Vec<String> = open.map(|(id, _)| id.to_string()).collect();
    let unreached = open.iter().filter_map(|name| {
        let next_ms = state.notices.unreached(name)?;
        Some(UnreachedView {
            incident: name.clone(),
            next_ms,
        })
    });
    let unreached: Vec<UnreachedView> = unreached.collect();
    let nobody_came = open.iter().filter(|name| {
        let is_unreached = unreached.iter().any(|view| view.incident == **name);
        state.notices.is_exhausted(name) && !is_unreached
    });
    OncallAnswer {
        version: VERSION,
        at_ms: now_ms,
        rotations: settings.map_or_else(Vec::new, |settings| shifts(settings, now_ms)),
        silences: silences
            .map(|(number, silence)| SilenceView {
                silence: format!("s{number}"),
                matchers: silence.matchers.iter().map(ToString::to_string).collect(),
                since_ms: state.notices.silent_since_ms(number).unwrap_or(0),
                until_ms: silence.until_ms,
                by: silence.by.clone(),
                reason: silence.reason.clone(),
            })
            .collect(),
        climbing: climbing.collect(),
        nobody_came: nobody_came.cloned().collect(),
        unreached,
        channels: state
            .calls
            .iter()
            .map(|(channel, call)| ChannelView {
                channel: channel.clone(),
                at_ms: call.at_ms,
                failed: match &call.outcome {
                    Outcome::Done { .. } => None,
                    Outcome::Failed { why } => Some(why.clone()),
                    Outcome::Unknown { why } => Some(format!("nobody knows: {why}")),
                },
            })
            .collect(),
    }
}

/// Open incidents that people are called for, and of which nobody heard a word so far.
pub fn unreached(state: &State) -> usize {
    let open = state.incidents.iter().filter(|(_, incident)| {
        incident.phase == mainstay_incident::Phase::Open && incident.acknowledged.is_none()
    });
    open.filter(|(id, _)| state.notices.unreached(&id.to_string()).is_some())
        .count()
}

fn shifts(settings: &Settings, now_ms: u64) -> Vec<ShiftView> {
    let rotations = settings.rotations.iter();
    rotations
        .map(|(name, rotation)| {
            let shift = rotation.on_call(now_ms);
            let next = shift
                .as_ref()
                .and_then(|shift| rotation.on_call(shift.to_ms));
            let channels = shift
                .as_ref()
                .and_then(|shift| settings.contacts.get(&shift.who));
            ShiftView {
                rotation: name.clone(),
                instead_of: shift.as_ref().and_then(|shift| shift.instead_of.clone()),
                from_ms: shift.as_ref().map(|shift| shift.from_ms),
                to_ms: shift.as_ref().map(|shift| shift.to_ms),
                next: next.map(|next| next.who),
                channels: channels.cloned().unwrap_or_default(),
                who: shift.map(|shift| shift.who),
            }
        })
        .collect()
}
