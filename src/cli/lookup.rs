//! `valvulactl lookup`: asks what the daemon would ask, not the daemon, so that it answers while that is away
//! and never from a cache.

use structopt::StructOpt;

use super::control::json;
use super::exit::{Exit, Failure};
use super::local::{become_user, look_up, wait_for};
use crate::config::PostfixSide;

/// What is asked.
#[derive(Debug, Clone, StructOpt)]
pub struct Lookup {
    /// A domain or an address
    #[structopt(value_name = "NAME")]
    name: String,

    /// The service of master.cf whose -o settings count: submission, or submission/inet
    #[structopt(long, value_name = "SERVICE")]
    service: Option<String>,
}

impl Lookup {
    /// The answer, and its exit code.
    pub fn run(&self, side: &PostfixSide, as_json: bool) -> Result<(String, Exit), Failure> {
        become_user(side.user.as_ref())?;
        let found = wait_for(look_up(&self.name, &side.local, self.service.as_deref(), &side.sources))?;
        Ok((if as_json { json(&found.json()) } else { found.text() }, found.exit()))
    }
}
