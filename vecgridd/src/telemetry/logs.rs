//! Events: one per line on stderr, for people on a terminal and as JSON anywhere else.
//!
//! A panic becomes an event too, with its place, so that it reaches the log collector as one line.
//! Vectors, metadata and ids of entries are never logged at `info` or above.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::IsTerminal,
    panic,
};

use tracing_subscriber::EnvFilter;

/// How events are written.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not of the form `info,vecgridd=debug`.
    #[error("the log filter `{filter}` is not valid: {reason}")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Someone else in this process set up logging before.
    #[error("logging was set up before: {0}")]
    Taken(String),
}

/// Sets up logging for the whole process, once. `filter` has the form `info,vecgridd=debug`.
///
/// # Errors
/// See [`LogError`].
pub fn init(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| LogError::Filter { filter: filter.to_owned(), reason: e.to_string() })?;
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let events = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = if json {
        events.json().flatten_event(true).try_init()
    } else {
        // NO_COLOR is honoured by the subscriber; a file or a pipe never gets colours.
        if terminal { events.try_init() } else { events.with_ansi(false).try_init() }
    };
    outcome.map_err(|e| LogError::Taken(e.to_string()))?;
    log_panics();
    Ok(())
}

fn log_panics() {
    panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(no text)");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("(unnamed)");
        // Captured only when RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            tracing::error!(place, thread, %backtrace, "panic: {message}");
        } else {
            tracing::error!(place, thread, "panic: {message}");
        }
    }));
}
