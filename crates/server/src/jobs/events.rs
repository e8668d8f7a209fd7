//! An import job as it changes, told as server-sent events. Changes nothing.
//!
//! ```text
//!  a change is committed ─▶ Changes ─┐
//!  every LOOK ───────────────────────┴▶ who asks? ─▶ read ─▶ another version? ─▶ event
//! ```
//!
//! Changes of this process are told at once, those of another that has the same database at the next look.
//! Invariant: whoever asks is identified anew just before each event, by the credentials of the request.

use super::customer::shown;
use super::record::Record;
use super::visible;
use crate::app::App;
use crate::auth::{self, Principal};
use crate::http::Segments;
use crate::{Error, db};
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{HeaderName, HeaderValue, RETRY_AFTER};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures::stream;
use model::JobName;
use sqlx::{Sqlite, Transaction};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use wire::Code;

/// A change of another process shows within this time.
const LOOK: Duration = Duration::from_secs(2);
/// A comment goes out when nothing else did for so long: many proxies cut what is silent for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Names of changed jobs that are kept for a stream that is slow. One that has missed some looks at once.
const KEPT: usize = 64;
/// When a caller who found no place may come again, in seconds.
const AGAIN: HeaderValue = HeaderValue::from_static("30");

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Who is told of changes.
#[derive(Debug)]
pub(crate) struct Changes {
    names: broadcast::Sender<JobName>,
    places: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

impl Changes {
    /// At most so many streams, which end once `stopped` says so.
    pub(crate) fn new(streams: usize, stopped: watch::Receiver<bool>) -> Self {
        let places = Arc::new(Semaphore::new(streams.min(Semaphore::MAX_PERMITS)));
        Self { names: broadcast::Sender::new(KEPT), places, stopped }
    }
}

/// Commits what has changed a job, and tells whoever watches it.
pub(super) async fn commit(
    app: &App,
    transaction: Transaction<'static, Sqlite>,
    name: &JobName,
) -> Result<(), Error> {
    transaction.commit().await?;
    // An error means that nobody watches.
    let _ = app.changes.names.send(name.clone());
    Ok(())
}

/// `GET /api/v1/import-jobs/{job}/events`
pub(crate) async fn watch(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Principal>,
    Segments(name): Segments<JobName>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    // Before the first look, so that no change falls between the two.
    let (names, stopped) = (app.changes.names.subscribe(), app.changes.stopped.clone());
    visible(&app, &caller, &name).await?;
    let Ok(place) = Arc::clone(&app.changes.places).try_acquire_owned() else { return Ok(busy()) };
    let seen = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let watching = Watching { app, caller, headers, name, seen, names, stopped, _place: place };
    let events = stream::unfold(Some(watching), async |watching| {
        let (event, watching) = watching?.next().await?;
        Some((Ok::<_, Infallible>(event), watching))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn busy() -> Response {
    let message = "too many jobs are watched at this time; read the job now and then instead";
    let mut response = Error::refused(Code::Unavailable, message).into_response();
    response.headers_mut().insert(RETRY_AFTER, AGAIN);
    response
}

/// One stream.
struct Watching {
    app: Arc<App>,
    caller: Principal,
    headers: HeaderMap,
    name: JobName,
    /// The version that was told last.
    seen: Option<u64>,
    names: broadcast::Receiver<JobName>,
    stopped: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

/// What a look has shown.
enum Look {
    Same,
    Changed(Box<Record>),
    /// The job's record is deleted.
    Gone,
    /// The caller may no longer see it.
    Denied,
}

impl Watching {
    /// The next event, and the stream if it goes on; none when it ends without a word.
    async fn next(mut self) -> Option<(Event, Option<Self>)> {
        loop {
            match self.look().await {
                Ok(Look::Same) => {}
                Ok(Look::Changed(record)) => {
                    let event = self.event(&record);
                    self.seen = Some(record.version);
                    return Some((event.inspect_err(|error| self.log(error)).ok()?, Some(self)));
                }
                Ok(Look::Gone) => return Some((Event::default().event("end").data("{}"), None)),
                Ok(Look::Denied) => return None,
                Err(error) => {
                    self.log(&error);
                    return None;
                }
            }
            if !self.wait().await {
                return None;
            }
        }
    }

    async fn look(&self) -> Result<Look, Error> {
        if !auth::is_still(&self.app, &self.headers, &self.caller).await? {
            return Ok(Look::Denied);
        }
        let mut connection = self.app.db.pool().acquire().await?;
        let version: Option<(i64,)> =
            sqlx::query_as("SELECT version FROM import_job WHERE name = ?")
                .bind(self.name.as_str())
                .fetch_optional(&mut *connection)
                .await?;
        let Some((version,)) = version else { return Ok(Look::Gone) };
        if self.seen == Some(db::count("import_job.version", version)?) {
            return Ok(Look::Same);
        }
        Ok(match Record::load(&mut connection, &self.name).await? {
            None => Look::Gone,
            Some(record) if record.may_be_seen_by(&self.caller) => Look::Changed(Box::new(record)),
            Some(_) => Look::Denied,
        })
    }

    fn event(&self, record: &Record) -> Result<Event, Error> {
        let job = db::to_json("an event", &shown(&self.app, &self.caller, record)?.0)?;
        Ok(Event::default().event("job").id(record.version.to_string()).data(job))
    }

    /// Until there may be something new. False when the server stops.
    async fn wait(&mut self) -> bool {
        let changed = async {
            // Where some were missed, this job may be among them.
            while self.names.recv().await.is_ok_and(|name| name != self.name) {}
        };
        tokio::select! {
            () = changed => true,
            () = tokio::time::sleep(LOOK) => true,
            // An error means that whoever could stop it is gone: time to stop as well.
            _ = self.stopped.wait_for(|stopped| *stopped) => false,
        }
    }

    fn log(&self, error: &Error) {
        let causes = crate::error::causes(error);
        tracing::error!(job = %self.name, %error, causes, "a watch of an import job is cut off");
    }
}
