//! The modules that this daemon has: those of the crate `modules`, and those a third party adds.

use std::collections::BTreeMap;
use std::sync::Arc;

use actors::module::ModuleType;

/// The known kinds of modules, by name.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn ModuleType>>);

impl Registry {
    /// Adds a kind of module; one of the same name is replaced.
    pub fn add(&mut self, module: impl ModuleType) {
        self.0.insert(module.name(), Arc::new(module));
    }

    /// Adds a kind of module that is shared already; one of the same name is replaced.
    pub fn add_shared(&mut self, module: Arc<dyn ModuleType>) {
        self.0.insert(module.name(), module);
    }

    /// The kind of that name, without `mod-`.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn ModuleType>> {
        self.0.get(name)
    }

    /// Names all kinds, for a person who asked for one that is not there.
    pub fn known(&self) -> String {
        if self.0.is_empty() {
            return "this program has no module at all".to_owned();
        }
        let names: Vec<_> = self.0.keys().copied().collect();
        format!("known modules: {}", names.join(", "))
    }
}
