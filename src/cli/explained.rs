//! What `valvulactl explain` prints: module by module what it looked at, what it says, and by what.

use std::fmt::Write as _;

use actors::explain::{Explained, Said, Step};
use libvalvula::Printable;

/// The text for people.
pub fn text(explained: &Explained) -> String {
    let chain: Vec<_> = explained.steps.iter().map(|step| &*step.module).collect();
    let mut out = format!("listener {}: {}\n", explained.listener, chain.join(" "));
    for step in &explained.steps {
        let took = if step.said == Said::NotAsked { String::new() } else { format!(" ({} us)", step.took_us) };
        let _ = writeln!(out, "\n{}{took}: {}", step.module, conclusion(step));
        for line in &step.trace {
            let _ = writeln!(out, "    {}", Printable::new(line.as_bytes()));
        }
        if let Said::Decided { why, .. } | Said::WouldHave { why, .. } = &step.said {
            let _ = writeln!(out, "    by: {}", Printable::new(why.as_bytes()));
        }
    }
    let answer = explained.answer.as_deref().unwrap_or("none, the connection is ended");
    let by = if explained.by.is_empty() { String::new() } else { format!("{}: ", explained.by) };
    let why = Printable::new(explained.why.as_bytes());
    let _ = writeln!(out, "\nanswer: {} ({by}{why}; {} us)", Printable::new(answer.as_bytes()), explained.took_us);
    out
}

fn conclusion(step: &Step) -> String {
    match &step.said {
        Said::NoOpinion => "no opinion".to_owned(),
        Said::Decided { answer, .. } => Printable::new(answer.as_bytes()).to_string(),
        Said::WouldHave { answer, .. } => {
            format!("would have answered {}, but observes only", Printable::new(answer.as_bytes()))
        }
        Said::Failed { failure, what, on_failure } => {
            format!("{failure}: {}; on_failure = \"{on_failure}\"", Printable::new(what.as_bytes()))
        }
        Said::NotAsked => "not asked".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_says_what_it_looked_at_and_by_what_it_decides() {
        let step = |module: &str, said: Said, trace: &[&str]| Step {
            module: module.to_owned(),
            said,
            trace: trace.iter().map(|&line| line.to_owned()).collect(),
            took_us: 12,
        };
        let explained = Explained {
            listener: "in".to_owned(),
            steps: vec![
                step("bwl", Said::NoOpinion, &["none of 3 rows\n\u{1b}x"]),
                step(
                    "a",
                    Said::Failed { failure: "unavailable".into(), what: "w".into(), on_failure: "dunno".into() },
                    &[],
                ),
                step("slm", Said::Decided { answer: "REJECT no".into(), why: "mode full".into() }, &[]),
                step("test", Said::NotAsked, &[]),
            ],
            answer: Some("REJECT no".to_owned()),
            by: "slm".to_owned(),
            why: "mode full".to_owned(),
            took_us: 99,
        };
        assert_eq!(
            text(&explained),
            "listener in: bwl a slm test\n\n\
             bwl (12 us): no opinion\n    none of 3 rows\\x0a\\x1bx\n\n\
             a (12 us): unavailable: w; on_failure = \"dunno\"\n\n\
             slm (12 us): REJECT no\n    by: mode full\n\n\
             test: not asked\n\n\
             answer: REJECT no (slm: mode full; 99 us)\n"
        );
    }
}
