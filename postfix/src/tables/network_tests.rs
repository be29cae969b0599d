//! Table servers played by the test.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers one request with `reply`; what it was asked comes back.
async fn serve(reply: &'static [u8]) -> (Peer, tokio::task::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer::Inet(listener.local_addr().unwrap().to_string());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = vec![0; 1024];
        let length = stream.read(&mut asked).await.unwrap();
        stream.write_all(reply).await.unwrap();
        asked.truncate(length);
        asked
    });
    (peer, task)
}

#[tokio::test]
async fn tcp_tables() {
    for (reply, expected) in [
        (&b"200 a%20b\n"[..], Some(Some(&b"a b"[..]))),
        (b"500 no%20such\n", Some(None)),
        (b"400 broken\n", None),
        (b"200 cut", None),
        (b"200 %zz\n", None),
        (b"oops\n", None),
        (b"", None),
    ] {
        let (peer, asked) = serve(reply).await;
        let answer = ask_tcp(&peer, b"a b%@c").await;
        assert_eq!(answer.as_ref().ok().map(|value| value.as_deref()), expected, "{answer:?}");
        assert_eq!(asked.await.unwrap(), b"get a%20b%25@c\n");
    }
}

#[tokio::test]
async fn socketmap_tables() {
    for (reply, expected) in [
        (&b"8:OK a b c,"[..], Some(Some(&b"a b c"[..]))),
        (b"3:OK ,", Some(Some(b""))),
        (b"9:NOTFOUND ,", Some(None)),
        (b"9:TEMP away,", None),
        (b"9:PERM nope,", None),
        (b"5:HELLO,", None),
        (b"9999999:", None),
        (b"5:OK a;", None),
        (b"9:OK a", None),
        (b"", None),
    ] {
        let (peer, asked) = serve(reply).await;
        let answer = ask_socketmap(&peer, "users", b"a b@c").await;
        assert_eq!(answer.as_ref().ok().map(|value| value.as_deref()), expected, "{answer:?}");
        assert_eq!(asked.await.unwrap(), b"11:users a b@c,");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer::Inet(listener.local_addr().unwrap().to_string());
    drop(listener);
    assert!(ask_tcp(&peer, b"x").await.is_err());
    assert!(ask_socketmap(&Peer::Unix("/nonexistent".into()), "n", b"x").await.is_err());
}

#[test]
fn addresses_of_servers() {
    assert_eq!(
        Peer::parse_socketmap("inet:127.0.0.1:99:users"),
        Ok((Peer::Inet("127.0.0.1:99".into()), "users".into()))
    );
    assert_eq!(Peer::parse_socketmap("unix:/run/x:users"), Ok((Peer::Unix("/run/x".into()), "users".into())));
    for bad in ["", "inet", "inet:x", "unix:rel:users", "inet:h:1:", "foo:h:1:n"] {
        assert!(Peer::parse_socketmap(bad).is_err(), "{bad}");
    }
    assert!(Peer::parse_tcp("host").is_err());
    assert!(Peer::parse_tcp("host:99").is_ok());
}
