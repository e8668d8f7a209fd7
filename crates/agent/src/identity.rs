//! This machine's certificate: made here, registered by a vault's credentials, renewed by proof of the one before. Its key
//! leaves the machine in no form. Protocol and what is found after a death: docs/design/identity.md.

use crate::context::{Context, Event};
use crate::register::{self, Registration};
use crate::state::State;
use crate::vault::owner;
use crate::{Error, OwnError};
use client::{Certified, Client, Proof};
use credfile::{Identity, ManagementCert, VaultCredentials, machine_identity};
use jiff::Timestamp;
use model::{Digest, ErrorKind, ServerName};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use store::Proxies;
use wire::Credentials;
use zeroize::Zeroizing;

/// A file with a key and a certificate has some three kilobytes.
const LIMIT: u64 = 1 << 16;

/// Registration of this machine by a vault's credentials.
#[derive(Debug)]
pub struct Enrolment<'a> {
    /// The vault's credentials.
    pub file: &'a VaultCredentials,
    /// The name that this machine has in the vault.
    pub name: &'a ServerName,
    /// To leave another vault or name that this state is registered with.
    pub replace: bool,
    /// To take the place of another machine that has the name.
    pub take_over: bool,
}

/// This machine's certificate, as far as people need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// When the next one is asked for.
    pub renewed_from: Timestamp,
    /// Whether it took the place of the one before just now.
    pub is_new: bool,
}

impl Machine {
    fn of(identity: &Identity, is_new: bool) -> Self {
        let certificate = identity.certificate();
        let (from, until) = (certificate.not_before(), certificate.not_after());
        let third = until.duration_since(from) / 3;
        Self { from, until, renewed_from: until.saturating_sub(third).unwrap_or(until), is_new }
    }
}

/// A client for what this server is registered with, as itself.
///
/// # Errors
/// [`Error::NotRegistered`].
pub fn client(state: &Path, proxies: &Proxies) -> Result<Client, Error> {
    let credentials = crate::credentials(state)?;
    client_of(&State::open(state)?, credentials, proxies)
}

pub(crate) fn client_of(
    state: &State,
    credentials: Credentials,
    proxies: &Proxies,
) -> Result<Client, Error> {
    if !credentials.by_certificate() {
        return Ok(Client::through(credentials, proxies)?);
    }
    // Read each time: another process may have changed it.
    let state = state.clone();
    let proofs = move || {
        let bad =
            |what: String| client::Error::Credentials { from: "of this machine".into(), what };
        let mut found = Vec::new();
        for path in state.machine_files() {
            let known = read(&path).map_err(|error| bad(error.to_string()))?;
            found.extend(known.as_ref().map(proof));
        }
        match found.is_empty() {
            true => Err(bad("machine.pem is not in the state directory any more; register again: packmule agent register --credentials FILE --take-over".to_owned())),
            false => Ok(found),
        }
    };
    Ok(Client::certified(credentials, Box::new(proofs), proxies)?)
}

fn proof(identity: &Identity) -> Proof {
    let certificate = identity.certificate();
    Proof {
        certificate: certificate.as_der().to_vec(),
        key: Zeroizing::new(identity.private_key().to_vec()),
        until: certificate.not_after(),
    }
}

/// The certificate and key in a file; none where there is no file.
fn read(path: &Path) -> Result<Option<Identity>, Error> {
    let text = match std::fs::metadata(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Ok(known) if known.len() <= LIMIT => std::fs::read(path),
        Ok(_) => Err(std::io::Error::other("it is too long")),
        Err(cause) => Err(cause),
    };
    let text = Zeroizing::new(text.map_err(Error::io("reading", path))?);
    let damaged =
        |why: credfile::Error| Error::Damaged { path: path.into(), what: why.to_string() };
    Identity::from_pem(&text).map(Some).map_err(damaged)
}

fn made(ctx: &Context<'_>, name: &ServerName) -> Result<Identity, Error> {
    let making = |error: credfile::Error| OwnError::Making { what: error.to_string() };
    Ok(machine_identity(name, ctx.now()).map_err(making)?)
}

fn write(path: &Path, identity: &Identity) -> Result<(), Error> {
    let text = identity.to_pem();
    store::durable::replace(path, text.as_bytes(), 0o600).map_err(Error::io("writing", path))
}

/// The new one takes the old one's place.
fn promote([kept, new]: &[std::path::PathBuf; 2]) -> Result<(), Error> {
    std::fs::rename(new, kept).map_err(Error::io("renaming", new))?;
    let folder = kept.parent().unwrap_or(Path::new("."));
    store::durable::sync_folder(folder).map_err(Error::io("writing", folder))
}

/// This machine's certificate; none where it has a token, or is not registered.
///
/// # Errors
/// The state directory cannot be read.
pub fn machine(state: &Path) -> Result<Option<Machine>, Error> {
    let state = State::open(state)?;
    match state.credentials() {
        Err(Error::NotRegistered) => return Ok(None),
        Ok(credentials) if !credentials.by_certificate() => return Ok(None),
        other => drop(other?),
    }
    let [kept, new] = state.machine_files();
    let known = match read(&kept)? {
        None => read(&new)?,
        known => known,
    };
    Ok(known.map(|identity| Machine::of(&identity, false)))
}

/// Registers this machine by a vault's credentials, with a certificate that is made for it. One that registers again has a
/// new certificate, and everything else as before.
///
/// # Errors
/// [`Error::OtherRegistration`]; what the server refuses, with [`wire::Code::AlreadyExists`] when another machine
/// has the name: nothing has changed then.
pub fn enrol(ctx: &Context<'_>, what: &Enrolment<'_>) -> Result<Registration, Error> {
    let state = State::open(ctx.state)?;
    let _lock = state.lock_machine()?;
    let file = what.file;
    register::refuse_other_vault(&state, &file.vault, what.name, what.replace)?;
    let refused = |words: &str| Error::from(OwnError::VaultFile { what: words.to_owned() });
    let ManagementCert::Identity(identity) = &file.management_cert else {
        return Err(refused("it has no private key: have the vault's credentials made anew"));
    };
    let endpoint = file.endpoint.as_ref().unwrap_or(&file.aad_authority);
    let client = file.service_principal.map(|id| id.to_string());
    let client = client.ok_or_else(|| refused("it names no application"))?;
    let authority = file.authority.as_ref().map(credfile::Certificate::to_pem);
    let ca_pem = authority
        .ok_or_else(|| refused("it says of no authority to trust: it is not of Packmule's"))?;
    let files = state.machine_files();
    let mut known = Vec::new();
    for path in &files {
        if let Some(before) = read(path)? {
            let hash = Sha256::digest(before.certificate().as_der());
            known.push(Digest(hash.into()));
        }
    }
    let own = made(ctx, what.name)?;
    // Before anybody knows of it, beside the one before: neither is lost, whoever has won.
    write(&files[1], &own)?;
    ctx.tell(Event::Step("a certificate is made"));
    let tenant = file.aad_tenant.to_string();
    let certified = Certified {
        endpoint: endpoint.as_str(),
        ca_pem: &ca_pem,
        tenant: &tenant,
        client: &client,
        certificate: identity.certificate().as_der(),
        key: identity.private_key(),
        proxies: ctx.proxies.clone(),
    };
    let certificate = own.certificate().as_der();
    let how = (what.take_over, known);
    let answered = certified.register(&file.aad_audience, &file.vault, what.name, certificate, how);
    let credentials = match answered {
        Err(error) if error.code().is_some() => {
            // Nobody knows this one, and nobody will.
            let _ = std::fs::remove_file(&files[1]);
            return Err(error.into());
        }
        other => other?,
    };
    ctx.tell(Event::Step("it is registered"));
    let done = register::keep(ctx, &state, &credentials, what.replace)?;
    ctx.tell(Event::Step("what it is registered as is kept"));
    promote(&files)?;
    ctx.tell(Event::Step("it is in its place"));
    Ok(done)
}

/// Renews this machine's certificate when its time has come, and goes on with what a process that died has begun. None where
/// there is none to renew.
///
/// # Errors
/// The server is away or refuses: the certificate that there is goes on.
pub fn renew(ctx: &Context<'_>) -> Result<Option<Machine>, Error> {
    let Some(machine) = machine(ctx.state)? else { return Ok(None) };
    let state = State::open(ctx.state)?;
    let files = state.machine_files();
    let ending = state.ending_file();
    let begun = files[1].exists() || ending.exists();
    if ctx.now() < machine.renewed_from && !begun {
        return Ok(Some(machine));
    }
    let _lock = match state.lock_machine() {
        // Whoever has it does just this.
        Err(Error::Busy { .. }) => return Ok(Some(machine)),
        other => other?,
    };
    let credentials = state.credentials()?;
    let (vault, server) = owner(&credentials)?;
    let end = |certificate: &[u8]| -> Result<(), Error> {
        let now = client_of(&state, credentials.clone(), &ctx.proxies)?;
        now.put_certificate(&vault, &server, certificate)?;
        std::fs::remove_file(&ending).map_err(Error::io("removing", &ending))
    };
    if ending.exists() && !files[1].exists() {
        if let Some(kept) = read(&files[0])? {
            end(kept.certificate().as_der())?;
        }
        return Ok(Some(machine));
    }
    let next = match read(&files[1]) {
        Ok(Some(begun)) if ctx.now() < Machine::of(&begun, true).renewed_from => begun,
        // Of no use, or half of one.
        Ok(_) | Err(Error::Damaged { .. }) => {
            let made = made(ctx, &server)?;
            write(&files[1], &made)?;
            made
        }
        Err(error) => return Err(error),
    };
    ctx.tell(Event::Step("a next certificate is made"));
    let certificate = next.certificate().as_der();
    let before = client_of(&state, credentials.clone(), &ctx.proxies)?;
    before.put_certificate(&vault, &server, certificate)?;
    ctx.tell(Event::Step("it is registered beside the old one"));
    // It takes the other's place when it has worked.
    if let Some(tokens) = before.tokens() {
        tokens.by(&proof(&next))?;
    }
    ctx.tell(Event::Step("it has worked"));
    store::durable::replace(&ending, b"", 0o600).map_err(Error::io("writing", &ending))?;
    promote(&files)?;
    ctx.tell(Event::Step("it is in its place"));
    // The old one ends. Where this does not arrive, the next call says it again.
    let _ = end(certificate);
    Ok(Some(Machine::of(&next, true)))
}

/// The same beside something that goes on whether it can be renewed or not.
pub(crate) fn renew_beside(ctx: &Context<'_>) {
    match renew(ctx) {
        Err(error) if error.kind() != ErrorKind::Unavailable => {
            ctx.tell(Event::NotRenewed { why: &error.to_string() });
        }
        _ => {}
    }
}
