//! The private Postfix itself: it takes mail and delivers it, and nothing of it is left behind.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::time::Duration;

use support::{Postfix, Smtp};

#[test]
fn it_takes_mail_with_and_without_login_and_ends_whole() {
    let postfix = Postfix::start(&["--delivery", "maildir"]);
    let mut smtp = Smtp::open(postfix.mx());
    let reply = smtp.rcpt("eve@away.example", "ann@example.com");
    assert!(reply.starts_with("250"), "{reply}");
    let reply = smtp.data("without login");
    assert!(reply.starts_with("250"), "{reply}");
    let relayed = Smtp::open(postfix.mx()).rcpt("eve@away.example", "kim@elsewhere.example");
    assert!(relayed.starts_with("454") || relayed.starts_with("554"), "no open relay: {relayed}");

    let mut smtp = Smtp::open(postfix.submission());
    smtp.login("alice", "secret");
    let reply = smtp.rcpt("alice@example.com", "kim@elsewhere.example");
    assert!(reply.starts_with("250"), "{reply}");

    support::wait_until("the message is delivered", Duration::from_secs(20), || postfix.delivered().len() == 1);
    let directory = postfix.config_directory().parent().unwrap().to_owned();
    let pid = std::fs::read_to_string(directory.join("queue/pid/master.pid")).unwrap().trim().to_owned();
    let process = std::path::Path::new("/proc").join(pid);
    assert!(process.exists());
    drop(postfix);
    assert!(!process.exists(), "its master lives on");
    assert!(!directory.exists(), "its files stay");
}
