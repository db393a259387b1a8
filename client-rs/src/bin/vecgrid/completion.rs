//! `vecgrid completion`

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid completion bash > ~/.local/share/bash-completion/completions/vecgrid
  vecgrid completion zsh > ~/.zfunc/_vecgrid
  vecgrid completion fish > ~/.config/fish/completions/vecgrid.fish")]
pub struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub fn run(self, command: &mut Command) -> anyhow::Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "vecgrid", &mut script);
        io::stdout().write_all(&script)?;
        Ok(exit::OK)
    }
}
