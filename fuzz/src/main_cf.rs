//! main.cf, master.cf behind a line `==> master.cf`, the expansion of values, and changes of restriction
//! lists.

use std::borrow::Cow;
use std::path::Path;

use postfix::policy::{EditError, Place, Section, connect, consultations, disconnect};
use postfix::{BuildDefaults, Configuration, ReadError, View, expand, split_list};

use crate::input::{Choices, text};

const OURS: &str = "inet:127.0.0.1:3579";
/// The most that the references of a value may bring in, in bytes.
const LARGEST: usize = 1024 * 1024;

/// Each parameter has a value or a fault with its line; lists come apart into the same words again; a
/// policy service that was connected is seen to be, and all else stays when it is taken out.
pub fn main_cf(data: &[u8]) {
    let (main, master) = match text(data).split_once("==> master.cf\n") {
        Some((main, master)) => (main.to_owned(), master.to_owned()),
        None => (text(data), String::new()),
    };
    assert_eq!(expand(&main.replace('$', "$$"), &|_| None).as_deref(), Ok(&main[..]), "no reference is left");
    let _ = expand(&main, &|name| (name.len() > 1).then_some(Cow::Borrowed("$x${x}")));

    let configuration = match parse(&main, &master) {
        Ok(configuration) => configuration,
        Err(ReadError::Faulty(faults)) => {
            assert!(!faults.is_empty() && faults.iter().all(|fault| fault.line.is_some_and(|line| line > 0)));
            return;
        }
        Err(absent) => panic!("it is here: {absent}"),
    };
    parameters(configuration.main(), &configuration);
    for service in configuration.master.services.iter().take(2) {
        parameters(configuration.service(service), &configuration);
        let named = configuration.master.service(&service.id().0).expect("it is found by its name");
        assert_eq!(named.id(), service.id());
    }
    let mut choices = Choices::of(data);
    if choices.below(4) != 0 {
        return;
    }
    let _ = consultations(&configuration);
    let set = Section::ALL.into_iter().filter(|section| configuration.main().is_set(section.parameter()));
    for section in set.chain([Section::Recipient]) {
        edited(&main, &master, &configuration, section, [Place::First, Place::Last][choices.below(2)]);
    }
}

fn parse(main: &str, master: &str) -> Result<Configuration, ReadError> {
    let directory = Path::new("/etc/postfix");
    Configuration::parse(directory, main.as_bytes(), master.as_bytes(), "mx.example.com", BuildDefaults::default())
}

fn parameters(view: View<'_>, configuration: &Configuration) {
    for name in configuration.main.names().take(10).chain(["mydestination", "myorigin"]) {
        match view.get(name) {
            Ok(value) => {
                assert!(value.len() <= LARGEST + view.raw(name).map_or(0, |raw| raw.len()));
                if value.len() > 10_000 {
                    continue;
                }
                words(&value);
                let _ = (view.flag(name), view.number(name), view.time(name));
            }
            Err(fault) => assert!(fault.message.starts_with(name), "{fault}"),
        }
    }
}

fn words(value: &str) {
    let words = split_list(value);
    assert!(words.iter().all(|word| !word.is_empty()));
    assert_eq!(split_list(&words.join(", ")), words);
}

fn edited(main: &str, master: &str, configuration: &Configuration, section: Section, place: Place) {
    let Ok(edit) = connect(configuration, section, OURS, place, &[]) else { return };
    // Only what one line of main.cf holds can be written there.
    if edit.after.contains(['\n', '\0']) || section.parameter() != edit.parameter {
        panic!("{edit:?}");
    }
    let changed = format!("{main}\n{} = {}\n", edit.parameter, edit.after);
    let changed = parse(&changed, master).expect("one more line that is an assignment");
    let before = configuration.main().raw(edit.parameter).unwrap_or_default().into_owned();
    if configuration.main().is_set(edit.parameter) {
        let kept: Vec<_> = split_list(&before);
        let after = split_list(&edit.after);
        assert!(is_within(&kept, &after), "{kept:?} within {after:?}");
    }
    // A list that does not come apart is not one to take anything out of.
    match disconnect(&changed, section, OURS) {
        Ok(back) => {
            let rest = split_list(&back.after);
            assert!(is_within(&rest, &split_list(&edit.after)), "{rest:?} within {edit:?}");
            assert!(
                is_within(&split_list(&squeezed(&before)), &rest) || edit.before.is_none(),
                "{before:?} within {back:?}"
            );
        }
        Err(EditError::Unsafe(..) | EditError::Faulty(_)) => {}
        Err(error) => panic!("{error}: {edit:?}"),
    }
}

fn squeezed(value: &str) -> String {
    value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether `some` stand in `all` in their order.
fn is_within(some: &[&str], all: &[&str]) -> bool {
    let mut all = all.iter();
    some.iter().all(|word| all.any(|other| squeezed(other) == squeezed(word)))
}
