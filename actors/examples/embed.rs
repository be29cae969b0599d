//! A policy server with one handler, in about twenty lines: `cargo run -p actors --example embed`, then
//! `check_policy_service inet:127.0.0.1:3580` in Postfix.

use std::time::Duration;

use actors::module::{Decide, Decision};
use actors::runtime_settings::ListenerSettings;
use actors::{Bound, ReadyModule, Runtime};
use libvalvula::{Text, Verdict};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    actix_rt::System::new().block_on(async {
        let handler = ReadyModule::from_fn("no-example-com", |query| {
            if query.sender_key().domain() == b"example.com" {
                let refusal = Verdict::reject(Text::new("nobody writes from example.com"));
                return Decide::Now(Ok(Some(Decision::new(refusal, "sender domain example.com"))));
            }
            Decide::DUNNO
        });
        let listener = ListenerSettings::new("policy", "127.0.0.1:3580".parse()?, &["no-example-com"]);
        let bound = Bound::new(&listener)?;
        let runtime = Runtime::start(0, "1.0", &slog::Logger::root(slog::Discard, slog::o!())).await?;
        runtime.serve(vec![listener], vec![handler], vec![bound]).await?;
        tokio::signal::ctrl_c().await?;
        runtime.stop(Duration::from_secs(10)).await;
        Ok(())
    })
}
