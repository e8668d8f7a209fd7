//! Access tokens of a machine, got by its certificate: one is kept until shortly before it ends, then the next one
//! is got. Reads no file: who the machine is, it asks whoever does.

use crate::{Certified, Error, Result};
use jiff::Timestamp;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use store::{Proxies, TokenSource};
use wire::{Code, Credentials};
use zeroize::Zeroizing;

/// What tokens of agents are for: our own API and the data plane are the resource manager's.
const RESOURCE: &str = "https://management.azure.com";
/// A token is not used any more so long before it ends: a long upload may begin with it.
const SPARE: Duration = Duration::from_secs(300);

/// A certificate and its key.
#[derive(Clone)]
pub struct Proof {
    /// In DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 in DER.
    pub key: Zeroizing<Vec<u8>>,
    /// Until when it is good.
    pub until: Timestamp,
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof").field("until", &self.until).finish_non_exhaustive()
    }
}

/// Whoever knows a machine's certificates: those that may be good, the likeliest first. More than one while it
/// changes.
pub type Proofs = Box<dyn Fn() -> Result<Vec<Proof>> + Send + Sync>;

/// A machine's tokens. Many threads may ask at once.
pub struct Tokens {
    credentials: Arc<Credentials>,
    proxies: Proxies,
    proofs: Proofs,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Zeroizing<String>,
    until: Instant,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(credentials: Arc<Credentials>, proofs: Proofs, proxies: Proxies) -> Self {
        Self { credentials, proxies, proofs, kept: Mutex::new(None) }
    }

    /// A token that is good now.
    ///
    /// # Errors
    /// [`Error::CertificateOver`]; [`Error::NotKnown`]; the server is away.
    pub fn get(&self) -> Result<Zeroizing<String>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept.as_ref().filter(|known| Instant::now() < known.until) {
            return Ok(known.token.clone());
        }
        let asked = Instant::now();
        let (token, seconds) = self.ask()?;
        let good = Duration::from_secs(seconds);
        let good = good.checked_sub(SPARE).unwrap_or(good / 2);
        *kept = Some(Kept { token: token.clone(), until: asked + good });
        Ok(token)
    }

    fn ask(&self) -> Result<(Zeroizing<String>, u64)> {
        let proofs = (self.proofs)()?;
        let mut refusal = None;
        for proof in &proofs {
            match self.certified(proof)?.token_for(RESOURCE) {
                Err(Error::Refused { code: Code::AuthenticationFailed, message, .. }) => {
                    refusal = refusal.or(Some(message));
                }
                other => return other,
            }
        }
        let endpoint = self.credentials.endpoint.clone();
        let now = Timestamp::now();
        // A next one that was begun is good for years, and nobody has it before it is registered by the first.
        Err(match proofs.first().map(|proof| proof.until) {
            Some(ended) if ended < now => Error::CertificateOver { endpoint, ended },
            _ => Error::NotKnown { endpoint, message: refusal.unwrap_or_default() },
        })
    }

    /// The token that this certificate gets, if it gets one.
    ///
    /// # Errors
    /// The server gives none.
    pub fn by(&self, proof: &Proof) -> Result<Zeroizing<String>> {
        Ok(self.certified(proof)?.token_for(RESOURCE)?.0)
    }

    /// What is said, signed with the key of each certificate that may be good, the likeliest first.
    pub(crate) fn statements(&self, kind: &str, claims: &impl Serialize) -> Result<Vec<String>> {
        let proofs = (self.proofs)()?;
        proofs.iter().map(|proof| self.certified(proof)?.statement(kind, claims)).collect()
    }

    fn certified<'a>(&'a self, proof: &'a Proof) -> Result<Certified<'a>> {
        let known = &self.credentials;
        let missing = |what: &str| Error::Credentials {
            from: format!("for {}", known.endpoint),
            what: what.to_owned(),
        };
        Ok(Certified {
            endpoint: &known.endpoint,
            ca_pem: known.ca_pem.as_deref().ok_or_else(|| missing("no certificate authority"))?,
            tenant: known.tenant_id.as_deref().ok_or_else(|| missing("no tenant"))?,
            client: known.client_id.as_deref().ok_or_else(|| missing("no application"))?,
            certificate: &proof.certificate,
            key: &proof.key,
            proxies: self.proxies.clone(),
        })
    }

    /// Forgets a token that the server has not taken.
    pub fn forget(&self, token: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|known| known.token.as_str() == token) {
            *kept = None;
        }
    }
}

impl TokenSource for Tokens {
    fn token(&self) -> store::Result<Zeroizing<String>> {
        let location = || format!("rest:{}", self.credentials.endpoint);
        self.get().map_err(|error| match error {
            Error::CertificateOver { .. } | Error::NotKnown { .. } | Error::Refused { .. } => {
                store::Error::Denied { location: location(), what: error.to_string() }
            }
            other => store::Error::Unavailable { location: location(), cause: Box::new(other) },
        })
    }

    fn refused(&self, token: &str) {
        self.forget(token);
    }
}
