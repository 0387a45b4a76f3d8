//! A child process that lives no longer than the value that holds it.
//!
//! The guard keeps the `Child` and therefore the right to its process id: until it is reaped the kernel gives the id to
//! nobody else, so a signal sent through the guard can only reach the process that the test started.

use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_for;

/// How long a killed child may take to be reaped; longer means it hangs in the kernel, which is worth a panic.
const REAP_LIMIT: Duration = Duration::from_secs(10);

/// Killed (SIGKILL) and reaped when dropped.
#[derive(Debug)]
pub struct GuardedChild {
    name: String,
    child: Child,
    last_signal: Signal,
}

impl GuardedChild {
    /// Starts `command`; the name of its program stands in errors.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self {
            name,
            child,
            last_signal: Signal::KILL,
        })
    }

    /// Sends another signal than SIGKILL when dropped, for a process that takes its own children with it on that signal
    /// (SIGQUIT for a postmaster); SIGKILL follows if it does not leave.
    #[must_use]
    pub fn ending_with(mut self, signal: Signal) -> Self {
        self.last_signal = signal;
        self
    }

    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The child itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The exit status if it has left.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited().is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("read the process id")?;
        kill_process(pid, signal)
            .with_context(|| format!("signal {} ({})", self.name, self.child.id()))
    }

    /// Waits until it has left by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} ({}) to exit", self.name, self.child.id());
        let child = &mut self.child;
        wait_for(&what, limit, || child.try_wait().ok().flatten())
    }

    /// Signals and waits; SIGKILL follows when the limit has passed.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        if let Ok(status) = self.wait(limit) {
            return Ok(status);
        }
        self.signal(Signal::KILL)?;
        self.wait(REAP_LIMIT)
    }
}

impl Drop for GuardedChild {
    fn drop(&mut self) {
        // A stopped process handles no signal but SIGKILL until it is continued.
        let _ = self.signal(Signal::CONT);
        let signal = self.last_signal;
        if let Err(error) = self.stop(signal, REAP_LIMIT) {
            // A panic here would hide the one that is perhaps unwinding already.
            eprintln!("cleaning up {}: {error:#}", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use rustix::process::{Pid, Signal, test_kill_process};

    use super::GuardedChild;

    fn sleeper() -> GuardedChild {
        GuardedChild::spawn(Command::new("sleep").arg("60")).unwrap()
    }

    #[test]
    fn dropping_kills_and_reaps() {
        let child = sleeper();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        drop(child);
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn a_stopped_child_is_cleaned_up_too() {
        let mut child = sleeper().ending_with(Signal::TERM);
        child.signal(Signal::STOP).unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        drop(child);
        assert!(test_kill_process(pid).is_err());
    }

    #[test]
    fn stop_returns_the_status() {
        let status = sleeper()
            .stop(Signal::TERM, Duration::from_secs(5))
            .unwrap();
        assert!(!status.success());
    }
}
