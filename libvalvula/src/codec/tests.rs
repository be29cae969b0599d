use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::attribute::Attribute;
use crate::verdict::Text;

const HEAD: &str = "request=smtpd_access_policy\n";

/// What a stream gives that comes in these packets: its frames, and how it ends.
fn decode<'a>(packets: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> (Vec<Frame>, Result<(), String>) {
    let mut codec = PolicyCodec::new(limits);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for packet in packets {
        buffer.extend_from_slice(packet);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error.to_string())),
            }
        }
    }
    loop {
        match codec.decode_eof(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, Ok(())),
            Err(error) => return (frames, Err(error.to_string())),
        }
    }
}

fn whole(stream: &[u8]) -> (Vec<Frame>, Result<(), String>) {
    decode([stream], Limits::default())
}

fn senders(frames: &[Frame]) -> Vec<String> {
    let name = |frame: &Frame| match frame {
        Frame::Request(request) => String::from_utf8_lossy(request.sender()).into_owned(),
        Frame::CheckServer => "checkserver".to_owned(),
    };
    frames.iter().map(name).collect()
}

#[test]
fn a_hundred_requests_in_one_packet_come_out_in_order() {
    let stream: String = (0..100).map(|n| format!("{HEAD}sender={n}@x\n\n")).collect();
    let (frames, end) = whole(stream.as_bytes());
    assert_eq!(senders(&frames), (0..100).map(|n| format!("{n}@x")).collect::<Vec<_>>());
    assert_eq!(end, Ok(()));
}

#[test]
fn a_request_cut_at_any_byte_is_the_same_request() {
    let stream = format!("{HEAD}sender=a@x\r\nsize=7\r\n\r\n{HEAD}sender=b@x\n\n");
    let expected = whole(stream.as_bytes());
    assert_eq!(senders(&expected.0), ["a@x", "b@x"]);
    for cut in 0..=stream.len() {
        let (head, tail) = stream.as_bytes().split_at(cut);
        assert_eq!(decode([head, tail], Limits::default()), expected, "cut at {cut}");
    }
    assert_eq!(decode(stream.as_bytes().chunks(1), Limits::default()), expected, "byte by byte");
}

#[test]
fn the_request_takes_over_the_bytes_it_came_in() {
    let mut buffer = BytesMut::from(format!("{HEAD}sender=a@x\n\n").as_bytes());
    let place = buffer.as_ptr();
    let Ok(Some(Frame::Request(request))) = PolicyCodec::new(Limits::default()).decode(&mut buffer) else {
        panic!("a request was sent")
    };
    assert_eq!(request.raw().as_ptr(), place);
}

#[test]
fn the_buffer_is_used_again_for_the_next_request() {
    let mut codec = PolicyCodec::new(Limits::default());
    let mut buffer = BytesMut::with_capacity(1024);
    let place = buffer.as_ptr();
    for _ in 0..100 {
        buffer.extend_from_slice(format!("{HEAD}sender={}@x\n\n", "a".repeat(500)).as_bytes());
        let request = codec.decode(&mut buffer).expect("well formed").expect("a request");
        drop(request);
        assert!(codec.decode(&mut buffer).expect("well formed").is_none());
        assert_eq!((buffer.as_ptr(), buffer.capacity()), (place, 1024));
    }
}

#[test]
fn an_idle_connection_keeps_no_large_buffer() {
    let mut codec = PolicyCodec::new(Limits::default());
    let mut buffer = BytesMut::from(format!("{HEAD}{}\n", "sender=aaaaaaaaaaaaa@x\n".repeat(200)).as_bytes());
    assert!(codec.decode(&mut buffer).expect("well formed").is_some());
    assert!(codec.decode(&mut buffer).expect("well formed").is_none());
    assert_eq!(buffer.capacity(), 1024);
    assert!(!codec.is_inside_request());
    assert_eq!(size_of::<PolicyCodec>(), 32);
}

#[test]
fn a_started_request_is_known_as_such() {
    let mut codec = PolicyCodec::new(Limits::default());
    let mut buffer = BytesMut::new();
    for (packet, is_inside) in [("", false), ("re", true), ("quest=smtpd_access_policy\n", true), ("\n", false)] {
        buffer.extend_from_slice(packet.as_bytes());
        codec.decode(&mut buffer).expect("well formed");
        assert_eq!(codec.is_inside_request(), is_inside, "after {packet:?}");
    }
}

#[test]
fn checkserver_is_a_line_in_place_of_a_request() {
    for stream in ["checkserver\n", "checkserver\r\n"] {
        assert_eq!(whole(stream.as_bytes()), (vec![Frame::CheckServer], Ok(())));
        assert_eq!(decode(stream.as_bytes().chunks(1), Limits::default()), (vec![Frame::CheckServer], Ok(())));
    }
    let (frames, end) = whole(format!("{HEAD}sender=a@x\n\ncheckserver\n").as_bytes());
    assert_eq!((senders(&frames), end), (vec!["a@x".into(), "checkserver".into()], Ok(())));
    for stream in ["checkserver", "checkserverx\n", " checkserver\n", "CHECKSERVER\n"] {
        let (frames, end) = whole(stream.as_bytes());
        assert!(frames.is_empty() && end.is_err(), "{stream:?}");
    }
}

#[test]
fn the_end_of_the_stream_is_clean_only_between_requests() {
    assert_eq!(whole(b""), (vec![], Ok(())));
    let (frames, end) = whole(format!("{HEAD}sender=a@x\n\n").as_bytes());
    assert_eq!((frames.len(), end), (1, Ok(())));
    for (stream, message) in [
        ("r".to_owned(), "end of stream inside a request, after 1 bytes and 0 complete lines"),
        (HEAD.to_owned(), "end of stream inside a request, after 28 bytes and 1 complete lines"),
        // A request without its empty line is none, however complete it looks.
        (format!("{HEAD}\n{HEAD}sender=a@x\n"), "end of stream inside a request, after 39 bytes and 2 complete lines"),
    ] {
        assert_eq!(whole(stream.as_bytes()).1, Err(message.to_owned()), "{stream:?}");
    }
}

#[test]
fn what_is_wrong_is_said_as_soon_as_it_is_there() {
    let limits = Limits { line: 100, attributes: 5, request: 200 };
    let many = format!("{HEAD}{}", "a=\n".repeat(5));
    let large = format!("{HEAD}{}", format!("a={}\n", "x".repeat(50)).repeat(4));
    for (stream, message) in [
        (&b"no equals sign\n"[..], "line 1: no \"=\" in \"no equals sign\""),
        (b"sender=a\0", "line 1: NUL byte after \"sender=a\""),
        (b"\n", "empty request: an empty line without any attribute before it"),
        (&[b'x'; 101], "line 1: longer than 100 bytes, begins with"),
        (many.as_bytes(), "more than 5 attributes"),
        (&large.as_bytes()[..201], "request longer than 200 bytes"),
    ] {
        let mut codec = PolicyCodec::new(limits);
        let mut buffer = BytesMut::from(stream);
        let error = codec.decode(&mut buffer).expect_err("malformed").to_string();
        assert!(error.starts_with(message), "{error}");
        let (last, before) = stream.split_last().expect("not empty");
        let mut codec = PolicyCodec::new(limits);
        let mut buffer = BytesMut::from(before);
        assert!(matches!(codec.decode(&mut buffer), Ok(None)), "not before the byte {last}");
    }
}

#[test]
fn verdicts_are_encoded_one_after_the_other() {
    let mut codec = PolicyCodec::new(Limits::default());
    let mut answer = BytesMut::new();
    codec.encode(Verdict::DUNNO, &mut answer).expect("can't fail");
    codec.encode(&Verdict::reject(Text::new("no")), &mut answer).expect("can't fail");
    assert_eq!(&answer[..], b"action=DUNNO\n\naction=REJECT no\n\n");
}

/// A stream of requests, whole or broken, with everything that the decoder treats specially.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => Just(HEAD.as_bytes().to_vec()),
        4 => (prop::sample::select(Attribute::ALL.to_vec()), "[a-z@=.]{0,12}")
            .prop_map(|(name, value)| format!("{name}={value}\n").into_bytes()),
        2 => prop::sample::select(vec!["size=1\r\n", "recipient_count=2\n", "unknown=x\n", "=\n", "protocol_state=DATA\n"])
            .prop_map(|line| line.as_bytes().to_vec()),
        8 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        1 => Just(b"checkserver\n".to_vec()),
        1 => prop::sample::select(vec![&b"size=x\n"[..], b"no equals\n", b"sender=\0\n", b"\r\r\n", b"\xff\xfe=\n"])
            .prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..20),
        1 => Just([b"helo_name=", &[b'h'; 60][..], b"\n"].concat()),
    ];
    // Mostly requests that are well formed up to some point.
    (vec((Just(HEAD), vec(line, 0..6)), 0..5)).prop_map(|requests| {
        requests
            .into_iter()
            .flat_map(|(head, lines)| [head.as_bytes().to_vec(), lines.concat(), b"\n".to_vec()].concat())
            .collect()
    })
}

fn cut<'a>(mut stream: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut packets = Vec::new();
    for size in sizes {
        let (packet, rest) = stream.split_at((*size).min(stream.len()));
        packets.push(packet);
        stream = rest;
    }
    packets.push(stream);
    packets
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// However a stream is cut, its frames are the same, and so is its error.
    #[test]
    fn cutting_changes_nothing(
        stream in stream(),
        sizes in vec(0..40_usize, 0..40),
        line in 20..80_usize, attributes in 1..8_usize, request in 60..300_usize,
    ) {
        let limits = Limits { line, attributes, request };
        let expected = decode([&stream[..]], limits);
        prop_assert_eq!(decode(cut(&stream, &sizes), limits), expected.clone());
        prop_assert_eq!(decode(stream.chunks(1), limits), expected);
    }

    #[test]
    fn no_bytes_make_it_panic(stream in vec(any::<u8>(), 0..300), sizes in vec(0..20_usize, 0..20)) {
        let limits = Limits { line: 40, attributes: 4, request: 100 };
        prop_assert_eq!(decode(cut(&stream, &sizes), limits), decode([&stream[..]], limits));
    }

    /// What is built is what is decoded.
    #[test]
    fn a_request_goes_there_and_back(
        values in vec((prop::sample::select(Attribute::ALL[1..].to_vec()), vec(1..=255_u8, 0..30)), 0..20),
        sizes in vec(1..60_usize, 0..20),
    ) {
        let mut builder = Request::builder();
        let mut expected = std::collections::HashMap::new();
        for (name, mut value) in values {
            value.retain(|byte| !matches!(byte, b'\n' | b'\r'));
            if matches!(name, Attribute::Size | Attribute::RecipientCount) {
                value = value.len().to_string().into_bytes();
            }
            builder = builder.set(name, &value);
            expected.insert(name, value);
        }
        let built = builder.build().expect("well formed");
        let (frames, end) = decode(cut(built.raw(), &sizes), Limits::default());
        prop_assert_eq!(end, Ok(()));
        let [Frame::Request(request)] = &frames[..] else { panic!("one request, got {frames:?}") };
        for name in &Attribute::ALL[1..] {
            prop_assert_eq!(request.get(*name), expected.get(name).map(Vec::as_slice));
        }
        prop_assert_eq!(request, &built);
    }
}
