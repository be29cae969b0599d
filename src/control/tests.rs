use super::protocol::{Code, Command, MAX_LINE, Refusal, Reply};
use super::*;
use actors::module::BoxFuture;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Says back what it was asked for.
struct Echo;

impl Operator for Echo {
    fn operate(&self, command: Command) -> BoxFuture<Reply> {
        Box::pin(async move {
            match command {
                Command::Restart { target } => Err(Refusal::new(Code::NotFound, format!("no {target}"))),
                other => Ok(serde_json::to_value(other).unwrap()),
            }
        })
    }
}

/// Runs `client` against a daemon on the socket at `path`.
fn with_daemon(path: &Path, client: impl FnOnce() + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = ControlSocket::bind(path, None, None).unwrap();
        let serving = socket.serve(Arc::new(Echo), slog::Logger::root(slog::Discard, slog::o!()));
        tokio::select! {
            () = serving => unreachable!("it serves until dropped"),
            done = tokio::task::spawn_blocking(client) => done.unwrap(),
        }
    });
}

#[test]
fn commands_are_answered_in_turn_on_one_connection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/control.sock");
    let socket = path.clone();
    with_daemon(&path, move || {
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
        let mut client = Client::connect(&socket, PATIENCE).unwrap();
        assert_eq!(client.ask(&Command::Stats).unwrap()["command"], "stats");
        let refused = client.ask(&Command::Restart { target: "x".into() }).unwrap_err();
        assert!(matches!(refused, ClientError::Refused(Refusal { code: Code::NotFound, .. })), "{refused:?}");
        assert_eq!(client.ask(&Command::Reload).unwrap()["command"], "reload");
    });
    assert!(!path.exists(), "the socket goes with the daemon");
}

#[test]
fn what_is_no_request_is_refused_and_the_next_one_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let socket = path.clone();
    with_daemon(&path, move || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(b"hello\n\n{\"v\":1,\"command\":\"stats\"}\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        let answers: Vec<_> = answers.lines().collect();
        assert_eq!(answers.len(), 3, "{answers:#?}");
        assert!(answers[0].contains("bad-request") && answers[1].contains("bad-request"));
        assert!(answers[2].contains(r#""ok""#));
    });
}

#[test]
fn a_line_without_end_is_refused_at_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let socket = path.clone();
    with_daemon(&path, move || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&vec![b'x'; MAX_LINE]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("one line of at most"), "{answer}");
    });
}

#[test]
fn a_socket_that_was_left_behind_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = path.clone();
    with_daemon(&path, move || {
        Client::connect(&socket, PATIENCE).unwrap().ask(&Command::Stats).unwrap();
    });
}

#[test]
fn a_second_daemon_and_a_strange_file_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    let file = dir.path().join("f");
    std::fs::write(&file, "mine").unwrap();
    let socket = path.clone();
    with_daemon(&path, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _in_runtime = runtime.enter();
        assert!(matches!(ControlSocket::bind(&socket, None, None), Err(BindError::InUse(_))));
        assert!(matches!(ControlSocket::bind(&file, None, None), Err(BindError::NoSocket(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
        Client::connect(&socket, PATIENCE).unwrap().ask(&Command::Stats).unwrap();
    });
}

#[test]
fn without_a_daemon_the_socket_is_named() {
    let error = Client::connect(Path::new("/nowhere/control.sock"), PATIENCE).err().unwrap();
    assert!(matches!(error, ClientError::NoDaemon { .. }));
    assert!(error.to_string().starts_with("no daemon answers at /nowhere/control.sock: "));
}
