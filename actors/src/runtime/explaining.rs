//! What a listener would answer to a request, without any effect.

use std::sync::Arc;

use libvalvula::Request;

use super::{OrderError, Runtime};
use crate::explain::{Explained, Stop, walk};
use crate::module::Query;

impl Runtime {
    /// Asks the chain of `listener` (by default the only one) what it would answer to `request`: nothing is
    /// charged, remembered or counted.
    ///
    /// # Errors
    /// No listener has this name or address; or none is named, and there are several.
    pub async fn explain(&self, listener: Option<&str>, request: Request) -> Result<Explained, OrderError> {
        let (settings, chain) = self.chain_of(listener)?;
        let query = Arc::new(Query { request, listener: settings.name.clone() });
        Ok(walk(&settings.name, chain, settings.deadline, &query).await)
    }

    fn chain_of(
        &self,
        listener: Option<&str>,
    ) -> Result<(Arc<crate::runtime_settings::ListenerSettings>, Vec<Stop>), OrderError> {
        let inside = self.0.inside.lock();
        let known = || inside.ports.iter().map(|port| &*port.settings.name).collect::<Vec<_>>().join(", ");
        let port = match (listener, &*inside.ports) {
            (Some(name), ports) => ports.iter().find(|port| port.is(name)).ok_or_else(|| OrderError::Unknown {
                kind: "listener",
                name: name.to_owned(),
                known: known(),
            })?,
            (None, [only]) => only,
            (None, _) => return Err(OrderError::Several { known: known() }),
        };
        let settings = port.settings.clone();
        let stops = settings.modules.iter().filter_map(|name| {
            let loaded = inside.modules.iter().find(|loaded| loaded.settings.name == *name)?;
            let replicas = || inside.replicas.iter().filter(|replica| replica.module == *name);
            let down = (replicas().filter(|replica| replica.health.is_down()).count(), replicas().count());
            Some(Stop { settings: loaded.settings.clone(), module: loaded.module.clone(), down })
        });
        let stops = stops.collect();
        Ok((settings, stops))
    }
}
