//! The floor server, see `benches::floor`.
#![allow(clippy::print_stdout)] // says where it listens

use std::io::Write as _;

use benches::floor::{Mode, serve};
use libvalvula::Endpoint;
use structopt::StructOpt;

/// The least that a policy server can do: finds the empty line and answers a constant.
#[derive(StructOpt)]
struct Options {
    /// epoll, tokio (a runtime and a listening socket for each thread) or tokio-mt
    #[structopt(long, default_value = "tokio")]
    mode: Mode,
    /// Threads that serve
    #[structopt(long, default_value = "1")]
    threads: usize,
    /// host:port or unix:/path; port 0 lets the kernel choose
    #[structopt(long, default_value = "127.0.0.1:10040")]
    addr: Endpoint,
    /// What every request is answered with
    #[structopt(long, default_value = "DUNNO")]
    action: String,
}

fn main() -> anyhow::Result<()> {
    let Options { mode, threads, addr, action } = Options::from_args();
    benches::raise_file_limit();
    serve(&addr, mode, threads, &format!("action={action}\n\n"), |bound| {
        println!("listening on {bound}");
        // A reader that is gone wants no more to know it.
        let _ = std::io::stdout().flush();
    })
}
