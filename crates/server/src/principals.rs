//! Issues tokens: to administrators, source servers, docks and maintenance hosts. Keeps their hashes only.

use crate::{Error, db, token};
use jiff::Timestamp;
use model::{ServerName, VaultName};
use sqlx::SqliteConnection;
use wire::{Code, Role};

/// Whom a token is for. Each subject has one token at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Admin,
    Agent(VaultName, ServerName),
    Dock(String),
    /// Whoever prunes a source server's repository.
    Maintenance(VaultName, ServerName),
}

impl Subject {
    fn key(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Agent(vault, server) => format!("agent/{vault}/{server}"),
            Self::Dock(name) => format!("dock/{name}"),
            Self::Maintenance(vault, server) => format!("maintenance/{vault}/{server}"),
        }
    }

    /// The user name of Basic authentication.
    pub(crate) fn user(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Agent(_, server) => server.to_string(),
            Self::Dock(_) => "dock".to_owned(),
            Self::Maintenance(..) => "maintenance".to_owned(),
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self {
            Self::Admin => Role::Admin,
            Self::Agent(..) => Role::Agent,
            Self::Dock(_) => Role::Dock,
            Self::Maintenance(..) => Role::Maintenance,
        }
    }

    fn role_text(&self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Agent(..) => "agent",
            Self::Dock(_) => "dock",
            Self::Maintenance(..) => "maintenance",
        }
    }
}

/// Whether the subject has a token.
pub(crate) async fn has_token(on: &mut SqliteConnection, subject: &Subject) -> Result<bool, Error> {
    let there: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM principal WHERE subject = ?")
        .bind(subject.key())
        .fetch_optional(on)
        .await?;
    Ok(there.is_some())
}

/// Ends the subject's token, if it has one.
pub(crate) async fn end(on: &mut SqliteConnection, subject: &Subject) -> Result<(), Error> {
    sqlx::query("DELETE FROM principal WHERE subject = ?").bind(subject.key()).execute(on).await?;
    Ok(())
}

/// Makes a token for the subject; ends the one it has if `replace`, refuses if not.
pub(crate) async fn issue(
    on: &mut SqliteConnection,
    subject: &Subject,
    replace: bool,
    now: Timestamp,
) -> Result<String, Error> {
    let key = subject.key();
    if !replace && has_token(&mut *on, subject).await? {
        let message =
            format!("{key} has a token already; ask to replace it, which ends the old one");
        return Err(Error::refused(Code::AlreadyExists, message));
    }
    let token = token::new()?;
    set(on, subject, &token, now).await?;
    Ok(token)
}

/// Makes that the subject's token.
pub(crate) async fn set(
    on: &mut SqliteConnection,
    subject: &Subject,
    token: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let (vault, server) = match subject {
        Subject::Agent(vault, server) | Subject::Maintenance(vault, server) => {
            (Some(vault.as_str()), Some(server.as_str()))
        }
        _ => (None, None),
    };
    sqlx::query(
        "INSERT INTO principal (subject, user_name, role, vault, server, token_sha256, created_at)
         VALUES (?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT (subject) DO UPDATE
         SET token_sha256 = excluded.token_sha256, created_at = excluded.created_at",
    )
    .bind(subject.key())
    .bind(subject.user())
    .bind(subject.role_text())
    .bind(vault)
    .bind(server)
    .bind(token::hash(token).as_slice())
    .bind(db::time(now))
    .execute(on)
    .await?;
    Ok(())
}
