//! mod-test: no opinion on anything. The smallest module there can be; `docs/writing-a-module.md` walks
//! through it.
//!
//! It can't fail.

use std::sync::Arc;

use actors::module::{BoxFuture, Configured, Decide, Module, ModuleContext, ModuleType, Query, StartError};
use actors::settings::Section;

/// The registry's entry.
pub static MODULE: Type = Type;

/// `test`, the module without an opinion.
pub struct Type;

impl ModuleType for Type {
    fn name(&self) -> &'static str {
        "test"
    }

    fn configure(&self, _: &mut Section) -> Box<dyn Configured> {
        Box::new(Settings)
    }
}

struct Settings;

impl Configured for Settings {
    fn start(self: Box<Self>, _: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async { Ok(Arc::new(Test) as Arc<dyn Module>) })
    }
}

struct Test;

impl Module for Test {
    fn decide(self: Arc<Self>, _: Arc<Query>) -> Decide {
        Decide::DUNNO
    }
}

#[cfg(test)]
mod tests {
    use libvalvula::Request;

    use super::*;

    #[test]
    fn it_has_no_opinion_on_anything() {
        for request in [Request::builder().build().unwrap(), Request::builder().sender("a@x.example").recipient("b@y.example").build().unwrap()] {
            let query = Arc::new(Query { request, listener: "test".into() });
            assert!(matches!(Arc::new(Test).decide(query), Decide::Now(Ok(None))));
        }
    }
}
