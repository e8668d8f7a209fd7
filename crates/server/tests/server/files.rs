//! Files that people carry: what they open, and when they stop.

use crate::site::{Answer, Site, own, raw};
use client::Certified;
use credfile::{Identity, ManagementCert, PublishSettings, VaultCredentials, machine_identity};
use server::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use ureq::http::Method;
use wire::Credentials;

struct Place {
    site: Site,
    known: Credentials,
    ahead: Arc<AtomicI64>,
}

impl Place {
    fn new() -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let clock = Arc::clone(&ahead);
        let site = Site::with(move |config| {
            config.clock = Clock::from_fn(move || {
                let ahead = jiff::SignedDuration::from_secs(clock.load(Ordering::SeqCst));
                jiff::Timestamp::now() + ahead
            });
        });
        let admin = site.admin();
        admin.create_vault(&"vault1".parse().unwrap()).unwrap();
        let known = admin.credentials().clone();
        Self { site, known, ahead }
    }

    fn post(&self, path: &str) -> Answer {
        let admin = self.site.admin();
        raw(&self.known, own(&admin), &Method::POST, path, &[], b"")
    }

    fn vault_file(&self) -> VaultCredentials {
        let answer = self.post("/api/v1/vaults/vault1/vault-credentials");
        assert_eq!(answer.status, 201);
        assert!(answer.header("content-disposition").contains(".VaultCredentials"));
        VaultCredentials::read(&answer.body).unwrap()
    }

    fn certified<'a>(
        &'a self,
        tenant: &'a str,
        client: &'a str,
        identity: &'a Identity,
    ) -> Certified<'a> {
        Certified {
            endpoint: &self.known.endpoint,
            ca_pem: self.known.ca_pem.as_deref().unwrap(),
            tenant,
            client,
            certificate: identity.certificate().as_der(),
            key: identity.private_key(),
        }
    }

    fn register(
        &self,
        file: &VaultCredentials,
        name: &str,
        replace: bool,
    ) -> client::Result<(Credentials, Identity)> {
        let ManagementCert::Identity(identity) = &file.management_cert else { panic!() };
        let (tenant, client) =
            (file.aad_tenant.to_string(), file.service_principal.unwrap().to_string());
        let name = name.parse().unwrap();
        let machine = machine_identity(&name, jiff::Timestamp::now()).unwrap();
        let certified = self.certified(&tenant, &client, identity);
        let certificate = machine.certificate().as_der();
        let credentials =
            certified.register(&file.aad_audience, &file.vault, &name, certificate, replace)?;
        Ok((credentials, machine))
    }

    fn with(&self, token: &str, method: &Method, path: &str, body: &[u8]) -> Answer {
        raw(&self.known, None, method, path, &[("authorization", &format!("Bearer {token}"))], body)
    }
}

#[test]
fn the_newest_credentials_of_a_vault_register_machines_for_ten_days() {
    let place = Place::new();
    let first = place.vault_file();
    let (credentials, machine) = place.register(&first, "fs01", false).unwrap();
    assert_eq!(credentials.server.as_ref().unwrap().as_str(), "fs01");
    client::Client::new(credentials.clone()).unwrap().locations().unwrap();
    let taken = place.register(&first, "fs01", false).unwrap_err();
    assert_eq!(taken.code(), Some(&wire::Code::AlreadyExists), "{taken}");
    // Its own certificate speaks for it, as what it is and no more.
    let (tenant, id) =
        (credentials.tenant_id.clone().unwrap(), credentials.client_id.clone().unwrap());
    let certified = place.certified(&tenant, &id, &machine);
    let token = certified.token("https://management.azure.com").unwrap();
    assert_eq!(place.with(&token, &Method::GET, "/api/v1/import-jobs", b"").status, 200);
    assert_eq!(place.with(&token, &Method::GET, "/api/v1/vaults", b"").status, 403);
    let latest = "/api/v1/vaults/vault1/servers/fs02/publications";
    assert_eq!(place.with(&token, &Method::GET, latest, b"").status, 403);

    let second = place.vault_file();
    assert!(place.register(&first, "fs02", false).is_err(), "an older file");
    place.register(&second, "fs02", false).unwrap();
    let (again, _) = place.register(&second, "fs01", true).unwrap();
    client::Client::new(again).unwrap().locations().unwrap();
    assert!(
        certified.token("https://management.azure.com").is_err(),
        "a machine that was replaced"
    );
    assert_eq!(place.with(&token, &Method::GET, "/api/v1/import-jobs", b"").status, 401);
    place.ahead.store(11 * 24 * 3600, Ordering::SeqCst);
    assert!(place.register(&second, "fs03", false).is_err(), "after ten days");
}

#[test]
fn credentials_of_one_vault_register_with_no_other() {
    let place = Place::new();
    place.site.admin().create_vault(&"vault2".parse().unwrap()).unwrap();
    let mut file = place.vault_file();
    file.vault = "vault2".parse().unwrap();
    let refused = place.register(&file, "fs01", false).unwrap_err();
    assert_eq!(refused.code(), Some(&wire::Code::AuthorizationFailed), "{refused}");
    assert_eq!(place.post("/api/v1/vaults/nothing/vault-credentials").status, 404);
    let admin = place.site.admin();
    let body = br#"{"server": "fs09", "certificate": ""}"#;
    let answer =
        raw(&place.known, own(&admin), &Method::POST, "/api/v1/vaults/vault1/machines", &[], body);
    assert_eq!(answer.status, 403, "an administrator registers in another way");
}

#[test]
fn publish_settings_open_their_subscription_and_nothing_beside() {
    let place = Place::new();
    let subscription = place.known.subscription_id.clone().unwrap();
    let answer = place.post(&format!("/api/v1/subscriptions/{subscription}/publish-settings"));
    assert_eq!(answer.status, 201);
    let settings = PublishSettings::read(&answer.body).unwrap();
    let [one] = settings.subscriptions.as_slice() else { panic!("{settings:?}") };
    assert_eq!(one.id.to_string(), subscription);
    let service = one.service.as_ref().unwrap();
    let (tenant, client) = (service.tenant.to_string(), service.client.to_string());
    let token = place
        .certified(&tenant, &client, &one.identity)
        .token("https://management.azure.com")
        .unwrap();
    let groups = format!("/subscriptions/{subscription}/resourcegroups?api-version=2024-11-01");
    assert_eq!(place.with(&token, &Method::GET, &groups, b"").status, 200);
    let made = format!("/subscriptions/{subscription}/resourcegroups/rg1?api-version=2024-11-01");
    assert_eq!(place.with(&token, &Method::PUT, &made, br#"{"location": "westus"}"#).status, 201);
    assert_eq!(place.with(&token, &Method::GET, "/api/v1/vaults", b"").status, 403);
    let grant = format!(
        "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments/{}?api-version=2022-04-01",
        service.client
    );
    assert_eq!(place.with(&token, &Method::PUT, &grant, b"{}").status, 403);
    let nothing = "/api/v1/subscriptions/11111111-1111-1111-1111-111111111111/publish-settings";
    assert_eq!(place.post(nothing).status, 404);
}
