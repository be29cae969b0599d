use super::*;
use actors::module::{BoxFuture, Configured, Decide, Module, ModuleContext, ModuleType, Query, StartError};
use actors::runtime_settings::OnFailure;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// A kind of module with one key of its own.
struct Kind(&'static str);
struct Ready;

impl ModuleType for Kind {
    fn name(&self) -> &'static str {
        self.0
    }
    fn configure(&self, section: &mut Section) -> Box<dyn Configured> {
        section.number("limit", 1, 0..=10);
        Box::new(Ready)
    }
}

impl Configured for Ready {
    fn start(self: Box<Self>, _: ModuleContext) -> BoxFuture<Result<Arc<dyn Module>, StartError>> {
        Box::pin(async { Ok(Arc::new(Ready) as Arc<dyn Module>) })
    }
}

impl Module for Ready {
    fn decide(self: Arc<Self>, _: Arc<Query>) -> Decide {
        Decide::DUNNO
    }
}

fn load_text(text: &str) -> Result<Settings, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("v.toml");
    fs::write(&main, text).unwrap();
    let mut registry = Registry::default();
    for kind in ["bwl", "mquota"] {
        registry.add(Kind(kind));
    }
    let here = format!("{}/", dir.path().display());
    load(&main, [], &registry)
        .map_err(|faults| faults.iter().map(|fault| fault.to_string().replace(&here, "")).collect())
}

fn faults(text: &str) -> Vec<String> {
    load_text(text).err().unwrap_or_default()
}

const LISTENER: &str = "[[listener]]\naddress = \"127.0.0.1:3579\"\nmodules = [\"bwl\"]\n";

#[test]
fn a_short_configuration_has_the_documented_defaults() {
    let settings = load_text(LISTENER).unwrap();
    let [listener] = &settings.listeners[..] else { panic!("one listener") };
    assert_eq!((&*listener.name, listener.max_connections), ("127.0.0.1:3579", 2000));
    assert_eq!(listener.deadline, Duration::from_secs(10));
    assert_eq!(listener.request_timeout, Duration::from_secs(30));
    assert!(listener.idle_timeout > Duration::from_secs(1000));
    assert_eq!(listener.limits, libvalvula::Limits::default());
    assert_eq!((settings.server.workers, settings.server.grace), (0, Duration::from_secs(10)));
    assert_eq!(settings.log, Log::default());
    let [module] = &settings.modules[..] else { panic!("one module") };
    assert!(module.used);
    let module = &module.settings;
    assert_eq!((&*module.name, &*module.kind, module.observe), ("bwl", "bwl", false));
    assert_eq!((module.on_failure, module.deadline), (OnFailure::Dunno, Duration::from_secs(5)));
}

#[test]
fn every_fault_is_reported_at_once_with_file_line_and_key() {
    let shown = faults(
        r#"colour = "red"
[server]
user = "no such user"
workers = -1
[log]
target = "file:relative"
level = "loud"
[[listener]]
address = "localhost:3579"
modules = []
[[listener]]
address = "127.0.0.1:3579"
modules = ["bwl", "mod-bwl", "blw"]
mode = "0660"
max_connections = 0
[[listener]]
address = "127.0.0.1:3579"
name = "stats"
modules = ["bwl"]
deadline = "200s"
[[listener]]
modules = ["bwl"]
[module.mquota-bulk]
type = "mqouta"
[module.mquota]
limit = 11
on_failure = "perhaps"
surprise = true
"#,
    );
    let expected = [
        "v.toml:1: colour: unknown key",
        "v.toml:3: server.user: there is no user \"no such user\" on this machine",
        "v.toml:4: server.workers: -1 is out of bounds: expected 0 to 1024",
        "v.toml:6: log.target: \"relative\" is no absolute path",
        "v.toml:7: log.level: \"loud\" is not known: expected one of \"critical\"",
        "v.toml:9: listener[0].address: \"localhost:3579\" is no address and port",
        "v.toml:10: listener[0].modules: is empty",
        "v.toml:13: listener[1].modules: \"bwl\" stands twice in the chain",
        "v.toml:13: listener[1].modules: there is no module \"blw\"; known modules: bwl, mquota",
        "v.toml:14: listener[1].mode: is only for a unix socket",
        "v.toml:15: listener[1].max_connections: 0 is out of bounds: expected 1 to",
        "v.toml:17: listener[2].address: 127.0.0.1:3579 is the address of another listener too",
        "v.toml:18: listener[2].name: \"stats\" is kept for a part of the daemon",
        "v.toml:20: listener[2].deadline: 200s is out of bounds",
        "v.toml:21: listener[3].address: is missing",
        "v.toml:24: module.mquota-bulk.type: there is no module \"mqouta\"; known modules: bwl, mquota",
        "v.toml:26: module.mquota.limit: 11 is out of bounds",
        "v.toml:27: module.mquota.on_failure: \"perhaps\" is not known: expected one of \"dunno\", \"defer\", \"disconnect\"",
        "v.toml:28: module.mquota.surprise: unknown key; expected one of deadline, limit, max_in_flight",
    ];
    for expected in expected {
        assert!(shown.iter().any(|fault| fault.starts_with(expected)), "missing: {expected}\nin {shown:#?}");
    }
    assert_eq!(shown.len(), expected.len(), "{shown:#?}");
}

#[test]
fn a_chain_may_hold_two_settings_of_one_module() {
    let settings = load_text(
        "[[listener]]\naddress = \"unix:/run/v\"\nmode = \"0660\"\nmodules = [\"mquota\", \"mod-mquota-bulk\"]\n\
         [module.mquota-bulk]\ntype = \"mod-mquota\"\nobserve = true\n",
    )
    .unwrap();
    let chain: Vec<_> = settings.listeners[0].modules.iter().map(|name| &**name).collect();
    assert_eq!(chain, ["mquota", "mquota-bulk"]);
    assert_eq!(settings.listeners[0].file.mode, 0o660);
    let modules: Vec<_> =
        settings.modules.iter().map(|m| &m.settings).map(|m| (&*m.name, &*m.kind, m.observe)).collect();
    assert_eq!(modules, [("mquota-bulk", "mquota", true), ("mquota", "mquota", false)]);
}

#[test]
fn a_section_with_and_without_mod_is_the_same_module() {
    let shown = faults(&format!("{LISTENER}[module.bwl]\n[module.mod-bwl]\n"));
    assert_eq!(shown, ["v.toml:5: module.mod-bwl: [module.bwl] and [module.mod-bwl] are the same module: keep one"]);
    assert!(load_text(&format!("{LISTENER}[module.mod-bwl]\nlimit = 2\n")).is_ok());
}

#[test]
fn no_listener_is_a_fault_unless_a_file_could_not_be_read() {
    assert_eq!(faults("").len(), 1);
    assert!(faults("")[0].starts_with("v.toml: listener: no listener is configured"));
    assert!(faults("[[listener]\n").iter().all(|fault| !fault.contains("no listener is configured")));
}

#[test]
fn two_listeners_on_port_0_are_two_listeners() {
    let text = "[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\nmodules = [\"bwl\"]\n\
                [[listener]]\nname = \"b\"\naddress = \"127.0.0.1:0\"\nmodules = [\"bwl\"]\n";
    assert_eq!(load_text(text).unwrap().listeners.len(), 2);
    assert_eq!(faults(&text.replace("\"b\"", "\"a\"")).len(), 1);
}

#[test]
fn the_control_socket_is_found_in_a_configuration_with_faults() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("v.toml");
    fs::write(&main, "nonsense = \n[server]\ncontrol_socket = \"/x/c.sock\"\nwrong = 1\n").unwrap();
    assert_eq!(control_socket(&main, [], true).unwrap(), Path::new("/x/c.sock"));
    fs::write(&main, "[server]\ncontrol_socket = 5\n").unwrap();
    assert_eq!(control_socket(&main, [], true).unwrap_err().len(), 1);
    let absent = dir.path().join("absent.toml");
    assert!(control_socket(&absent, [], true).unwrap_err()[0].to_string().contains("absent.toml: can't be read"));
    let set = ("VALVULA__SERVER__CONTROL_SOCKET".into(), "/y/c.sock".into());
    assert_eq!(control_socket(&absent, [set], false).unwrap(), Path::new("/y/c.sock"));
}

/// The example with every key that it shows commented out (`#key = value`) in force.
fn example(commented: bool) -> Result<Settings, Vec<String>> {
    let text: String = include_str!("../../etc/valvula.toml")
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if commented && !setting.starts_with(' ') => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("valvula.toml");
    fs::write(&main, text.replace("\"valvula\"", "\"root\"")).unwrap();
    let mut registry = Registry::default();
    modules::registry().into_iter().for_each(|module| registry.add_static(module));
    load(&main, [], &registry).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

#[test]
fn the_example_is_good_and_every_key_that_it_shows_is_known() {
    example(false).map(drop).unwrap();
    example(true).map(drop).unwrap();
}

#[test]
fn the_example_shows_the_defaults() {
    let (short, full) = (example(false).unwrap(), example(true).unwrap());
    assert_eq!(short.log, full.log);
    assert_eq!(short.server.grace, full.server.grace);
    assert_eq!(short.server.workers, full.server.workers);
    assert_eq!(short.local.cache, full.local.cache);
    assert_eq!(short.local.timeout, full.local.timeout);
    // That there must be a main.cf is said by naming its directory; that addresses are known elsewhere too, by the
    // example's queries, which list them.
    let named = postfix::Settings { required: true, addresses_elsewhere: true, ..short.local.postfix };
    assert_eq!(named, full.local.postfix);
    assert_eq!(short.database.start_timeout, full.database.start_timeout);
    assert_eq!(short.database.max_connections, full.database.max_connections);
    assert_eq!(short.database.synchronous, full.database.synchronous);
    assert_eq!(short.database.poll_interval, full.database.poll_interval);
    assert_eq!(format!("{:?}", short.listeners[0]), format!("{:?}", full.listeners[0]));
    for module in &short.modules {
        let same = full.modules.iter().find(|other| other.settings.name == module.settings.name).unwrap();
        assert_eq!(format!("{:?}", module.settings), format!("{:?}", same.settings));
    }
}
