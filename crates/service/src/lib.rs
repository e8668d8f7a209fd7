//! The agent by itself: runs protection groups when their schedules say so, keeps the history of what was run, raises alerts and
//! tells metrics. What a backup does is the `agent` crate's; when one is due is decided in `policy`.
//!
//! ```text
//!  tick ─▶ due? ─▶ run ─▶ before ▶ backup ▶ after ─▶ history ─▶ alerts ─▶ outbox ─▶ channels
//! ```
//!
//! What always holds:
//!
//! - The row of a run is on the disk before the run begins: a scheduled time is handled once, and a run that a crash has ended is found.
//! - One run a group at a time, whoever has asked for it.
//! - A problem is in the history, in an alert and in the log. None of them can stop a backup.
//! - No password, token or key is in a row, a message or the log.

mod alert;
mod channel;
mod db;
mod error;
mod history;
mod hook;
mod listen;
mod metrics;
mod next;
mod notify;
mod own;
mod restored;
mod retention;
mod run;
mod service;
mod settings;
mod work;

pub use alert::{Alert, Severity};
pub use channel::{Channels, Message};
pub use db::Db;
pub use error::Error;
pub use history::{Cause, Left, Run, RunState};
pub use listen::Listener;
pub use metrics::{Facts, GroupFacts, SeedFacts, render};
pub use next::{default_settings, next_due};
pub use restored::{Restored, RestoredSo};
pub use retention::{Applied, Decided, Retention, apply_now, said};
pub use run::{Outcome, RunOf, run};
pub use service::{Reload, Service, ServiceOptions};
pub use settings::{Alerts, File, GroupEntry, Hidden, Mail, MailTls, Metrics, Offline, Settings};
pub use work::{AgentWork, Report, Work};

/// What the crate's operations return.
pub type Result<T> = std::result::Result<T, Error>;
