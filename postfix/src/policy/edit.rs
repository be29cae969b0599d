//! Connecting a policy service to a restriction list, and taking it out again.

use serde::Serialize;

use crate::config::Configuration;
use crate::fault::Fault;
use crate::list::{is_unclosed, split_list};

use super::restrictions::{Section, consultations, endpoint_of, is_same_endpoint};

/// Where in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Before everything else.
    First,
    /// After everything else that lets a mail go on: before a final `permit`, `reject` or `defer`.
    Last,
}

/// A change of main.cf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// The parameter.
    pub parameter: &'static str,
    /// Its value so far, as written (white space made one blank); `None`: not set.
    pub before: Option<String>,
    /// Its value from now on.
    pub after: String,
}

impl Edit {
    /// The arguments of `postconf`, after `-c DIRECTORY`.
    pub fn arguments(&self) -> [String; 2] {
        ["-e".to_owned(), format!("{}={}", self.parameter, self.after)]
    }
}

/// Why there is nothing to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The list asks it already.
    #[error("{0} asks {1} already")]
    AlreadyConnected(&'static str, String),
    /// The list does not ask it.
    #[error("{0} does not ask {1}")]
    NotConnected(&'static str, String),
    /// It stands in a parameter that the list refers to.
    #[error("{0} asks {1} through another parameter (a restriction class or $name): change that one by hand")]
    Elsewhere(&'static str, String),
    /// Without it smtpd(8) would refuse to work.
    #[error("without {1}, neither {0} nor smtpd_relay_restrictions would keep others from relaying")]
    Unsafe(&'static str, String),
    /// An OK of it would skip all that keeps others from relaying.
    #[error(
        "an OK of {endpoint} in {parameter} would let anybody relay, for nothing else keeps others from it: {instead}"
    )]
    OpensRelay {
        /// The list.
        parameter: &'static str,
        /// The policy service.
        endpoint: String,
        /// What to do instead.
        instead: String,
    },
    /// The configuration is at fault.
    #[error("{0}")]
    Faulty(Fault),
}

/// One of these must be in `smtpd_relay_restrictions` or `smtpd_recipient_restrictions`, or smtpd(8) refuses
/// to take mail.
const GUARDS: [&str; 5] =
    ["reject_unauth_destination", "defer_unauth_destination", "reject", "defer", "defer_if_permit"];
/// What follows one of these is never reached.
const FINAL: [&str; 3] = ["permit", "reject", "defer"];

fn words_are_guarded(value: &str) -> bool {
    split_list(value).iter().any(|word| GUARDS.iter().any(|guard| word.eq_ignore_ascii_case(guard)))
}

/// Asks `endpoint` in the list `section` of main.cf. What was in the list stays. A recipient or relay list that
/// would be left without what keeps others from relaying gets it; `endpoint` is not put where an OK of it, or of
/// the others of `ours` that are asked already, would skip that.
pub fn connect(
    configuration: &Configuration,
    section: Section,
    endpoint: &str,
    place: Place,
    ours: &[String],
) -> Result<Edit, EditError> {
    let parameter = section.parameter();
    if is_connected(configuration, section, endpoint)? {
        return Err(EditError::AlreadyConnected(parameter, endpoint.to_owned()));
    }
    let edit = placed(configuration, section, endpoint, place)?;
    let ours: Vec<&str> = ours.iter().map(String::as_str).chain([endpoint]).collect();
    if !is_safe(configuration, section, &edit.after, &ours)? {
        let last = placed(configuration, section, endpoint, Place::Last)?;
        let other = if section == Section::Relay { Section::Recipient } else { Section::Relay };
        let instead = match is_safe(configuration, section, &last.after, &ours)? {
            true => "put it last".to_owned(),
            false => format!("let {} hold reject_unauth_destination before any policy service", other.parameter()),
        };
        return Err(EditError::OpensRelay { parameter, endpoint: endpoint.to_owned(), instead });
    }
    Ok(edit)
}

/// The edit that puts `endpoint` there.
fn placed(configuration: &Configuration, section: Section, endpoint: &str, place: Place) -> Result<Edit, EditError> {
    let parameter = section.parameter();
    let view = configuration.main();
    let before = view.is_set(parameter).then(|| squeezed(&view.raw(parameter).unwrap_or_default()));
    let present = match &before {
        Some(value) => value.clone(),
        // Postfix's default goes on: written as it is for this compatibility_level.
        None => squeezed(&view.get(parameter).map_err(EditError::Faulty)?),
    };
    if is_unclosed(&present) {
        let what = format!("a {{ has no }} in {present:?}: what is added would belong to it");
        return Err(EditError::Faulty(view.fault(parameter, what)));
    }
    let ask = format!("check_policy_service {endpoint}");
    let mut after = match place {
        _ if present.is_empty() => ask,
        Place::First => format!("{ask}, {present}"),
        Place::Last => appended(&present, &ask),
    };
    if matches!(section, Section::Relay | Section::Recipient) && !guarded_with(configuration, section, &after)? {
        // An answer that permits must come after what refuses to relay.
        let guard = match section {
            Section::Relay => "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination",
            _ => "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
        };
        after = format!("{guard}, {after}");
    }
    Ok(Edit { parameter, before, after })
}

/// Takes `endpoint` out of the list `section` of main.cf. All else in the list stays.
pub fn disconnect(configuration: &Configuration, section: Section, endpoint: &str) -> Result<Edit, EditError> {
    let parameter = section.parameter();
    let view = configuration.main();
    let before = squeezed(&view.raw(parameter).unwrap_or_default());
    let queue = view.get("queue_directory").map_err(EditError::Faulty)?;
    let after = removed(&before, endpoint, &queue);
    if after == before {
        return Err(match is_connected(configuration, section, endpoint)? {
            true => EditError::Elsewhere(parameter, endpoint.to_owned()),
            false => EditError::NotConnected(parameter, endpoint.to_owned()),
        });
    }
    if matches!(section, Section::Relay | Section::Recipient) && !guarded_with(configuration, section, &after)? {
        return Err(EditError::Unsafe(parameter, endpoint.to_owned()));
    }
    Ok(Edit { parameter, before: Some(before), after })
}

fn is_connected(configuration: &Configuration, section: Section, endpoint: &str) -> Result<bool, EditError> {
    let queue = configuration.main().get("queue_directory").map_err(EditError::Faulty)?;
    let all = consultations(configuration).map_err(|mut faults| EditError::Faulty(faults.swap_remove(0)))?;
    Ok(all.iter().any(|place| {
        place.service.is_none() && place.section == section && is_same_endpoint(&place.endpoint, endpoint, &queue)
    }))
}

/// Whether an OK of `ours` leaves relaying kept off when `section` has the value `value`. An OK ends one list:
/// what keeps others from relaying must stand before it, or in the other list before each of `ours`.
fn is_safe(configuration: &Configuration, section: Section, value: &str, ours: &[&str]) -> Result<bool, EditError> {
    if !matches!(section, Section::Relay | Section::Recipient) {
        return Ok(true);
    }
    let view = configuration.main();
    let queue = view.get("queue_directory").map_err(EditError::Faulty)?;
    for list in [Section::Relay, Section::Recipient] {
        let value = if list == section {
            view.expand_text(value).unwrap_or_default()
        } else {
            view.get(list.parameter()).map_err(EditError::Faulty)?
        };
        if is_guarded_before(&value, ours, &queue) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether what keeps others from relaying stands before each of `ours`.
fn is_guarded_before(value: &str, ours: &[&str], queue_directory: &str) -> bool {
    let words = split_list(value);
    for (at, word) in words.iter().enumerate() {
        if GUARDS.iter().any(|guard| word.eq_ignore_ascii_case(guard)) {
            return true;
        }
        let asked = words.get(at + 1).filter(|_| word.eq_ignore_ascii_case("check_policy_service"));
        if let Some(asked) = asked.map(|asked| named_endpoint(asked))
            && ours.iter().any(|ours| is_same_endpoint(&asked, ours, queue_directory))
        {
            return false;
        }
    }
    false
}

/// The endpoint of an argument of `check_policy_service`, with or without settings of its own, as
/// [`consultations`] reads it: what that does not see is not taken out either.
fn named_endpoint(argument: &str) -> String {
    endpoint_of(argument).0
}

/// Whether relaying is kept off when `section` has the value `value`.
fn guarded_with(configuration: &Configuration, section: Section, value: &str) -> Result<bool, EditError> {
    let view = configuration.main();
    for list in [Section::Relay, Section::Recipient] {
        let value = if list == section {
            view.expand_text(value).unwrap_or_default()
        } else {
            view.get(list.parameter()).map_err(EditError::Faulty)?
        };
        if words_are_guarded(&value) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `ask` after all of `present`, or before the final word that ends the list.
fn appended(present: &str, ask: &str) -> String {
    let words = split_list(present);
    match words.last() {
        Some(last) if FINAL.iter().any(|word| last.eq_ignore_ascii_case(word)) => {
            let rest = &present[..present.rfind(last).unwrap_or_default()];
            let rest = rest.trim_end_matches([' ', ',']);
            if rest.is_empty() { format!("{ask}, {last}") } else { format!("{rest}, {ask}, {last}") }
        }
        _ => format!("{}, {ask}", present.trim_end_matches([' ', ','])),
    }
}

/// `list` without each `check_policy_service endpoint`, also one with settings of its own.
fn removed(list: &str, endpoint: &str, queue_directory: &str) -> String {
    let words = split_list(list);
    let mut after = String::from(list);
    for pair in words.windows(2).rev() {
        if !pair[0].eq_ignore_ascii_case("check_policy_service")
            || !is_same_endpoint(&named_endpoint(pair[1]), endpoint, queue_directory)
        {
            continue;
        }
        // The words are slices of the list: where they stand is known.
        let begin = pair[0].as_ptr() as usize - list.as_ptr() as usize;
        let end = pair[1].as_ptr() as usize - list.as_ptr() as usize + pair[1].len();
        let rest = after[end..].trim_start_matches([' ', ',']).to_owned();
        after.truncate(begin);
        if rest.is_empty() {
            after.truncate(after.trim_end_matches([' ', ',']).len());
        }
        after.push_str(&rest);
    }
    after
}

/// White space made one blank, where it is what separates words (a form feed is not).
fn squeezed(value: &str) -> String {
    let words = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
