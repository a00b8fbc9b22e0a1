//! The routes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Access, REPORT_POLICY, guard, not_found};
use crate::assets::{Assets, pages};
use crate::explore::Explore;
use crate::formula::formula;
use crate::lab::Laboratory;
use crate::live::{END, Live, Message, Request as LiveRequest};
use crate::problem::Problem;
use crate::runs::{self, Runs};
use crate::verdicts::Verdicts;
use crate::work::Work;
use crate::{MakeReport, Options};

/// The largest number of bytes of a request body.
const BODY: usize = 64 * 1024;

/// The largest number of watchers of a training.
const WATCHERS: usize = 64;

/// The shared state of the handlers.
struct App {
    runs: Runs,
    live: Option<Arc<Live>>,
    make_report: MakeReport,
    verdicts: Arc<Verdicts>,
    assets: Assets,
    work: Work,
    watchers: Arc<Semaphore>,
}

type Shared = State<Arc<App>>;

/// All routes, behind the access control.
pub(crate) fn router(options: Options, address: SocketAddr, live: Option<Arc<Live>>) -> Router {
    if let Some(live) = &live {
        tokio::spawn(Arc::clone(live).send());
    }
    let access = Arc::new(Access::new(address, options.token.as_deref()));
    let timeout = options.limits.timeout;
    let app = Arc::new(App {
        runs: Runs::new(options.runs),
        live,
        make_report: options.make_report,
        verdicts: Arc::new(Verdicts::new(options.judge)),
        assets: Assets::new(),
        work: Work::new(),
        watchers: Arc::new(Semaphore::new(WATCHERS)),
    });
    let mut router = Router::new()
        .route("/assets/{name}", get(asset))
        .route("/report/{*run}", get(report))
        .route("/api/live", get(watch))
        .route("/api/live/ask", post(ask))
        .route("/api/live/status", get(live_status))
        .route("/api/runs", get(list))
        .route("/api/runs/verdict", get(verdict))
        .route("/api/runs/curves", get(curves))
        .route("/api/lab", post(lab))
        .route("/api/lab/formula", post(lab_formula))
        .route("/api/explore", post(explore));
    for (address, page) in pages() {
        router = router.route(&address, get(Html(page)));
    }
    router
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            with_timeout(timeout, request, next)
        }))
        .layer(from_fn_with_state(access, guard))
        .with_state(app)
}

/// Ends requests that take too long. Computations have their own limits.
async fn with_timeout(timeout: Duration, request: Request, next: Next) -> Response {
    let slow = || Problem::new(StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response();
    // A body must arrive in time; the answer may take three times as long.
    tokio::time::timeout(3 * timeout, next.run(request)).await.unwrap_or_else(|_| slow())
}

async fn asset(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "file not found").into_response();
    app.assets.get(&name, &headers).unwrap_or_else(missing)
}

/// A body as JSON. A form of another site cannot set this content type without a preflight request.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json"));
    }
    serde_json::from_slice(body).map_err(|error| Problem {
        status: if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST },
        words: error.to_string(),
    })
}

async fn lab(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let laboratory: Laboratory = read(&headers, &body)?;
    app.work.compute(move |cancelled| laboratory.report(cancelled)).await.map(Json)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    lab: Laboratory,
    k: usize,
    t: usize,
}

async fn lab_formula(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let Cell { lab, k, t } = read(&headers, &body)?;
    app.work.compute(move |cancelled| formula(&lab, k, t, cancelled)).await.map(Json)
}

async fn explore(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let explore: Explore = read(&headers, &body)?;
    explore.check()?;
    let (runs, make_report) = (app.runs.clone(), app.make_report);
    let report = app.work.compute(move |cancelled| {
        let folder = runs.find(&explore.run)?;
        explore.report(&folder, make_report, cancelled)
    });
    report.await.map(Json)
}

async fn list(State(app): Shared) -> Result<Json<Value>, Problem> {
    let live = app.live.as_ref().map(|live| live.name().to_owned());
    let runs = app.runs.clone();
    let list = app.work.compute(move |_| Ok(runs.newest_first()));
    Ok(Json(json!({ "live": live, "runs": list.await? })))
}

/// The report of a run.
async fn report(State(app): Shared, Path(run): Path<String>) -> Result<Response, Problem> {
    let (runs, make_report) = (app.runs.clone(), app.make_report);
    let html = app.work.compute(move |cancelled| runs::report(&runs.find(&run)?, make_report, cancelled));
    Ok(([(CONTENT_SECURITY_POLICY, REPORT_POLICY)], Html(html.await?)).into_response())
}

#[derive(Deserialize)]
struct Named {
    run: String,
}

async fn curves(State(app): Shared, Query(Named { run }): Query<Named>) -> Result<Json<Value>, Problem> {
    let runs = app.runs.clone();
    app.work.compute(move |_| runs::curves(&runs.find(&run)?)).await.map(Json)
}

async fn verdict(State(app): Shared, Query(Named { run }): Query<Named>) -> Result<Json<Value>, Problem> {
    let (runs, verdicts) = (app.runs.clone(), Arc::clone(&app.verdicts));
    let found = app.work.compute(move |_| {
        let folder = runs.find(&run)?;
        Ok((verdicts.known(&folder), folder))
    });
    let (known, folder) = found.await?;
    if let Some(known) = known {
        return Ok(Json(known));
    }
    let verdicts = Arc::clone(&app.verdicts);
    let turn = verdicts.turn().await;
    app.work
        .compute(move |_| {
            let verdict = verdicts.of(&folder);
            drop(turn);
            verdict
        })
        .await
        .map(Json)
}

async fn live_status(State(app): Shared) -> Result<Json<Value>, Problem> {
    Ok(Json(training(&app)?.status()))
}

async fn ask(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let request: LiveRequest = read(&headers, &body)?;
    training(&app)?.request(request)?;
    Ok(Json(json!({})))
}

fn training(app: &App) -> Result<&Arc<Live>, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "no training is running");
    app.live.as_ref().ok_or_else(none)
}

async fn watch(State(app): Shared) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let live = Arc::clone(training(&app)?);
    let seat = Arc::clone(&app.watchers).try_acquire_owned();
    let seat = seat.map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many watchers"))?;
    let at_once = Arc::clone(&live);
    let known = tokio::task::spawn_blocking(move || at_once.watch()).await;
    let (known, line) =
        known.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the training cannot be shown"))?;
    let watcher = Watcher { live, known, line, ended: false, _seat: seat };
    let messages = stream::unfold(watcher, async |mut watcher| {
        let (name, data) = watcher.next().await?;
        Some((Ok(Event::default().event(name).data(&*data)), watcher))
    });
    Ok(Sse::new(Box::pin(messages)).keep_alive(KeepAlive::default()))
}

/// A watcher of a training.
struct Watcher {
    live: Arc<Live>,
    /// Messages to be sent before new ones.
    known: VecDeque<Message>,
    line: Receiver<Message>,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

impl Watcher {
    async fn next(&mut self) -> Option<Message> {
        if self.ended {
            return None;
        }
        let next = match self.known.pop_front() {
            Some(message) => Some(message),
            None => self.news().await,
        };
        self.ended = next.as_ref().is_none_or(|(name, _)| *name == END);
        next
    }

    async fn news(&mut self) -> Option<Message> {
        match self.line.recv().await {
            Ok(message) => Some(message),
            // Too slow for all messages: everything is sent again.
            Err(RecvError::Lagged(_)) => {
                self.known = self.live.everything();
                self.known.pop_front()
            }
            Err(RecvError::Closed) => None,
        }
    }
}
