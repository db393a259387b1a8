//! Keeps web pages out of the TCP listener.
//!
//! Any page a developer visits can send requests to `127.0.0.1`. Two checks stop that: a page names its
//! origin in every cross-site request that could write (`Origin`), and a page that was rebound to a loopback
//! address by DNS still names its own host. A program sends neither.

use std::net::IpAddr;

use axum::extract::Request;
use http::{header, uri::Authority};

use crate::api::error::DoorError;

/// Who is let in beside local programs.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Browsers {
    hosts: Names,
    origins: Names,
}

#[derive(Debug, Clone, Default)]
struct Names {
    any: bool,
    names: Vec<String>,
}

impl Names {
    fn new(names: &[String]) -> Self {
        let any = names.iter().any(|name| name == "*");
        Self {
            any,
            names: names.iter().map(|name| name.trim_end_matches('/').to_ascii_lowercase()).collect(),
        }
    }

    fn allow(&self, name: &str) -> bool {
        self.any || self.names.iter().any(|allowed| allowed.eq_ignore_ascii_case(name))
    }
}

impl Browsers {
    pub(in crate::api) fn new(hosts: &[String], origins: &[String]) -> Self {
        Self { hosts: Names::new(hosts), origins: Names::new(origins) }
    }

    /// Refuses a foreign host or origin.
    pub(in crate::api) fn check(&self, request: &Request) -> Result<(), DoorError> {
        // HTTP/2 names the host in the URI, HTTP/1.1 in a header; a request with both must be right twice.
        let in_header = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or("(no text)"));
        let in_uri = request.uri().authority().map(Authority::as_str);
        if in_header.is_none() && in_uri.is_none() && !self.hosts.any {
            return Err(DoorError::HostRefused(String::new()));
        }
        for host in [in_header, in_uri].into_iter().flatten() {
            if !self.allows_host(host) {
                return Err(DoorError::HostRefused(host.to_owned()));
            }
        }
        for origin in request.headers().get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("(no text)");
            if !self.origins.allow(origin) {
                return Err(DoorError::OriginRefused(origin.to_owned()));
            }
        }
        Ok(())
    }

    fn allows_host(&self, text: &str) -> bool {
        if self.hosts.any {
            return true;
        }
        let Ok(authority) = text.parse::<Authority>() else { return false };
        let host = authority.host();
        let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let loopback = address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        loopback || host.eq_ignore_ascii_case("localhost") || self.hosts.allow(host) || self.hosts.allow(text)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(host: Option<&str>, origin: Option<&str>) -> Request {
        let mut builder = http::Request::builder().uri("/v1/collections");
        if let Some(host) = host {
            builder = builder.header("host", host);
        }
        if let Some(origin) = origin {
            builder = builder.header("origin", origin);
        }
        builder.body(Body::empty()).unwrap()
    }

    #[test]
    fn local_names_come_in_and_others_do_not() {
        let browsers = Browsers::default();
        for host in
            ["localhost", "LOCALHOST:5700", "127.0.0.1:5700", "127.8.8.8", "[::1]:5700", "[::ffff:127.0.0.1]"]
        {
            assert!(browsers.check(&request(Some(host), None)).is_ok(), "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "10.0.0.1:5700", "127.0.0.1.evil.example", "", "a b"]
        {
            let refused = browsers.check(&request(Some(host), None));
            assert!(matches!(refused, Err(DoorError::HostRefused(_))), "{host}");
        }
        assert!(browsers.check(&request(None, None)).is_err());
    }

    #[test]
    fn http2_names_its_host_in_the_uri() {
        let browsers = Browsers::default();
        let request = |uri: &str| http::Request::builder().uri(uri).body(Body::empty()).unwrap();
        assert!(browsers.check(&request("http://localhost:5700/vecgrid.v1.VecGrid/Search")).is_ok());
        assert!(browsers.check(&request("http://evil.example/vecgrid.v1.VecGrid/Search")).is_err());
    }

    #[test]
    fn a_web_page_is_refused_unless_it_is_listed() {
        let origin = Some("https://app.example");
        let refused = Browsers::default().check(&request(Some("localhost"), origin));
        assert!(matches!(refused, Err(DoorError::OriginRefused(_))));
        let listed = Browsers::new(&["vecgrid.internal".to_owned()], &["https://app.example/".to_owned()]);
        assert!(listed.check(&request(Some("vecgrid.internal:5700"), origin)).is_ok());
        assert!(listed.check(&request(Some("localhost"), Some("null"))).is_err());
        let any = Browsers::new(&["*".to_owned()], &["*".to_owned()]);
        assert!(any.check(&request(Some("evil.example"), Some("null"))).is_ok());
    }
}
