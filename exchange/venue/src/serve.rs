//! The process: two threads, one that speaks HTTP and one that writes, and an orderly end.
//!
//! On SIGTERM readiness goes first, so that gateways look elsewhere; the writer finishes what is queued, writes a
//! last snapshot and stops; the listener closes once every open request has its answer. All of it within [`DRAIN_MAX`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use exchange_tls::{Caller, Guarded};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::http;
use crate::lease::LeaseFile;
use crate::listener::{Bounded, bind, raise_descriptors};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::writer;

const DRAIN_MAX: Duration = Duration::from_secs(10);

pub fn run(settings: Settings) -> anyhow::Result<()> {
    raise_descriptors();
    let lease = LeaseFile::new(settings.lease_file.clone());
    let shared = Arc::new(Shared {
        controllers: settings.controllers.clone(),
        ..Shared::new(settings.cell.clone(), settings.instance.clone(), lease)
    });
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start a runtime")
    };
    let (writer_runtime, http_runtime) = (runtime()?, runtime()?);
    let (writer_shared, database) = (Arc::clone(&shared), settings.database.clone());
    let (stopping, stopped) = oneshot::channel();
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            writer_runtime.block_on(writer::run(writer_shared, database));
            // Nobody listens any more when the drain took too long.
            let _ = stopping.send(());
        })
        .context("start the writer's thread")?;
    http_runtime.block_on(async {
        let mut stopped = stopped;
        let mut listening = std::pin::pin!(listen(Arc::clone(&shared), &settings));
        tokio::select! {
            served = &mut listening => served?,
            // It ends on its own only while the process drains. After a panic there is nothing to listen for: the
            // supervisor starts the venue anew, from what is in the tables.
            writer = &mut stopped => {
                writer.context("the writer's thread ended by a panic")?;
                return listening.await;
            }
        }
        // A commit that waits for a quorum that is gone does not end; its outcome is unknown either way.
        match tokio::time::timeout(DRAIN_MAX, stopped).await {
            Ok(writer) => writer.context("the writer's thread ended by a panic"),
            Err(_) => bail!("the writer did not finish within {DRAIN_MAX:?}"),
        }
    })
}

async fn listen(shared: Arc<Shared>, settings: &Settings) -> anyhow::Result<()> {
    let address = settings.listen;
    let listener = bind(address).with_context(|| format!("listen on {address}"))?;
    let bound = listener
        .local_addr()
        .context("ask for the address that was bound")?;
    tracing::info!(address = %bound, cell = settings.cell, instance = settings.instance, database = ?settings.database, "listening");
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let told = Arc::clone(&shared);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("draining");
        told.draining.send_replace(true);
    };
    let mut drained = shared.draining.subscribe();
    let guarded = Guarded::new(Bounded::new(listener), settings.identity.clone());
    let router = http::router(shared).into_make_service_with_connect_info::<Caller>();
    let server = axum::serve(guarded, router).with_graceful_shutdown(stop);
    let too_long = async move {
        let _ = drained.wait_for(|draining| *draining).await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = server => served.context("serve HTTP"),
        () = too_long => {
            tracing::info!("open connections outlasted the drain and are closed");
            Ok(())
        }
    }
}
