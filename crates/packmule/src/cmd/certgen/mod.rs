//! `packmule certgen` and `packmule certificate`: the application that offline seeding calls as, its
//! certificate, and the file that tells the agent of both. The steps that people know, by the utility or by
//! hand.
//!
//! ```text
//!  CreateNewApplication ─▶ certificate (in the state) ─▶ application (Graph) ─▶ OfflineApplicationParams.xml
//!  AddRegistryEntries   ─▶ OfflineApplicationParams_<account>.xml in the state
//!  by hand: certificate export ─▶ upload ─▶ certificate record THUMBPRINT
//! ```

mod directory;
mod keep;
mod words;

use super::admin::AdminOptions;
use super::agent::{StateOptions, with_agent};
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use client::{Application, Client};
use credfile::{Certificate as Der, Guid, OfflineApplicationParams};
use directory::{Directory, has};
use keep::Keep;
use model::{AccountName, ErrorKind};
use serde_json::json;
use std::path::{Path, PathBuf};
use words::Request;

/// The application for offline seeding, its certificate, and the file that tells the agent of both
///
/// `CreateNewApplication SubscriptionId:ID` makes the application AzureOfflineBackup_USER with a
/// certificate of this server, and writes OfflineApplicationParams.xml. Where the application exists, it
/// says how this server's certificate is added to it by hand.
/// `AddRegistryEntries SubscriptionId:ID xmlfilepath:FILE storageaccountname:NAME` puts that file where the
/// agent looks for it.
///
/// Example: packmule certgen CreateNewApplication SubscriptionId:11111111-2222-3333-4444-555555555555
#[derive(Args, Debug)]
pub(crate) struct Certgen {
    /// CreateNewApplication or AddRegistryEntries, and what belongs to it
    #[arg(value_name = "WORDS", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    admin: AdminOptions,
    /// Folder that OfflineApplicationParams.xml is written to
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    #[command(flatten)]
    state: StateOptions,
}

impl Certgen {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let invalid = |words: String| Failure::new(ErrorKind::Invalid, words);
        let keep = Keep::new(&self.state.state);
        match Request::parse(&self.words).map_err(invalid)? {
            Request::CreateNewApplication { subscription } => {
                self.create(context, &keep, subscription)
            }
            Request::AddRegistryEntries { subscription, file, account } => {
                self.add(context, &keep, subscription, &file, &account)
            }
        }
    }

    fn create(&self, context: &Context, keep: &Keep, subscription: Guid) -> Outcome {
        let client = self.admin.client()?;
        let directory = Directory::new(&client)?;
        directory.subscription(subscription)?;
        let identity = keep.identity(resource_id(context, &self.state, &client)?)?;
        let certificate = identity.certificate();
        let user = directory.user()?;
        let name = format!("AzureOfflineBackup_{user}");
        let found = directory.find(&name)?;
        let is_new = found.is_none();
        let application = match found {
            None => directory.create(&name, certificate, subscription)?,
            // Ours, or begun by a call that ended in the middle.
            Some(it) if it.certificates.is_empty() || has(&it, certificate) => {
                directory.complete(it, certificate, subscription)?
            }
            Some(somebodys) => somebodys,
        };
        let params = params(&client, &application, subscription, certificate)?;
        let file = self.output.join(OfflineApplicationParams::FILE_NAME);
        keep::write(&file, params.write()?.as_bytes())?;
        let printer = &context.printer;
        let object = json!({
            "application": application.name, "client_id": application.client_id, "created": is_new,
            "thumbprint": certificate.thumbprint().to_string(), "subject": certificate.subject(),
            "file": file,
        });
        let has_it = has(&application, certificate);
        if has_it {
            keep.record(&user, &certificate.thumbprint())?;
            printer.line(format!(
                "application {name} {}, with the certificate {}",
                if is_new { "is created" } else { "is there" },
                certificate.subject()
            ));
        } else {
            printer.line(format!(
                "application {name} is there already, perhaps for another server; this server's certificate is not among its certificates yet"
            ));
            for line in by_hand(&application, &user, certificate) {
                printer.line(format!("  {line}"));
            }
        }
        printer.line(format!("written: {}", file.display()));
        printer.line(format!(
            "next: packmule certgen AddRegistryEntries SubscriptionId:{subscription} xmlfilepath:{} storageaccountname:ACCOUNT",
            file.display()
        ));
        printer.object("application", &object);
        Ok(if has_it { Status::Done } else { Status::Partial })
    }

    fn add(
        &self,
        context: &Context,
        keep: &Keep,
        subscription: Guid,
        file: &Path,
        account: &AccountName,
    ) -> Outcome {
        let bytes = std::fs::read(file).map_err(|e| Failure::io("reading", file, e))?;
        let mut params = OfflineApplicationParams::read(&bytes)?;
        if params.subscription != subscription {
            let words = format!(
                "{} is for subscription {}, not for {subscription}",
                file.display(),
                params.subscription
            );
            return Err(Failure::new(ErrorKind::Invalid, words));
        }
        let client = self.admin.client()?;
        params.storage_account = Some(Directory::new(&client)?.account(subscription, account)?);
        let kept = keep.offline(account, &params)?;
        let printer = &context.printer;
        printer.line(format!("written: {}", kept.display()));
        printer.line("next: packmule group create, with this storage account and an import job");
        let object = json!({"file": kept, "storage_account": params.storage_account});
        printer.object("registry", &object);
        Ok(Status::Done)
    }
}

/// What a person does whom the utility cannot help, because somebody else's application is there.
fn by_hand(application: &Application, user: &str, certificate: &Der) -> Vec<String> {
    vec![
        "1. packmule certificate export --output seeding.cer".to_owned(),
        format!(
            "2. add it to application {} (client id {}): packmule app add-certificate {} seeding.cer, or in the portal: App registrations, Owned applications, Certificates & secrets, Upload certificate",
            application.name, application.client_id, application.client_id
        ),
        format!(
            "3. packmule certificate record {} --user {user}",
            certificate.thumbprint()
        ),
        "or, if nobody needs that application and it has no certificates, delete it and run this again".to_owned(),
    ]
}

fn params(
    client: &Client,
    application: &Application,
    subscription: Guid,
    certificate: &Der,
) -> Result<OfflineApplicationParams, Failure> {
    let known = client.credentials();
    let missing = || {
        let words = "these credentials are of an older server: take its admin.json anew";
        Failure::new(ErrorKind::Invalid, words)
    };
    let tenant = known.tenant_id.as_deref().ok_or_else(missing)?;
    let authority = known.ca_pem.as_deref().map(keep::first_certificate).transpose()?;
    let endpoint = || Ok::<_, Failure>(known.endpoint.parse::<credfile::HttpsUrl>()?);
    Ok(OfflineApplicationParams {
        subscription,
        tenant: tenant.parse()?,
        client: application.client_id.parse()?,
        display_name: application.name.clone(),
        authority: endpoint()?,
        resource_manager: endpoint()?,
        graph: endpoint()?,
        storage_account: None,
        certificate_thumbprint: certificate.thumbprint(),
        certificate_subject: certificate.subject().to_owned(),
        authority_certificate: authority,
    })
}

/// The number of the vault that this source server is registered with.
fn resource_id(context: &Context, state: &StateOptions, client: &Client) -> Result<i64, Failure> {
    let status = with_agent(context, &state.state, "asking", ::agent::status)?;
    let known = status.registration.ok_or_else(|| {
        let words = "this server is not registered with a vault yet: packmule agent register --credentials FILE";
        Failure::new(ErrorKind::NotFound, words)
    })?;
    let tenant = client.credentials().tenant_id.clone().unwrap_or_default();
    Ok(wire::vault_resource_id(&tenant, &known.vault))
}

/// This server's certificate for offline seeding
#[derive(Subcommand, Debug)]
pub(crate) enum Certificate {
    /// Show subject, thumbprints and end of the certificate
    ///
    /// Example: packmule certificate show
    Show {
        #[command(flatten)]
        state: StateOptions,
    },
    /// Write the certificate without its private key, for uploading it to the application
    ///
    /// Example: packmule certificate export --output seeding.cer
    Export {
        /// The file; DER, as the portal takes it
        #[arg(long, value_name = "FILE", default_value = "CB_AzureADCertforOfflineSeeding.cer")]
        output: PathBuf,
        #[command(flatten)]
        state: StateOptions,
    },
    /// Note that the certificate with this thumbprint was uploaded, as AzureADAppCertThumbprint_USER
    ///
    /// Example: packmule certificate record 0123456789ABCDEF0123456789ABCDEF01234567 --user 11111111-2222-3333-4444-555555555555
    Record {
        /// SHA-1 thumbprint, as `packmule certificate show` and the portal have it
        thumbprint: credfile::Thumbprint,
        /// The id of the user whose application it is: what stands behind AzureOfflineBackup_
        #[arg(long, value_name = "ID")]
        user: Guid,
        #[command(flatten)]
        state: StateOptions,
    },
}

impl Certificate {
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let printer = &context.printer;
        match self {
            Self::Show { state } => {
                let identity = Keep::new(&state.state).known()?;
                let certificate = identity.certificate();
                printer.line(format!("subject: {}", certificate.subject()));
                printer.line(format!("thumbprint: {}", certificate.thumbprint()));
                printer.line(format!("SHA-256: {}", certificate.thumbprint_sha256()));
                printer.line(format!("until: {:.0}", certificate.not_after()));
                let object = json!({
                    "subject": certificate.subject(), "thumbprint": certificate.thumbprint().to_string(),
                    "sha256": certificate.thumbprint_sha256(), "until": certificate.not_after(),
                });
                printer.object("certificate", &object);
            }
            Self::Export { output, state } => {
                let identity = Keep::new(&state.state).known()?;
                keep::write(output, identity.certificate().as_der())?;
                printer.line(format!("written: {}", output.display()));
                printer.object("exported", &json!({"file": output}));
            }
            Self::Record { thumbprint, user, state } => {
                let keep = Keep::new(&state.state);
                let own = keep.known()?.certificate().thumbprint();
                if own != *thumbprint {
                    let words = format!(
                        "this server's certificate has the thumbprint {own}: upload that one"
                    );
                    return Err(Failure::new(ErrorKind::Invalid, words));
                }
                let file = keep.record(&user.to_string(), thumbprint)?;
                printer.line(format!("recorded: {}", file.display()));
                printer.object("recorded", &json!({"file": file}));
            }
        }
        Ok(Status::Done)
    }
}
