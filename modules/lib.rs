//! The modules, one folder each, and their registry.
//!
//! A new module is its folder and one line in the registry below: the line declares the folder and lists
//! the [`ModuleType`] that the folder calls `MODULE`. No module names another; what several need stands
//! in files and folders of its own that are no modules.

mod columns;
#[cfg(test)]
mod house;
mod operating;
mod questions;
mod rarely;
pub mod rules;
#[cfg(test)]
mod testing;
mod trace;

use actors::module::ModuleType;

macro_rules! registry {
    ($($(#[$when:meta])* $module:ident,)*) => {
        $($(#[$when])* pub mod $module;)*

        /// Every kind of module there is, by name.
        pub fn registry() -> Vec<&'static dyn ModuleType> {
            vec![$($(#[$when])* &$module::MODULE,)*]
        }
    };
}

registry! {
    bwl,
    lmm,
    mquota,
    mw,
    object_resolver,
    #[cfg(feature = "panic-module")]
    panic,
    slm,
    test,
    ticket,
    transport,
}

/// The kind of module called `name`, with or without `mod-`.
pub fn find(name: &str) -> Option<&'static dyn ModuleType> {
    let name = name.strip_prefix("mod-").unwrap_or(name);
    registry().into_iter().find(|module| module.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_by_its_name_with_or_without_mod() {
        assert_eq!(find("bwl").map(|module| module.name()), Some("bwl"));
        assert_eq!(find("mod-test").map(|module| module.name()), Some("test"));
        assert!(find("mod-mod-test").is_none());
        assert!(find("").is_none());
    }

    #[test]
    fn names_are_distinct_and_in_order() {
        let names: Vec<_> = registry().iter().map(|module| module.name()).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }
}
