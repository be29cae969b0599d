use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixListener};

use super::*;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);

/// A server that reads one packet from each connection and then says `answer`; it stays open when `stays`.
async fn server(answer: &'static [u8], stays: bool) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let endpoint = listener.local_addr().expect("an address").into();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).await.expect("read");
            assert!(request[..read].ends_with(b"\n"), "whole lines");
            stream.write_all(answer).await.expect("written");
            if stays {
                open.push(stream);
            }
        }
    });
    endpoint
}

fn request() -> Request {
    Request::builder().protocol_state("RCPT").sender("ann@example.org").build().expect("well formed")
}

async fn ask(endpoint: &Endpoint, timeout: Duration) -> Result<Answer, ClientError> {
    Client::connect(endpoint, timeout).await?.ask(&request()).await
}

#[tokio::test]
async fn an_answer_is_what_follows_action() {
    let endpoint = server(b"action=REJECT not here\n\n", true).await;
    let answer = ask(&endpoint, LONG).await.expect("an answer");
    assert_eq!(answer, "REJECT not here");
    assert_eq!(answer.verdict(), Verdict::parse("reject not here"));
}

#[tokio::test]
async fn answers_that_come_together_are_told_apart() {
    let endpoint = server(b"action=DUNNO\n\naction=OK\n\n", true).await;
    let mut client = Client::connect(&endpoint, LONG).await.expect("connected");
    client.send(&[request().raw(), request().raw()].concat()).await.expect("sent");
    assert_eq!(client.answer().await.expect("an answer"), "DUNNO");
    assert_eq!(client.answer().await.expect("an answer"), "OK");
}

#[tokio::test]
async fn a_unix_socket_is_asked_in_the_same_way() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("policy");
    let listener = UnixListener::bind(&path).expect("bound");
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("accepted");
        let mut request = [0; 4096];
        let _read = stream.read(&mut request).await.expect("read");
        stream.write_all(b"action=DUNNO\n\n").await.expect("written");
        stream
    };
    let endpoint = Endpoint::Unix(path);
    let (answer, _open) = tokio::join!(ask(&endpoint, LONG), serve);
    assert_eq!(answer.expect("an answer"), "DUNNO");
}

#[tokio::test]
async fn every_other_end_is_an_error_that_names_the_server() {
    for (answer, stays, expected) in [
        (&b""[..], false, "closed the connection without an answer, after \"\""),
        (b"action=DUN", false, "closed the connection without an answer, after \"action=DUN\""),
        (b"action=DUNNO\n", true, "no answer within 50ms"),
        (b"", true, "no answer within 50ms"),
        (b"HTTP/1.0 400\n\n", true, "answered \"HTTP/1.0 400\\x0a\\x0a\", expected action=... and an empty line"),
        (
            b"action=OK\nx=y\n\n",
            true,
            "answered \"action=OK\\x0ax=y\\x0a\\x0a\", expected action=... and an empty line",
        ),
        (&[b'x'; LONGEST_ANSWER + 1], true, "expected action=... and an empty line"),
    ] {
        let endpoint = server(answer, stays).await;
        let timeout = if expected.starts_with("no answer") { SHORT } else { LONG };
        let error = ask(&endpoint, timeout).await.expect_err("no answer").to_string();
        assert!(error.starts_with(&format!("{endpoint}: ")) && error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    // An address on which no other test listens.
    let endpoint = {
        let listener = TcpListener::bind("127.0.0.77:0").await.expect("bound");
        Endpoint::Tcp(listener.local_addr().expect("an address"))
    };
    let error = ask(&endpoint, LONG).await.expect_err("nobody listens");
    assert!(error.to_string().starts_with(&format!("can't connect to {endpoint}: ")), "{error}");
    let missing = Endpoint::Unix("/nonexistent/policy".into());
    assert!(matches!(ask(&missing, LONG).await, Err(ClientError::Connect { .. })));
}

#[tokio::test]
async fn check_server_wants_the_answer_and_the_end() {
    let endpoint = server(CHECK_SERVER_ANSWER, false).await;
    Client::check_server(&endpoint, LONG).await.expect("alive");
    let endpoint = server(b"I'm running right\n", false).await;
    Client::check_server(&endpoint, LONG).await.expect("alive");
    let endpoint = server(CHECK_SERVER_ANSWER, true).await;
    assert!(matches!(Client::check_server(&endpoint, SHORT).await, Err(ClientError::TimedOut { .. })));
    let endpoint = server(b"action=DUNNO\n\n", false).await;
    assert!(matches!(Client::check_server(&endpoint, LONG).await, Err(ClientError::NoAnswer { .. })));
}

#[tokio::test]
async fn a_half_close_and_the_end_of_a_connection_can_be_asked_for() {
    let endpoint = server(b"action=DUNNO\n\n", false).await;
    let mut client = Client::connect(&endpoint, LONG).await.expect("connected");
    client.send(request().raw()).await.expect("sent");
    client.finish().await.expect("half closed");
    assert_eq!(client.answer().await.expect("an answer"), "DUNNO");
    client.closed().await.expect("closed");
    let endpoint = server(b"action=DUNNO\n\n", false).await;
    let mut client = Client::connect(&endpoint, LONG).await.expect("connected");
    client.send(request().raw()).await.expect("sent");
    assert!(matches!(client.closed().await, Err(ClientError::NoAnswer { .. })));
}
