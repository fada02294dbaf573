//! A cluster to try: nodes of this binary on a nats-server and a PostgreSQL of this machine, commands all the time, and
//! what befalls a cluster: a node is killed, stopped in order, and paused until others have replaced it.

mod load;

use crate::{
    client::{Client, Command},
    failure::Failure,
    stage::{
        child::{Launch, Node},
        error::StageError,
        off_thread,
        servers::{self, Server},
        share_secrets,
        story::Story,
    },
    terminal::Terminal,
};
use load::{CONVERSATIONS, Lately, Load};
use quipu_schemas::ids::{PrincipalId, StreamId};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

const ORG: &str = "acme";
const LOG_ENV: &str = "DEV_LOG";
const VIEWS_ENV: &str = "DEV_VIEWS";
const SECRET_ENV: &str = "DEV_CLUSTER_SECRET";
const LOOK_EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the talk goes on between two events.
const BETWEEN: Duration = Duration::from_secs(2);

/// What is tried.
#[derive(Debug, Clone)]
pub struct Trial {
    /// How many nodes.
    pub nodes: usize,
    /// End after the scene.
    pub once: bool,
    /// A broker's log instead of that of an own nats-server.
    pub log: Option<String>,
    /// Where views are kept, instead of an own PostgreSQL.
    pub views: Option<String>,
    /// Life of a lease, milliseconds.
    pub lease_ms: u64,
}

struct Home(PathBuf);

impl Drop for Home {
    fn drop(&mut self) {
        // What cannot be deleted stays where temporary files stay.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Cluster {
    launches: Vec<Launch>,
    nodes: Vec<Option<Node>>,
    /// Ids of the nodes, in their order.
    ids: Vec<String>,
    // Dropped behind the nodes.
    _servers: Vec<Server>,
    _home: Home,
}

/// Runs the trial; a command that was lost is a failure.
pub async fn run(trial: Trial, terminal: Terminal) -> Result<(), Failure> {
    let mut story = Story::new(terminal);
    let mut cluster = tokio::select! {
        played = play(&trial, &mut story) => played?,
        signal = tokio::signal::ctrl_c() => {
            signal.map_err(StageError::from)?;
            return Err(Failure::Failed("ended before the scene was over".into()));
        }
    };
    story.sum_up()?;
    if !trial.once {
        explore(&cluster, &story).await?;
    }
    for node in &mut cluster.nodes {
        if let Some(node) = node.take() {
            node.stop().await?;
        }
    }
    if story.all_good() { Ok(()) } else { Err(Failure::Shown) }
}

async fn play(trial: &Trial, story: &mut Story) -> Result<Cluster, StageError> {
    story.act("Servers and nodes")?;
    let mut cluster = Cluster::open(trial, story).await?;
    cluster.settled(None).await?;
    cluster.show_owners(story).await?;
    let (by, conversations) = set_up(&cluster.client(0)?).await?;
    let clients = (0..trial.nodes).map(|n| cluster.client(n)).collect::<Result<Vec<_>, _>>()?;
    let load = Load::begin(&clients, &conversations, &by);
    story.tell(&format!(
        "commands go to {CONVERSATIONS} conversations all the time, through every node in turn"
    ))?;
    tokio::time::sleep(BETWEEN).await;
    let calm = load.lately();
    story.note("a quiet time", told(calm), Some(calm.waited), true);

    story.act("A node is killed")?;
    let owned = cluster.owned_by(0, 1).await?;
    story.warn(&format!("kill -9 of node 2, which owns {owned} partitions"))?;
    let begun = Instant::now();
    cluster.nodes[1].take().ok_or_else(gone)?.kill().await?;
    cluster.settled(Some(1)).await?;
    cluster.report(story, &load, "killed: others took over", begun).await?;
    cluster.start(1, story).await?;

    story.act("A node is stopped in order, as in a rolling restart")?;
    let owned = cluster.owned_by(0, 2).await?;
    story.tell(&format!("SIGTERM to node 3, which owns {owned} partitions"))?;
    let begun = Instant::now();
    let node = cluster.nodes[2].take().ok_or_else(gone)?;
    let (stopped, settled) = tokio::join!(node.stop(), cluster.settled(Some(2)));
    stopped?;
    settled?;
    cluster.report(story, &load, "stopped in order: handed over", begun).await?;
    cluster.start(2, story).await?;

    story.act("A node is paused, and wakes as a stale owner")?;
    story.warn("SIGSTOP to node 2")?;
    let begun = Instant::now();
    cluster.signal(1, "STOP").await?;
    cluster.settled(Some(1)).await?;
    cluster.report(story, &load, "paused: others took over", begun).await?;
    cluster.signal(1, "CONT").await?;
    story.tell("it wakes; what it had begun is refused by the log, because its epoch is over")?;
    cluster.settled(None).await?;
    tokio::time::sleep(BETWEEN).await;

    story.act("Nothing was lost")?;
    let begun = Instant::now();
    let acknowledged = load.end().await.map_err(StageError::Scene)?;
    let client = cluster.client(0)?;
    let mut lost = 0;
    for (stream, id) in &acknowledged {
        let path = format!("{}/commands/{id}", stream.path());
        if client.get(&path, &[]).await.is_err() {
            lost += 1;
        }
    }
    let text = format!("{} acknowledged commands, {lost} lost", acknowledged.len());
    if lost == 0 {
        story.proven(&text)?
    } else {
        story.warn(&text)?
    }
    story.note("every receipt stands", text, Some(begun.elapsed()), lost == 0);
    Ok(cluster)
}

fn gone() -> StageError {
    StageError::Scene("the node is down".into())
}

fn told(lately: Lately) -> String {
    let Lately {
        acknowledged,
        refused,
        unanswered,
        ..
    } = lately;
    format!("{acknowledged} acknowledged, {refused} refused for a moment, {unanswered} unanswered and sent again")
}

async fn set_up(client: &Client) -> Result<(PrincipalId, Vec<StreamId>), StageError> {
    let bad = |e: quipu_schemas::ids::BadId| StageError::Scene(e.to_string());
    let by = PrincipalId::parse("ada").map_err(bad)?;
    let org: StreamId = format!("{ORG}/org/{ORG}").parse().map_err(bad)?;
    client
        .command(&Command::to(&org, "create", json!({ "name": "Acme" })).on_behalf_of(Some(&by)))
        .await?;
    let mut conversations = Vec::new();
    for n in 0..CONVERSATIONS {
        let stream: StreamId = format!("{ORG}/conversation/c{n}").parse().map_err(bad)?;
        client
            .command(&Command::to(&stream, "create", json!({ "type": "group", "auto_turns": false })).on_behalf_of(Some(&by)))
            .await?;
        conversations.push(stream);
    }
    Ok((by, conversations))
}

impl Cluster {
    async fn open(trial: &Trial, story: &mut Story) -> Result<Self, StageError> {
        let mut random = [0u8; 12];
        getrandom::fill(&mut random).map_err(|e| StageError::Scene(e.to_string()))?;
        let dir = std::env::temp_dir().join(format!("quipu-dev-{}", hex::encode(&random[..6])));
        fs::create_dir(&dir)?;
        let home = Home(dir.clone());
        let mut servers = Vec::new();
        let log = match &trial.log {
            Some(log) => log.clone(),
            None => {
                story.tell("looking for a nats-server of 2.12 or newer (it is installed where there is none)")?;
                let at = dir.clone();
                let server = off_thread(move || servers::nats(&at)).await?;
                let url = server.url.clone();
                servers.push(server);
                url
            }
        };
        let views = match &trial.views {
            Some(views) => views.clone(),
            None => {
                let at = dir.clone();
                let is_built = "postgres://a@b/c".parse::<crate::views_in::ViewsIn>().is_ok();
                if is_built {
                    story.tell("looking for a PostgreSQL (it is installed where there is none)")?;
                }
                let started = if is_built {
                    off_thread(move || servers::postgres(&at)).await
                } else {
                    Err(StageError::Scene("this build has no PostgreSQL".into()))
                };
                match started {
                    Ok(server) => {
                        let url = server.url.clone();
                        servers.push(server);
                        url
                    }
                    Err(why) => {
                        story.tell(&format!("views in SQLite at each node: {why}"))?;
                        "sqlite".into()
                    }
                }
            }
        };
        let mut cluster = Self {
            launches: Vec::new(),
            nodes: Vec::new(),
            ids: Vec::new(),
            _servers: servers,
            _home: home,
        };
        for n in 0..trial.nodes {
            let data = dir.join(format!("node{}", n + 1));
            fs::create_dir(&data)?;
            if n > 0 {
                share_secrets(&dir.join("node1"), &data)?;
            }
            cluster.launches.push(Launch {
                data,
                listen: None,
                set: vec![
                    ("log.backend".into(), format!("env:{LOG_ENV}")),
                    ("views.store".into(), format!("env:{VIEWS_ENV}")),
                    ("secrets.cluster".into(), format!("env:{SECRET_ENV}")),
                    ("cluster.secret".into(), "cluster".into()),
                    ("cluster.lease_ms".into(), trial.lease_ms.to_string()),
                ],
                env: vec![
                    (LOG_ENV, log.clone()),
                    (VIEWS_ENV, views.clone()),
                    (SECRET_ENV, hex::encode(&random[6..])),
                ],
            });
            cluster.nodes.push(None);
            cluster.start(n, story).await?;
            let id = cluster.client(n)?.get("/v1/ops/cluster", &[]).await?.body["node"]["node"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            cluster.ids.push(id);
        }
        Ok(cluster)
    }

    async fn start(&mut self, n: usize, story: &Story) -> Result<(), StageError> {
        let node = self.launches[n].start().await?;
        self.launches[n].listen = Some(node.address);
        story.tell(&format!("node {} is up at {} as process {}", n + 1, node.client.url(), node.pid))?;
        self.nodes[n] = Some(node);
        Ok(())
    }

    fn client(&self, n: usize) -> Result<Client, StageError> {
        Ok(self.nodes[n].as_ref().ok_or_else(gone)?.client.clone())
    }

    async fn owners(&self, seen_by: usize) -> Result<Vec<String>, StageError> {
        let told = self.client(seen_by)?.get("/v1/ops/cluster", &[]).await?.body;
        let partitions = told["partitions"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(partitions
            .iter()
            .map(|p| p["owner"].as_str().unwrap_or_default().to_owned())
            .collect())
    }

    async fn owned_by(&self, seen_by: usize, n: usize) -> Result<usize, StageError> {
        Ok(self.owners(seen_by).await?.iter().filter(|owner| **owner == self.ids[n]).count())
    }

    /// Waits until every partition has an owner, and every node but one owns some.
    async fn settled(&self, without: Option<usize>) -> Result<(), StageError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let owners = self.owners(0).await?;
            let owns = |n: usize| owners.contains(&self.ids[n]);
            if owners.iter().all(|owner| !owner.is_empty()) && (0..self.ids.len()).all(|n| owns(n) == (Some(n) != without)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(StageError::Scene(format!(
                    "ownership did not settle within {PATIENCE:?}: {owners:?}"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn show_owners(&self, story: &Story) -> Result<(), StageError> {
        let mut owned: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (partition, owner) in self.owners(0).await?.into_iter().enumerate() {
            let number = self
                .ids
                .iter()
                .position(|id| *id == owner)
                .map_or(owner, |n| format!("node {}", n + 1));
            owned.entry(number).or_default().push(partition.to_string());
        }
        for (owner, partitions) in owned {
            story.tell(&format!("{owner} owns {}", partitions.join(" ")))?;
        }
        Ok(())
    }

    async fn report(&self, story: &mut Story, load: &Load, what: &'static str, begun: Instant) -> Result<(), StageError> {
        let took = begun.elapsed();
        self.show_owners(story).await?;
        // What still waits is answered within this time.
        tokio::time::sleep(BETWEEN).await;
        let lately = load.lately();
        story.proven(&format!(
            "all partitions are owned again after {:.1} s; no command waited longer than {:.1} s",
            took.as_secs_f64(),
            lately.waited.as_secs_f64()
        ))?;
        story.note(
            what,
            format!("{}; the longest wait was {:.1} s", told(lately), lately.waited.as_secs_f64()),
            Some(took),
            true,
        );
        Ok(())
    }

    async fn signal(&self, n: usize, name: &str) -> Result<(), StageError> {
        let pid = self.nodes[n].as_ref().ok_or_else(gone)?.pid;
        let sent = tokio::process::Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .await?;
        if sent.success() {
            Ok(())
        } else {
            Err(StageError::Scene(format!("process {pid} takes no SIG{name}")))
        }
    }
}

fn post_hint(data: &str) -> String {
    format!("quipu send {ORG} conversation c1 post '{{\"body\":\"hello\"}}' --as ada --data {data}")
}

/// Leaves the cluster up until the person ends it.
async fn explore(cluster: &Cluster, story: &Story) -> Result<(), StageError> {
    story.act("Your turn")?;
    let data = cluster.launches[0].data.display();
    story.aside(&format!("  quipu cluster --data {data}                who owns what"))?;
    for node in cluster.nodes.iter().flatten().skip(1) {
        story.aside(&format!(
            "  kill -9 {}                          end the node at {}",
            node.pid,
            node.client.url()
        ))?;
    }
    story.aside(&format!("  {}", post_hint(&data.to_string())))?;
    story.aside("")?;
    story.aside("Ctrl-C ends everything; its data is then deleted.")?;
    Ok(tokio::signal::ctrl_c().await?)
}

#[cfg(test)]
mod tests;
