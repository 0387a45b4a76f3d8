//! Whoever goes through standing orders, on a thread of their own: heavy ones then keep nobody from hearing targets and
//! answering questions.
//!
//! One group at a time. The loop hands over the group with what it remembers, and gets the memory back when it was gone
//! through; meanwhile everybody is shown the memory of before.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use mainstay_rt::clock;
use mainstay_rules::file::Group;
use mainstay_rules::group::{Memory, Surroundings, evaluate};
use mainstay_samples::SamplesError;
use tokio::sync::mpsc as told;

use crate::desk::Desk;
use crate::far::Own;

/// A group that is due.
#[derive(Debug)]
pub struct Job {
    /// Of the duty, in the list of all.
    pub place: usize,
    pub group: Arc<Group>,
    pub memory: Memory,
    pub at: i64,
    pub surroundings: Surroundings,
    /// Metrics that our own store has, where others are asked for elsewhere.
    pub own: Own,
    /// Why nothing is known at its moment, if so.
    pub deaf: Option<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Done {
    pub place: usize,
    pub memory: Memory,
    pub at: i64,
    pub took_ms: u64,
    /// Whether what the rules wrote is kept.
    pub kept: Result<(), SamplesError>,
}

#[derive(Debug)]
pub struct Hand {
    jobs: mpsc::Sender<Job>,
    done: told::UnboundedReceiver<Done>,
    is_busy: bool,
}

impl Hand {
    /// The thread ends when the value is gone and its last job done.
    pub fn start(desk: Desk) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let (teller, done) = told::unbounded_channel();
        thread::Builder::new()
            .name("rules".to_owned())
            .spawn(move || work(desk, &waiting, &teller))?;
        Ok(Self {
            jobs,
            done,
            is_busy: false,
        })
    }

    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    pub fn give(&mut self, job: Job) {
        // Where the thread has ended, waiting for what it has done says so.
        self.is_busy = self.jobs.send(job).is_ok() || self.is_busy;
    }

    /// Waits for the job to be done; nothing if the thread has ended.
    pub async fn done(&mut self) -> Option<Done> {
        let done = self.done.recv().await;
        self.is_busy = false;
        done
    }
}

fn work(mut desk: Desk, jobs: &mpsc::Receiver<Job>, teller: &told::UnboundedSender<Done>) {
    while let Ok(mut job) = jobs.recv() {
        let began = clock::now();
        desk.begin(Arc::clone(&job.own), job.deaf.take());
        evaluate(
            &job.group,
            &mut job.memory,
            &mut desk,
            job.at,
            &job.surroundings,
        );
        let took = clock::now().since(began).as_millis();
        let done = Done {
            place: job.place,
            memory: job.memory,
            at: job.at,
            took_ms: took.try_into().unwrap_or(u64::MAX),
            kept: desk.take_failure(),
        };
        if teller.send(done).is_err() {
            return;
        }
    }
}
