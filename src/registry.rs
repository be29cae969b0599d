//! The modules that this daemon has: those of the crate `modules`, and those a third party adds.

use std::collections::BTreeMap;

use actors::module::ModuleType;

/// The known kinds of modules, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Registry(BTreeMap<&'static str, &'static dyn ModuleType>);

impl Registry {
    /// The modules of the crate `modules`.
    pub fn of_this_project() -> Self {
        let mut registry = Self::default();
        modules::registry().into_iter().for_each(|module| registry.add_static(module));
        registry
    }

    /// Adds a kind of module; one of the same name is replaced.
    pub fn add(&mut self, module: impl ModuleType) {
        // A kind of module lives as long as the program, as those of the crate `modules` do.
        self.add_static(Box::leak(Box::new(module)));
    }

    /// Adds a kind of module that is there anyway.
    pub fn add_static(&mut self, module: &'static dyn ModuleType) {
        self.0.insert(module.name(), module);
    }

    /// The kind of that name, without `mod-`.
    pub fn get(&self, name: &str) -> Option<&'static dyn ModuleType> {
        self.0.get(name).copied()
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
