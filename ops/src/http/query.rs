//! Queries: rows of views by the same grid, with personal data opened and the position that they have seen.

use super::{
    Answer, App,
    answer::{json_held, only, position, version_tag},
    blobs, filter, json,
    params::Params,
    problem::{self, bad_parameter, clip},
    request::{At, entity},
    stream,
};
use crate::{
    app::reads::{On, Reads},
    asked::KnownKind,
    caller::InOrg,
    parts::{is_read_only, part_filters, parts, tie, view_named, view_of_rows},
};
use axum::{extract::State, http::Uri};
use quipu_projections::{
    family::Tie,
    progress::Wanted,
    query::{Found, Page, Query},
    reading::View,
};
use quipu_runtime::node::ReadPermit;
use quipu_schemas::{
    ids::EntityId,
    limits::PAGE_MAX_BYTES,
    personal,
    position::{Cursor, Position},
    problem::Problem,
};
use serde_json::Value;

fn no_view(app: &App, plural: &str) -> Problem {
    if app.has_kind(plural) {
        return Problem::new(404, "unknown_view", format!("kind `{}` has no view of its own", clip(plural)))
            .fix("read one entity, its history or its state, or follow /v1/orgs/{org}/events");
    }
    // Most kinds have a view of the same name: each is told once.
    let views = app.families().views().map(View::name).filter(|name| !app.has_kind(name));
    let views: Vec<&str> = views.collect();
    let known: Vec<_> = app.plurals().into_iter().chain(views).collect();
    problem::unknown_kind(plural, &known.join(", "))
}

/// Waits for `min_position`, where it is given: a position or a cursor.
async fn wait(app: &App, params: &Params) -> Result<(), Problem> {
    let Some(text) = params.text("min_position") else { return Ok(()) };
    let wanted = match (text.parse::<Position>(), text.parse::<Cursor>()) {
        (Ok(position), _) => {
            app.check_position(position)?;
            Wanted::Position(position)
        }
        (_, Ok(cursor)) => {
            app.check_cursor(&cursor)?;
            Wanted::Cursor(cursor)
        }
        (Err(e), Err(_)) => {
            return Err(bad_parameter(
                "min_position",
                e.to_string(),
                "pass a Quipu-Position or a receipt's position",
            ));
        }
    };
    app.wait_for(&wanted).await
}

/// Reads page size, cursor and filters.
fn query_of(params: &Params, filters: &[&'static str]) -> Result<Query, Problem> {
    let mut query = Query::default()
        .limit(params.limit()?)
        .order(params.text("order").map(str::to_owned))
        .after(params.text("after").map(str::to_owned));
    for (name, value) in params.given(filters) {
        query = query.with(name, value);
    }
    Ok(query)
}

fn allowed(view: View, filters: &[&'static str]) -> Vec<&'static str> {
    let order = view.orders().next().map(|_| "order");
    ["limit", "after", "min_position"]
        .into_iter()
        .chain(order)
        .chain(filters.iter().copied())
        .collect()
}

/// Opens rows for whoever reads them. Only values that are kept beside the log may have to be waited for.
async fn open(reads: &Reads<'_>, on: On<'_>, mut rows: Vec<Value>) -> Result<Vec<Value>, Problem> {
    let keys = reads.keys(on);
    if rows.iter().any(personal::contains_blob) {
        return blobs::shown(keys, rows).await;
    }
    let shown = rows.iter_mut().try_for_each(|row| personal::show_all(row, &*keys));
    shown.map_err(|e| e.problem())?;
    Ok(rows)
}

/// A page of rows, as it is answered.
#[derive(serde::Serialize)]
struct Rows {
    items: Vec<Value>,
    next: Option<String>,
}

/// Memory for a page that is read, opened and encoded.
async fn room(app: &App) -> Result<ReadPermit, Problem> {
    app.reserve_read(2 * PAGE_MAX_BYTES).await
}

async fn page_answer(reads: &Reads<'_>, on: On<'_>, page: Page, permit: ReadPermit) -> Answer {
    let Page { rows, next, cursor } = page;
    let items = open(reads, on, rows).await?;
    let mut response = json_held(&Rows { items, next }, permit)?;
    position(&mut response, &cursor);
    Ok(response)
}

async fn row_answer(reads: &Reads<'_>, on: On<'_>, found: Found, what: String) -> Answer {
    let row = found.row.ok_or_else(|| problem::not_found(what))?;
    let row = open(reads, on, vec![row]).await?.pop().unwrap_or_default();
    let mut response = json(&row)?;
    position(&mut response, &found.cursor);
    if let Some(version) = row.get("version").and_then(Value::as_u64) {
        version_tag(&mut response, version);
    }
    Ok(response)
}

/// `GET /v1/orgs/{org}/{kinds}` and `/v1/orgs/{org}/{view}`.
pub async fn list(State(app): State<App>, in_org: InOrg, At((_, plural)): At<(String, String)>, uri: Uri) -> Answer {
    let reads = app.reads(&in_org);
    let view = view_named(app.families(), &plural).ok_or_else(|| no_view(&app, &plural))?;
    let filters: Vec<_> = view.filters().collect();
    let params = Params::parse(&uri, &allowed(view, &filters))?;
    // The `kind` of a participant is another word, whose values its view knows.
    if view.filters_by("kind") {
        filter::known_kind(&app, &params)?;
    }
    let query = query_of(&params, &filters)?;
    wait(&app, &params).await?;
    let permit = room(&app).await?;
    let page = reads.list(view, None, query).await?;
    // Only an org that exists has rows, so only an empty page costs the look.
    if page.rows.is_empty() {
        reads.check_org().await?;
    }
    page_answer(&reads, None, page, permit).await
}

/// `GET /v1/orgs/{org}/stats`: how many there are of what, for who runs the org.
pub async fn stats(State(app): State<App>, in_org: InOrg, uri: Uri) -> Answer {
    let reads = app.reads(&in_org);
    let params = Params::parse(&uri, &["min_position"])?;
    wait(&app, &params).await?;
    reads.check_org().await?;
    let mut out = serde_json::Map::new();
    let mut seen = None;
    for (view, by) in app.families().counts() {
        let counted = reads.count(view, by).await?;
        let mut told = serde_json::Map::from_iter([("total".to_owned(), counted.total().into())]);
        for (place, column) in by.iter().enumerate() {
            told.insert(format!("by_{column}"), serde_json::json!(counted.by(place)));
        }
        out.insert(view.name().to_owned(), told.into());
        // Each is of its own moment: what the first has seen, all have.
        seen.get_or_insert(counted.cursor);
    }
    let mut response = json(&out)?;
    if let Some(cursor) = &seen {
        position(&mut response, cursor);
    }
    Ok(response)
}

/// `GET /v1/orgs/{org}/{kinds}/{id}`.
pub async fn row(State(app): State<App>, in_org: InOrg, At((_, plural, id)): At<(String, String, String)>, uri: Uri) -> Answer {
    let reads = app.reads(&in_org);
    let kind = app.kind(&plural);
    let named = if kind.is_ok() { view_of_rows } else { view_named };
    let Some(view) = named(app.families(), &plural) else {
        return match kind {
            // Without a row of its own, the entity's state is what there is to show.
            Ok(_) => stream::state_of(&app, &in_org, &plural, id, &uri).await,
            Err(_) => Err(no_view(&app, &plural).into()),
        };
    };
    let on = match &kind {
        Ok(known) => Some((&known.kind, entity(id.clone())?)),
        Err(_) => None,
    };
    let on = on.as_ref().map(|(kind, id)| (*kind, id));
    let params = Params::parse(&uri, &["min_position"])?;
    wait(&app, &params).await?;
    let found = reads.get(view, on, vec![id.clone()]).await?;
    if found.row.is_none() {
        reads.check_org().await?;
    }
    row_answer(&reads, on, found, format!("{plural}/{} in org {}", clip(&id), in_org.org())).await
}

struct Part {
    kind: KnownKind,
    id: EntityId,
    view: View,
    tie: Tie,
}

impl Part {
    fn find(app: &App, in_org: &InOrg, plural: &str, id: String, part: &str) -> Result<Self, Problem> {
        let org = in_org.org();
        let kind = app.kind(plural)?.clone();
        let id = entity(id)?;
        let name = kind.kind.as_str();
        let families = app.families();
        let found = parts(families, name)
            .find(|view| view.name() == part)
            .and_then(|view| Some((view, tie(families, name, view)?)));
        let Some((view, tie)) = found else {
            let known: Vec<_> = parts(families, name)
                .map(View::name)
                .chain(["history", "state", "live", "commands/{command_id}"])
                .collect();
            return Err(problem::unknown_part(name, part, &known.join(", ")));
        };
        if matches!(tie, Tie::Org) && id.as_str() != org.as_str() {
            return Err(problem::not_found(format!("org {id} inside org {org}")));
        }
        Ok(Self { kind, id, view, tie })
    }

    fn on(&self) -> On<'_> {
        Some((&self.kind.kind, &self.id))
    }

    fn tied(&self, query: Query) -> Query {
        match self.tie {
            Tie::Org => query,
            Tie::Id(column) => query.with(column, self.id.as_str()),
            Tie::Stream => query.with("kind", self.kind.kind.as_str()).with("id", self.id.as_str()),
        }
    }

    /// Whether there is such an entity, by the log: not every kind has a view with a row for each, and not every caller may read it.
    async fn exists(&self, app: &App, in_org: &InOrg) -> Result<bool, Problem> {
        let stream = in_org.stream(self.kind.kind.clone(), self.id.clone());
        app.reads(in_org).exists(&stream).await
    }
}

/// `GET /v1/orgs/{org}/{kinds}/{id}/{part}`.
pub async fn part(
    State(app): State<App>,
    in_org: InOrg,
    At((_, plural, id, name)): At<(String, String, String, String)>,
    uri: Uri,
) -> Answer {
    if app
        .kind(&plural)
        .is_ok_and(|kind| kind.has_command(&name) && !is_read_only(app.families(), kind.kind.as_str(), &name))
    {
        return Ok(only("POST", "GET", uri.path()));
    }
    let part = Part::find(&app, &in_org, &plural, id, &name)?;
    let filters = part_filters(app.families(), part.kind.kind.as_str(), part.view);
    let params = Params::parse(&uri, &allowed(part.view, &filters))?;
    let query = part.tied(query_of(&params, &filters)?);
    wait(&app, &params).await?;
    let permit = room(&app).await?;
    let reads = app.reads(&in_org);
    let page = reads.list(part.view, part.on(), query).await?;
    if page.rows.is_empty() && !part.exists(&app, &in_org).await? {
        reads.check_org().await?;
        return Err(problem::not_found(format!("{plural}/{} in org {}", part.id, in_org.org())).into());
    }
    page_answer(&reads, part.on(), page, permit).await
}

/// `GET /v1/orgs/{org}/{kinds}/{id}/{part}/{key}`: one row of a part that has names of its own.
pub async fn part_row(
    State(app): State<App>,
    in_org: InOrg,
    At((_, plural, id, name, key)): At<(String, String, String, String, String)>,
    uri: Uri,
) -> Answer {
    let part = Part::find(&app, &in_org, &plural, id, &name)?;
    let params = Params::parse(&uri, &["min_position"])?;
    let names = match part.tie {
        Tie::Org => vec![key.clone()],
        Tie::Id(_) => vec![part.id.to_string(), key.clone()],
        Tie::Stream => vec![part.kind.kind.to_string(), part.id.to_string(), key.clone()],
    };
    wait(&app, &params).await?;
    let reads = app.reads(&in_org);
    let found = reads.get(part.view, part.on(), names).await?;
    row_answer(&reads, part.on(), found, format!("{name} `{}` of {plural}/{}", clip(&key), part.id)).await
}
