//! Connections under a crowd: kept when a request is given up, waited for, and never taken for an answer.

use std::future::Future;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay_record::gateway::GatewayLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::LocalSet;

use super::*;

/// Answers each request after `pause`; counts connections.
async fn answer_all(listener: tokio::net::TcpListener, pause: Duration, accepted: Arc<AtomicU32>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::Relaxed);
        tokio::task::spawn_local(async move {
            let mut bytes = [0; 4096];
            while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                tokio::time::sleep(pause).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.ok();
            }
        });
    }
}

struct Stage {
    upstream: Rc<Upstream>,
    bounds: Bounds,
    accepted: Arc<AtomicU32>,
}

impl Stage {
    fn play<F: Future<Output = ()>>(pause: Duration, scene: impl FnOnce(Self) -> F) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        LocalSet::new().block_on(&runtime, async move {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.set_nonblocking(true).expect("not to block");
            let address = listener.local_addr().expect("an address");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let accepted = Arc::new(AtomicU32::new(0));
            tokio::task::spawn_local(answer_all(listener, pause, Arc::clone(&accepted)));
            let caller = Arc::new(Caller::new(None));
            let upstream = Upstream::new(address, None, caller, Arc::default());
            let bounds = crate::config::bounds(&GatewayLimits::default(), 1).expect("bounds");
            scene(Self {
                upstream,
                bounds,
                accepted,
            })
            .await;
        });
    }

    async fn ask(&self, patience: Duration) -> Result<(), Failure> {
        let request = Request::post("/order").header("host", "venue");
        let request = request.body(Full::new(Bytes::from_static(b"{}")));
        let deadline = mainstay_rt::clock::now() + patience;
        let sent = self
            .upstream
            .send(&self.bounds, request.expect("a request"), deadline, LONG);
        let mut body = sent.await?.into_body();
        while let Some(frame) = std::future::poll_fn(|context| body.poll_frame(context)).await {
            frame.expect("a body");
        }
        Ok(())
    }

    fn connections(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }
}

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_request_that_is_given_up_costs_no_connection() {
    Stage::play(Duration::from_secs(3), async |stage| {
        let late = stage.ask(Duration::from_secs(1)).await;
        assert_eq!(late, Err(UnknownCause::DeadlinePassed.into()));
        assert_eq!(stage.upstream.left.get(), 0, "the reader has not begun");
        let begun = mainstay_rt::clock::now();
        while stage.upstream.idle.borrow().is_empty() {
            let waited = mainstay_rt::clock::now().since(begun);
            assert!(waited < LONG, "its connection did not come back");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(stage.ask(LONG).await, Ok(()));
        assert_eq!(stage.connections(), 1);
        assert_eq!(
            stage.upstream.left.get(),
            0,
            "nothing is read off any longer"
        );
    });
}

#[test]
fn who_waits_for_a_turn_takes_what_another_is_done_with() {
    Stage::play(Duration::ZERO, async |stage| {
        assert_eq!(stage.ask(LONG).await, Ok(()));
        let taken = stage.upstream.take_idle().await.expect("a connection");
        let turns: Vec<_> = std::iter::from_fn(|| stage.upstream.ramp.enter()).collect();

        let waited = stage.ask(SHORT).await;
        assert_eq!(
            waited,
            Err(NothingWhy::DeadlinePassed.into()),
            "not unknown"
        );

        let (answered, ()) = tokio::join!(stage.ask(LONG), async {
            tokio::task::yield_now().await;
            stage.upstream.take_back(taken, 8);
        });
        assert_eq!(answered, Ok(()));
        assert_eq!(stage.connections(), 1);
        drop(turns);
    });
}

#[test]
fn who_waits_for_an_instance_that_is_superseded_is_sent_back() {
    Stage::play(Duration::ZERO, async |stage| {
        let turns: Vec<_> = std::iter::from_fn(|| stage.upstream.ramp.enter()).collect();
        let (sent_back, ()) = tokio::join!(stage.ask(LONG), async {
            tokio::task::yield_now().await;
            stage.upstream.cut();
        });
        assert_eq!(sent_back, Err(NothingWhy::NoConnection.into()));
        drop(turns);
        assert_eq!(stage.ask(LONG).await, Ok(()), "and the next one goes");
    });
}
