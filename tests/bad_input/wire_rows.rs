//! What is sent to a listener.

use support::Request;

/// What the client does when all is sent.
pub enum Then {
    /// It waits for the daemon to end the connection.
    Wait,
    /// It says that it sends no more, and reads what comes.
    HalfClose,
    /// It is gone.
    Leave,
}

pub struct Row {
    pub what: &'static str,
    /// Sent with a tenth of a second between them.
    pub pieces: Vec<Vec<u8>>,
    pub then: Then,
}

fn row(what: &'static str, bytes: impl AsRef<[u8]>) -> Row {
    Row { what, pieces: vec![bytes.as_ref().to_vec()], then: Then::HalfClose }
}

/// The daemon has to see by itself that there is no use in waiting for more.
fn waiting(what: &'static str, bytes: impl AsRef<[u8]>) -> Row {
    Row { then: Then::Wait, ..row(what, bytes) }
}

fn good() -> Request {
    Request::rcpt("a@away.example", "ann@home.example")
}

fn with(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    good().set(name, value).bytes()
}

/// These lines behind the one that makes it a policy request.
fn lines(lines: &[u8]) -> Vec<u8> {
    [b"request=smtpd_access_policy\nprotocol_state=RCPT\nrecipient=ann@home.example\n".as_slice(), lines, b"\n"]
        .concat()
}

fn many(count: usize) -> Vec<u8> {
    let names: String = (3..count).map(|number| format!("a{number}=1\n")).collect();
    lines(names.as_bytes())
}

/// A request of exactly this many bytes.
fn of_length(length: usize) -> Vec<u8> {
    let mut bytes = b"request=smtpd_access_policy\n".to_vec();
    while bytes.len() + 1002 < length {
        bytes.extend_from_slice(b"unknown=");
        bytes.resize(bytes.len() + 991, b'x');
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(b"u=");
    bytes.resize(length - 2, b'x');
    bytes.extend_from_slice(b"\n\n");
    bytes
}

fn helo(length: usize) -> Vec<u8> {
    lines(&[b"helo_name=".to_vec(), vec![b'x'; length - 10], b"\n".to_vec()].concat())
}

const TLS_HELLO: &[u8] =
    b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\
\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x5a\x00\x00\x04\x13\x01\x13\x02\x01\x00";

pub fn rows() -> Vec<Row> {
    let all = good().bytes();
    let text = String::from_utf8(all.clone()).unwrap();
    let mut rows = vec![
        // no request at all
        waiting("a single newline", "\n"),
        waiting("a single CRLF", "\r\n"),
        waiting("a thousand newlines", "\n".repeat(1000)),
        row("nothing, then the end of the stream", ""),
        waiting("`GET / HTTP/1.1` and a `Host:` line", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
        waiting("`POST` with a `=` in its first line", "POST /?a=b HTTP/1.1\r\nHost: x\r\n\r\n"),
        waiting("a TLS client's hello", TLS_HELLO),
        waiting("`EHLO client.example`", "EHLO client.example\r\n"),
        waiting("an SSH banner", "SSH-2.0-OpenSSH_9.2\r\n"),
        waiting("a MySQL client's handshake, with NUL bytes", b"\x4a\0\0\x01\x85\xa2\x1a\0\0\0\0\x40\x21"),
        waiting("a JSON line of the control protocol", "{\"v\":1,\"command\":\"stats\"}\n"),
        waiting("256 bytes, each once", (0..=255).collect::<Vec<u8>>()),
        waiting("1 MiB of `x` without a newline", vec![b'x'; 1024 * 1024]),
        waiting("1 MiB of `=` without a newline", vec![b'='; 1024 * 1024]),
        waiting("64 KiB of newlines after a line", [b"a=b".to_vec(), vec![b'\n'; 65536]].concat()),
        row("`checkserver`", "checkserver\n"),
        waiting("`checkserver` in capitals", "CHECKSERVER\n"),
        waiting("`checkserver ` with a blank behind it", "checkserver \n"),
        waiting("a blank before the first attribute's name", format!(" {text}")),
        // lines
        waiting("a line without `=`", lines(b"nonsense\n")),
        waiting("a line that is one blank", lines(b" \n")),
        row("a line that is `=` alone", lines(b"=\n")),
        row("a line with `=` in its value", lines(b"sender=a=b@away.example\n")),
        waiting("a NUL in a value", lines(b"sender=a\0b@away.example\n")),
        waiting("a NUL in place of the newline", b"request=smtpd_access_policy\0sender=a\0\0".as_slice()),
        waiting("a carriage return alone as line end", text.replace('\n', "\r")),
        row("CRLF as line end", text.replace('\n', "\r\n")),
        row("CRLF and newline mixed", text.replacen('\n', "\r\n", 3)),
        row("a carriage return inside a value", lines(b"sender=a\rb@away.example\n")),
        row("a line of 16384 bytes (`max_line`)", helo(16384)),
        waiting("a line of 16385 bytes", helo(16385)),
        row("256 attributes (`max_attributes`)", many(256)),
        waiting("257 attributes", many(257)),
        row("a request of 65536 bytes (`max_request`)", of_length(65536)),
        waiting("a request of 65537 bytes", of_length(65537)),
        // what kind of request
        waiting("no `request=`", "protocol_state=RCPT\nsender=a@away.example\n\n"),
        waiting("`request=junk_mail_policy`", with("request", "junk_mail_policy")),
        waiting("`request=` empty", with("request", "")),
        waiting("`request=SMTPD_ACCESS_POLICY`", with("request", "SMTPD_ACCESS_POLICY")),
        waiting("`Request=smtpd_access_policy`, a name in another case", text.replacen("request", "Request", 1)),
        row("`request=` twice, the last one right", lines(b"request=x\nrequest=smtpd_access_policy\n")),
        waiting("`request=` twice, the last one wrong", lines(b"request=x\n")),
        row("`request=` as the last attribute", "sender=a@away.example\nrequest=smtpd_access_policy\n\n"),
        row("`protocol_state=` unknown (`BDAT`)", with("protocol_state", "BDAT")),
        row("`protocol_state=rcpt`", with("protocol_state", "rcpt")),
        row("nothing but `request=`", "request=smtpd_access_policy\n\n"),
        // numbers
        waiting("`size=many`", with("size", "many")),
        waiting("`size=-1`", with("size", "-1")),
        waiting("`size=` empty", with("size", "")),
        waiting("`size= 1`, a blank in front", with("size", " 1")),
        waiting("`size=1e9`", with("size", "1e9")),
        waiting("`size=0x10`", with("size", "0x10")),
        row("`size=18446744073709551615` (2^64 - 1)", with("size", "18446744073709551615")),
        waiting("`size=18446744073709551616` (2^64)", with("size", "18446744073709551616")),
        row("`size=` with 300 zeros and a 1", with("size", format!("{}1", "0".repeat(300)))),
        row("`recipient_count=4294967295` (2^32 - 1)", with("recipient_count", "4294967295")),
        waiting("`recipient_count=4294967296` (2^32)", with("recipient_count", "4294967296")),
        waiting("`recipient_count=-1`", with("recipient_count", "-1")),
        row("`encryption_keysize=lots`, which decides nothing", with("encryption_keysize", "lots")),
        row("`client_port=70000`", with("client_port", "70000")),
        row("`client_address=999.1.1.1`", with("client_address", "999.1.1.1")),
        // addresses, instance, login
        row("a sender without a domain (`ann`)", with("sender", "ann")),
        row("a sender `@` alone", with("sender", "@")),
        row("a sender with two `@` (`a@b@away.example`)", with("sender", "a@b@away.example")),
        row("an empty sender (a bounce)", with("sender", "")),
        row("a sender who does not exist, of a local domain", with("sender", "nobody@home.example")),
        row("the same, its domain in capitals with a dot behind it", with("sender", "nobody@HOME.example.")),
        row("a sender of 4000 bytes", with("sender", format!("{}@away.example", "x".repeat(3987)))),
        row("a sender with Latin-1 bytes, no UTF-8", with("sender", b"caf\xe9@away.example")),
        row("a sender with escape sequences of a terminal", with("sender", "\u{1b}[2Ja@away.example")),
        row("a sender with a domain that IDNA refuses", with("sender", "a@xn--\u{fc}.example")),
        row("a recipient that is empty at RCPT", with("recipient", "")),
        row(
            "a recipient that would route (`victim%away.example@home.example`)",
            with("recipient", "victim%away.example@home.example"),
        ),
        row("an empty `instance`", with("instance", "")),
        row("an `instance` of 4000 bytes", with("instance", "x".repeat(4000))),
        row("an `instance` with quotes and SQL", with("instance", "1'; DROP TABLE bwl_global; --")),
        row(
            "`sasl_username` with quotes and SQL, sender another's",
            good().set("recipient", "b@away.example").set("sasl_username", "x' OR '1'='1").bytes(),
        ),
        row(
            "`sasl_username` that is no address, sender local",
            good()
                .set("recipient", "b@away.example")
                .set("sender", "ann@home.example")
                .set("sasl_username", "root")
                .bytes(),
        ),
        row("`sender=` twice: the last one counts", lines(b"sender=nobody@home.example\nsender=a@away.example\n")),
        row("an attribute of a later Postfix", lines(b"from_the_future=1\n")),
        row("the attributes in the opposite order", reversed(&text)),
        // several requests, pieces, leaving
        row("a request, then garbage without `=`", [&all[..], b"garbage\n"].concat()),
        row("a request, then an empty line", [&all[..], b"\n"].concat()),
        row("garbage without `=`, then a request", [b"garbage\n", &all[..]].concat()),
        row(
            "three requests at once, the second malformed",
            [&all[..], b"request=smtpd_access_policy\nsize=x\n\n", &all[..]].concat(),
        ),
        row("a request, then `checkserver`", [&all[..], b"checkserver\n"].concat()),
        row("a request without its empty line, then the end of the stream", &all[..all.len() - 1]),
        row("half a line, then the end of the stream", b"request=smtpd_acc".as_slice()),
        waiting("half a request, then nothing more", &all[..100]),
        waiting("one byte, then nothing more", "r"),
    ];
    let slow: Vec<_> = all.iter().take(60).map(|byte| vec![*byte]).collect();
    rows.push(Row { what: "a byte each 100 ms", pieces: slow, then: Then::Wait });
    let cut = vec![all[..50].to_vec(), all[50..].to_vec()];
    rows.push(Row { what: "a request in two pieces, 100 ms apart", pieces: cut, then: Then::HalfClose });
    for (what, bytes) in [
        ("nothing, and the client is gone", &[][..]),
        ("half a request, and the client is gone", &all[..100]),
        ("a request, and the client is gone before the answer", &all[..]),
    ] {
        rows.push(Row { then: Then::Leave, ..row(what, bytes) });
    }
    rows
}

fn reversed(text: &str) -> String {
    text.lines().rev().filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect::<String>() + "\n"
}
