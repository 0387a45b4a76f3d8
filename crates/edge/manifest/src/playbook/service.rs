//! Actions and conditions about a service as a whole: its share of requests, how many instances it has, its mode.

use mainstay_playbook as core;
use mainstay_playbook::names_in;

use super::Reader;
use crate::playbook_file::{ActionForm, ConditionForm, ShiftForm};

impl Reader<'_> {
    pub(super) fn service_actions(&mut self, path: &str, form: &ActionForm) -> Vec<core::Action> {
        let mut actions = Vec::new();
        if let Some(form) = &form.shift {
            actions.extend(self.shift(&format!("{path}/shift"), form));
        }
        if let Some(form) = &form.replicas {
            let path = format!("{path}/replicas");
            let count = &form.count.0;
            self.number(&format!("{path}/count"), count, |text| {
                core::count_of(text).map(|_| ())
            });
            actions.push(core::Action::Replicas {
                service: self.text(&path, &form.service),
                count: self.text(&path, count),
            });
        }
        if let Some(form) = &form.mode {
            let path = format!("{path}/mode");
            actions.push(core::Action::Mode {
                service: self.text(&path, &form.service),
                mode: self.text(&path, &form.mode),
            });
        }
        actions
    }

    fn shift(&mut self, path: &str, form: &ShiftForm) -> Option<core::Action> {
        let share = &form.share.0;
        self.number(&format!("{path}/share"), share, |text| {
            core::share_of(text).map(|_| ())
        });
        let what = match (&form.service, &form.route) {
            (Some(service), None) => core::Routed::Service(self.text(path, service)),
            (None, Some(route)) => core::Routed::Route(self.text(path, route)),
            (Some(_), Some(_)) | (None, None) => {
                self.one_of(path, "service, route");
                return None;
            }
        };
        Some(core::Action::Shift {
            what,
            from: self.text(path, &form.from),
            share: self.text(path, share),
        })
    }

    pub(super) fn service_conditions(
        &mut self,
        path: &str,
        form: &ConditionForm,
    ) -> Vec<core::Condition> {
        let mut conditions = Vec::new();
        if let Some(form) = &form.instances {
            let path = format!("{path}/instances");
            let ready = &form.ready.0;
            self.number(&format!("{path}/ready"), ready, |text| {
                let number = text.parse::<u16>().ok().filter(|number| *number > 0);
                let why = || format!("{text:?} is no number of instances: write one from 1");
                number.map(|_| ()).ok_or_else(why)
            });
            conditions.push(core::Condition::Instances {
                service: self.text(&path, &form.service),
                ready: self.text(&path, ready),
            });
        }
        if let Some(form) = &form.shifted {
            let path = format!("{path}/shifted");
            let share = &form.share.0;
            self.number(&format!("{path}/share"), share, |text| {
                core::share_of(text).map(|_| ())
            });
            conditions.push(core::Condition::Shifted {
                service: self.text(&path, &form.service),
                from: self.text(&path, &form.from),
                share: self.text(&path, share),
            });
        }
        if let Some(form) = &form.mode {
            let path = format!("{path}/mode");
            conditions.push(core::Condition::Mode {
                service: self.text(&path, &form.service),
                mode: self.text(&path, &form.mode),
            });
        }
        conditions
    }

    /// What a parameter gives is judged when it has a value.
    fn number(&mut self, path: &str, text: &str, judge: impl Fn(&str) -> Result<(), String>) {
        if !names_in(text).is_empty() {
            return;
        }
        if let Err(why) = judge(text) {
            let (message, help) = why
                .split_once(": ")
                .unwrap_or((&why, "see `mainstay playbook schema`"));
            let (message, help) = (message.to_owned(), help.to_owned());
            self.wrong(path, "invalid-value", message, &help);
        }
    }
}
