//! Where the watch is asked: over TCP by whoever proves to be of the platform, over a socket by whoever may open it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::StatusCode;
use mainstay_identity::{Identity, web};
use mainstay_record::watch::WatchConfig;
use mainstay_rt::http::{Answer, Call, serve_tcp, serve_unix, text};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api;
use crate::beyond;
use crate::run::{WatchError, now};
use crate::silences;
use crate::world::World;

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
        match identity {
            Some(identity) => {
                tasks.spawn_local(web::serve(listener, identity, handler(world)));
            }
            None => {
                tasks.spawn_local(serve_tcp(listener, handler(world)));
            }
        }
    }
    if let Some(path) = config.socket.clone() {
        let handler = handler(world);
        tasks.spawn_local(async move {
            if let Err(error) = serve_unix(path, handler).await {
                tracing::error!(%error, "the socket cannot be served");
            }
        });
    }
    Ok(tasks)
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
