//! What every verb needs: where the daemon is, and how to answer.

use std::time::Duration;

use clap::Args;
use vecgrid_client::{Client, Result};

/// Options of every verb.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Where the daemon listens: http://127.0.0.1:5700 or unix:/path/to.sock
    /// [default: its usual socket when there is one, else http://127.0.0.1:5700]
    #[arg(
        long,
        global = true,
        env = "VECGRID_ENDPOINT",
        value_name = "ENDPOINT",
        help_heading = "Everywhere"
    )]
    pub endpoint: Option<String>,
    /// Answer with JSON
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Longest time for one request, like 10s, 500ms or 2m
    #[arg(long, global = true, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Everywhere")]
    pub timeout: Duration,
}

/// The daemon to talk to and the form of answers.
#[derive(Debug)]
pub struct Context {
    global: Global,
}

impl Context {
    pub fn new(global: Global) -> Self {
        Self { global }
    }

    /// Connects, so that a missing daemon is noticed before anything else is done.
    pub async fn client(&self) -> Result<Client> {
        let builder = Client::builder().timeout(self.global.timeout).connect_timeout(Duration::from_secs(3));
        match &self.global.endpoint {
            Some(endpoint) => builder.endpoint(endpoint).connect().await,
            None => builder.connect().await,
        }
    }

    /// Whether to answer with JSON.
    pub fn json(&self) -> bool {
        self.global.json
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| "write a time like 10s, 500ms or 2m".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" => number * 60.0,
        _ => return Err("the unit is ms, s or m".to_owned()),
    };
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err("the time is too short or too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "s", "-1s", "0", "1h", "1e3s", "99999999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
