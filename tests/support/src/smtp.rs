//! An SMTP client that says what it is told and keeps no opinion.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A session with the private Postfix.
pub struct Smtp {
    stream: BufReader<TcpStream>,
}

impl Smtp {
    /// Connects, reads the greeting, says EHLO.
    ///
    /// # Panics
    /// When either is refused.
    #[track_caller]
    pub fn open(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the private Postfix listens");
        // More than smtpd waits for a policy server (100 s) would be more than a test may take.
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a read timeout");
        let mut smtp = Self { stream: BufReader::new(stream) };
        let greeting = smtp.reply();
        assert!(greeting.starts_with("220"), "{greeting}");
        let reply = smtp.command("EHLO client.example");
        assert!(reply.starts_with("250"), "{reply}");
        smtp
    }

    /// Sends a line and gives the whole reply, its lines joined by a newline.
    #[track_caller]
    pub fn command(&mut self, line: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.reply()
    }

    /// `AUTH PLAIN`.
    #[track_caller]
    pub fn login(&mut self, user: &str, password: &str) {
        let reply = self.command(&format!("AUTH PLAIN {}", base64(format!("\0{user}\0{password}").as_bytes())));
        assert!(reply.starts_with("235"), "{reply}");
    }

    /// `MAIL FROM`, which must be accepted, then `RCPT TO`: gives the reply to that.
    #[track_caller]
    pub fn rcpt(&mut self, sender: &str, recipient: &str) -> String {
        let reply = self.command(&format!("MAIL FROM:<{sender}>"));
        assert!(reply.starts_with("250"), "{reply}");
        self.command(&format!("RCPT TO:<{recipient}>"))
    }

    /// `DATA` with a small message: gives the reply to the message, or to a `DATA` that was refused.
    #[track_caller]
    pub fn data(&mut self, subject: &str) -> String {
        let reply = self.command("DATA");
        if !reply.starts_with("354") {
            return reply;
        }
        self.send(format!("Subject: {subject}\r\n\r\nhello\r\n.\r\n").as_bytes());
        self.reply()
    }

    #[track_caller]
    fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the private Postfix reads");
    }

    #[track_caller]
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let read = self.stream.read_line(&mut reply).expect("the private Postfix answers");
            assert!(read > 0, "the private Postfix hung up after {reply:?}");
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply.replace("\r\n", "\n").trim_end().to_owned();
            }
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_as_in_rfc_4648() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(super::base64(plain.as_bytes()), coded);
        }
    }
}
