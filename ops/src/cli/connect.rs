//! How a client verb finds its node.

use super::failure::Failure;
use crate::{
    client::{self, Client},
    profiles::Profiles,
    serve::ADDRESS_FILE,
};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
};
use tokio::{runtime::Handle, task::block_in_place};

const DEFAULT_URL: &str = "http://127.0.0.1:7077";

/// Where the node is.
#[derive(Debug, Clone, Args)]
pub(super) struct Connect {
    /// Address of the node, such as http://127.0.0.1:7077
    #[arg(long, env = "QUIPU_URL", global = true, help_heading = "Node")]
    url: Option<String>,
    /// PEM file of the authorities that the node's certificate is checked against, instead of the system's
    #[arg(long, env = "QUIPU_CA_FILE", value_name = "FILE", global = true, help_heading = "Node")]
    ca_file: Option<PathBuf>,
    /// Data directory of a node on this machine, for its address and token
    #[arg(long, env = "QUIPU_DATA", default_value = "quipu-data", global = true, help_heading = "Node")]
    data: PathBuf,
}

impl Connect {
    /// The data directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// Whether a node was named by its address, on the command line or in `QUIPU_URL`.
    pub(super) fn names_node(&self) -> bool {
        self.url.is_some()
    }

    /// The address of that node.
    pub(super) fn address(&self) -> String {
        match &self.url {
            Some(url) => url.clone(),
            None => fs::read_to_string(self.data.join(ADDRESS_FILE)).map_or_else(|_| DEFAULT_URL.to_owned(), |text| text.trim().to_owned()),
        }
    }

    /// A client as whoever is logged in there, by `QUIPU_TOKEN` or a profile; `None` where nobody is.
    pub(super) fn logged_in(&self) -> Result<Option<Client>, Failure> {
        let url = self.address();
        if std::env::var_os("QUIPU_TOKEN").is_some_and(|token| !token.is_empty()) {
            return self.by_node().map(Some);
        }
        let Ok(profiles) = Profiles::of_user() else { return Ok(None) };
        let token = block_in_place(|| Handle::current().block_on(profiles.token(&url)))?;
        token
            .map(|token| Ok(Client::trusting(&url, token, self.ca_file.as_deref())?))
            .transpose()
    }

    /// A client that shows nothing.
    pub(super) fn open(&self) -> Result<Client, Failure> {
        Ok(Client::trusting(&self.address(), "", self.ca_file.as_deref())?)
    }

    /// A client of that node: by `QUIPU_TOKEN`, else as whoever is logged in there, else by the node's own token.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        match self.logged_in()? {
            Some(client) => Ok(client),
            None => self.by_node(),
        }
    }

    /// A client by the node's own token, or what `QUIPU_TOKEN` says.
    pub(super) fn by_node(&self) -> Result<Client, Failure> {
        Ok(Client::trusting(
            &self.address(),
            client::token(&self.data)?,
            self.ca_file.as_deref(),
        )?)
    }
}
