//! Questions of people and programs, where a server scrapes for us: answered by it, and by our own store.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use mainstay_rt::http::{Answer, Call};
use mainstay_scraper::server::Server;
use serde_json::Value as Json;

use crate::answer::{Found, Refusal, envelope};
use crate::api::{Query, form_of, known};
use crate::desk::Store;
use crate::far::{self, Own};
use crate::form::Form;
use crate::world::World;

/// For an answer of the server.
const PATIENCE: Duration = Duration::from_secs(60);

/// A question that goes to the server.
pub struct Beyond {
    server: Rc<Server>,
    own: Own,
    store: Store,
    path: String,
}

/// Nothing where the question is about the watch itself, or nobody scrapes for it.
pub fn asked(world: &World, call: &Call) -> Option<Beyond> {
    let server = world.server.as_ref()?;
    let path = call.path.strip_prefix("/api/v1/")?;
    let is_asked = matches!(
        path,
        "query" | "query_range" | "series" | "labels" | "metadata"
    ) || path.starts_with("label/");
    is_asked.then(|| Beyond {
        server: Rc::clone(server),
        own: Own::clone(&world.own),
        store: world.store.clone(),
        path: path.to_owned(),
    })
}

impl Beyond {
    pub async fn answer(&self, world: &RefCell<World>, call: &Call, now: i64) -> Answer {
        envelope(self.found(world, call, now).await)
    }

    async fn found(&self, world: &RefCell<World>, call: &Call, now: i64) -> Result<Found, Refusal> {
        let form = form_of(call)?;
        match self.path.as_str() {
            "query" => self.query(&Query::at_one_moment(&form, now)?).await,
            "query_range" => self.query(&Query::over_time(&form)?).await,
            _ => {
                let theirs = self.handed_on(&form).await?;
                let ours = known(&world.borrow(), &self.path, &form);
                ours.map_or(Ok(theirs.clone()), |ours| Ok(joined(&theirs, &ours?)))
            }
        }
    }

    async fn query(&self, query: &Query) -> Result<Found, Refusal> {
        let Query { expr, options, .. } = query;
        let (own, local, moments) = (&self.own, &self.store, query.moments);
        let found = far::ask(&self.server, own, local, expr, moments, options, PATIENCE).await?;
        let mut answer = query.found(&found.output);
        answer.warnings.extend(found.partial);
        answer.infos.extend(found.remarks);
        Ok(answer)
    }

    async fn handed_on(&self, form: &Form) -> Result<Found, Refusal> {
        let what = format!("{}?{}", self.path, form.encoded());
        let reply = self.server.ask(&what, None, PATIENCE).await?;
        let data: Json = serde_json::from_str(reply.data.get())
            .map_err(|error| Refusal::Unavailable(format!("the answer cannot be read: {error}")))?;
        let mut found = Found::from(data);
        (found.warnings, found.infos) = (reply.warnings, reply.infos);
        Ok(found)
    }
}

/// Each once: the server's own, then those that only we have.
fn joined(theirs: &Found, ours: &Found) -> Found {
    let mut found = theirs.clone();
    found.warnings.extend(ours.warnings.clone());
    if let (Some(all), Some(more)) = (found.data.as_array_mut(), ours.data.as_array()) {
        let known: BTreeSet<String> = all.iter().map(Json::to_string).collect();
        let new = more.iter().filter(|one| !known.contains(&one.to_string()));
        all.extend(new.cloned());
    }
    found
}
