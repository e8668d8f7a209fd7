//! Registration by a vault's credentials file: with a certificate of this machine's own, made here, which
//! speaks for it from then on. Keeps no credentials; that is the agent's part.

use super::keep::write;
use crate::context::Context;
use crate::failure::Failure;
use client::Certified;
use credfile::{ManagementCert, VaultCredentials, machine_identity};
use model::{ErrorKind, ServerName};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use wire::Credentials;
use zeroize::Zeroizing;

/// What was given for registering.
pub(crate) struct Given<'a> {
    pub(crate) file: &'a Path,
    pub(crate) name: &'a Option<ServerName>,
    pub(crate) replace: bool,
}

/// Longer than any of these files.
const LONGEST: u64 = 2 << 20;

impl Given<'_> {
    /// The credentials of this server: those in the file, or those that a vault's credentials get.
    pub(crate) fn credentials(
        &self,
        context: &Context,
        state: &Path,
    ) -> Result<Credentials, Failure> {
        let failed = |error| Failure::io("reading", self.file, error);
        if std::fs::metadata(self.file).map_err(failed)?.len() > LONGEST {
            let words = format!("{} is longer than any credentials file", self.file.display());
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let bytes = Zeroizing::new(std::fs::read(self.file).map_err(failed)?);
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        if text.trim_ascii_start().starts_with(b"<") {
            return self.by_vault(context, state, &bytes);
        }
        Ok(client::load_credentials(self.file)?)
    }

    fn by_vault(
        &self,
        context: &Context,
        state: &Path,
        bytes: &[u8],
    ) -> Result<Credentials, Failure> {
        let invalid = |words: &str| Failure::new(ErrorKind::Invalid, words);
        let file = VaultCredentials::read(bytes)?;
        let ManagementCert::Identity(identity) = &file.management_cert else {
            return Err(invalid(
                "this file has no private key: download the vault's credentials anew",
            ));
        };
        let endpoint = file.endpoint.as_ref().unwrap_or(&file.aad_authority);
        let client = file.service_principal.map(|id| id.to_string());
        let client = client.ok_or_else(|| invalid("this file names no application"))?;
        let ca_pem = file.authority.as_ref().map(credfile::Certificate::to_pem);
        let ca_pem = ca_pem.ok_or_else(|| {
            invalid("this file says of no authority to trust: it is not of Packmule's")
        })?;
        let name = match self.name {
            Some(name) => name.clone(),
            None => context.author.hostname.parse().map_err(|e: model::NameError| {
                Failure::new(ErrorKind::Invalid, format!("{e}; give one with --name"))
            })?,
        };
        let own = machine_identity(&name, jiff::Timestamp::now())?;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state);
        made.map_err(|error| Failure::io("creating", state, error))?;
        // Before anybody knows of it, beside the one before: neither is lost, whoever has won.
        let (new, kept) = (state.join("machine.new.pem"), state.join("machine.pem"));
        write(&new, own.to_pem().as_bytes())?;
        let tenant = file.aad_tenant.to_string();
        let certified = Certified {
            endpoint: endpoint.as_str(),
            ca_pem: &ca_pem,
            tenant: &tenant,
            client: &client,
            certificate: identity.certificate().as_der(),
            key: identity.private_key(),
        };
        let certificate = own.certificate().as_der();
        let audience = &file.aad_audience;
        let credentials =
            certified.register(audience, &file.vault, &name, certificate, self.replace)?;
        std::fs::rename(&new, &kept).map_err(|error| Failure::io("writing", &kept, error))?;
        Ok(credentials)
    }
}
