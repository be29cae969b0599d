use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn parse(block: &str) -> Result<Request, Malformed> {
    Request::parse(Bytes::copy_from_slice(block.as_bytes()), &Limits::default())
}

fn policy(attributes: &str) -> Request {
    parse(&format!("request=smtpd_access_policy\n{attributes}\n")).expect("well formed")
}

#[test]
fn every_attribute_is_read_by_its_accessor() {
    let request = policy(
        "protocol_state=RCPT\nprotocol_name=ESMTP\nclient_address=192.0.2.7\nclient_name=c.example\n\
         client_port=4242\nreverse_client_name=r.example\nserver_address=2001:db8::25\nserver_port=587\n\
         helo_name=h.example\nsender=s@example.org\nrecipient=r@example.com\nrecipient_count=3\nqueue_id=8045F2AB23\n\
         instance=123.456.7\nsize=12345\netrn_domain=e.example\nstress=yes\nsasl_method=plain\nsasl_username=you\n\
         sasl_sender=a+2Bb@x\nccert_subject=a+20b\nccert_issuer=c+20d\nccert_fingerprint=C4:9D\n\
         ccert_pubkey_fingerprint=68:B3\nencryption_protocol=TLSv1.3\nencryption_cipher=DHE\nencryption_keysize=256\n\
         policy_context=submission\ncompatibility_level=3.9\nmail_version=3.8.0\ntls_sni=mx.example\n",
    );
    assert_eq!(request.stage(), Stage::Rcpt);
    assert_eq!(request.protocol_name(), b"ESMTP");
    assert_eq!(request.client_address(), Some(Ipv4Addr::new(192, 0, 2, 7).into()));
    assert_eq!(request.client_name(), b"c.example");
    assert_eq!(request.client_port(), Some(4242));
    assert_eq!(request.reverse_client_name(), b"r.example");
    assert_eq!(request.server_address(), Some("2001:db8::25".parse().expect("an address")));
    assert_eq!(request.server_port(), Some(587));
    assert_eq!(request.helo_name(), b"h.example");
    assert_eq!(request.sender(), b"s@example.org");
    assert_eq!(request.recipient(), b"r@example.com");
    assert_eq!(request.recipient_count(), 3);
    assert_eq!(request.queue_id(), b"8045F2AB23");
    assert_eq!(request.instance(), b"123.456.7");
    assert_eq!(request.size(), 12345);
    assert_eq!(request.etrn_domain(), b"e.example");
    assert!(request.is_stressed());
    assert_eq!(request.sasl_method(), b"plain");
    assert_eq!(request.sasl_username(), b"you");
    assert_eq!(&request.sasl_sender()[..], b"a+b@x");
    assert_eq!(&request.ccert_subject()[..], b"a b");
    assert_eq!(&request.ccert_issuer()[..], b"c d");
    assert_eq!(request.ccert_fingerprint(), b"C4:9D");
    assert_eq!(request.ccert_pubkey_fingerprint(), b"68:B3");
    assert_eq!(request.encryption_protocol(), b"TLSv1.3");
    assert_eq!(request.encryption_cipher(), b"DHE");
    assert_eq!(request.encryption_keysize(), Some(256));
    assert_eq!(request.policy_context(), b"submission");
    assert_eq!(request.compatibility_level(), b"3.9");
    assert_eq!(request.mail_version(), b"3.8.0");
    assert_eq!(request.tls_sni(), b"mx.example");
    assert!(Attribute::ALL.into_iter().all(|attribute| request.get(attribute).is_some()));
}

#[test]
fn what_was_not_sent_reads_as_empty() {
    let request = policy("");
    for attribute in &Attribute::ALL[1..] {
        assert_eq!(request.get(*attribute), None, "{attribute}");
        assert_eq!(request.value(*attribute), b"", "{attribute}");
    }
    assert_eq!((request.stage(), request.recipient_count(), request.size()), (Stage::Unknown, 0, 0));
    assert_eq!((request.client_address(), request.client_port(), request.encryption_keysize()), (None, None, None));
    assert!(!request.is_authenticated() && !request.is_stressed());
    assert!(request.sender_key().is_empty() && request.sasl_key().is_empty());
}

#[test]
fn an_empty_value_was_sent_all_the_same() {
    let request = policy("sender=\nsasl_username=\nstress=\n");
    assert_eq!(request.get(Attribute::Sender), Some(&b""[..]));
    assert!(!request.is_authenticated() && !request.is_stressed());
}

#[test]
fn the_value_is_everything_after_the_first_equals_sign() {
    let request = policy("sender==a=b=@x\nhelo_name= sender=evil\nrecipient=a b@x \n");
    assert_eq!(request.sender(), b"=a=b=@x");
    assert_eq!(request.helo_name(), b" sender=evil");
    assert_eq!(request.recipient(), b"a b@x ");
}

#[test]
fn order_is_free_and_unknown_names_are_ignored() {
    let request = parse(
        "zzz=1\nrecipient=r@x\nSender=no@x\nsender =no@x\nsenders=no@x\nsende=no@x\n=no\nsender=s@x\nrequest=smtpd_access_policy\n\n",
    )
    .expect("well formed");
    assert_eq!((request.sender(), request.recipient()), (&b"s@x"[..], &b"r@x"[..]));
}

#[test]
fn the_last_of_several_counts() {
    let request =
        policy("sender=a@x\nsender=b@x\nsize=x\nsize=7\nrequest=other\nrequest=smtpd_access_policy\nsender=c@x\n");
    assert_eq!((request.sender(), request.size()), (&b"c@x"[..], 7));
}

#[test]
fn carriage_returns_belong_to_the_line_end_and_only_there() {
    let request =
        parse("request=smtpd_access_policy\r\nsender=a\rb@x\r\nrecipient=c\r\r\nsize=3\n\r\n").expect("well formed");
    assert_eq!((request.sender(), request.recipient(), request.size()), (&b"a\rb@x"[..], &b"c\r"[..], 3));
}

#[test]
fn values_are_bytes() {
    let block = b"request=smtpd_access_policy\nsender=j\xf6rg\x01\x7f@x\n\n";
    let request = Request::parse(Bytes::from_static(block), &Limits::default()).expect("well formed");
    assert_eq!(request.sender(), b"j\xf6rg\x01\x7f@x");
    assert_eq!(request.raw(), block);
    assert_eq!(format!("{request:?}"), r#"{Request: "smtpd_access_policy", Sender: "j\\xf6rg\\x01\\x7f@x"}"#);
}

#[test]
fn the_empty_line_may_be_missing_and_raw_has_it_anyway() {
    let whole = parse("request=smtpd_access_policy\nsender=a@x\n\n").expect("well formed");
    for block in ["request=smtpd_access_policy\nsender=a@x\n", "request=smtpd_access_policy\nsender=a@x"] {
        let request = parse(block).expect("well formed");
        assert_eq!(request.raw(), whole.raw());
        assert_eq!(request, whole);
        assert_eq!(request.sender(), b"a@x");
    }
}

#[test]
fn addresses_and_ports_that_are_none_read_as_none() {
    for (text, address) in [
        ("unknown", None),
        ("", None),
        ("127.0.0.1.1", None),
        ("\u{e9}", None),
        ("10.1.2.3", Some(Ipv4Addr::new(10, 1, 2, 3).into())),
        ("::1", Some(Ipv6Addr::LOCALHOST.into())),
        ("::ffff:10.1.2.3", Some(Ipv4Addr::new(10, 1, 2, 3).into())),
        ("fe80::1%eth0", Some("fe80::1".parse().expect("an address"))),
    ] {
        assert_eq!(policy(&format!("client_address={text}\n")).client_address(), address, "{text}");
    }
    for (text, port) in [("unknown", None), ("", None), ("65536", None), ("+1", None), ("25", Some(25))] {
        let request = policy(&format!("client_port={text}\nserver_port={text}\n"));
        assert_eq!((request.client_port(), request.server_port()), (port, port), "{text}");
    }
}

#[test]
fn every_malformed_request_is_refused_with_what_and_where() {
    for (block, expected) in [
        ("", "empty request: an empty line without any attribute before it"),
        ("\n", "empty request: an empty line without any attribute before it"),
        ("\r\n", "empty request: an empty line without any attribute before it"),
        ("request=smtpd_access_policy\nsender\n\n", r#"line 2: no "=" in "sender""#),
        ("request=smtpd_access_policy\n \n\n", r#"line 2: no "=" in " ""#),
        ("GET / HTTP/1.0\n\n", r#"line 1: no "=" in "GET / HTTP/1.0""#),
        ("checkserver\n\n", r#"line 1: no "=" in "checkserver""#),
        ("request=smtpd_access_policy\ncheckserver\n\n", r#"line 2: no "=" in "checkserver""#),
        ("request=smtpd_access_policy\nsen\x1b[2Jder\n\n", r#"line 2: no "=" in "sen\x1b[2Jder""#),
        ("request=smtpd_access_policy\nsender=a\0b\n\n", r#"line 2: NUL byte after "sender=a""#),
        ("\0", r#"line 1: NUL byte after """#),
        ("sender=a@x\n\n", r#"no attribute "request", expected request=smtpd_access_policy"#),
        ("request=junk\n\n", r#"request="junk" is not served, expected request=smtpd_access_policy"#),
        ("request=\n\n", r#"request="" is not served, expected request=smtpd_access_policy"#),
        (
            "request=smtpd_access_policy\nrequest=other\n\n",
            r#"request="other" is not served, expected request=smtpd_access_policy"#,
        ),
        ("request=smtpd_access_policy\nsize=12k\n\n", r#"size="12k" is not a number from 0 to 18446744073709551615"#),
        (
            "request=smtpd_access_policy\nrecipient_count=\n\n",
            r#"recipient_count="" is not a number from 0 to 4294967295"#,
        ),
        (
            "request=smtpd_access_policy\nrecipient_count=-1\n\n",
            r#"recipient_count="-1" is not a number from 0 to 4294967295"#,
        ),
        (
            "request=smtpd_access_policy\nrecipient_count=4294967296\n\n",
            r#"recipient_count="4294967296" is not a number from 0 to 4294967295"#,
        ),
        (
            "request=smtpd_access_policy\nsize=18446744073709551616\n\n",
            r#"size="18446744073709551616" is not a number from 0 to 18446744073709551615"#,
        ),
        ("request=smtpd_access_policy\n\nsender=a\n\n", "10 bytes after the empty line that ends the request"),
    ] {
        let error = parse(block).expect_err(block);
        assert_eq!(error.to_string(), expected, "{block:?}");
    }
}

#[test]
fn each_limit_is_held_to_the_byte() {
    let limits = Limits { line: 30, attributes: 3, request: 60 };
    let parse = |block: &str| Request::parse(Bytes::copy_from_slice(block.as_bytes()), &limits);
    let error = |block: &str| parse(block).expect_err(block).to_string();
    let head = "request=smtpd_access_policy\n";

    let line = |length: usize| format!("{head}{}\n\n", "a=".to_owned() + &"x".repeat(length - 2));
    assert!(parse(&line(30)).is_ok());
    assert_eq!(error(&line(31)), format!("line 2: longer than 30 bytes, begins with \"a={}\"", "x".repeat(28)));

    assert!(parse(&format!("{head}a=\nb=\n\n")).is_ok());
    assert_eq!(error(&format!("{head}a=\nb=\nc=\n\n")), "more than 3 attributes");

    let request = |length: usize| format!("{head}{}\nb=12345\n\n", "a".repeat(length - head.len() - 11) + "=");
    assert_eq!(request(60).len(), 60);
    assert!(parse(&request(60)).is_ok());
    assert_eq!(error(&request(61)), "request longer than 60 bytes");
}

#[test]
fn an_error_never_quotes_more_than_a_line_of_a_log_can_take() {
    for block in [&"\u{7f}".repeat(10_000)[..], &format!("request={}\n\n", "\u{1}".repeat(10_000))] {
        let shown = parse(block).expect_err("malformed").to_string();
        assert!(shown.len() < 400 && !shown.contains(char::is_control), "{shown}");
    }
}

#[test]
fn keys_are_normal_forms_of_what_was_sent() {
    let request = policy("sender=Ann@BÜCHER.example\nrecipient=Bob@Example.COM\nsasl_username=Joe@EXAMPLE.com\n");
    assert_eq!(request.sender_key().as_bytes(), b"ann@xn--bcher-kva.example");
    assert_eq!(request.recipient_key().as_bytes(), b"bob@example.com");
    assert_eq!(request.sasl_key().as_bytes(), b"joe@example.com");
    assert!(request.is_authenticated());
    assert!(std::ptr::eq(request.sender_key(), request.sender_key()), "computed once");
    assert_eq!(request.sender(), "Ann@BÜCHER.example".as_bytes());
}

#[test]
fn a_scanned_byte_is_never_looked_at_again() {
    let block = format!("request=smtpd_access_policy\nsender={}\n\n", "s".repeat(1000));
    let mut scan = Scan::new();
    let mut buffer = Vec::new();
    for byte in block.bytes() {
        // If the scan looked at what it has seen, it would find a NUL there.
        buffer.iter_mut().for_each(|seen| *seen = 0);
        buffer.push(byte);
        let found = scan.advance(&buffer, &Limits::default());
        if buffer.len() < block.len() && byte != b'\n' {
            assert_eq!(found, Ok(None));
        } else if byte == b'\n' {
            break;
        }
    }
    assert_eq!(buffer.len(), "request=smtpd_access_policy\n".len(), "stopped at the first line end");
}
