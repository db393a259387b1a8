//! `vecgrid`: the command for people and scripts.
//!
//! One verb, one file. Data goes to standard output, everything else to standard error; `exit` lists
//! the exit codes. The command talks to a daemon through the library of this crate, so it shows what
//! any application would see.

mod bench;
mod completion;
mod context;
mod copies;
mod count;
mod create;
mod delete;
mod drain;
mod drop;
mod exit;
mod export;
mod formats;
mod get;
mod import;
mod info;
mod inputs;
mod list;
mod members;
mod moves;
mod output;
mod partitions;
mod progress;
mod put;
mod scroll;
mod search;
mod status;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::context::{Context, Global};

const EXAMPLES: &str = "\
Examples:
  vecgrid status                                     is a daemon there, what does it hold?
  vecgrid partitions                                 which member holds what, as a map
  vecgrid create films --dimension 3                 make a collection
  vecgrid put films alien --vector '[1, 0, 0]' --metadata '{\"year\": 1979}'
  vecgrid search films --vector '[0.9, 0.1, 0]' --filter '{\"year\": {\"$lt\": 1990}}'
  vecgrid search films --like alien                  what is near to an entry?
  vecgrid import films rows.parquet --create         load a file
";

/// Talk to vecgridd, the vector search daemon beside your application.
#[derive(Debug, Parser)]
#[command(name = "vecgrid", version, before_help = EXAMPLES, max_term_width = 100)]
#[command(after_help = "Each verb explains itself with examples: vecgrid search --help")]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Status(status::Status),
    Members(members::Members),
    Partitions(partitions::Partitions),
    Copies(copies::Copies),
    Drain(drain::Drain),
    Verify(verify::Verify),
    Create(create::Create),
    List(list::List),
    Info(info::Info),
    Drop(drop::Drop),
    Put(put::Put),
    Get(get::Get),
    Delete(delete::Delete),
    Search(search::Search),
    Count(count::Count),
    Scroll(scroll::Scroll),
    Import(import::Import),
    Export(export::Export),
    Bench(bench::Bench),
    Completion(completion::Completion),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(verb) = arguments.verb else {
        // Failing to print help leaves nothing to say.
        let _ = Arguments::command().print_help();
        return ExitCode::SUCCESS;
    };
    let json = arguments.global.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into(), json),
    };
    let result = runtime.block_on(Box::pin(run(verb, Context::new(arguments.global))));
    // A thread may be waiting for standard input: do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::report(&error, json),
    }
}

async fn run(verb: Verb, context: Context) -> anyhow::Result<u8> {
    // It ends in order on the first Ctrl-C, by itself.
    if let Verb::Import(verb) = verb {
        return verb.run(&context).await;
    }
    tokio::select! {
        result = Box::pin(dispatch(verb, &context)) => result,
        _ = tokio::signal::ctrl_c() => Err(exit::Failure::interrupted().into()),
    }
}

async fn dispatch(verb: Verb, context: &Context) -> anyhow::Result<u8> {
    match verb {
        Verb::Status(verb) => verb.run(context).await,
        Verb::Members(verb) => verb.run(context).await,
        Verb::Partitions(verb) => verb.run(context).await,
        Verb::Copies(verb) => verb.run(context).await,
        Verb::Drain(verb) => verb.run(context).await,
        Verb::Verify(verb) => verb.run(context).await,
        Verb::Create(verb) => verb.run(context).await,
        Verb::List(verb) => verb.run(context).await,
        Verb::Info(verb) => verb.run(context).await,
        Verb::Drop(verb) => verb.run(context).await,
        Verb::Put(verb) => verb.run(context).await,
        Verb::Get(verb) => verb.run(context).await,
        Verb::Delete(verb) => verb.run(context).await,
        Verb::Search(verb) => verb.run(context).await,
        Verb::Count(verb) => verb.run(context).await,
        Verb::Scroll(verb) => verb.run(context).await,
        Verb::Import(verb) => verb.run(context).await,
        Verb::Export(verb) => verb.run(context).await,
        Verb::Bench(verb) => verb.run(context).await,
        Verb::Completion(verb) => verb.run(&mut Arguments::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_verb_teaches_by_example() {
        for verb in Arguments::command().get_subcommands() {
            let help = verb.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("vecgrid "), "`vecgrid {} --help` has no example", verb.get_name());
        }
    }
}
