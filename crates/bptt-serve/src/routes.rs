//! What is answered at which address.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Access, guard, nowhere};
use crate::assets::{Assets, pages};
use crate::explore::Explore;
use crate::formula::formula;
use crate::lab::Laboratory;
use crate::live::{Ask, END, Live, Message};
use crate::problem::Problem;
use crate::runs::{self, Runs};
use crate::work::Work;
use crate::{Options, TakeApart};

/// Bytes of a request's body at most.
const BODY: usize = 64 * 1024;

/// Watchers of a training at most.
const WATCHERS: usize = 64;

/// What the handlers share.
struct App {
    runs: Runs,
    live: Option<Arc<Live>>,
    take_apart: TakeApart,
    assets: Assets,
    work: Work,
    watchers: Arc<Semaphore>,
}

type Shared = State<Arc<App>>;

/// All routes, behind the guard.
pub(crate) fn router(options: Options, address: SocketAddr, live: Option<Arc<Live>>) -> Router {
    if let Some(live) = &live {
        tokio::spawn(Arc::clone(live).tell());
    }
    let access = Arc::new(Access::new(address, options.token.as_deref()));
    let patience = options.limits.patience;
    let app = Arc::new(App {
        runs: Runs::new(options.runs),
        live,
        take_apart: options.take_apart,
        assets: Assets::new(),
        work: Work::new(),
        watchers: Arc::new(Semaphore::new(WATCHERS)),
    });
    let mut router = Router::new()
        .route("/", get(front))
        .route("/assets/{name}", get(asset))
        .route("/api/live", get(watch))
        .route("/api/live/ask", post(ask))
        .route("/api/runs", get(list))
        .route("/api/runs/curves", get(curves))
        .route("/api/lab", post(lab))
        .route("/api/lab/formula", post(lab_formula))
        .route("/api/explore", post(explore));
    for (address, page) in pages() {
        router = router.route(&format!("/{address}"), get(Html(page)));
    }
    router
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(axum::middleware::from_fn(move |request: Request, next: Next| {
            patiently(patience, request, next)
        }))
        .layer(from_fn_with_state(access, guard))
        .with_state(app)
}

/// Leaves a client that takes too long over its request. Computing has its own bounds.
async fn patiently(patience: Duration, request: Request, next: Next) -> Response {
    let slow = || Problem::new(StatusCode::REQUEST_TIMEOUT, "this took too long").into_response();
    // A body has to come in time; what is computed of it may take three times as long.
    tokio::time::timeout(3 * patience, next.run(request)).await.unwrap_or_else(|_| slow())
}

/// The page that is most likely wanted.
async fn front(State(app): Shared) -> Redirect {
    let runs = app.live.is_some() || !app.runs.list().is_empty();
    Redirect::to(if runs { "/live" } else { "/lab" })
}

async fn asset(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "there is no such file").into_response();
    app.assets.get(&name, &headers).unwrap_or_else(missing)
}

/// A body as JSON. A form of another site cannot say that it is JSON without being asked first.
fn read<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json"));
    }
    serde_json::from_slice(body).map_err(|error| Problem {
        status: if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST },
        words: error.to_string(),
    })
}

async fn lab(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let laboratory: Laboratory = read(&headers, &body)?;
    app.work.compute(move |gone| laboratory.take_apart(gone)).await.map(Json)
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
    app.work.compute(move |gone| formula(&lab, k, t, gone)).await.map(Json)
}

async fn explore(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let explore: Explore = read(&headers, &body)?;
    explore.check()?;
    let (runs, take_apart) = (app.runs.clone(), app.take_apart);
    let taken = app.work.compute(move |gone| {
        let folder = runs.find(&explore.run)?;
        explore.take_apart(&folder, take_apart, gone)
    });
    taken.await.map(Json)
}

async fn list(State(app): Shared) -> Result<Json<Value>, Problem> {
    let live = app.live.as_ref().map(|live| live.name().to_owned());
    let runs = app.runs.clone();
    let list = app.work.compute(move |_| {
        Ok(runs.list().iter().map(|(name, folder)| runs::summary(name, folder)).collect::<Vec<_>>())
    });
    Ok(Json(json!({ "live": live, "runs": list.await? })))
}

#[derive(Deserialize)]
struct Named {
    run: String,
}

async fn curves(State(app): Shared, Query(Named { run }): Query<Named>) -> Result<Json<Value>, Problem> {
    let runs = app.runs.clone();
    app.work.compute(move |_| runs::curves(&runs.find(&run)?)).await.map(Json)
}

async fn ask(State(app): Shared, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Problem> {
    let ask: Ask = read(&headers, &body)?;
    training(&app)?.ask(ask)?;
    Ok(Json(json!({})))
}

fn training(app: &App) -> Result<&Arc<Live>, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, "no training is going on here");
    app.live.as_ref().ok_or_else(none)
}

async fn watch(State(app): Shared) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let live = Arc::clone(training(&app)?);
    let seat = Arc::clone(&app.watchers).try_acquire_owned();
    let seat = seat.map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many are watching"))?;
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

/// One who watches a training.
struct Watcher {
    live: Arc<Live>,
    /// What is to be told before anything new.
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
            // Too slow for every piece of news: everything anew.
            Err(RecvError::Lagged(_)) => {
                self.known = self.live.everything();
                self.known.pop_front()
            }
            Err(RecvError::Closed) => None,
        }
    }
}
