//! REST as a plain HTTP client sees it.
//!
//! Answers are kept as they came (status, headers, bytes), because the tests judge all of it.
//! Ids and names are percent-encoded byte by byte, so that nothing is normalized on the way.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;
use ureq::{Agent, http};

/// No request of a test takes longer; the daemon's own deadline is shorter.
const LIMIT: Duration = Duration::from_secs(120);
/// Largest answer that is read.
const ANSWER_LIMIT: u64 = 1 << 30;

/// A connection pool to one listener.
#[derive(Debug, Clone)]
pub struct Rest {
    agent: Agent,
    address: String,
    headers: Vec<(&'static str, String)>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Body, undecoded.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| {
            panic!("status {} with a body that is not JSON ({e}): {}", self.status, self.text())
        })
    }

    /// One header as text; empty when absent.
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
    }

    /// The stable error code; empty when the answer is no problem+json.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.bytes).unwrap_or_default();
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless the status is a success; gives the JSON body.
    ///
    /// # Panics
    /// When the status is no success.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "status {}: {}", self.status, self.text());
        if self.bytes.is_empty() { Value::Null } else { self.json() }
    }

    /// Fails unless this is problem+json of this status and code, with all promised members.
    ///
    /// # Panics
    /// When it is not.
    pub fn is_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", self.text());
        let kind = self.header("content-type");
        assert!(kind.starts_with("application/problem+json"), "content-type {kind}");
        let body = self.json();
        assert_eq!(body["status"].as_u64(), Some(u64::from(status)), "{body}");
        for member in ["type", "title", "detail", "outcome"] {
            assert!(body[member].is_string(), "{member} is missing in {body}");
        }
    }
}

impl Rest {
    /// A client of `host:port`.
    pub fn new(address: &str) -> Self {
        Self::within(address, LIMIT)
    }

    /// A client that gives a request up after a while: for members that may be frozen.
    pub fn within(address: &str, limit: Duration) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(limit))
            .max_redirects(0)
            .max_idle_connections_per_host(32);
        Self { agent: config.build().into(), address: address.to_owned(), headers: Vec::new() }
    }

    /// The same client, with one more header in every request.
    #[must_use]
    pub fn with_header(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.to_owned()));
        client
    }

    /// The same client, for reads that show every write that was acknowledged before, whoever wrote it.
    #[must_use]
    pub fn strong(&self) -> Self {
        self.with_header("vecgrid-consistency", "strong")
    }

    fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let uri = format!("http://{}{path}", self.address);
        let request = http::Request::builder().method(method).uri(uri);
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<Answer, ureq::Error> {
        let request = self.request(method, path).header("content-type", kind).body(body.to_vec())?;
        read(self.agent.run(request)?)
    }

    /// Sends no body.
    ///
    /// # Errors
    /// When no whole answer came back.
    pub fn send_empty(&self, method: &str, path: &str) -> Result<Answer, ureq::Error> {
        read(self.agent.run(self.request(method, path).body(())?)?)
    }

    /// Sends JSON, or nothing, and expects an answer of any status.
    ///
    /// # Panics
    /// When no whole answer came back.
    pub fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let answer = match body {
            Some(body) => self.send(method, path, "application/json", body.to_string().as_bytes()),
            None => self.send_empty(method, path),
        };
        answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    /// The sum of a metric's samples whose labels have this text; 0 when there is none.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        sum_of(&self.get("/metrics").text(), name, label)
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    /// `PUT` of JSON.
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(body))
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(body))
    }

    /// `DELETE`.
    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None)
    }

    /// Writes raw bytes to a fresh connection and reads until the daemon closes it.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn raw(&self, bytes: &[u8]) -> std::io::Result<String> {
        self.raw_with(bytes, false)
    }

    /// As [`Rest::raw`], but says that no more will come: for requests that stop in the middle.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn raw_cut_off(&self, bytes: &[u8]) -> std::io::Result<String> {
        self.raw_with(bytes, true)
    }

    fn raw_with(&self, bytes: &[u8], cut_off: bool) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.write_all(bytes)?;
        if cut_off {
            stream.shutdown(std::net::Shutdown::Write)?;
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// `GET` over a Unix socket, on a connection of its own: also reaches a daemon in another network, or one that
/// is cut off. Status and body.
///
/// # Errors
/// When no whole answer came back within the limit.
pub fn get_over_socket(socket: &Path, path: &str, limit: Duration) -> std::io::Result<(u16, String)> {
    over_socket(socket, "GET", path, "", limit)
}

/// Any method over a Unix socket, with JSON or nothing as body.
///
/// # Errors
/// When no whole answer came back within the limit.
pub fn over_socket(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
    limit: Duration,
) -> std::io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    let length = body.len();
    stream.write_all(
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let torn = || std::io::Error::new(std::io::ErrorKind::InvalidData, format!("no whole answer: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(torn)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(torn)?;
    // Whole or in chunks, the body is one JSON object.
    let json = body.find('{').zip(body.rfind('}')).map(|(from, to)| &body[from..=to]);
    Ok((status, json.unwrap_or(body).to_owned()))
}

fn read(response: http::Response<ureq::Body>) -> Result<Answer, ureq::Error> {
    let (head, mut body) = response.into_parts();
    let bytes = body.with_config().limit(ANSWER_LIMIT).read_to_vec()?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, bytes })
}

fn sum_of(metrics: &str, name: &str, label: &str) -> f64 {
    let value = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (of, labels) = series.split_once('{').unwrap_or((series, ""));
        (of == name && labels.contains(label)).then(|| value.parse::<f64>().ok())?
    };
    metrics.lines().filter_map(value).sum()
}

/// Percent-encodes everything but letters, digits, `-` and `_`.
pub fn encode(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len() * 3);
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            out.push(byte as char);
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Path of an entry.
pub fn entry_path(collection: &str, id: &str) -> String {
    format!("/v1/collections/{}/entries/{}", encode(collection), encode(id))
}

/// Path of a collection.
pub fn collection_path(collection: &str) -> String {
    format!("/v1/collections/{}", encode(collection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_are_summed() {
        let text = "# HELP asked 3\nasked{verb=\"get\"} 1\nasked{verb=\"search\",to=\"a b\"} 2\n\
                    asked{verb=\"search\"} 4\nasked_sum 8\n";
        assert_eq!(sum_of(text, "asked", "verb=\"search\""), 6.0);
        assert_eq!(sum_of(text, "asked", ""), 7.0);
        assert_eq!(sum_of(text, "asked_sum", ""), 8.0);
        assert_eq!(sum_of(text, "nobody", ""), 0.0);
    }
}
