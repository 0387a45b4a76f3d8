//! Where the watch is asked: over TCP by whoever proves to be of the platform, over a socket by whoever may open it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mainstay_identity::{Identity, web};
use mainstay_record::watch::WatchConfig;
use mainstay_rt::http::{Answer, Call, serve_tcp, serve_unix};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api;
use crate::beyond;
use crate::run::{WatchError, now};
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
    if let Some(address) = config.listen {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|error| WatchError::Listen(address, error))?;
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
