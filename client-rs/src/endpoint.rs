//! Where the daemon listens: a TCP address or a Unix socket.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

const SOCKET: &str = "/run/vecgridd/vecgridd.sock";
const PORT: u16 = 5700;

/// An address of a daemon.
///
/// ```
/// use vecgrid_client::Endpoint;
/// assert_eq!("127.0.0.1:5700".parse::<Endpoint>()?.to_string(), "http://127.0.0.1:5700");
/// assert_eq!("unix:///tmp/v.sock".parse::<Endpoint>()?.to_string(), "unix:/tmp/v.sock");
/// # Ok::<(), vecgrid_client::InvalidEndpoint>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `host:port`, without encryption.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// A text that is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an endpoint ({reason}): write http://127.0.0.1:5700 or unix:/path/to.sock")]
pub struct InvalidEndpoint {
    text: String,
    reason: &'static str,
}

impl Endpoint {
    /// The environment variable `VECGRID_ENDPOINT`, else the daemon's default socket when it
    /// exists, else `http://127.0.0.1:5700`.
    ///
    /// # Errors
    /// When the variable holds no endpoint.
    pub fn from_env() -> Result<Self, InvalidEndpoint> {
        match env::var("VECGRID_ENDPOINT") {
            Ok(text) if !text.is_empty() => text.parse(),
            _ => Ok(Self::local(Path::new(SOCKET))),
        }
    }

    fn local(socket: &Path) -> Self {
        if socket.exists() {
            return Self::Unix(socket.to_owned());
        }
        Self::Tcp(format!("127.0.0.1:{PORT}"))
    }
}

impl Default for Endpoint {
    /// The daemon of this machine, whatever the environment says.
    fn default() -> Self {
        Self::local(Path::new(SOCKET))
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |reason| InvalidEndpoint { text: text.to_owned(), reason };
        if let Some(rest) = text.strip_prefix("unix:") {
            // `unix:/path` and `unix:///path` are the same; `unix://host/path` means nothing.
            let path = match rest.strip_prefix("//") {
                Some(absolute) if absolute.starts_with('/') => absolute,
                Some(_) => return Err(invalid("after unix:// comes an absolute path")),
                None => rest,
            };
            return if path.is_empty() { Err(invalid("no path")) } else { Ok(Self::Unix(path.into())) };
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        if text.starts_with("https://") {
            return Err(invalid("the daemon's local door has no TLS"));
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        let authority: http::uri::Authority = address.parse().map_err(|_| invalid("not host:port"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(invalid("not host:port"));
        }
        // A port that is no number, or too large, is no port to `http::uri`.
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(invalid("the port is 1 to 65535"));
        }
        let port = authority.port_u16().unwrap_or(PORT);
        Ok(Self::Tcp(format!("{}:{port}", authority.host())))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        text.parse::<Endpoint>().unwrap().to_string()
    }

    #[test]
    fn every_spelling_is_understood() {
        assert_eq!(shown("http://127.0.0.1:5700"), "http://127.0.0.1:5700");
        assert_eq!(shown("http://127.0.0.1:5700/"), "http://127.0.0.1:5700");
        assert_eq!(shown("127.0.0.1:1234"), "http://127.0.0.1:1234");
        assert_eq!(shown("localhost"), "http://localhost:5700");
        assert_eq!(shown("[::1]:5700"), "http://[::1]:5700");
        assert_eq!(shown("unix:/a/b.sock"), "unix:/a/b.sock");
        assert_eq!(shown("unix:///a/b.sock"), "unix:/a/b.sock");
        assert_eq!(shown("unix:b.sock"), "unix:b.sock");
        assert_eq!(shown("/a/b.sock"), "unix:/a/b.sock");
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        for text in [
            "",
            "unix:",
            "unix://host/x",
            "https://127.0.0.1:5700",
            "http://a:b",
            "a b",
            "x:99999",
            "u@h:1",
            "http://h:1/v1",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:5700"), "{text}: {error}");
        }
    }

    #[test]
    fn the_local_daemon_is_found_by_its_socket_first() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("v.sock");
        assert_eq!(Endpoint::local(&socket), Endpoint::Tcp("127.0.0.1:5700".into()));
        std::fs::write(&socket, "").unwrap();
        assert_eq!(Endpoint::local(&socket), Endpoint::Unix(socket));
    }
}
