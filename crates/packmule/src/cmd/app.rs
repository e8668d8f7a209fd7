//! `packmule app`: applications, as which Azure's clients call: their certificates, and what they may do.

use super::admin::AdminOptions;
use super::place::subscription;
use crate::context::Context;
use crate::exit::Status;
use crate::failure::{Failure, Outcome};
use clap::{Args, Subcommand};
use client::{Application, Client, RoleAssignment};
use model::ErrorKind;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Applications, as which Azure's clients call
#[derive(Subcommand, Debug)]
pub(crate) enum App {
    /// List the applications
    ///
    /// Example: packmule app list --server /srv/pm/admin.json
    List {
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Show an application: its ids, certificates and roles
    ///
    /// Example: packmule app show portal --server /srv/pm/admin.json
    Show {
        #[command(flatten)]
        app: AppName,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Register an application, which may do nothing yet, or has one role
    ///
    /// Example: packmule app create portal --role Contributor --server /srv/pm/admin.json
    Create {
        /// Its name, 1 to 256 characters
        name: String,
        /// A role for it: Owner, Contributor or Reader
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        #[command(flatten)]
        scope: ScopeOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Delete an application; its tokens and roles end at once
    ///
    /// Example: packmule app delete portal --server /srv/pm/admin.json
    Delete {
        #[command(flatten)]
        app: AppName,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Add a certificate to an application, which it may prove with who it is
    ///
    /// Only the certificate goes to the server: a key in the same file stays where it is.
    ///
    /// Example: packmule app add-certificate portal portal.pem --server /srv/pm/admin.json
    AddCertificate {
        #[command(flatten)]
        app: AppName,
        /// The certificate, in PEM or DER
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Take a certificate away from an application; tokens that it got with it end at once
    ///
    /// Example: packmule app remove-certificate portal 3f0b0c7e-5d1c-4f0e-9a53-0d6e5a1c2b3d --server /srv/pm/admin.json
    RemoveCertificate {
        #[command(flatten)]
        app: AppName,
        /// The certificate's id, as packmule app show says it
        #[arg(value_name = "KEYID")]
        key_id: String,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Give an application a role
    ///
    /// Example: packmule app grant portal Reader --scope / --server /srv/pm/admin.json
    Grant {
        #[command(flatten)]
        app: AppName,
        /// Owner, Contributor or Reader
        role: String,
        #[command(flatten)]
        scope: ScopeOptions,
        #[command(flatten)]
        admin: AdminOptions,
    },
    /// Take a role away from an application
    ///
    /// Without --scope, the application must have the role in one place only.
    ///
    /// Example: packmule app revoke portal Reader --server /srv/pm/admin.json
    Revoke {
        #[command(flatten)]
        app: AppName,
        /// Owner, Contributor or Reader
        role: String,
        /// Where it has the role, as packmule app show says it
        #[arg(long, value_name = "SCOPE")]
        scope: Option<String>,
        #[command(flatten)]
        admin: AdminOptions,
    },
}

/// An application that is there.
#[derive(Args, Debug, Clone)]
pub(crate) struct AppName {
    /// The application, by its name, client id or object id
    #[arg(value_name = "APP")]
    app: String,
}

impl AppName {
    fn find(&self, client: &Client) -> Result<Application, Failure> {
        let lower = self.app.to_lowercase();
        let all = client.applications()?;
        let by_id = all.iter().find(|one| one.client_id == lower || one.object_id == lower);
        if let Some(one) = by_id {
            return Ok(one.clone());
        }
        let named: Vec<&Application> =
            all.iter().filter(|one| one.name.to_lowercase() == lower).collect();
        match named.as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                let words = format!("there is no application '{}'", self.app);
                Err(Failure::new(ErrorKind::NotFound, words))
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|one| one.client_id.as_str()).collect();
                let words = format!(
                    "several applications are called '{}'; say which by its client id: {}",
                    self.app,
                    ids.join(", ")
                );
                Err(Failure::new(ErrorKind::Conflict, words))
            }
        }
    }
}

/// Where a role holds.
#[derive(Args, Debug, Clone)]
pub(crate) struct ScopeOptions {
    /// Where, and everywhere below: / for the whole server, a subscription by its id or name,
    /// /subscriptions/ID/resourceGroups/GROUP, or the id of a vault, as vault show --json says it [default: the first
    /// subscription]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<String>,
}

impl ScopeOptions {
    /// As the resource manager names it.
    fn path(&self, client: &Client) -> Result<String, Failure> {
        match &self.scope {
            Some(scope) if scope.starts_with('/') => {
                let trimmed = scope.trim_end_matches('/');
                let refused = trimmed.split('/').any(|part| part == "." || part == "..");
                if refused {
                    let words = format!("{scope} is no scope");
                    return Err(Failure::new(ErrorKind::Invalid, words));
                }
                Ok(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
            }
            Some(name) => {
                let one = subscription(client.subscriptions()?, name)?;
                Ok(format!("/subscriptions/{}", one.id))
            }
            None => {
                let first = client.subscriptions()?.into_iter().next();
                let none = || Failure::new(ErrorKind::NotFound, "the server has no subscription");
                Ok(format!("/subscriptions/{}", first.ok_or_else(none)?.id))
            }
        }
    }
}

impl App {
    /// Runs it.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        match self {
            Self::List { admin } => {
                for one in admin.client()?.applications()? {
                    context.printer.line(format!("{}  {}", one.client_id, one.name));
                    context.printer.object("application", &one);
                }
            }
            Self::Show { app, admin } => {
                let client = admin.client()?;
                let one = app.find(&client)?;
                let roles = roles_of(&client, &one)?;
                show(context, &one, &roles);
            }
            Self::Create { name, role, scope, admin } => {
                create(context, &admin.client()?, name, role.as_deref(), scope)?;
            }
            Self::Delete { app, admin } => {
                let client = admin.client()?;
                let one = app.find(&client)?;
                client.delete_application(&one)?;
                context.printer.line(format!("deleted application {}", one.name));
                let object = json!({"name": one.name, "clientId": one.client_id});
                context.printer.object("deleted", &object);
            }
            Self::AddCertificate { app, file, admin } => {
                let client = admin.client()?;
                let der = read_certificate(file)?;
                let one = client.add_certificate(&app.find(&client)?, &der)?;
                show(context, &one, &roles_of(&client, &one)?);
            }
            Self::RemoveCertificate { app, key_id, admin } => {
                remove_certificate(context, &admin.client()?, app, key_id)?;
            }
            Self::Grant { app, role, scope, admin } => {
                let client = admin.client()?;
                let one = app.find(&client)?;
                let grant = grant(&client, &one, role, &scope.path(&client)?)?;
                context.printer.line(format!("{} is {} of {}", one.name, grant.role, grant.scope));
                context.printer.object("role", &grant);
            }
            Self::Revoke { app, role, scope, admin } => {
                let scope = scope.as_ref().map(|scope| ScopeOptions { scope: Some(scope.clone()) });
                revoke(context, &admin.client()?, app, role, scope.as_ref())?;
            }
        }
        Ok(Status::Done)
    }
}

fn show(context: &Context, one: &Application, roles: &[RoleAssignment]) {
    let printer = &context.printer;
    printer.line(format!("application {}", one.name));
    printer.line(format!("  client id: {}", one.client_id));
    printer.line(format!("  object id: {}", one.object_id));
    for certificate in &one.certificates {
        printer.line(format!(
            "  certificate {}: {}, until {}, thumbprint {}",
            certificate.key_id, certificate.name, certificate.ends_at, certificate.thumbprint
        ));
    }
    for role in roles {
        printer.line(format!("  {} of {}", role.role, role.scope));
    }
    let object = super::place::merged(one, &json!({"roles": roles}));
    printer.object("application", &object);
}

fn roles_of(client: &Client, one: &Application) -> Result<Vec<RoleAssignment>, Failure> {
    let mut roles = client.role_assignments()?;
    roles.retain(|role| Some(&role.principal) == one.service_principal.as_ref());
    Ok(roles)
}

fn create(
    context: &Context,
    client: &Client,
    name: &str,
    role: Option<&str>,
    scope: &ScopeOptions,
) -> Result<(), Failure> {
    if role.is_none() && scope.scope.is_some() {
        let words = "--scope says where a role holds: give --role as well";
        return Err(Failure::new(ErrorKind::Invalid, words));
    }
    // Before anything is made: a scope that is not there is a mistake in the command.
    let scope = role.map(|_| scope.path(client)).transpose()?;
    let one = client.create_application(name)?;
    let mut roles = Vec::new();
    if let (Some(role), Some(scope)) = (role, scope) {
        match grant(client, &one, role, &scope) {
            Ok(made) => roles.push(made),
            Err(failure) => {
                // It would stay without a role, and the next try would make another.
                client.delete_application(&one)?;
                return Err(failure);
            }
        }
    }
    show(context, &one, &roles);
    Ok(())
}

fn grant(
    client: &Client,
    one: &Application,
    role: &str,
    scope: &str,
) -> Result<RoleAssignment, Failure> {
    let principal = one.service_principal.as_deref().ok_or_else(|| {
        let words = format!("application {} has no service principal to give a role to", one.name);
        Failure::new(ErrorKind::Conflict, words)
    })?;
    Ok(client.grant_role(principal, role, scope)?)
}

fn revoke(
    context: &Context,
    client: &Client,
    app: &AppName,
    role: &str,
    scope: Option<&ScopeOptions>,
) -> Result<(), Failure> {
    let one = app.find(client)?;
    let mut has = roles_of(client, &one)?;
    has.retain(|it| it.role.eq_ignore_ascii_case(role));
    if let Some(scope) = scope {
        let path = scope.path(client)?;
        has.retain(|it| it.scope.eq_ignore_ascii_case(&path));
    }
    let found = match has.as_slice() {
        [found] => found,
        [] => {
            let words =
                format!("{} has no such role there: packmule app show says which", one.name);
            return Err(Failure::new(ErrorKind::NotFound, words));
        }
        several => {
            let scopes: Vec<&str> = several.iter().map(|it| it.scope.as_str()).collect();
            let words = format!("say where, with --scope: {}", scopes.join(", "));
            return Err(Failure::new(ErrorKind::Conflict, words));
        }
    };
    client.revoke_role(found)?;
    context.printer.line(format!("{} is no longer {} of {}", one.name, found.role, found.scope));
    context.printer.object("revoked", found);
    Ok(())
}

fn read_certificate(file: &Path) -> Result<Vec<u8>, Failure> {
    let text = std::fs::read(file).map_err(|e| Failure::io("reading", file, e))?;
    let mut found = client::certificates(&text);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let words = format!("{} holds no certificate in PEM or DER", file.display());
            Err(Failure::new(ErrorKind::Invalid, words))
        }
        more => {
            let words = format!(
                "{} holds {more} certificates; put the application's own into a file",
                file.display()
            );
            Err(Failure::new(ErrorKind::Invalid, words))
        }
    }
}

fn remove_certificate(
    context: &Context,
    client: &Client,
    app: &AppName,
    key_id: &str,
) -> Result<(), Failure> {
    let one = app.find(client)?;
    let known = one.certificates.iter().find(|it| it.key_id.eq_ignore_ascii_case(key_id));
    let known = known.ok_or_else(|| {
        let words = format!("application {} has no certificate {key_id}", one.name);
        Failure::new(ErrorKind::NotFound, words)
    })?;
    let one = client.remove_certificate(&one, &known.key_id)?;
    show(context, &one, &roles_of(client, &one)?);
    Ok(())
}
