//! The recovery kit: a second key of the repository, for paper. Its secret is in what is returned and nowhere else.

use crate::context::Context;
use crate::key_files;
use crate::key_record::{OwnKey, Purpose};
use crate::state::State;
use crate::{Error, OwnError};
use jiff::Timestamp;
use model::{Digest, RECOVERY_BYTES, RecoveryCode, ServerName, VaultName};
use std::fmt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A recovery kit, to be printed or written down. Shown by its text only.
#[derive(Clone)]
pub struct Kit {
    /// The key that it opens.
    pub key: Digest,
    /// The repository: SHA-256 of its config.
    pub repository: Digest,
    /// The vault's server.
    pub endpoint: Option<String>,
    /// The vault, and the source server's name there.
    pub vault: Option<(VaultName, ServerName)>,
    /// When it was made.
    pub made: Timestamp,
    /// Why the vault does not have its key yet, where that is so.
    pub away: Option<String>,
    code: RecoveryCode,
}

impl fmt::Debug for Kit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Makes a recovery kit. The caller gives it to whoever shall have it, and then says so by [`handed_over`]; kits that nobody
/// got are to go with the next one.
///
/// # Errors
/// [`OwnError::NoRepositoryYet`]; the passphrase is not the repository's.
pub fn recovery_kit(ctx: &Context<'_>, password: &[u8]) -> Result<Kit, Error> {
    let state = State::open(ctx.state)?;
    let _lock = state.lock_keys()?;
    let opened = key_files::open(ctx, &state, password)?;
    let mut bytes = Zeroizing::new([0; RECOVERY_BYTES]);
    getrandom::fill(&mut *bytes).map_err(|_| Error::Random)?;
    let code = RecoveryCode::from_bytes(&bytes);
    let made = ctx.now();
    let key = opened.repository.new_key(code.text().as_bytes(), ctx.kdf, made)?;
    key_files::add(ctx, &state, &opened, &key, Purpose::Recovery)?;
    let lost = |own: &OwnKey| !own.handed_over && own.id != key.id;
    retire_kits(ctx, &state, &opened, lost)?;
    let registered = match state.credentials() {
        Err(Error::NotRegistered) => None,
        other => Some(other?),
    };
    let own = registered.as_ref().and_then(|known| known.vault.clone().zip(known.server.clone()));
    Ok(Kit {
        key: key.id,
        repository: opened.repository.identity(),
        endpoint: registered.map(|known| known.endpoint),
        vault: own,
        made,
        away: opened.away.map(|error| error.to_string()),
        code,
    })
}

/// Whether somebody has a recovery kit that was made here and holds.
///
/// # Errors
/// The state directory cannot be read.
pub fn has_kit(state: &Path) -> Result<bool, Error> {
    Ok(State::open(state)?.keys()?.kit().is_some())
}

/// Notes that somebody has the kit.
///
/// # Errors
/// The state directory cannot be written.
pub fn handed_over(ctx: &Context<'_>, kit: &Kit) -> Result<(), Error> {
    State::open(ctx.state)?.change_keys(|record| {
        for key in record.keys.iter_mut().filter(|key| key.id == kit.key) {
            key.handed_over = true;
        }
    })
}

/// Lets every recovery kit made here go, but for `keep`. Answers how many, and the places where their keys stay until a seed is
/// confirmed.
///
/// # Errors
/// As [`recovery_kit`].
pub fn revoke_kits(
    ctx: &Context<'_>,
    password: &[u8],
    keep: Option<&Kit>,
) -> Result<(usize, Vec<PathBuf>), Error> {
    let state = State::open(ctx.state)?;
    let _lock = state.lock_keys()?;
    let opened = key_files::open(ctx, &state, password)?;
    // Whoever has nothing but the kit must not lose it.
    let own = repo::keys_of(opened.repository.store().as_ref(), password)?;
    if let Some(key) = own.iter().find(|key| {
        let known = state.keys();
        known.is_ok_and(|known| known.get(**key).is_some_and(|it| it.purpose == Purpose::Recovery))
    }) {
        return Err(OwnError::OwnKit { key: *key }.into());
    }
    let stays = keep.map(|kit| kit.key);
    retire_kits(ctx, &state, &opened, |key| Some(key.id) != stays)
}

fn retire_kits(
    ctx: &Context<'_>,
    state: &State,
    opened: &key_files::Opened,
    which: impl Fn(&OwnKey) -> bool,
) -> Result<(usize, Vec<PathBuf>), Error> {
    let is = |key: &&OwnKey| {
        let own = key.repository == opened.repository.identity();
        own && key.purpose == Purpose::Recovery && key.to_go.is_none() && which(key)
    };
    let record = state.keys()?;
    let going: Vec<_> = record.keys.iter().filter(is).map(|key| (key.id, key.purpose)).collect();
    if going.is_empty() {
        return Ok((0, Vec::new()));
    }
    let stays = key_files::retire(ctx, state, opened, &going)?;
    Ok((going.len(), stays))
}

impl Kit {
    /// The kit as text, with the secret.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let (endpoint, repository) = (self.endpoint.as_deref(), self.repository);
        let none = "not registered with a vault yet".to_owned();
        let vault = self
            .vault
            .as_ref()
            .map_or(none, |(vault, server)| format!("{vault}, source server {server}"));
        let host = endpoint.map(|endpoint| endpoint.trim_start_matches("https://"));
        let path = self.vault.as_ref().map(|(vault, server)| format!("/vaults/{vault}/{server}/"));
        let url = match (host, path) {
            (Some(host), Some(path)) => format!("rest:https://USER:TOKEN@{host}{path}"),
            _ => "FOLDER".to_owned(),
        };
        let server = endpoint.unwrap_or("-");
        let mut text = Zeroizing::new(String::with_capacity(4096));
        text.push_str("PACKMULE RECOVERY KIT\n\nWhoever has this paper can read every backup of this server. Keep it where the server is not.\n\n");
        text.push_str("  secret      ");
        text.push_str(&self.code.text());
        text.push_str(&format!(
            "\n              (groups of five; the fifth of each checks the others. No I, L, O, U: 0 and 1 are digits)\n\n  server      {server}\n  vault       {vault}\n  repository  {repository}\n  key         {}\n  made        {:.0}\n",
            self.key, self.made
        ));
        text.push_str("\nThe passphrase is lost, the server is there\n\n    packmule agent passphrase            asks for the old one: type the secret; then for a new one\n");
        text.push_str("\nThe server is lost\n\n    Have the vault's administrator make credentials: packmule vault credentials VAULT -o FILE\n    On the new server, with Packmule:\n    packmule agent register --credentials FILE --name NAME --take-over\n    packmule recovery-point list GROUP   and packmule restore GROUP: type the secret as the password\n");
        text.push_str(&format!(
            "\nWithout Packmule, with stock restic\n\n    The administrator makes a token: packmule vault credentials VAULT --for NAME -o FILE (user, token and caPem are in it)\n    restic -r {url} --cacert ca.pem snapshots\n    restic -r {url} --cacert ca.pem restore latest --target DIR\n    As the password, type the secret as it is printed: capitals, digits and hyphens.\n"
        ));
        text
    }

    /// The secret alone: as a password of the repository.
    #[must_use]
    pub fn secret(&self) -> Zeroizing<String> {
        self.code.text()
    }
}
