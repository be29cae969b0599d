//! Every request that was recorded from a real Postfix is answered by the running daemon.

#![allow(clippy::unwrap_used)] // a test may be blunt, its helpers too

use std::path::Path;

use support::{Connection, Home, programs};

#[test]
fn every_recorded_request_gets_its_one_answer_alone_and_all_in_one_stream() {
    let address = support::loopback().into();
    let home = Home::with(
        programs!(),
        &format!("[[listener]]\nname = \"in\"\naddress = \"{address}\"\nmodules = [\"bwl\", \"test\"]\n"),
    );
    let daemon = home.start();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/corpus");
    let mut requests: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "req"))
        .map(|path| (path.display().to_string(), std::fs::read(path).unwrap()))
        .collect();
    requests.sort();
    assert!(requests.len() > 200, "only {} requests were found", requests.len());

    for (name, bytes) in &requests {
        let mut connection = Connection::open(&address).unwrap();
        connection.send(bytes).unwrap();
        let answer = connection.answer().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(answer.as_deref(), Some("DUNNO"), "{name}");
    }
    let mut connection = Connection::open(&address).unwrap();
    std::thread::scope(|scope| {
        // Sent beside reading: the daemon reads no further while it has an answer in hand.
        let mut sender = connection.second().unwrap();
        let requests = &requests;
        scope.spawn(move || {
            for (_, bytes) in requests {
                sender.send(bytes).unwrap();
            }
            sender.half_close().unwrap();
        });
        for (name, _) in requests {
            assert_eq!(connection.answer().unwrap().as_deref(), Some("DUNNO"), "{name}");
        }
    });
    connection.assert_ended();
    assert_eq!(daemon.stop(), 0);
    assert_eq!(daemon.count_log(&["malformed"]), 0, "{}", daemon.log());
}
