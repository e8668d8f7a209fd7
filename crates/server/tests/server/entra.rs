//! Applications over HTTPS: tokens, and the Graph calls that register what tokens are given for.

use crate::site::{Answer, Site, raw};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as Rsa;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use server::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use ureq::http::Method;
use wire::Credentials;

const MANAGER: &str = "https://management.azure.com";
const GRAPH: &str = "https://graph.microsoft.com";
const PROOF: &str = "00000002-0000-0000-c000-000000000000";

/// Something that signs assertions.
struct Signer {
    key: Rsa,
    der: Vec<u8>,
}

impl Signer {
    fn from_pem(pem: &[u8]) -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).unwrap();
        let der = CertificateDer::from_pem_slice(pem).unwrap().to_vec();
        Self { key: Rsa::from_pkcs8(key.secret_pkcs8_der()).unwrap(), der }
    }

    fn new() -> Self {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let mut params = rcgen::CertificateParams::new(["host".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2035, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        Self::from_pem(format!("{}{}", key.serialize_pem(), certificate.pem()).as_bytes())
    }

    fn sign(&self, claims: &Value) -> String {
        let sha1 =
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.der);
        let header = json!({"alg": "RS256", "x5t": URL_SAFE.encode(sha1)});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let random = SystemRandom::new();
        self.key.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// A server whose clock is moved, and its administrator's file.
struct Place {
    site: Site,
    known: Credentials,
    ahead: Arc<AtomicI64>,
    serial: AtomicU32,
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
        let known = site.admin().credentials().clone();
        Self { site, known, ahead, serial: AtomicU32::new(0) }
    }

    fn now(&self) -> i64 {
        jiff::Timestamp::now().as_second() + self.ahead.load(Ordering::SeqCst)
    }

    fn forward(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    fn tenant(&self) -> &str {
        self.known.tenant_id.as_deref().unwrap()
    }

    fn admin_client(&self) -> &str {
        self.known.client_id.as_deref().unwrap()
    }

    fn admin_signer(&self) -> Signer {
        let file = self.known.certificate_file.as_deref().unwrap();
        Signer::from_pem(&std::fs::read(file).unwrap())
    }

    /// An assertion that has not been used yet.
    fn assertion(&self, signer: &Signer, client: &str) -> String {
        let serial = self.serial.fetch_add(1, Ordering::SeqCst);
        let aud = format!("{}/{}/oauth2/v2.0/token", self.known.endpoint, self.tenant());
        let now = self.now();
        signer.sign(&json!({"iss": client, "sub": client, "aud": aud, "jti": format!("j{serial}"),
            "iat": now, "exp": now + 600}))
    }

    fn post(&self, path: &str, form: &[(&str, &str)], auth: Option<(&str, &str)>) -> (u16, Value) {
        let mut text = url::form_urlencoded::Serializer::new(String::new());
        let body = text.extend_pairs(form).finish();
        let answer = raw(&self.known, auth, &Method::POST, path, &[], body.as_bytes());
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    fn ask(&self, client: &str, resource: &str, proof: (&str, &str)) -> (u16, Value) {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client),
            proof,
            ("client_info", "1"),
        ];
        let scope = format!("{resource}/.default");
        form.push(("scope", &scope));
        if proof.0 == "client_assertion" {
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            form.push(("client_assertion_type", kind));
        }
        self.post(&format!("/{}/oauth2/v2.0/token", self.tenant()), &form, None)
    }

    fn with_assertion(&self, signer: &Signer, client: &str, resource: &str) -> (u16, Value) {
        let assertion = self.assertion(signer, client);
        self.ask(client, resource, ("client_assertion", &assertion))
    }

    fn admin_token(&self, resource: &str) -> String {
        token(&self.with_assertion(&self.admin_signer(), self.admin_client(), resource))
    }

    /// Runs a statement beside the server.
    fn run(&self, statement: &str) {
        self.on_database(async |on| {
            sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(on).await.unwrap();
        });
    }

    fn count(&self, query: &'static str) -> i64 {
        self.on_database(async |on| {
            let (count,): (i64,) = sqlx::query_as(query).fetch_one(on).await.unwrap();
            count
        })
    }

    fn on_database<T>(&self, work: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> T) -> T {
        use sqlx::ConnectOptions as _;
        let file = self.site.data().join("packmule.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).foreign_keys(true);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { work(&mut options.connect().await.unwrap()).await })
    }

    fn call(&self, token: &str, method: &Method, path: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        raw(&self.known, None, method, path, &headers, body.to_string().as_bytes())
    }

    fn graph(&self, token: &str, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.call(token, method, path, body);
        (answer.status, serde_json::from_slice(&answer.body).unwrap_or(Value::Null))
    }

    fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.graph(token, &Method::GET, path, &Value::Null)
    }

    /// An application with a service principal: its object id and client id.
    fn application(&self, token: &str, name: &str) -> (String, String) {
        let body = json!({"displayName": name});
        let (status, made) = self.graph(token, &Method::POST, "/v1.0/applications", &body);
        assert_eq!(status, 201, "{made}");
        let (id, client) = (text(&made["id"]), text(&made["appId"]));
        let body = json!({"appId": client, "accountEnabled": true});
        let (status, made) = self.graph(token, &Method::POST, "/v1.0/serviceprincipals", &body);
        assert_eq!(status, 201, "{made}");
        (id, client)
    }

    fn register(&self, token: &str, id: &str, signers: &[&Signer]) {
        let key = |signer: &&Signer| {
            json!({"type": "AsymmetricX509Cert", "usage": "Verify",
                "key": STANDARD.encode(&signer.der), "displayName": "CN=host"})
        };
        let keys: Vec<Value> = signers.iter().map(key).collect();
        let path = format!("/v1.0/applications/{id}");
        let body = json!({"keyCredentials": keys});
        assert_eq!(self.graph(token, &Method::PATCH, &path, &body).0, 204);
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn token((status, answer): &(u16, Value)) -> String {
    assert_eq!(*status, 200, "{answer}");
    text(&answer["access_token"])
}

fn refused((status, answer): &(u16, Value), number: u32) {
    assert!([400, 401].contains(status), "{status}");
    assert_eq!(answer["error_codes"], json!([number]), "{answer}");
    let description = text(&answer["error_description"]);
    assert!(description.starts_with(&format!("AADSTS{number}: ")), "{description}");
    for name in ["error", "timestamp", "trace_id", "correlation_id"] {
        assert!(!text(&answer[name]).is_empty(), "{name}");
    }
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn the_discovery_documents_lead_to_an_endpoint_and_a_key_that_verifies_its_tokens() {
    let place = Place::new();
    let get = |path: &str| {
        let answer = raw(&place.known, None, &Method::GET, path, &[], b"");
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let (endpoint, tenant) = (&place.known.endpoint, place.tenant());
    for name in [tenant, "organizations", "common"] {
        let (status, document) = get(&format!("/{name}/v2.0/.well-known/openid-configuration"));
        assert_eq!(status, 200);
        let token_endpoint = format!("{endpoint}/{tenant}/oauth2/v2.0/token");
        assert_eq!(document["token_endpoint"], token_endpoint.as_str());
        assert_eq!(document["issuer"], format!("{endpoint}/{tenant}/v2.0"));
    }
    let other = "/00000000-0000-0000-0000-000000000000";
    refused(&get(&format!("{other}/v2.0/.well-known/openid-configuration")), 90002);
    refused(&get(&format!("{other}/.well-known/openid-configuration")), 90002);
    refused(&get(&format!("{other}/discovery/v2.0/keys")), 90002);
    let access = place.admin_token(MANAGER);
    let (_, keys) = get(&format!("/{tenant}/discovery/v2.0/keys"));
    let key = &keys["keys"][0];
    let number = |name: &str| URL_SAFE_NO_PAD.decode(text(&key[name])).unwrap();
    let public = aws_lc_rs::rsa::PublicKeyComponents { n: number("n"), e: number("e") };
    let (signed, signature) = access.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let algorithm = &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
    public.verify(algorithm, signed.as_bytes(), &signature).unwrap();
    let said = claims(&access);
    assert_eq!(said["aud"], MANAGER);
    assert_eq!(said["tid"], tenant);
    assert_eq!(said["appid"], place.admin_client());
    assert_eq!(said["roles"], json!(["Owner"]));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 3600);
}

#[test]
fn the_administrators_certificate_opens_what_its_token_opens() {
    let place = Place::new();
    let access = place.admin_token(MANAGER);
    let answer = place.call(&access, &Method::GET, "/api/v1/vaults", &Value::Null);
    assert_eq!(answer.status, 200);
    // A token of Graph is none of the resource manager, and the other way round.
    let graph = place.admin_token(GRAPH);
    assert_eq!(place.call(&graph, &Method::GET, "/api/v1/vaults", &Value::Null).status, 401);
    assert_eq!(place.get(&graph, "/v1.0/applications").0, 200);
    let (status, body) = place.get(&access, "/v1.0/applications");
    assert_eq!((status, &body["error"]["code"]), (401, &json!("InvalidAuthenticationToken")));
    // The endpoint itself stands for both.
    let both = place.admin_token(&format!("{}/", place.known.endpoint));
    assert_eq!(claims(&both)["aud"], format!("{}/", place.known.endpoint));
    assert_eq!(place.call(&both, &Method::GET, "/api/v1/vaults", &Value::Null).status, 200);
    assert_eq!(place.get(&both, "/beta/applications").0, 200);
    // For an hour.
    place.forward(3601);
    assert_eq!(place.get(&graph, "/v1.0/applications").0, 401);
}

#[test]
fn an_access_token_that_was_changed_or_signed_otherwise_opens_nothing() {
    let place = Place::new();
    let access = place.admin_token(GRAPH);
    let parts: Vec<&str> = access.split('.').collect();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut more = claims(&access);
    more["exp"] = json!(place.now() + 100_000);
    let none = part(&json!({"alg": "none", "typ": "JWT"}));
    let forged = place.admin_signer().sign(&claims(&access));
    for bad in [
        format!("{}.{}.{}", parts[0], part(&more), parts[2]),
        format!("{none}.{}.", parts[1]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], forged.split_once('.').unwrap().1),
        forged,
        "x".to_owned(),
        String::new(),
    ] {
        assert_eq!(place.get(&bad, "/v1.0/applications").0, 401, "{bad}");
    }
    assert_eq!(place.get(&access, "/v1.0/applications").0, 200);
}

#[test]
fn every_refusal_of_a_token_has_its_number() {
    let place = Place::new();
    let (client, signer) = (place.admin_client(), place.admin_signer());
    let path = format!("/{}/oauth2/v2.0/token", place.tenant());
    let good = |form: &[(&str, &str)]| place.post(&path, form, None);
    let scope = format!("{MANAGER}/.default");
    refused(&good(&[]), 900_144);
    refused(&good(&[("grant_type", "password")]), 70003);
    let grant = ("grant_type", "client_credentials");
    refused(&good(&[grant]), 900_144);
    refused(&good(&[grant, ("scope", MANAGER)]), 70011);
    refused(&good(&[grant, ("scope", "https://elsewhere.example.org/.default")]), 500_011);
    refused(&good(&[grant, ("scope", &scope)]), 900_144);
    refused(&good(&[grant, ("scope", &scope), ("client_id", "x")]), 700_016);
    refused(&good(&[grant, ("scope", &scope), ("client_id", client)]), 7_000_218);
    refused(&good(&[grant, grant]), 9_002_313);
    refused(&good(&[("x", &"y".repeat(70_000))]), 9_002_313);
    let other = "/00000000-0000-0000-0000-000000000000/oauth2/v2.0/token";
    refused(&place.post(other, &[grant], None), 90002);
    refused(&place.ask(client, MANAGER, ("client_secret", "guess")), 7_000_215);
    let assertion = place.assertion(&signer, client);
    let both = [
        grant,
        ("scope", &scope),
        ("client_id", client),
        ("client_secret", "x"),
        ("client_assertion", &assertion),
    ];
    refused(&good(&both), 7_000_218);
    refused(&good(&[grant, ("scope", &scope), ("client_assertion", &assertion)]), 900_144);
    refused(&place.with_assertion(&Signer::new(), client, MANAGER), 700_027);
    let old = place.assertion(&signer, client);
    place.forward(1000);
    refused(&place.ask(client, MANAGER, ("client_assertion", &old)), 700_024);
    let elsewhere = signer
        .sign(&json!({"iss": client, "sub": client, "aud": "https://login.example.org/token",
        "jti": "x", "exp": place.now() + 600}));
    refused(&place.ask(client, MANAGER, ("client_assertion", &elsewhere)), 700_023);
}

#[test]
fn an_assertion_is_taken_once_for_a_resource_and_forgotten_when_it_is_over() {
    let place = Place::new();
    let (client, signer) = (place.admin_client(), place.admin_signer());
    let assertion = place.assertion(&signer, client);
    let ask = |resource: &str| place.ask(client, resource, ("client_assertion", &assertion));
    token(&ask(MANAGER));
    refused(&ask(MANAGER), 700_027);
    // A slash makes no other resource of it; another one is, for clients that keep an assertion.
    refused(&ask(&format!("{MANAGER}/")), 700_027);
    token(&ask(GRAPH));
    refused(&ask(GRAPH), 700_027);
    let remembered = || place.count("SELECT count(*) FROM assertion_seen");
    assert_eq!(remembered(), 2);
    place.forward(3600);
    refused(&ask(MANAGER), 700_024);
    place.admin_token(MANAGER);
    assert_eq!(remembered(), 1);
}

#[test]
fn grants_decide_at_each_request_what_an_application_may() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "app");
    let signer = Signer::new();
    place.register(&graph, &id, &[&signer]);
    let own = token(&place.with_assertion(&signer, &client, GRAPH));
    let manager = token(&place.with_assertion(&signer, &client, MANAGER));
    let (_, admin) =
        place.get(&graph, &format!("/v1.0/applications(appId='{}')", place.admin_client()));
    let admin = format!("/v1.0/applications/{}", text(&admin["id"]));
    let key = json!({"keyCredentials": [{"key": STANDARD.encode(&signer.der)}]});
    // Vaults of our own API, applications seen, one made, the server's own taken over.
    let may = || {
        let made = json!({"displayName": "made"});
        [
            place.call(&manager, &Method::GET, "/api/v1/vaults", &Value::Null).status,
            place.get(&own, &admin).0,
            place.graph(&own, &Method::POST, "/v1.0/applications", &made).0,
            place.graph(&own, &Method::PATCH, &admin, &key).0,
        ]
    };
    let grant = |role: &str, scope: &str| {
        place.run("DELETE FROM role_grant WHERE principal = (SELECT service_principal FROM application WHERE display_name = 'app')");
        place.run(&format!(
            "INSERT INTO role_grant SELECT '{role}{scope}', service_principal, '{role}', '{scope}', '2026-01-01T00:00:00Z'
             FROM application WHERE display_name = 'app'"
        ));
    };
    assert_eq!(may(), [403, 404, 403, 404]);
    grant("Reader", "/");
    assert_eq!(may(), [403, 200, 403, 403]);
    grant("Contributor", "/");
    assert_eq!(may(), [403, 200, 201, 403]);
    grant("Owner", "/subscriptions/s");
    assert_eq!(may(), [403, 200, 403, 403]);
    grant("Owner", "/");
    assert_eq!(may(), [200, 200, 201, 204]);
    place.run("DELETE FROM role_grant WHERE scope = '/'");
    assert_eq!(may()[..3], [403, 404, 403]);
}

#[test]
fn the_owner_of_one_vault_decides_about_it_and_about_no_other() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "app");
    let signer = Signer::new();
    place.register(&graph, &id, &[&signer]);
    let manager = token(&place.with_assertion(&signer, &client, MANAGER));
    place.site.agent("vault1", "fs01");
    place.site.agent("vault2", "fs01");
    let scope = |vault: &str| {
        place.on_database(async |on| {
            let (scope,): (String,) = sqlx::query_as(
                "SELECT '/subscriptions/' || subscription || '/resourceGroups/' || resource_group
                     || '/providers/Microsoft.RecoveryServices/vaults/' || name FROM vault WHERE name = ?",
            )
            .bind(vault)
            .fetch_one(on)
            .await
            .unwrap();
            scope
        })
    };
    let grant = |role: &str| {
        place.run("DELETE FROM role_grant WHERE principal = (SELECT service_principal FROM application WHERE display_name = 'app')");
        place.run(&format!(
            "INSERT INTO role_grant SELECT 'one', service_principal, '{role}', '{}', '2026-01-01T00:00:00Z'
             FROM application WHERE display_name = 'app'",
            scope("vault1")
        ));
    };
    let call = |method: &Method, path: &str, body: Value| {
        place.call(&manager, method, &format!("/api/v1/vaults/{path}"), &body).status
    };
    let asks = |vault: &str| {
        [
            call(&Method::GET, &format!("{vault}/settings"), Value::Null),
            call(&Method::PATCH, &format!("{vault}/settings"), json!({"holdDays": 20})),
            call(&Method::PATCH, &format!("{vault}/servers/fs01/settings"), json!({"quota": 9})),
            call(&Method::POST, &format!("{vault}/pin"), Value::Null),
            call(&Method::GET, &format!("{vault}/deletions"), Value::Null),
        ]
    };
    assert_eq!(asks("vault1"), [403; 5]);
    grant("Contributor");
    assert_eq!(asks("vault1"), [403; 5], "whoever may not say who may, may not say what goes");
    grant("Owner");
    assert_eq!(asks("vault1"), [200, 200, 200, 201, 200]);
    assert_eq!(asks("vault2"), [403; 5]);
    assert_eq!(asks("nowhere"), [403; 5]);
    // It makes no server, and sees no list of all.
    assert_eq!(call(&Method::POST, "vault1/servers/fs09", json!({})), 403);
    assert_eq!(place.call(&manager, &Method::GET, "/api/v1/vaults", &Value::Null).status, 403);
    let read = token(&place.with_assertion(&signer, &client, GRAPH));
    let wrong = place.call(&read, &Method::POST, "/api/v1/vaults/vault1/pin", &Value::Null);
    assert_eq!(wrong.status, 401, "a token for something else");
}

/// By the resource manager alone, as `az role assignment create --scope` does it.
#[test]
fn roles_at_a_single_vault_hold_there_and_nowhere_else() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "app");
    let signer = Signer::new();
    place.register(&graph, &id, &[&signer]);
    let (admin, app) =
        (place.admin_token(MANAGER), token(&place.with_assertion(&signer, &client, MANAGER)));
    place.site.agent("vault1", "fs01");
    place.site.agent("vault2", "fs01");
    let (group, principal) = place.on_database(async |on| {
        let row: (String, String) = sqlx::query_as(
            "SELECT '/subscriptions/' || subscription || '/resourceGroups/' || resource_group,
                (SELECT service_principal FROM application WHERE display_name = 'app')
             FROM vault WHERE name = 'vault1'",
        )
        .fetch_one(on)
        .await
        .unwrap();
        row
    });
    let vault = |name: &str| format!("{group}/providers/Microsoft.RecoveryServices/vaults/{name}");
    let ask = |who: &str, method: &Method, path: &str, body: &Value| {
        place.call(who, method, &format!("{path}?api-version=2022-04-01"), body)
    };
    let assignment = |scope: &str, n: u8| {
        format!(
            "{scope}/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-0000000000{n:02x}"
        )
    };
    let role =
        |name: &str| json!({"properties": {"roleDefinitionId": name, "principalId": principal}});
    let does = |name: &str| {
        let path = vault(name);
        [
            ask(&app, &Method::GET, &path, &Value::Null).status,
            ask(&app, &Method::PATCH, &path, &json!({"tags": {"by": "app"}})).status,
            ask(&app, &Method::PUT, &assignment(&path, 99), &role("Reader")).status,
        ]
    };
    assert_eq!(does("vault1"), [403; 3]);
    for (n, (name, may)) in (1..).zip([
        ("Reader", [200, 403, 403]),
        ("Contributor", [200, 200, 403]),
        ("Owner", [200, 200, 201]),
    ]) {
        let path = assignment(&vault("VAULT1"), n);
        let made = ask(&admin, &Method::PUT, &path, &role(name));
        assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        assert_eq!(made["properties"]["scope"], vault("vault1"), "as the vault is written");
        assert_eq!(does("vault1"), may, "{name}");
        assert_eq!(does("vault2"), [403; 3], "{name}");
        assert_eq!(ask(&app, &Method::GET, &group, &Value::Null).status, 403, "{name}");
        let above = ask(&app, &Method::PUT, &assignment(&group, 98), &role("Reader"));
        assert_eq!(above.status, 403, "{name} gives nothing above it");
        let end = assignment(&vault("vault1"), if name == "Owner" { 99 } else { n });
        assert_eq!(ask(&admin, &Method::DELETE, &end, &Value::Null).status, 200);
    }
    // It has no role at what is not there.
    let nowhere = assignment(&vault("nowhere"), 97);
    assert_eq!(ask(&admin, &Method::PUT, &nowhere, &role("Reader")).status, 404);
    let at = format!("{}/providers/Microsoft.Authorization/roleAssignments", vault("vault1"));
    let listed = ask(&app, &Method::GET, &at, &Value::Null);
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    let of_app = listed["value"].as_array().unwrap().iter();
    let of_app = of_app.filter(|it| it["properties"]["principalId"] == *principal);
    assert_eq!(of_app.count(), 1, "{listed}");
}

#[test]
fn version_1_answers_with_text_and_takes_its_own_audience() {
    let place = Place::new();
    let (client, signer) = (place.admin_client(), place.admin_signer());
    let endpoint = format!("{}/{}/oauth2/token", place.known.endpoint, place.tenant());
    let now = place.now();
    let assertion = signer
        .sign(&json!({"iss": client, "sub": client, "aud": endpoint, "jti": "v1",
        "nbf": now, "exp": now + 600}));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.as_str()),
        ("client_id", client),
        ("resource", "https://management.core.windows.net/"),
    ];
    let (status, answer) = place.post(&format!("/{}/oauth2/token", place.tenant()), &form, None);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["expires_in"], "3599");
    assert!(text(&answer["expires_on"]).parse::<i64>().unwrap() >= now + 3599);
    let access = text(&answer["access_token"]);
    assert_eq!(claims(&access)["ver"], "1.0");
    assert_eq!(claims(&access)["iss"], format!("{}/{}/", place.known.endpoint, place.tenant()));
    assert_eq!(place.call(&access, &Method::GET, "/api/v1/vaults", &Value::Null).status, 200);
    refused(&place.post(&format!("/{}/oauth2/token", place.tenant()), &form[..4], None), 900_144);
}

#[test]
fn a_secret_is_shown_once_works_in_both_places_and_ends() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "app");
    let path = format!("/v1.0/applications/{id}/addpassword");
    let body = json!({"passwordCredential": {"displayName": "first"}});
    let (status, made) = place.graph(&graph, &Method::POST, &path, &body);
    assert_eq!(status, 200, "{made}");
    let secret = text(&made["secretText"]);
    assert!(secret.starts_with(&text(&made["hint"])));
    let access = token(&place.ask(&client, GRAPH, ("client_secret", &secret)));
    let form =
        [("grant_type", "client_credentials"), ("scope", "https://graph.microsoft.com/.default")];
    let token_path = format!("/{}/oauth2/v2.0/token", place.tenant());
    assert_eq!(place.post(&token_path, &form, Some((&client, &secret))).0, 200);
    refused(&place.post(&token_path, &form, Some((&client, "guess"))), 7_000_215);
    let (_, shown) = place.get(&graph, &format!("/v1.0/applications/{id}"));
    assert_eq!(shown["passwordCredentials"][0]["secretText"], Value::Null);
    assert_eq!(shown["passwordCredentials"][0]["displayName"], "first");
    // Without grants, it sees itself.
    let (status, mine) = place.get(&access, "/v1.0/applications");
    assert_eq!((status, mine["value"].as_array().unwrap().len()), (200, 1));
    place.forward(2 * 366 * 24 * 3600);
    refused(&place.ask(&client, GRAPH, ("client_secret", &secret)), 7_000_222);
    place.ahead.store(0, Ordering::SeqCst);
    let body = json!({"keyId": made["keyId"]});
    let path = format!("/v1.0/applications/{id}/removepassword");
    assert_eq!(place.graph(&graph, &Method::POST, &path, &body).0, 204);
    refused(&place.ask(&client, GRAPH, ("client_secret", &secret)), 7_000_215);
    assert_eq!(place.get(&access, "/v1.0/applications").0, 401);
}

#[test]
fn tokens_end_with_the_certificate_the_service_principal_and_the_application() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "app");
    let (one, other) = (Signer::new(), Signer::new());
    place.register(&graph, &id, &[&one, &other]);
    let first = token(&place.with_assertion(&one, &client, GRAPH));
    let second = token(&place.with_assertion(&other, &client, GRAPH));
    let works = |token: &str| place.get(token, "/v1.0/applications").0;
    assert_eq!((works(&first), works(&second)), (200, 200));
    let path = format!("/v1.0/applications/{id}");
    let (_, shown) = place.get(&graph, &path);
    let kept = shown["keyCredentials"][1].clone();
    let body = json!({"keyCredentials": [kept]});
    assert_eq!(place.graph(&graph, &Method::PATCH, &path, &body).0, 204);
    assert_eq!((works(&first), works(&second)), (401, 200));
    refused(&place.with_assertion(&one, &client, GRAPH), 700_027);
    let (_, found) =
        place.get(&graph, &format!("/v1.0/serviceprincipals?$filter=appId%20eq%20'{client}'"));
    let principal = text(&found["value"][0]["id"]);
    let gone = format!("/v1.0/serviceprincipals/{principal}");
    assert_eq!(place.graph(&graph, &Method::DELETE, &gone, &Value::Null).0, 204);
    assert_eq!(works(&second), 401);
    refused(&place.with_assertion(&other, &client, GRAPH), 7_000_229);
    let body = json!({"appId": client});
    assert_eq!(place.graph(&graph, &Method::POST, "/v1.0/serviceprincipals", &body).0, 201);
    assert_eq!(place.graph(&graph, &Method::POST, "/v1.0/serviceprincipals", &body).0, 409);
    // A new service principal does not bring back the old one's tokens.
    assert_eq!(works(&second), 401);
    assert_eq!(place.graph(&graph, &Method::DELETE, &path, &Value::Null).0, 204);
    refused(&place.with_assertion(&other, &client, GRAPH), 700_016);
    assert_eq!(place.get(&graph, &path).0, 404);
}

#[test]
fn key_credentials_follow_graphs_rules() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, _) = place.application(&graph, "app");
    let path = format!("/v1.0/applications/{id}");
    let patch =
        |keys: &Value| place.graph(&graph, &Method::PATCH, &path, &json!({"keyCredentials": keys}));
    let signer = Signer::new();
    let lines: Vec<String> = STANDARD
        .encode(&signer.der)
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect();
    let entry = json!({"@odata.type": "#microsoft.graph.keyCredential", "key": lines.join("\r\n"),
        "type": "AsymmetricX509Cert", "usage": "Verify"});
    assert_eq!(patch(&json!([entry])).0, 204);
    let (_, shown) = place.get(&graph, &path);
    let first = &shown["keyCredentials"][0];
    assert_eq!(first["key"], Value::Null);
    let custom = text(&first["customKeyIdentifier"]);
    assert!(
        custom.len() == 40 && custom.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
    );
    let (_, selected) = place.get(&graph, &format!("{path}?$select=keyCredentials,appId"));
    assert_eq!(selected["keyCredentials"][0]["key"], STANDARD.encode(&signer.der));
    assert_eq!(selected.get("displayName"), None);
    let (_, listed) = place.get(&graph, "/v1.0/applications?$select=keyCredentials");
    for one in listed["value"].as_array().unwrap() {
        assert_eq!(one["keyCredentials"][0]["key"], Value::Null);
    }
    // As read, with and without its bytes, it stays what it is.
    assert_eq!(patch(&json!([first])).0, 204);
    assert_eq!(patch(&selected["keyCredentials"]).0, 204);
    assert_eq!(place.get(&graph, &path).1["keyCredentials"], json!([first]));
    let other = STANDARD.encode(&Signer::new().der);
    for bad in [
        json!([{"key": "junk!"}]),
        json!([{"key": STANDARD.encode(b"no certificate")}]),
        json!([{"key": other, "keyId": first["keyId"]}]),
        json!([{"key": null, "keyId": "00000000-0000-0000-0000-000000000000"}]),
        json!([{"key": other, "type": "Symmetric"}]),
        json!([{"key": other, "usage": "Sign"}]),
        json!([{"key": other, "keyId": "x"}]),
        json!([{"key": other, "endDateTime": "2040-01-01T00:00:00Z"}]),
        json!(vec![entry.clone(); 101]),
    ] {
        let (status, answer) = patch(&bad);
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!("Request_BadRequest")),
            "{bad}"
        );
        assert!(!text(&answer["error"]["innerError"]["request-id"]).is_empty());
    }
    assert_eq!(place.get(&graph, &path).1["keyCredentials"], json!([first]));
    assert_eq!(patch(&json!([])).0, 204);
    assert_eq!(place.get(&graph, &path).1["keyCredentials"], json!([]));
}

#[test]
fn an_application_changes_its_own_certificates_with_a_proof_and_nothing_else() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "app");
    let (one, next) = (Signer::new(), Signer::new());
    place.register(&graph, &id, &[&one]);
    let own = token(&place.with_assertion(&one, &client, GRAPH));
    let path = format!("/v1.0/applications/{id}");
    let renamed = json!({"displayName": "other"});
    assert_eq!(place.graph(&own, &Method::PATCH, &path, &renamed).0, 403);
    assert_eq!(place.graph(&own, &Method::POST, "/v1.0/applications", &renamed).0, 403);
    assert_eq!(place.graph(&own, &Method::DELETE, &path, &Value::Null).0, 403);
    let proof = |signer: &Signer, aud: &str, iss: &str| {
        let now = place.now();
        signer.sign(&json!({"aud": aud, "iss": iss, "nbf": now, "exp": now + 600}))
    };
    let add = |proof: String| {
        let body = json!({"keyCredential": {"type": "AsymmetricX509Cert", "usage": "Verify",
            "key": STANDARD.encode(&next.der)}, "passwordCredential": null, "proof": proof});
        place.graph(
            &own,
            &Method::POST,
            &format!("/v1.0/applications(appId='{client}')/addkey"),
            &body,
        )
    };
    assert_eq!(add(proof(&next, PROOF, &id)).0, 403);
    assert_eq!(add(proof(&one, "another", &id)).0, 403);
    assert_eq!(add(proof(&one, PROOF, &client)).0, 403);
    assert_eq!(add(place.assertion(&one, &client)).0, 403);
    let (status, added) = add(proof(&one, PROOF, &id));
    assert_eq!((status, &added["key"]), (200, &Value::Null), "{added}");
    token(&place.with_assertion(&next, &client, GRAPH));
    let (_, shown) = place.get(&own, &path);
    let old = &shown["keyCredentials"][0]["keyId"];
    let body = json!({"keyId": old, "proof": proof(&next, PROOF, &id)});
    assert_eq!(place.graph(&own, &Method::POST, &format!("{path}/removekey"), &body).0, 204);
    assert_eq!(place.get(&own, &path).0, 401);
    refused(&place.with_assertion(&one, &client, GRAPH), 700_027);
}

#[test]
fn lists_are_filtered_and_cut_and_objects_found_by_every_id() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, client) = place.application(&graph, "O'Neill");
    place.application(&graph, "another");
    let names = |filter: &str| -> Vec<String> {
        let filter: String = url::form_urlencoded::byte_serialize(filter.as_bytes()).collect();
        let (status, list) = place.get(&graph, &format!("/v1.0/applications?$filter={filter}"));
        assert_eq!(status, 200, "{list}");
        list["value"].as_array().unwrap().iter().map(|one| text(&one["displayName"])).collect()
    };
    assert_eq!(names(&format!("appId eq '{client}'")), ["O'Neill"]);
    assert_eq!(names("appId eq '00000000-0000-0000-0000-000000000000'"), [""; 0]);
    assert_eq!(names("startswith(displayName,'O''N')"), ["O'Neill"]);
    assert_eq!(names(&format!("id eq '{id}' or displayName eq 'another'")), ["O'Neill", "another"]);
    let bad = "/v1.0/applications?$filter=createdDateTime%20gt%202020";
    assert_eq!(place.get(&graph, bad).0, 400);
    let (_, page) = place.get(&graph, "/v1.0/applications?$top=2");
    let next = text(&page["@odata.nextLink"]);
    let (_, rest) = place.get(&graph, next.strip_prefix(&place.known.endpoint).unwrap());
    assert_eq!(rest["value"][0]["displayName"], "another");
    for path in
        [format!("/v1.0/applications(appId='{client}')"), format!("/beta/applications/{id}")]
    {
        assert_eq!(place.get(&graph, &path).1["appId"], client.as_str(), "{path}");
    }
    let filter = format!("servicePrincipalNames/any(c:c%20eq%20'{client}')");
    let (_, found) = place.get(&graph, &format!("/v1.0/serviceprincipals?$filter={filter}"));
    let principal = text(&found["value"][0]["id"]);
    let (_, one) = place.get(&graph, &format!("/v1.0/serviceprincipals/{principal}"));
    assert_eq!(one["appId"], client.as_str());
    // An application's id is no service principal's.
    assert_eq!(place.get(&graph, &format!("/v1.0/serviceprincipals/{id}")).0, 404);
    let body = json!({"ids": [id, principal, "x"], "types": ["servicePrincipal"]});
    let by_ids = "/v1.0/directoryobjects/getbyids";
    let (_, found) = place.graph(&graph, &Method::POST, by_ids, &body);
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    assert_eq!(found["value"][0]["@odata.type"], "#microsoft.graph.servicePrincipal");
    let (_, organization) = place.get(&graph, "/v1.0/organization");
    assert_eq!(organization["value"][0]["id"], place.tenant());
    assert_eq!(place.get(&graph, "/v1.0/me").0, 400);
    let (_, mine) = place.get(&graph, "/v1.0/me/ownedobjects");
    assert!(mine["value"].as_array().unwrap().iter().any(|one| one["id"] == id.as_str()));
    let (_, owners) = place.get(&graph, &format!("/v1.0/applications/{id}/owners"));
    assert_eq!(owners["value"][0]["appId"], place.admin_client());
}

#[test]
fn a_tenant_is_looked_for_where_no_other_path_is() {
    let place = Place::new();
    for path in ["/v1.0/oauth2/token", "/api/oauth2/v2.0/token", "/vaults/oauth2/v2.0/token"] {
        refused(&place.post(path, &[], None), 90002);
    }
    let graph = place.admin_token(GRAPH);
    let (status, body) = place.get(&graph, "/v1.0/users");
    assert_eq!((status, &body["error"]["code"]), (404, &json!("Request_ResourceNotFound")));
    let long = json!({"displayName": "x".repeat(1 << 20)});
    assert_eq!(place.graph(&graph, &Method::POST, "/v1.0/applications", &long).0, 400);
    let odd = json!({"displayName": "line\nbreak"});
    assert_eq!(place.graph(&graph, &Method::POST, "/v1.0/applications", &odd).0, 400);
}

#[test]
fn nobody_deletes_the_servers_own_application() {
    let place = Place::new();
    let graph = place.admin_token(GRAPH);
    let client = place.admin_client();
    let (_, own) = place.get(&graph, &format!("/v1.0/applications(appId='{client}')"));
    let path = format!("/v1.0/applications/{}", text(&own["id"]));
    assert_eq!(place.graph(&graph, &Method::DELETE, &path, &Value::Null).0, 400);
    let auth = Some((place.known.user.as_str(), place.known.token.as_str()));
    assert_eq!(raw(&place.known, auth, &Method::DELETE, &path, &[], b"").status, 400);
    // What is meant for a service principal does not reach its application.
    let (id, other) = place.application(&graph, "app");
    let keyed = format!("/v1.0/serviceprincipals(appId='{other}')");
    assert_eq!(place.graph(&graph, &Method::DELETE, &keyed, &Value::Null).0, 400);
    assert_eq!(place.get(&graph, &format!("/v1.0/applications/{id}")).0, 200);
}

#[test]
fn the_certificate_is_a_private_file_and_no_secret_is_in_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut place = Place::new();
    let graph = place.admin_token(GRAPH);
    let (id, _) = place.application(&graph, "app");
    let path = format!("/v1.0/applications/{id}/addpassword");
    let (_, made) = place.graph(&graph, &Method::POST, &path, &json!({}));
    let secret = text(&made["secretText"]);
    let before = place.known.clone();
    place.site.stop();
    for name in ["admin-certificate.pem", "tls/token.key"] {
        let mode = std::fs::metadata(place.site.data().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for name in crate::site::files(&place.site.data()) {
        let bytes = std::fs::read(place.site.data().join(&name)).unwrap();
        let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{name} holds a secret");
    }
    place.site.start(|_| {});
    let after = place.site.admin().credentials().clone();
    assert_eq!(before.tenant_id, after.tenant_id);
    assert_eq!(before.subscription_id, after.subscription_id);
    assert_eq!(before.client_id, after.client_id);
    assert_eq!(before.certificate_file, after.certificate_file);
}
