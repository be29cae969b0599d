//! What an operator orders: suspend, resume, restart, another instance behind a module.

use std::sync::Arc;

use super::{OrderError, PortEntry, Restarted, Runtime, stop_when_unused};
use crate::mail::post;
use crate::module::Module;
use crate::port::{Resume, Suspend};
use crate::supervise::Restart;

impl Runtime {
    /// Stops accepting on a listener; its connections go on.
    ///
    /// # Errors
    /// No listener has this name (or address).
    pub fn suspend(&self, listener: &str) -> Result<(), OrderError> {
        self.with_port(listener, |port| post(&port.address, Suspend))
    }

    /// Accepts again on a suspended listener.
    ///
    /// # Errors
    /// No listener has this name (or address).
    pub fn resume(&self, listener: &str) -> Result<(), OrderError> {
        self.with_port(listener, |port| post(&port.address, Resume))
    }

    fn with_port(&self, name: &str, order: impl FnOnce(&PortEntry)) -> Result<(), OrderError> {
        let inside = self.0.inside.lock();
        match inside.ports.iter().find(|port| port.is(name)) {
            Some(port) => {
                order(port);
                Ok(())
            }
            None => Err(OrderError::Unknown {
                kind: "listener",
                name: name.to_owned(),
                known: inside.ports.iter().map(|port| &*port.settings.name).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Restarts the supervisor of a listener, a module on all workers, or `stats`. Others notice nothing.
    ///
    /// # Errors
    /// Nothing has this name.
    pub fn restart(&self, name: &str) -> Result<Restarted, OrderError> {
        if self.with_port(name, |port| post(&port.address, Restart)).is_ok() {
            return Ok(Restarted::Port);
        }
        let module = name.strip_prefix("mod-").unwrap_or(name);
        let inside = self.0.inside.lock();
        let mut found = false;
        for replica in inside.replicas.iter().filter(|replica| &*replica.module == module) {
            replica.restart(None);
            found = true;
        }
        if found {
            return Ok(Restarted::Module);
        }
        if name == "stats" {
            post(&self.0.stats, Restart);
            return Ok(Restarted::Stats);
        }
        let ports = inside.ports.iter().map(|port| &*port.settings.name);
        let modules = inside.modules.iter().map(|module| &*module.settings.name);
        Err(OrderError::Unknown {
            kind: "listener, module or actor",
            name: name.to_owned(),
            known: ports.chain(modules).chain(["stats", "postfix", "store"]).collect::<Vec<_>>().join(", "),
        })
    }

    /// Puts another instance behind a module's actors on all workers, and stops the old one when nobody
    /// asks it any more. Requests that wait in the mailboxes are answered by the new one.
    ///
    /// # Errors
    /// No module has this name.
    pub fn replace_module(&self, name: &str, module: Arc<dyn Module>) -> Result<(), OrderError> {
        let mut inside = self.0.inside.lock();
        let known = inside.modules.iter().map(|module| &*module.settings.name).collect::<Vec<_>>().join(", ");
        let Some(loaded) = inside.modules.iter_mut().find(|loaded| &*loaded.settings.name == name) else {
            return Err(OrderError::Unknown { kind: "module", name: name.to_owned(), known });
        };
        let old = std::mem::replace(&mut loaded.module, module.clone());
        for replica in inside.replicas.iter().filter(|replica| &*replica.module == name) {
            replica.restart(Some(module.clone()));
        }
        drop(inside);
        actix_rt::spawn(stop_when_unused(old));
        Ok(())
    }
}
