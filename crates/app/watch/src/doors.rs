//! Where the watch is asked: over TCP by whoever proves to be of the platform, over a socket by whoever may open it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use mainstay_identity::{Identity, web};
use mainstay_record::watch::WatchConfig;
use mainstay_rt::http::{Answer, Call, Standing, serve_tcp, serve_unix, text};
use mainstay_rt::secret;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api;
use crate::beyond;
use crate::run::{WatchError, now};
use crate::silences;
use crate::world::{World, chain};

/// Opens them; they are closed when the tasks are dropped.
pub async fn open(
    config: &WatchConfig,
    identity: Option<Arc<Identity>>,
    world: &Rc<RefCell<World>>,
) -> Result<JoinSet<()>, WatchError> {
    let mut tasks = JoinSet::new();
    if config.listen.is_none() && config.socket.is_none() {
        return Err(WatchError::Nowhere);
    }
    let handler = |world: &Rc<RefCell<World>>| {
        let asked = Rc::clone(world);
        move |call: Call| {
            let asked = Rc::clone(&asked);
            async move { answer(&asked, &call).await }
        }
    };
    if let Some(alerts) = &config.alerts {
        let listener = bound(alerts.listen).await?;
        let told = Rc::clone(world);
        let handler = move |call: Call| {
            let told = Rc::clone(&told);
            async move { take(&told, &call).await }
        };
        match identity.clone() {
            Some(identity) => {
                tasks.spawn_local(web::serve_any(listener, identity, handler));
            }
            None => {
                tasks.spawn_local(serve_tcp(listener, handler));
            }
        }
    }
    if let Some(address) = config.listen {
        let listener = bound(address).await?;
        let shown = config.token_file.clone().map(Rc::new);
        let asked = handler(world);
        let guarded = {
            let (shown, asked) = (shown.clone(), asked.clone());
            move |call: Call| {
                let (shown, asked) = (shown.clone(), asked.clone());
                async move {
                    match shown.map_or(Ok(()), |token| admit(&call, &token)) {
                        Ok(()) => asked(call).await,
                        Err(why) => text(StatusCode::UNAUTHORIZED, format!("{why}\n")),
                    }
                }
            }
        };
        match (identity, shown) {
            // Whoever has no leaf is not heard at all.
            (Some(identity), None) => {
                tasks.spawn_local(web::serve(listener, identity, asked));
            }
            (Some(identity), Some(_)) => {
                tasks.spawn_local(web::serve_any(listener, identity, guarded));
            }
            (None, _) => {
                tasks.spawn_local(serve_tcp(listener, guarded));
            }
        }
    }
    if let Some(path) = config.socket.clone() {
        tasks.spawn_local(serve_unix(path, handler(world)));
    }
    Ok(tasks)
}

/// By a leaf of the platform, or by the token.
pub fn admit(call: &Call, token_file: &Path) -> Result<(), String> {
    if call.standing == Standing::Proven {
        return Ok(());
    }
    let token = secret::read(&token_file.to_string_lossy()).map_err(|error| {
        let why = chain(&error);
        tracing::error!(why, "nobody without a leaf is admitted");
        "the token cannot be read here".to_owned()
    })?;
    match &call.bearer {
        Some(bearer) if bearer.is(&token) => Ok(()),
        _ => Err("show the token (Authorization: Bearer), or a leaf of the platform".to_owned()),
    }
}

async fn answer(world: &RefCell<World>, call: &Call) -> Answer {
    let beyond = beyond::asked(&world.borrow(), call);
    match beyond {
        Some(beyond) => beyond.answer(world, call, now()).await,
        None => api::answer(&world.borrow(), call, now()),
    }
}

async fn bound(address: SocketAddr) -> Result<TcpListener, WatchError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| WatchError::Listen(address, error))
}

/// An alert that somebody else raises, or what somebody wants silenced.
async fn take(world: &RefCell<World>, call: &Call) -> Answer {
    let asked = {
        let world = world.borrow();
        world
            .post
            .as_ref()
            .and_then(|post| post.silences(call, now()))
    };
    match asked {
        Some(Ok((node, asked))) => return silences::answer(&node, asked).await,
        Some(Err(problem)) => return problem.answer(),
        None => {}
    }
    let mut world = world.borrow_mut();
    let answer = world.post.as_mut().map(|post| post.answer(call, now()));
    answer.unwrap_or_else(|| text(StatusCode::NOT_FOUND, "no alerts are taken here\n"))
}
