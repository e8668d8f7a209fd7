//! Files that people carry: what they open, and when they stop.

use crate::site::{Answer, Site, own, raw};
use client::{Certified, Client, Proof};
use credfile::{Identity, ManagementCert, PublishSettings, VaultCredentials, machine_identity};
use model::Digest;
use server::Clock;
use sha2::Digest as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use ureq::http::Method;
use wire::{CERTIFICATE_TYPE, CertificateClaims, Credentials};

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
            proxies: store::Proxies::default(),
        }
    }

    fn register(
        &self,
        file: &VaultCredentials,
        name: &str,
        how: (bool, &[&Identity]),
    ) -> client::Result<(Credentials, Identity)> {
        self.register_at(file, name, how, jiff::Timestamp::now())
    }

    /// By a certificate that was made then.
    fn register_at(
        &self,
        file: &VaultCredentials,
        name: &str,
        (replace, known): (bool, &[&Identity]),
        made: jiff::Timestamp,
    ) -> client::Result<(Credentials, Identity)> {
        let ManagementCert::Identity(identity) = &file.management_cert else { panic!() };
        let (tenant, client) =
            (file.aad_tenant.to_string(), file.service_principal.unwrap().to_string());
        let name = name.parse().unwrap();
        let machine = machine_identity(&name, made).unwrap();
        let hash = |identity: &&Identity| {
            Digest(sha2::Sha256::digest(identity.certificate().as_der()).into())
        };
        let known = known.iter().map(hash).collect();
        let certified = self.certified(&tenant, &client, identity);
        let certificate = machine.certificate().as_der();
        let credentials = certified.register(
            &file.aad_audience,
            &file.vault,
            &name,
            certificate,
            (replace, known),
        )?;
        Ok((credentials, machine))
    }

    /// The machine itself, by the certificates that it knows.
    fn machine(&self, credentials: &Credentials, known: &[&Identity]) -> Client {
        let proof = |identity: &&Identity| Proof {
            certificate: identity.certificate().as_der().to_vec(),
            key: identity.private_key().to_vec().into(),
            until: identity.certificate().not_after(),
        };
        let proofs: Vec<Proof> = known.iter().map(proof).collect();
        let proofs = Box::new(move || Ok(proofs.clone()));
        Client::certified(credentials.clone(), proofs, &store::Proxies::default()).unwrap()
    }

    fn with(&self, token: &str, method: &Method, path: &str, body: &[u8]) -> Answer {
        raw(&self.known, None, method, path, &[("authorization", &format!("Bearer {token}"))], body)
    }
}

#[test]
fn the_newest_credentials_of_a_vault_register_machines_for_ten_days() {
    let place = Place::new();
    let first = place.vault_file();
    let (credentials, machine) = place.register(&first, "fs01", (false, &[])).unwrap();
    assert_eq!(credentials.server.as_ref().unwrap().as_str(), "fs01");
    assert_eq!(credentials.token, "", "nothing that lasts is given");
    assert!(Client::new(credentials.clone()).is_err());
    place.machine(&credentials, &[&machine]).locations().unwrap();
    let taken = place.register(&first, "fs01", (false, &[])).unwrap_err();
    assert_eq!(taken.code(), Some(&wire::Code::AlreadyExists), "{taken}");
    assert!(taken.to_string().contains("last heard of at"), "{taken}");
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
    assert!(place.register(&first, "fs02", (false, &[])).is_err(), "an older file");
    place.register(&second, "fs02", (false, &[])).unwrap();
    let (again, newer) = place.register(&second, "fs01", (true, &[])).unwrap();
    assert_eq!(again, credentials, "only its certificate is another one");
    place.machine(&again, &[&newer]).locations().unwrap();
    let gone = place.machine(&credentials, &[&machine]).locations().unwrap_err();
    assert!(matches!(gone, client::Error::NotKnown { .. }), "{gone}");
    assert!(
        certified.token("https://management.azure.com").is_err(),
        "a machine that was replaced"
    );
    assert_eq!(place.with(&token, &Method::GET, "/api/v1/import-jobs", b"").status, 401);
    place.ahead.store(11 * 24 * 3600, Ordering::SeqCst);
    assert!(place.register(&second, "fs03", (false, &[])).is_err(), "after ten days");
}

#[test]
fn credentials_of_one_vault_register_with_no_other() {
    let place = Place::new();
    place.site.admin().create_vault(&"vault2".parse().unwrap()).unwrap();
    let mut file = place.vault_file();
    file.vault = "vault2".parse().unwrap();
    let refused = place.register(&file, "fs01", (false, &[])).unwrap_err();
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

#[test]
fn a_machine_has_a_next_certificate_beside_the_old_one_until_the_next_one_has_worked() {
    let place = Place::new();
    let file = place.vault_file();
    let (credentials, old) = place.register(&file, "fs01", (false, &[])).unwrap();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let made = || machine_identity(&server, jiff::Timestamp::now()).unwrap();
    let (abandoned, next) = (made(), made());
    let put = |by: &Identity, what: &Identity| {
        let machine = place.machine(&credentials, &[by]);
        machine.put_certificate(&vault, &server, what.certificate().as_der())
    };
    let works = |identity: &Identity| place.machine(&credentials, &[identity]).locations().is_ok();
    put(&old, &abandoned).unwrap();
    put(&old, &next).unwrap();
    put(&old, &next).unwrap();
    assert!(works(&old) && works(&next) && !works(&abandoned));
    // A machine that does not know whether its next one has arrived tries both.
    place.machine(&credentials, &[&abandoned, &next]).locations().unwrap();
    let held = place.machine(&credentials, &[&old]);
    held.locations().unwrap();
    put(&next, &next).unwrap();
    assert!(!works(&old) && works(&next));
    let gone = held.locations().unwrap_err();
    assert!(matches!(gone, client::Error::NotKnown { .. }), "a token of the old one: {gone}");
    // For another machine, and without a certificate of its own, there is nothing to be had here.
    let other = place.machine(&credentials, &[&next]);
    let fs02 = "fs02".parse().unwrap();
    assert!(other.put_certificate(&vault, &fs02, next.certificate().as_der()).is_err());
    let agent = place.site.agent("vault1", "fs09");
    let fs09 = "fs09".parse().unwrap();
    let refused = agent.put_certificate(&vault, &fs09, next.certificate().as_der()).unwrap_err();
    assert_eq!(refused.code(), Some(&wire::Code::AuthorizationFailed), "{refused}");
}

#[test]
fn whoever_has_a_machines_token_alone_gets_no_certificate_registered_for_it() {
    let place = Place::new();
    let file = place.vault_file();
    let (credentials, machine) = place.register(&file, "fs01", (false, &[])).unwrap();
    let (stranger, theirs) = place.register(&file, "fs02", (false, &[])).unwrap();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse::<model::ServerName>().unwrap());
    let made = || machine_identity(&server, jiff::Timestamp::now()).unwrap();
    let (next, other) = (made(), made());
    let hash =
        |identity: &Identity| Digest(sha2::Sha256::digest(identity.certificate().as_der()).into());
    let claims = |server: &str, of: &Identity| CertificateClaims {
        vault: "vault1".parse().unwrap(),
        server: server.parse().unwrap(),
        sha256: hash(of),
    };
    let states = |by: &Identity, kind: &str, claims: &CertificateClaims| {
        place.certified("", "", by).statement(kind, claims).unwrap()
    };
    let client = place.machine(&credentials, &[&machine]);
    let token = client.tokens().unwrap().get().unwrap();
    let put = |statement: &str| {
        use base64::Engine as _;
        let certificate = next.certificate().as_der();
        let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
        let body = serde_json::json!({ "certificate": certificate, "statement": statement });
        let path = "/api/v1/vaults/vault1/servers/fs01/certificate";
        let (bearer, basic) = (format!("Bearer {}", token.as_str()), ("fs01", token.as_str()));
        let kind = ("content-type", "application/json");
        let body = body.to_string();
        let headers = [("authorization", bearer.as_str()), kind];
        let by_bearer = raw(&place.known, None, &Method::PUT, path, &headers, body.as_bytes());
        let by_basic = raw(&place.known, Some(basic), &Method::PUT, path, &[kind], body.as_bytes());
        assert_eq!(by_bearer.status, by_basic.status);
        by_bearer.status
    };
    let good = states(&machine, CERTIFICATE_TYPE, &claims("fs01", &next));
    for (what, statement) in [
        ("nothing", String::new()),
        ("its own certificate", states(&next, CERTIFICATE_TYPE, &claims("fs01", &next))),
        ("another machine's", states(&theirs, CERTIFICATE_TYPE, &claims("fs01", &next))),
        ("about another one", states(&machine, CERTIFICATE_TYPE, &claims("fs01", &other))),
        ("of another machine", states(&machine, CERTIFICATE_TYPE, &claims("fs02", &next))),
        ("of another kind", states(&machine, "JWT", &claims("fs01", &next))),
        ("half of it", good[..good.len() / 2].to_owned()),
    ] {
        assert_eq!(put(&statement), 403, "{what}");
    }
    let works =
        |of: &Credentials, identity: &Identity| place.machine(of, &[identity]).locations().is_ok();
    assert!(works(&credentials, &machine) && !works(&credentials, &next));
    let notices = || {
        let all = place.site.admin().notices(None, 0).unwrap();
        all.iter().filter(|notice| notice.text.contains(&hash(&next).to_hex())).count()
    };
    assert_eq!(notices(), 0);
    assert_eq!(put(&good), 204);
    assert!(works(&credentials, &machine) && works(&credentials, &next));
    // It is told, once to whoever the machine is of and once to whoever runs the server.
    assert_eq!(notices(), 2);
    client.put_certificate(&vault, &server, next.certificate().as_der()).unwrap();
    assert_eq!(notices(), 2);
    assert!(works(&stranger, &theirs));
}

#[test]
fn a_certificate_that_has_ended_says_what_to_do_and_the_same_machine_registers_again_unasked() {
    let place = Place::new();
    let file = place.vault_file();
    let years = jiff::SignedDuration::from_hours(4 * 366 * 24);
    let then = jiff::Timestamp::now() - years;
    let (credentials, ended) = place.register_at(&file, "fs01", (false, &[]), then).unwrap();
    let over = place.machine(&credentials, &[&ended]).locations().unwrap_err();
    assert!(matches!(over, client::Error::CertificateOver { .. }), "{over}");
    assert!(over.to_string().contains("packmule agent register --credentials"), "{over}");
    // A next one that has been begun is good for years; but nobody has it, and nobody can register it any more.
    let next = machine_identity(&"fs01".parse().unwrap(), jiff::Timestamp::now()).unwrap();
    let over = place.machine(&credentials, &[&ended, &next]).locations().unwrap_err();
    assert!(matches!(over, client::Error::CertificateOver { .. }), "{over}");
    assert!(place.register(&file, "fs01", (false, &[])).is_err(), "another machine");
    let (again, machine) = place.register(&file, "fs01", (false, &[&ended])).unwrap();
    assert_eq!(again, credentials);
    place.machine(&again, &[&machine]).locations().unwrap();
}

#[test]
fn restic_takes_a_machines_access_token_as_its_password() {
    let place = Place::new();
    let file = place.vault_file();
    let (credentials, machine) = place.register(&file, "fs01", (false, &[])).unwrap();
    let client = place.machine(&credentials, &[&machine]);
    let token = client.tokens().unwrap().get().unwrap();
    let get = |user: &str, path: &str| {
        raw(&place.known, Some((user, &token)), &Method::GET, path, &[], b"").status
    };
    assert_eq!(get("fs01", "/vaults/vault1/fs01/keys/"), 200);
    assert_eq!(get("fs01", "/vaults/vault1/fs02/keys/"), 403);
    assert_eq!(get("fs02", "/vaults/vault1/fs01/keys/"), 401);
    assert_eq!(get("admin", "/api/v1/vaults"), 401);
}

#[test]
fn who_was_heard_of_when_is_known() {
    let place = Place::new();
    let file = place.vault_file();
    let (credentials, machine) = place.register(&file, "fs01", (false, &[])).unwrap();
    let heard = || place.site.admin().vaults().unwrap().remove(0).servers.remove(0);
    assert_eq!(heard().heard_at, None);
    place.machine(&credentials, &[&machine]).locations().unwrap();
    let first = heard();
    assert_eq!(first.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    place.ahead.store(120, Ordering::SeqCst);
    place.machine(&credentials, &[&machine]).locations().unwrap();
    assert!(heard().heard_at > first.heard_at);
}
