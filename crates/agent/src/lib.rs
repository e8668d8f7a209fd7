//! The life of a seed at the source: registration, protection groups, the first backup into
//! staging, drives and import jobs, publication, receipt, increments, and at last the cleaning of
//! staging.
//!
//! Every operation takes a [`Context`] and may be called again at any time: what is done is found
//! done, and the rest goes on. Blocks; prints nothing; asks nobody.
//!
//! ```text
//!  backup_now ─▶ staging ─▶ prepare ─▶ drives, import job ─▶ ship ─▶ …
//!  write_drives ─────────────────────▶ drives, import job ─▶ ship ─▶ …
//!  backup_now ─▶ waiting … (what is missing is sent, or made anew) ─▶ published ─▶ receipt ─▶ check ─▶ Confirmed ─▶ increment
//!                                                                 └▶ clean_staging
//! ```
//!
//! What always holds:
//!
//! - **Nothing at the source is deleted before the vault has confirmed it.** A seed is Confirmed
//!   only when a receipt signed by the pinned key names exactly what was sent, and every blob of
//!   each of its snapshots is indexed in a pack that is in the vault with the indexed length.
//! - **Every change of a seed's state goes through [`flow::Seed`]**, and is in the record before
//!   anything follows from it.
//! - **No drive's password is removed.** It is on the disk before the drive is formatted with it, and in
//!   the import job before that counts as prepared.
//! - **State is whole at any moment**: each file is replaced in one step.

mod abandon;
mod adopt;
mod announce;
mod asking;
mod bench;
mod chain;
mod clean;
mod confirm;
mod context;
mod copy;
mod deletions;
mod direct;
mod elsewhere;
mod error;
mod export;
mod group;
mod held;
mod identity;
mod init;
mod job;
mod journal;
mod keep;
mod kept;
mod key_files;
mod key_record;
mod keys;
mod kit;
mod names;
mod next;
mod now;
mod origin;
mod own_error;
mod passphrase;
mod points;
mod prepare;
mod publication;
mod record;
mod recover;
mod refill;
mod register;
mod revise;
mod send;
mod ship;
mod state;
mod status;
mod stop;
mod transit;
mod travelling;
mod vault;
mod wanted;

pub use abandon::{Abandoning, Fate, GivenUp, abandon_seed};
pub use announce::{StagedSeed, staged_seed};
pub use asking::{Asking, Counts, Told, Vaulted};
pub use chain::formatted;
pub use clean::{Cleaned, Cleaning, clean_staging};
pub use confirm::Confirmed;
pub use context::{Context, Event, Phase};
pub use copy::{copy_state, take_copy};
pub use deletions::{OwnDeletion, allow_deletion, deletions, undelete};
pub use direct::life::{
    Given, NextDrive, Writing, Written, begin_direct, check_direct, cover_drives, write_drives,
};
pub use direct::series::{Base, Over, SeriesError, Turn, Wish};
pub use direct::{Desk, Direct, backup_onto_drives, refuse_inside, seed_of_drives};
pub use error::Error;
pub use export::{
    Asked, AskedAgain, ExportError, ExportPart, Fetched, Load, PartOf, PlannedExport, export_again,
    fetch_export, plan_export,
};
pub use group::{
    CreatedGroup, Group, Initial, NewGroup, NewInitial, OfflineInputs, Warning, catch_up,
    change_group, create_group, given_up, groups,
};
pub use held::{hold_parity, send_parity};
pub use identity::{Enrolment, Machine, client, enrol, machine, renew};
pub use keep::{Keeping, Kept, KeptPoint, keep};
pub use key_files::{KeyShown, keep_key, repository_keys};
pub use keys::drive_keys;
pub use kit::{Kit, handed_over, has_kit, recovery_kit, revoke_kits};
pub use next::{Drives, Next};
pub use now::{BackupReport, backup_now};
pub use origin::begin_repository;
pub use own_error::OwnError;
pub use passphrase::{Changed, change_passphrase, is_short};
pub use points::{RecoveryPoint, RecoveryPoints, open_staging, open_vault, recovery_points};
pub use prepare::{
    Needed, Preparation, PrepareReport, ToBeWritten, check_preparation, prepare, to_be_written,
};
pub use record::{
    Contents, Happened, JobDrive, KeptReceipt, Revised, SeedJob, SeedRecord, StagedBackup, Sum,
};
pub use recover::{Recovered, recover_seeds};
pub use refill::{Refilled, Refilling, refill};
pub use register::{Registration, register};
pub use send::{Sending, Sent, Way};
pub use ship::{ShipTarget, ship, to_be_shipped};
pub use state::credentials;
pub use status::{GroupStatus, JobStatus, KeysStatus, SeedStatus, Status, status};
pub use stop::{Stopped, resume_group, stop_and_delete, stop_group};
pub use transit::{ON_DRIVES, Waiting};
pub use vault::Place;
pub use wanted::{Answer, WantedRow, send_wanted, wanted};

/// What the agent's operations return.
pub type Result<T> = std::result::Result<T, Error>;
