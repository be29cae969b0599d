//! Where a policy server listens, as configurations and command lines write it.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// `sun_path` of Linux has 108 bytes, the last of which is NUL.
const LONGEST_PATH: usize = 107;

/// An address to listen on or to connect to.
///
/// Written `127.0.0.1:3579`, `[::1]:3579` or `unix:/path`; Postfix's `inet:` in front is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// TCP. Port 0 lets the kernel choose one.
    Tcp(SocketAddr),
    /// A unix socket with an absolute path.
    Unix(PathBuf),
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither address and port nor a unix socket.
    #[error(
        "\"{0}\" is no address and port: expected 127.0.0.1:3579, [::1]:3579 or unix:/path (host names are not looked up)"
    )]
    Tcp(String),
    /// A path that depends on the current directory, or none.
    #[error("\"{0}\": the path of a unix socket must be absolute, unix:/path")]
    RelativePath(String),
    /// A path that does not fit into a socket address.
    #[error("\"{0}\": the path of a unix socket can have {LONGEST_PATH} bytes at most, this one has {1}")]
    LongPath(String, usize),
    /// A path with a NUL byte.
    #[error("{0:?}: the path of a unix socket can't hold a NUL byte")]
    NulInPath(String),
}

impl Endpoint {
    /// The path of a unix socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                _ if !path.starts_with('/') => Err(EndpointError::RelativePath(text.to_owned())),
                _ if path.contains('\0') => Err(EndpointError::NulInPath(text.to_owned())),
                _ if path.len() > LONGEST_PATH => Err(EndpointError::LongPath(text.to_owned(), path.len())),
                _ => Ok(Self::Unix(path.into())),
            };
        }
        let address = text.strip_prefix("inet:").unwrap_or(text);
        address.parse().map(Self::Tcp).map_err(|_| EndpointError::Tcp(text.to_owned()))
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// As [`Endpoint::from_str`] reads it.
impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_is_read_and_written_back() {
        for (text, shown) in [
            ("127.0.0.1:3579", "127.0.0.1:3579"),
            ("inet:127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:3579", "[::1]:3579"),
            ("inet:[2001:db8::1]:25", "[2001:db8::1]:25"),
            ("unix:/run/valvula/policy", "unix:/run/valvula/policy"),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(shown.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_named_with_what_was_expected() {
        for text in ["", "3579", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "localhost:3579", "::1:3579x", "*:3579"]
        {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(&format!("\"{text}\"")) && error.contains("127.0.0.1:3579"), "{error}");
        }
        assert!(matches!("unix:run/policy".parse::<Endpoint>(), Err(EndpointError::RelativePath(_))));
        assert!(matches!("unix:".parse::<Endpoint>(), Err(EndpointError::RelativePath(_))));
        assert!(matches!("unix:/a\0b".parse::<Endpoint>(), Err(EndpointError::NulInPath(_))));
        let longest = format!("unix:/{}", "x".repeat(106));
        assert!(longest.parse::<Endpoint>().is_ok());
        assert!(matches!(format!("{longest}x").parse::<Endpoint>(), Err(EndpointError::LongPath(_, 108))));
    }
}
