//! `valvulactl postfix connect` and `disconnect`: one edit of main.cf through `postconf -e`, shown as a
//! difference. It is read back afterwards: what is not as it was meant is said.

use std::path::Path;
use std::process::Command;

use libvalvula::Endpoint;
use postfix::policy::{Edit, EditError, Place, Section, connect, disconnect, is_same_endpoint};
use postfix::{Configuration, find_program};
use serde_json::json;

use super::exit::{Exit, Failure};
use super::postfix::{Done, address, parameter, places, read};
use crate::config::PostfixSide;

/// A restriction list and one of our listeners.
pub(super) struct Connection<'a> {
    section: Section,
    endpoint: Endpoint,
    side: &'a PostfixSide,
}

impl<'a> Connection<'a> {
    /// Refused when the listener is not configured, or Postfix could not name it.
    pub fn new(section: Section, listener: &str, side: &'a PostfixSide) -> Result<Self, Failure> {
        let refused = |why: String| Err(Failure::new(Exit::No, why));
        let Some(found) = side.listeners.iter().find(|known| &*known.name == listener) else {
            let known: Vec<_> = side.listeners.iter().map(|listener| &*listener.name).collect();
            return refused(format!("no listener {listener:?} is configured; there are: {}", known.join(", ")));
        };
        let text = found.endpoint.to_string();
        if text.ends_with(":0") && matches!(found.endpoint, Endpoint::Tcp(_)) {
            return refused(format!("listener {listener} has another port at each start: give it one"));
        }
        if text.contains(|c: char| c.is_whitespace() || c.is_control() || ",{}$#\"".contains(c)) {
            return refused(format!("a restriction list can't hold {text:?}: give the socket another path"));
        }
        Ok(Self { section, endpoint: found.endpoint.clone(), side })
    }

    /// Adds it.
    pub fn connect(&self, configuration: &Configuration, place: &str, dry_run: bool) -> Result<Done, Failure> {
        let queue = parameter(configuration, "queue_directory")?;
        let ours = address(&self.endpoint);
        let written = written(&ours, &queue);
        let there = places(configuration)?.into_iter().any(|place| {
            place.service.is_none() && place.section == self.section && is_same_endpoint(&place.endpoint, &ours, &queue)
        });
        if there {
            return Err(refused(EditError::AlreadyConnected(self.section.parameter(), written)));
        }
        let place = if place == "first" { Place::First } else { Place::Last };
        let all: Vec<_> = self.side.listeners.iter().map(|listener| address(&listener.endpoint)).collect();
        let edit = connect(configuration, self.section, &written, place, &all).map_err(refused)?;
        let mut notes = self.services(configuration, "does not ask it");
        let in_chroot = |path: &str| path.starts_with('/');
        if written.strip_prefix("unix:").is_some_and(in_chroot) {
            let chrooted = configuration.master.smtpd().filter(|service| service.chroot == Some(true));
            notes.extend(chrooted.map(|service| {
                format!("{} runs in a chroot ({queue}) and can't reach {written}: put the socket below", service.id().0)
            }));
        }
        self.apply(configuration, &edit, notes, dry_run)
    }

    /// Takes it out.
    pub fn disconnect(&self, configuration: &Configuration, dry_run: bool) -> Result<Done, Failure> {
        let edit = disconnect(configuration, self.section, &address(&self.endpoint)).map_err(refused)?;
        self.apply(configuration, &edit, self.services(configuration, "is not changed"), dry_run)
    }

    /// The services that set this list themselves.
    fn services(&self, configuration: &Configuration, what: &str) -> Vec<String> {
        let parameter = self.section.parameter();
        let own = configuration.master.smtpd().filter(|service| service.get(parameter).is_some());
        own.map(|service| format!("{} of master.cf sets {parameter} itself: it {what}", service.id().0)).collect()
    }

    fn apply(
        &self,
        configuration: &Configuration,
        edit: &Edit,
        mut notes: Vec<String>,
        dry_run: bool,
    ) -> Result<Done, Failure> {
        let directory = &configuration.directory;
        if dry_run {
            notes.push("nothing was changed (--dry-run)".to_owned());
        } else {
            write(configuration, edit)?;
            let now = read(self.side)?;
            let value = now.main().raw(edit.parameter).unwrap_or_default().into_owned();
            if value.split_ascii_whitespace().ne(edit.after.split_ascii_whitespace()) {
                let what = format!("{} is {value:?} after the edit, and not {:?}", edit.parameter, edit.after);
                return Err(Failure::new(Exit::Software, what));
            }
            notes.push(format!("it counts after: postfix -c {} reload", directory.display()));
        }
        let before = match &edit.before {
            Some(value) => format!("{} = {value}", edit.parameter),
            None => format!("{} is not set", edit.parameter),
        };
        let file = directory.join("main.cf");
        let mut text = format!("{}\n- {before}\n+ {} = {}\n", file.display(), edit.parameter, edit.after);
        notes.iter().for_each(|note| text += &format!("{note}\n"));
        let answer = json!({ "file": file.display().to_string(), "edit": edit, "changed": !dry_run, "notes": notes });
        Ok((answer, text, Exit::Good))
    }
}

/// As Postfix names it. A socket in the queue directory is named from there: that is right for a service in a
/// chroot and for one that is not.
fn written(ours: &str, queue: &str) -> String {
    match ours.strip_prefix("unix:") {
        None => format!("inet:{ours}"),
        Some(path) => match Path::new(path).strip_prefix(queue) {
            Ok(below) if !queue.is_empty() => format!("unix:{}", below.display()),
            _ => ours.to_owned(),
        },
    }
}

fn refused(error: EditError) -> Failure {
    let exit = if matches!(error, EditError::Faulty(_)) { Exit::Config } else { Exit::No };
    Failure::new(exit, error)
}

fn write(configuration: &Configuration, edit: &Edit) -> Result<(), Failure> {
    let commands = parameter(configuration, "command_directory")?;
    let Some(postconf) = find_program("postconf", (!commands.is_empty()).then_some(Path::new(&commands))) else {
        return Err(Failure::new(Exit::Unavailable, "postconf is not installed: nothing was changed"));
    };
    let output = Command::new(&postconf).arg("-c").arg(&configuration.directory).args(edit.arguments()).output();
    let output = output.map_err(|error| Failure::new(Exit::Unavailable, format!("{}: {error}", postconf.display())))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(Exit::No, format!("postconf changed nothing: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_as_postfix_names_it() {
        for (ours, expected) in [
            ("127.0.0.1:3579", "inet:127.0.0.1:3579"),
            ("[::1]:3579", "inet:[::1]:3579"),
            ("unix:/var/spool/postfix/valvula/policy", "unix:valvula/policy"),
            ("unix:/var/spool/postfixes/policy", "unix:/var/spool/postfixes/policy"),
            ("unix:/run/valvula/policy", "unix:/run/valvula/policy"),
        ] {
            assert_eq!(written(ours, "/var/spool/postfix"), expected);
        }
    }
}
