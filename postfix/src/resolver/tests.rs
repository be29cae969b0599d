//! What is local by plain names. With tables: `tests/`.

use libvalvula::AddressKey;

use super::*;
use crate::answer::Answer;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new(main: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("main.cf"), main).unwrap();
        Self(dir)
    }

    fn settings(&self) -> Settings {
        Settings {
            config_directory: self.0.path().to_owned(),
            hostname: Some("mx.host.example".into()),
            ..Settings::default()
        }
    }
}

async fn resolver(main: &str) -> Resolver {
    let directory = Directory::new(main);
    Resolver::load(directory.settings()).await
}

async fn domain(resolver: &Resolver, name: &str) -> Verdict {
    resolver.is_local_domain(name.as_bytes()).await.verdict
}

async fn address(resolver: &Resolver, name: &str) -> Answer {
    resolver.is_local_address(&AddressKey::new(name.as_bytes())).await
}

const PLAIN: &str = "mydomain = home.example\nmyorigin = origin.example\nalias = alias.example\n\
    mydestination = $myhostname, localhost.$mydomain,\n  localhost\nvirtual_alias_domains = $alias\n\
    virtual_mailbox_domains = box1.example, Box2.Example !box3.example\nrelay_domains = relay.example\n";

#[tokio::test]
async fn names_of_the_lists_are_local() {
    let resolver = resolver(PLAIN).await;
    assert_eq!(resolver.state(), &State::Read);
    for name in [
        "mx.host.example",
        "localhost.home.example",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "alias.example",
        "box1.example",
        "box2.example",
        "origin.example",
    ] {
        assert_eq!(domain(&resolver, name).await, Verdict::Yes, "{name}");
    }
    for name in ["home.example", "box3.example", "relay.example", "x.alias.example", "", "example"] {
        assert_eq!(domain(&resolver, name).await, Verdict::No, "{name}");
    }
    let answer = resolver.is_local_domain(b"box2.example").await;
    assert_eq!(answer.to_string(), "yes (virtual_mailbox_domains: Box2.Example has box2.example)");
}

#[tokio::test]
async fn relay_domains_count_only_when_the_settings_say_so() {
    let directory = Directory::new(PLAIN);
    let resolver = Resolver::load(Settings { relay_domains: true, ..directory.settings() }).await;
    assert_eq!(domain(&resolver, "sub.relay.example").await, Verdict::Yes);
    assert_eq!(address(&resolver, "any@relay.example").await.verdict, Verdict::Yes);
}

#[tokio::test]
async fn a_table_that_cannot_be_asked_is_no_no() {
    let resolver = resolver("mydestination = a.example, nosuchtype:/b, c.example\nvirtual_mailbox_domains = d.example\nlocal_recipient_maps=\n").await;
    for (name, expected) in [
        ("a.example", Verdict::Yes),
        ("c.example", Verdict::Yes),
        ("d.example", Verdict::Yes),
        ("e.example", Verdict::CouldNotAsk),
    ] {
        assert_eq!(domain(&resolver, name).await, expected, "{name}");
    }
    let answer = resolver.is_local_domain(b"e.example").await;
    let step = answer.decided_by().unwrap();
    assert_eq!((step.parameter.as_str(), step.entry.as_str()), ("mydestination", "nosuchtype:/b"));
    assert_eq!(address(&resolver, "u@e.example").await.verdict, Verdict::CouldNotAsk);
    assert_eq!(address(&resolver, "u@a.example").await.verdict, Verdict::Yes);
    // It is in virtual_mailbox_domains if not in mydestination, and both take every recipient.
    assert_eq!(address(&resolver, "u@d.example").await.verdict, Verdict::Yes);
}

#[tokio::test]
async fn without_main_cf_our_own_settings_answer() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        config_directory: dir.path().to_owned(),
        local_domains: vec!["own.example".into()],
        local_addresses: vec!["Bob@own.example".into()],
        ..Settings::default()
    };
    for autodetect in [true, false] {
        let resolver = Resolver::load(Settings { autodetect, ..settings.clone() }).await;
        assert_eq!(matches!(resolver.state(), State::Absent(_)), autodetect);
        assert_eq!(resolver.warnings().len(), usize::from(autodetect));
        assert_eq!(domain(&resolver, "OWN.example").await, Verdict::Yes);
        assert_eq!(domain(&resolver, "other.example").await, Verdict::No);
        assert_eq!(address(&resolver, "bob@OWN.example").await.verdict, Verdict::Yes);
        assert_eq!(address(&resolver, "eve@own.example").await.verdict, Verdict::No);
    }
}

#[tokio::test]
async fn a_faulty_main_cf_is_could_not_ask() {
    let directory = Directory::new("oops\n");
    let settings = Settings { local_domains: vec!["own.example".into()], ..directory.settings() };
    let resolver = Resolver::load(settings).await;
    let State::Faulty(faults) = resolver.state() else { panic!("{:?}", resolver.state()) };
    assert_eq!(faults[0].line, Some(1));
    assert_eq!(domain(&resolver, "own.example").await, Verdict::Yes);
    assert_eq!(domain(&resolver, "other.example").await, Verdict::CouldNotAsk);
    assert_eq!(address(&resolver, "a@other.example").await.verdict, Verdict::CouldNotAsk);
    assert_eq!(resolver.login_owners(&AddressKey::new(b"a@b")).await.logins, None);
}

#[tokio::test]
async fn files_of_our_settings_are_read() {
    let directory = Directory::new("mydestination =\nmyorigin = o.example\n");
    let file = directory.0.path().join("domains");
    std::fs::write(&file, "# ours\na.example # trailing\n\n  B.example\n").unwrap();
    let local_domains = vec![file.display().to_string(), "/nonexistent/domains".to_owned()];
    let settings = Settings { local_domains, ..directory.settings() };
    let resolver = Resolver::load(settings).await;
    assert_eq!(domain(&resolver, "a.example").await, Verdict::Yes);
    assert_eq!(domain(&resolver, "b.example").await, Verdict::Yes);
    assert_eq!(domain(&resolver, "c.example").await, Verdict::CouldNotAsk);
    assert_eq!(domain(&resolver, "o.example").await, Verdict::Yes);
    assert!(resolver.files().contains(&file));
    assert!(resolver.files().contains(std::path::Path::new("/nonexistent/domains")));
    assert_eq!(resolver.warnings().len(), 1);
    // No address is listed: all of an own domain count.
    assert_eq!(address(&resolver, "any@a.example").await.verdict, Verdict::Yes);
}

#[tokio::test]
async fn empty_maps_take_every_recipient_and_absent_users_do_not_exist() {
    let resolver = resolver("mydestination = a.example\nlocal_recipient_maps =\nvirtual_alias_domains = v.example\nvirtual_mailbox_domains = m.example\n").await;
    assert_eq!(address(&resolver, "any@a.example").await.verdict, Verdict::Yes);
    assert_eq!(address(&resolver, "any@m.example").await.verdict, Verdict::Yes);
    assert_eq!(address(&resolver, "any@v.example").await.verdict, Verdict::No);
    assert_eq!(address(&resolver, "any@x.example").await.verdict, Verdict::No);
    assert_eq!(address(&resolver, "").await.verdict, Verdict::No);
    // Without a domain it is a user of $myorigin.
    assert_eq!(address(&resolver, "any").await.verdict, Verdict::Yes);
}

#[tokio::test]
async fn a_route_leads_where_postfix_would_send_it() {
    let resolver =
        resolver("mydestination = a.example, localhost\nlocal_recipient_maps =\nvirtual_alias_domains = v.example\n")
            .await;
    for (recipient, expected) in [
        ("u@a.example", Verdict::Yes),
        ("u%evil.example@a.example", Verdict::No),
        ("u%evil.example", Verdict::No),
        ("evil.example!u@a.example", Verdict::No),
        ("u@evil.example@a.example", Verdict::No),
        ("u%a.example@localhost", Verdict::Yes),
        ("u%x@v.example", Verdict::No),
        ("u", Verdict::Yes),
        ("", Verdict::No),
    ] {
        let answer = resolver.is_local_delivery(&AddressKey::new(recipient.as_bytes())).await;
        assert_eq!(answer.verdict, expected, "{recipient}: {answer}");
    }
    let off = "allow_percent_hack = no\nmydestination = a.example\n";
    let resolver = super::tests::resolver(off).await;
    let answer = resolver.is_local_delivery(&AddressKey::new(b"u%evil.example@a.example")).await;
    assert_eq!(answer.verdict, Verdict::Yes);
}

#[tokio::test]
async fn an_address_literal_is_local_when_it_is_ours() {
    let resolver = resolver("inet_interfaces = all\nproxy_interfaces = 192.0.2.7\n").await;
    for (name, expected) in [
        ("[127.0.0.1]", Verdict::Yes),
        ("[192.0.2.7]", Verdict::Yes),
        ("[192.0.2.8]", Verdict::No),
        ("192.0.2.7", Verdict::No),
    ] {
        assert_eq!(domain(&resolver, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_service_has_its_own_answers() {
    let directory = Directory::new("mydestination = a.example\n");
    let master = "submission inet n - n - - smtpd -o mydestination=b.example\n";
    std::fs::write(directory.0.path().join("master.cf"), master).unwrap();
    let resolver = Resolver::load_service(directory.settings(), Some("submission")).await;
    assert_eq!(domain(&resolver, "a.example").await, Verdict::No);
    assert_eq!(domain(&resolver, "b.example").await, Verdict::Yes);
    let unknown = Resolver::load_service(directory.settings(), Some("nosuch")).await;
    assert!(matches!(unknown.state(), State::Faulty(_)));
}
