//! What the requests recorded from real Postfix read as.
//!
//! `corpus.expected` holds the typed view of each. After an intended change, write it anew with
//! `VALVULA_WRITE_EXPECTED=1 cargo test -p libvalvula --test corpus` and read the difference.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use libvalvula::{Attribute, Frame, Limits, PolicyCodec, Printable, Request};
use tokio_util::codec::Decoder;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/corpus");
    let mut files: Vec<_> = fs::read_dir(directory)
        .expect("the corpus")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "req"))
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a request"))
        })
        .collect();
    files.sort();
    files
}

fn parse(block: &[u8]) -> Request {
    Request::parse(Bytes::copy_from_slice(block), &Limits::default()).expect("well formed")
}

/// What the accessors say, one line each, those left out that say nothing.
fn view(request: &Request) -> String {
    let bytes = |value: &[u8]| Printable::new(value).to_string();
    let option = |value: Option<String>| value.unwrap_or_default();
    let absent: Vec<_> =
        Attribute::ALL.into_iter().filter(|name| request.get(*name).is_none()).map(Attribute::name).collect();
    let facts = [
        ("stage", request.stage().to_string()),
        ("protocol", bytes(request.protocol_name())),
        ("client", option(request.client_address().map(|address| address.to_string()))),
        ("client name", bytes(request.client_name())),
        ("client port", option(request.client_port().map(|port| port.to_string()))),
        ("reverse client name", bytes(request.reverse_client_name())),
        ("server", option(request.server_address().map(|address| address.to_string()))),
        ("server port", option(request.server_port().map(|port| port.to_string()))),
        ("helo", bytes(request.helo_name())),
        ("sender", bytes(request.sender())),
        ("sender key", request.sender_key().to_string()),
        ("recipient", bytes(request.recipient())),
        ("recipient key", request.recipient_key().to_string()),
        ("recipients", request.recipient_count().to_string()),
        ("queue id", bytes(request.queue_id())),
        ("instance", bytes(request.instance())),
        ("size", request.size().to_string()),
        ("etrn domain", bytes(request.etrn_domain())),
        ("stressed", if request.is_stressed() { "yes".into() } else { String::new() }),
        ("authenticated", if request.is_authenticated() { "yes".into() } else { String::new() }),
        ("sasl method", bytes(request.sasl_method())),
        ("sasl user", bytes(request.sasl_username())),
        ("sasl key", request.sasl_key().to_string()),
        ("sasl sender", bytes(&request.sasl_sender())),
        ("certificate", bytes(&request.ccert_subject())),
        ("certificate issuer", bytes(&request.ccert_issuer())),
        ("certificate fingerprint", bytes(request.ccert_fingerprint())),
        ("key fingerprint", bytes(request.ccert_pubkey_fingerprint())),
        ("tls", bytes(request.encryption_protocol())),
        ("cipher", bytes(request.encryption_cipher())),
        ("key size", option(request.encryption_keysize().map(|bits| bits.to_string()))),
        ("context", bytes(request.policy_context())),
        ("compatibility level", bytes(request.compatibility_level())),
        ("mail version", bytes(request.mail_version())),
        ("sni", bytes(request.tls_sni())),
        ("not sent", absent.join(" ")),
    ];
    let mut shown = String::new();
    for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        writeln!(shown, "{name}: {value}").expect("a string");
    }
    shown
}

#[test]
fn every_recorded_request_reads_as_expected() {
    let files = corpus();
    assert_eq!(files.len(), 262);
    let mut seen = String::new();
    for (name, block) in &files {
        writeln!(seen, "== {name}\n{}", view(&parse(block))).expect("a string");
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus.expected");
    if std::env::var_os("VALVULA_WRITE_EXPECTED").is_some() {
        fs::write(&path, &seen).expect("written");
    }
    let expected = fs::read_to_string(&path).expect("tests/corpus.expected");
    for (number, (seen, expected)) in seen.lines().zip(expected.lines()).enumerate() {
        assert_eq!(seen, expected, "corpus.expected, line {}", number + 1);
    }
    assert_eq!(seen.len(), expected.len());
}

#[test]
fn every_recorded_value_is_kept_byte_for_byte() {
    for (name, block) in corpus() {
        let request = parse(&block);
        assert_eq!(request.raw(), block, "{name}");
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let equals = line.iter().position(|byte| *byte == b'=').expect("name=value");
            let attribute = Attribute::from_name(&line[..equals]).expect("every recorded attribute is known");
            assert_eq!(request.get(attribute), Some(&line[equals + 1..]), "{name}: {attribute}");
        }
    }
}

#[test]
fn the_whole_corpus_can_come_on_one_connection_in_any_pieces() {
    let files = corpus();
    let stream: Vec<u8> = files.iter().flat_map(|(_, block)| block.clone()).collect();
    for size in [1, 2, 7, 100, 1024, 65536, stream.len()] {
        let mut codec = PolicyCodec::new(Limits::default());
        let mut buffer = BytesMut::new();
        let mut requests = files.iter();
        for packet in stream.chunks(size) {
            buffer.extend_from_slice(packet);
            while let Some(frame) = codec.decode(&mut buffer).expect("well formed") {
                let (name, block) = requests.next().expect("no more requests than files");
                let Frame::Request(request) = frame else { panic!("{name}: a request") };
                assert_eq!(request.raw(), block, "{name} in pieces of {size}");
            }
        }
        assert!(requests.next().is_none() && codec.decode_eof(&mut buffer).expect("well formed").is_none());
    }
}
