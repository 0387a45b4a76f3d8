//! The gateway as a process, before a platform of fakes: failover, repeat, framing, death and return.

mod fakes;
mod process;

mod crowding;
mod doors;
mod edges;
mod failover;
mod patience;
mod promises;
mod proofs;
mod reloads;
mod sessions;
mod stopping;

/// Not a test: what a child process of these tests runs.
#[test]
fn process_entry() {
    if let Some(config) = std::env::var_os(process::ENTRY) {
        mainstay_rt::log::init();
        let code = mainstay_proxy::run(std::path::Path::new(&config));
        // `ExitCode` cannot be read; its debug form is the only way to pass it on from here.
        let code: i32 = format!("{code:?}")
            .chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
            .parse()
            .unwrap_or(1);
        std::process::exit(code);
    }
}
