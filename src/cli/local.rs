//! `-l`: is this address or domain local, and what decided?

use libvalvula::AddressKey;
use postfix::{Resolver, State, Verdict};

use super::exit::Exit;

/// The answer, and its exit code: 0 yes, 1 no, 75 could not ask. What is printed begins with the answer and
/// what decided; each source that was asked follows, a line each.
pub async fn is_local(name: &str, settings: postfix::Settings) -> (String, Exit) {
    let resolver = Resolver::load(settings).await;
    let answer = if name.contains('@') {
        resolver.is_local_address(&AddressKey::new(name.as_bytes())).await
    } else {
        resolver.is_local_domain(name.as_bytes()).await
    };
    let mut text = format!("{answer}\n");
    for step in &answer.evidence.steps {
        text += &format!("  {step}\n");
    }
    for warning in resolver.warnings() {
        text += &format!("warning: {warning}\n");
    }
    if let State::Faulty(faults) = resolver.state() {
        for fault in faults {
            text += &format!("fault: {fault}\n");
        }
    }
    let exit = match answer.verdict {
        Verdict::Yes => Exit::Good,
        Verdict::No => Exit::No,
        Verdict::CouldNotAsk => Exit::CouldNotAsk,
    };
    (text, exit)
}
