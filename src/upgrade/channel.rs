//! What two daemons say to each other while one takes the other's place: messages with sockets beside them.
//!
//! A pair of unix sockets that keep messages apart (SOCK_SEQPACKET); the kernel passes open sockets along
//! with a message (SCM_RIGHTS, unix(7)). The new daemon gets its end as standard input. When either side
//! ends, for whatever reason, the other reads the end of the stream.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};

/// Bytes of a message: a name and an address, or the faults of a configuration.
const LONGEST: usize = 64 * 1024;
/// Sockets beside a message.
const MOST: usize = 2;
/// While the kernel has too many sockets on their way.
const PAUSE: Duration = Duration::from_millis(5);

/// A message; in brackets the sockets that go with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Message {
    /// From the old one: a listener \[its socket\].
    Listener {
        /// Its name.
        name: String,
        /// Its address as configured.
        address: String,
        /// An operator has suspended it.
        suspended: bool,
        /// The file of a unix socket is the daemon's to remove.
        own_file: bool,
    },
    /// The listener of `[metrics]` \[its socket\].
    Metrics {
        /// Its address as configured.
        address: String,
    },
    /// The control socket \[it, and its lock\].
    Control {
        /// Where it is.
        path: String,
    },
    /// That was all: get ready.
    Begin,
    /// From the new one: everything is loaded.
    Ready,
    /// From the old one: nothing is accepted here any more, and what was counted is written.
    Go,
    /// From the new one: requests are answered.
    Serving,
    /// From the new one: why it can't.
    Failed {
        /// A line for each reason.
        lines: Vec<String>,
    },
    /// From the old one: a client between two requests \[its connection\].
    Connection {
        /// Name of its listener.
        name: String,
        /// Address of its listener, as configured.
        address: String,
    },
}

/// One end.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends; the second is for the new daemon.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that is standard input, which becomes `/dev/null`: programs that are started inherit it.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        let ours = io::stdin().as_fd().try_clone_to_owned()?;
        if rustix::net::sockopt::socket_type(&ours)? != SocketType::SEQPACKET {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(Self(ours))
    }

    /// Sends `message` with `sockets`. Waits while the other side is slow.
    pub(crate) fn send(&self, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = serde_json::to_vec(message)?;
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(sockets)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut beside, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::TOOMANYREFS) => pause(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message and its sockets, at most [`MOST`]; `None` when the other side has ended.
    pub(crate) fn receive(&self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let mut sockets = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                sockets.extend(received);
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, sockets)))
    }

    /// Bounds how long [`Channel::receive`] waits: then its error is `WouldBlock`.
    pub(crate) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        Ok(set_socket_timeout(&self.0, Timeout::Recv, Some(patience))?)
    }
}

#[allow(clippy::disallowed_methods, reason = "on a thread of its own, which nothing else waits for")]
fn pause() {
    std::thread::sleep(PAUSE);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn messages_stay_apart_and_sockets_go_with_them() {
        let (old, new) = Channel::pair().unwrap();
        let new = Channel(new);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let about = Message::Listener {
            name: "in".to_owned(),
            address: address.to_string(),
            suspended: false,
            own_file: false,
        };
        old.send(&about, &[listener.as_fd()]).unwrap();
        old.send(&Message::Begin, &[]).unwrap();
        drop(listener);
        let (message, mut sockets) = new.receive().unwrap().unwrap();
        assert_eq!((message, sockets.len()), (about, 1));
        assert_eq!(new.receive().unwrap().unwrap().0, Message::Begin);
        let listener = TcpListener::from(sockets.remove(0));
        let mut client = TcpStream::connect(address).unwrap();
        listener.accept().unwrap().0.write_all(b"x").unwrap();
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        new.send(&Message::Failed { lines: vec!["x".repeat(10_000)] }, &[]).unwrap();
        assert!(matches!(old.receive().unwrap().unwrap().0, Message::Failed { .. }));
        drop(new);
        assert!(old.receive().unwrap().is_none(), "the end of the other side");
        assert!(old.send(&Message::Go, &[]).is_err());
    }

    #[test]
    fn a_side_that_says_nothing_is_not_waited_for_for_ever() {
        let (old, _new) = Channel::pair().unwrap();
        old.set_patience(Duration::from_millis(50)).unwrap();
        assert_eq!(old.receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
