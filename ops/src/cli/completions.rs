//! `quipu shell`: what a shell and `man` know of this command line.

use super::{Cli, failure::Failure, terminal::Terminal};
use clap::{CommandFactory, Subcommand};
use std::{fs, path::PathBuf};

const AFTER_COMPLETIONS: &str = "\
Examples:
  quipu shell completions bash > ~/.local/share/bash-completion/completions/quipu
  quipu shell completions zsh > ~/.zfunc/_quipu
  quipu shell completions fish > ~/.config/fish/completions/quipu.fish";

const AFTER_MAN: &str = "\
Examples:
  quipu shell man ~/.local/share/man/man1 && man quipu-send";

const AFTER: &str = "\
Examples:
  quipu shell completions bash
  quipu shell man ./man1";

/// Completions for a shell, and manual pages
#[derive(Debug, Subcommand)]
#[command(after_help = AFTER)]
pub(super) enum Shell {
    /// Print the completions for a shell
    #[command(after_help = AFTER_COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write a manual page for each verb
    #[command(after_help = AFTER_MAN)]
    Man {
        /// Directory for the pages; it is created if it does not exist
        dir: PathBuf,
    },
}

impl Shell {
    pub(super) fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let mut command = Cli::command();
        match self {
            Shell::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut command, "quipu", &mut script);
                terminal.line(String::from_utf8_lossy(&script).trim_end())
            }
            Shell::Man { dir } => {
                fs::create_dir_all(&dir)?;
                clap_mangen::generate_to(command, &dir)?;
                terminal.note(&format!("manual pages are in {}", dir.display()));
                Ok(())
            }
        }
    }
}
