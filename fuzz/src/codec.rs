//! A stream of policy requests.

use bytes::{Bytes, BytesMut};
use libvalvula::{Attribute, Frame, Limits, PolicyCodec, Request, xtext_decode};
use tokio_util::codec::Decoder;

use crate::input::{Choices, is_one_printable_line};

/// However a stream is cut, the same frames and the same fault come of it; each request is within the
/// limits, is what a plain reading of its lines says, and reads the same by itself.
pub fn codec(data: &[u8]) {
    for limits in [Limits::default(), Limits { line: 60, attributes: 6, request: 200 }] {
        // What begins within small limits is mostly the same again.
        if limits != Limits::default() && Choices::of(data).below(4) != 0 {
            continue;
        }
        let whole = decode([data], &limits);
        assert_eq!(decode(cut(data), &limits), whole, "cut into pieces");
        if data.len() <= 32 {
            assert_eq!(decode(data.chunks(1), &limits), whole, "byte by byte");
        }
        let mut at = 0;
        for frame in &whole.0 {
            match frame {
                Frame::Request(request) => {
                    assert_eq!(&data[at..at + request.raw().len()], request.raw());
                    at += request.raw().len();
                    check(request, &limits);
                }
                Frame::CheckServer => {
                    let rest = &data[at..];
                    assert!(rest.starts_with(b"checkserver\n") || rest.starts_with(b"checkserver\r\n"));
                    at += rest.iter().position(|byte| *byte == b'\n').expect("its end") + 1;
                }
            }
        }
        match &whole.1 {
            None => assert_eq!(at, data.len(), "nothing is passed over"),
            Some(fault) => assert!(is_one_printable_line(fault) && fault.len() < 600, "{fault:?}"),
        }
    }
}

fn cut(data: &[u8]) -> Vec<&[u8]> {
    let mut choices = Choices::of(data);
    let (mut rest, mut pieces) = (data, Vec::new());
    while !rest.is_empty() {
        let most = [3, 40, 400][choices.below(3)];
        let (piece, after) = rest.split_at((choices.below(most) + 1).min(rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The frames, and why there are no more.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> (Vec<Frame>, Option<String>) {
    let mut codec = PolicyCodec::new(*limits);
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return (frames, Some(fault.to_string())),
            }
        }
        assert!(buffer.len() <= limits.request, "more than a request is kept");
    }
    loop {
        match codec.decode_eof(&mut buffer) {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(fault) => return (frames, Some(fault.to_string())),
        }
    }
}

fn check(request: &Request, limits: &Limits) {
    let raw = request.raw();
    let lines: Vec<_> = raw.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    let [attributes @ .., b"", b""] = &lines[..] else { panic!("it ends with an empty line") };
    assert!(raw.len() <= limits.request && attributes.len() <= limits.attributes);
    assert!(attributes.iter().all(|line| line.len() <= limits.line && !line.is_empty() && !line.contains(&0)));
    let mut said: [Option<&[u8]>; Attribute::ALL.len()] = [None; Attribute::ALL.len()];
    for line in attributes {
        let equals = line.iter().position(|byte| *byte == b'=').expect("name=value");
        if let Some(known) = Attribute::ALL.into_iter().find(|known| known.name().as_bytes() == &line[..equals]) {
            said[known as usize] = Some(&line[equals + 1..]);
        }
    }
    for attribute in Attribute::ALL {
        assert_eq!(request.get(attribute), said[attribute as usize], "{attribute}");
    }
    assert_eq!(request.value(Attribute::Request), b"smtpd_access_policy");
    let number = |attribute| match request.get(attribute) {
        None => 0,
        Some(digits) => std::str::from_utf8(digits).expect("digits").parse::<u64>().expect("a number"),
    };
    assert_eq!(number(Attribute::Size), request.size());
    assert_eq!(number(Attribute::RecipientCount), u64::from(request.recipient_count()));
    assert_eq!(Request::parse(Bytes::copy_from_slice(raw), limits).as_ref(), Ok(request));

    assert_eq!(request.sender_key().is_empty(), request.sender().is_empty());
    assert_eq!(request.is_authenticated(), !request.sasl_key().is_empty());
    for value in [request.value(Attribute::CcertSubject), request.value(Attribute::SaslSender)] {
        assert!(xtext_decode(value).len() <= value.len());
    }
    let _ = (request.client_address(), request.client_port(), request.encryption_keysize(), request.stage());
    if Choices::of(raw).below(8) == 0 {
        let shown = format!("{request:?}");
        assert!(is_one_printable_line(&shown), "{shown:?}");
    }
}
