//! How the command ends: exit codes, and what it says on the way out.

use std::{fmt, io, process::ExitCode};

use serde_json::json;
use vecgrid_client::{Error, ErrorKind};

/// Done.
pub const OK: u8 = 0;
/// Anything without a code of its own.
pub const OTHER: u8 = 1;
/// Wrong usage, or input that the daemon refuses. clap uses the same.
pub const USAGE: u8 = 2;
/// No such collection or entry.
pub const NOT_FOUND: u8 = 3;
/// No daemon there.
pub const UNREACHABLE: u8 = 4;
/// In conflict with what exists, or not possible as things are now.
pub const CONFLICT: u8 = 5;
/// Not allowed.
pub const UNAUTHORIZED: u8 = 6;
/// Some entries failed, the others are stored.
pub const PARTIAL: u8 = 7;
/// No answer in time, or a write whose outcome is unknown.
pub const UNKNOWN: u8 = 8;
/// Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// A failure that the command itself notices.
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// Wrong usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: USAGE, message: message.into(), hint: None }
    }

    /// Not as things are now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { exit: CONFLICT, message: message.into(), hint: None }
    }

    /// Something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { exit: NOT_FOUND, message: message.into(), hint: None }
    }

    /// Ctrl-C.
    pub fn interrupted() -> Self {
        Self { exit: INTERRUPTED, message: "interrupted".into(), hint: None }
    }

    /// With the next thing to try.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Says on standard error what went wrong and what to try next; gives the exit code.
pub fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    // `vecgrid scroll … | head` is no failure.
    let broken_pipe = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    if error.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(broken_pipe)) {
        return ExitCode::from(OK);
    }
    let client = error.chain().find_map(|cause| cause.downcast_ref::<Error>());
    let own = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    let hint = own.and_then(|own| own.hint.clone()).or_else(|| client.and_then(hint));
    if json {
        let code = client.map_or("cli", Error::code);
        let outcome = client.map(|client| client.outcome().as_str());
        eprintln!(
            "{}",
            json!({"error": {"code": code, "message": format!("{error:#}"), "outcome": outcome, "hint": hint}})
        );
    } else {
        eprintln!("error: {error:#}");
        if let Some(hint) = hint {
            eprintln!("{hint}");
        }
    }
    ExitCode::from(own.map_or_else(|| client.map_or(OTHER, code), |own| own.exit))
}

fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::TooLarge => USAGE,
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::Conflict => CONFLICT,
        ErrorKind::Unauthorized => UNAUTHORIZED,
        ErrorKind::Unreachable => UNREACHABLE,
        ErrorKind::Timeout => UNKNOWN,
        _ if error.is_unknown() => UNKNOWN,
        ErrorKind::Unavailable => UNREACHABLE,
        _ => OTHER,
    }
}

fn hint(error: &Error) -> Option<String> {
    let hint = match error.code() {
        "unreachable" => {
            "Is it running? Start one with: vecgridd --dev\nIt listens elsewhere? Name it: --endpoint unix:/path/to.sock"
        }
        "collection_not_found" => {
            "See what there is: vecgrid list\nMake it: vecgrid create NAME --dimension N"
        }
        "collection_exists" => "See how it differs: vecgrid info NAME",
        "no_other_member" => "See who is there: vecgrid members",
        "wrong_dimension" => "See the dimension: vecgrid info NAME",
        "deadline_exceeded" => "Give it more time: --timeout 60s",
        "overloaded" => "The daemon is busy: try again in a moment.",
        _ => return None,
    };
    Some(hint.to_owned())
}
