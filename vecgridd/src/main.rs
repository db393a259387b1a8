//! The daemon: arguments, logs, configuration, runtime, run, drain.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use vecgridd::{
    config::{Arguments, LogStyle, Options, Verb},
    node::{self, Stop},
    telemetry::{LogFormat, Metrics, logs},
};

fn main() -> ExitCode {
    let Arguments { options, verb } = Arguments::parse();
    let result = match verb {
        Some(Verb::Recover(recover)) => node::recover(&recover),
        None => run(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            eprintln!("vecgridd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> anyhow::Result<()> {
    let options = options.with_file()?;
    let format = match options.log_format.unwrap_or(LogStyle::Auto) {
        LogStyle::Auto => LogFormat::Auto,
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    logs::init(format, options.log.as_deref().unwrap_or("info,hnsw_rs=warn,openraft=off"))?;
    let config = options.check()?;
    let metrics = Arc::new(Metrics::new(
        env!("CARGO_PKG_VERSION"),
        option_env!("VECGRID_REVISION").unwrap_or("unknown"),
    )?);
    // Two at least: one may be held by a short search while the other serves connections.
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
    runtime.block_on(async {
        let stop = Stop::default();
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (ask, leaves) = (stop.clone(), config.drain.is_some());
        let signals = async move {
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
            ask.asked.cancel();
            if leaves {
                tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
                ask.hurry.cancel();
            }
            // Whoever asks again does not want to wait; acknowledged writes are on disk.
            tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
            tracing::warn!("asked again: exiting at once");
            std::process::exit(130);
        };
        tokio::select! {
            result = node::run(config, metrics, stop) => result,
            () = signals => Ok(()),
        }
    })
}
