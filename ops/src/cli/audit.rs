//! `quipu audit`.

use super::{connect::Connect, failure::Failure, get::Get, terminal::Terminal};
use clap::Args;
use quipu_schemas::ids::{OrgId, PrincipalId};

const EXAMPLES: &str = "\
Examples:
  quipu audit acme                                    what was done and refused, newest first
  quipu audit acme --denied                           what was refused alone
  quipu audit acme --principal ada --from 1767225600000
  quipu audit acme --denied --right cap:grant.give
  quipu audit acme --kind agent --id scout
  quipu audit acme --credential api-key/key_1 --all --output ndjson\n";

/// See who did what in an org, by what, and who was refused
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Audit {
    /// The org
    org: OrgId,
    /// Only of this principal
    #[arg(long)]
    principal: Option<PrincipalId>,
    /// Only by this credential, KIND/ID
    #[arg(long)]
    credential: Option<String>,
    /// Only what was done to entities of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only what was done to the entity of this id
    #[arg(long)]
    id: Option<String>,
    /// Only what was refused
    #[arg(long)]
    denied: bool,
    /// Only what was refused for lack of this right
    #[arg(long)]
    right: Option<String>,
    /// From this time on, in milliseconds since 1970
    #[arg(long)]
    from: Option<u64>,
    /// Before this time, in milliseconds since 1970
    #[arg(long)]
    before: Option<u64>,
    /// Rows of a page, at most 1000
    #[arg(long)]
    limit: Option<usize>,
    /// Every page
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Audit {
    pub(super) async fn run(self, terminal: &Terminal) -> Result<(), Failure> {
        let kind = self
            .kind
            .as_deref()
            .map(super::kind::singular)
            .transpose()
            .map_err(Failure::Usage)?;
        let filters = [
            ("principal", self.principal.map(|principal| principal.to_string())),
            ("credential", self.credential),
            ("kind", kind.map(|kind| kind.to_string())),
            ("id", self.id),
            ("outcome", self.denied.then(|| "denied".to_owned())),
            ("right", self.right),
            ("from", self.from.map(|time| time.to_string())),
            ("before", self.before.map(|time| time.to_string())),
        ];
        let given = filters.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let columns = "time,principal,on_behalf_of,credential,outcome,stream,events,denied_right,denied_kind,refusals";
        let columns = columns.split(',').map(str::to_owned).collect();
        Get::of_view(self.org, "audit", given.collect(), (self.limit, self.all), columns, self.connect)
            .run(terminal)
            .await
    }
}
