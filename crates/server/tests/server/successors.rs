//! Who signs for a seed in the place of its drives' signer: named by the machine's own certificate, and by nothing else; and
//! from then on nobody else does.

use crate::publication::{repository, settled, there};
use crate::revisions::{newest, put, refilled, send, without_a_pack};
use crate::sample::{Journey, Sample};
use crate::site::{Site, raw};
use client::{Certified, Client, Proof};
use credfile::{Identity, ManagementCert, VaultCredentials, machine_identity};
use jiff::Timestamp;
use model::ServerName;
use seed::SigningKey;
use std::io::Read as _;
use ureq::http::Method;
use wire::{Code, PublicationState, SUCCESSOR_TYPE, SeedId, SuccessorClaims};

/// A machine that calls by its certificate, in the place of whoever had the name.
struct Machine {
    client: Client,
    identity: Identity,
}

impl Machine {
    fn new(site: &Site, name: &str) -> Self {
        let file = site.admin().vault_credentials(&"vault1".parse().unwrap()).unwrap();
        let file = VaultCredentials::read(&file).unwrap();
        let ManagementCert::Identity(vault) = &file.management_cert else { panic!() };
        let name: ServerName = name.parse().unwrap();
        let identity = machine_identity(&name, Timestamp::now()).unwrap();
        let (tenant, application) =
            (file.aad_tenant.to_string(), file.service_principal.unwrap().to_string());
        let admin = site.admin();
        let certified = certified(&admin, &tenant, &application, vault);
        let certificate = identity.certificate().as_der();
        let how = (true, Vec::new());
        let credentials =
            certified.register(&file.aad_audience, &file.vault, &name, certificate, how).unwrap();
        let proof = Proof {
            certificate: certificate.to_vec(),
            key: identity.private_key().to_vec().into(),
            until: identity.certificate().not_after(),
        };
        let proofs = Box::new(move || Ok(vec![proof.clone()]));
        let client = Client::certified(credentials, proofs, &store::Proxies::default()).unwrap();
        Self { client, identity }
    }

    /// Another client of the same machine.
    fn again(&self) -> Client {
        let proof = Proof {
            certificate: self.identity.certificate().as_der().to_vec(),
            key: self.identity.private_key().to_vec().into(),
            until: self.identity.certificate().not_after(),
        };
        let proofs = Box::new(move || Ok(vec![proof.clone()]));
        let credentials = self.client.credentials().clone();
        Client::certified(credentials, proofs, &store::Proxies::default()).unwrap()
    }

    fn states(&self, kind: &str, claims: &SuccessorClaims) -> String {
        certified(&self.client, "", "", &self.identity).statement(kind, claims).unwrap()
    }

    /// Sends that statement about a seed of fs01.
    fn says(&self, seed: SeedId, statement: &str) -> u16 {
        let token = self.client.tokens().unwrap().get().unwrap();
        let path = format!("/api/v1/vaults/vault1/servers/fs01/successors/{seed}");
        let bearer = format!("Bearer {}", token.as_str());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = serde_json::json!({ "statement": statement }).to_string();
        let known = self.client.credentials();
        raw(known, None, &Method::PUT, &path, &headers, body.as_bytes()).status
    }
}

fn certified<'a>(
    of: &'a Client,
    tenant: &'a str,
    client: &'a str,
    identity: &'a Identity,
) -> Certified<'a> {
    let known = of.credentials();
    Certified {
        endpoint: &known.endpoint,
        ca_pem: known.ca_pem.as_deref().unwrap(),
        tenant,
        client,
        certificate: identity.certificate().as_der(),
        key: identity.private_key(),
        proxies: store::Proxies::default(),
    }
}

fn claims(seed: SeedId, key: &SigningKey) -> SuccessorClaims {
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    SuccessorClaims { vault, server, seed, key: key.public() }
}

fn named(agent: &Client, seed: SeedId) -> Option<wire::Successor> {
    agent.successor(&"vault1".parse().unwrap(), &"fs01".parse().unwrap(), seed).unwrap()
}

fn log(site: &Site, seed: SeedId) -> String {
    let mut log = String::new();
    site.admin().custody(seed).unwrap().read_to_string(&mut log).unwrap();
    log
}

/// The machine of a seed that lacks a pack, in the place of the agent that has a token.
fn machine<'a>(site: &Site, sample: &'a Sample) -> (Journey<'a>, Machine) {
    let mut journey = without_a_pack(site, sample);
    settled(&journey);
    let machine = Machine::new(site, "fs01");
    journey.agent = machine.again();
    (journey, machine)
}

#[test]
fn a_machine_names_its_own_key_by_its_certificate_and_revises_with_that() {
    let site = Site::new();
    let sample = Sample::new("succeeded", 6);
    let (journey, _) = machine(&site, &sample);
    let own = SigningKey::from_bytes(&[33; 32]);
    let refilled = refilled(&sample, 1, &sample.list());
    let signed = refilled.revision.encode(&own).unwrap();
    let error = put(&journey, &signed).unwrap_err();
    assert_eq!(error.code(), Some(&Code::ManifestRefused), "{error}");
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let name = |key: &SigningKey| {
        journey.agent.name_successor(&vault, &server, sample.seed, key.public()).unwrap();
    };
    name(&own);
    name(&own);
    assert_eq!(named(&journey.agent, sample.seed).unwrap().key, own.public());
    let entries = log(&site, sample.seed).matches("signer-named").count();
    assert_eq!(entries, 1, "said again, it changes nothing");
    // The drives' own signer has no say any more.
    let theirs = refilled.revision.encode(&sample.signer).unwrap();
    let error = put(&journey, &theirs).unwrap_err();
    assert_eq!(error.code(), Some(&Code::ManifestRefused), "{error}");
    for at in (0..signed.len()).step_by(7) {
        let mut bytes = signed.clone();
        bytes[at] ^= 1 << (at % 8);
        assert_eq!(put(&journey, &bytes).unwrap_err().code(), Some(&Code::ManifestRefused));
    }
    put(&journey, &signed).unwrap();
    // What was taken stays, whoever is named after it.
    name(&SigningKey::from_bytes(&[34; 32]));
    assert_eq!(newest(&journey).unwrap().0, 1);
    send(&journey, &refilled.new);
    let status = settled(&journey);
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    assert!(refilled.revision.objects.iter().all(|object| there(&repository(&site), object)));
    // And after that nobody is named.
    let error = journey.agent.name_successor(&vault, &server, sample.seed, own.public());
    assert_eq!(error.unwrap_err().code(), Some(&Code::AlreadyExists));
    assert_eq!(log(&site, sample.seed).matches("signer-named").count(), 2);
}

#[test]
fn whatever_the_machines_certificate_has_not_signed_names_nobody() {
    let site = Site::new();
    let sample = Sample::new("succession", 6);
    let (journey, machine) = machine(&site, &sample);
    let key = SigningKey::from_bytes(&[35; 32]);
    let right = claims(sample.seed, &key);
    let good = machine.states(SUCCESSOR_TYPE, &right);
    let refused = |what: &str, statement: &str| {
        assert_eq!(machine.says(sample.seed, statement), 403, "{what}");
        assert_eq!(named(&machine.client, sample.seed), None, "{what}");
    };
    refused("nothing", "");
    let mut bytes = good.clone().into_bytes();
    for at in (0..bytes.len()).step_by(17) {
        let before = bytes[at];
        bytes[at] = if before == b'A' { b'B' } else { b'A' };
        refused(&format!("byte {at}"), std::str::from_utf8(&bytes).unwrap());
        bytes[at] = before;
    }
    refused("another kind of token", &machine.states("JWT", &right));
    let other = SuccessorClaims { seed: SeedId([3; 16]), ..right.clone() };
    refused("another seed", &machine.states(SUCCESSOR_TYPE, &other));
    let other = SuccessorClaims { server: "fs02".parse().unwrap(), ..right.clone() };
    refused("another source server", &machine.states(SUCCESSOR_TYPE, &other));
    let other = SuccessorClaims { vault: "vault2".parse().unwrap(), ..right.clone() };
    refused("another vault", &machine.states(SUCCESSOR_TYPE, &other));
    // Another machine has a certificate, and no say here; nor does its certificate for this one.
    let stranger = Machine::new(&site, "fs02");
    let theirs = stranger.states(SUCCESSOR_TYPE, &right);
    assert_eq!(stranger.says(sample.seed, &theirs), 403);
    refused("a stranger's certificate", &theirs);
    // A seed that nobody knows.
    let unknown = SuccessorClaims { seed: SeedId([4; 16]), ..right };
    let statement = machine.states(SUCCESSOR_TYPE, &unknown);
    assert_eq!(machine.says(SeedId([4; 16]), &statement), 404);
    assert!(!log(&site, sample.seed).contains("signer-named"));
    // Registered again, the certificate before has none either.
    assert_eq!(machine.says(sample.seed, &good), 204);
    let next = Machine::new(&site, "fs01");
    let late = SuccessorClaims {
        key: SigningKey::from_bytes(&[36; 32]).public(),
        ..claims(sample.seed, &key)
    };
    assert_eq!(next.says(sample.seed, &machine.states(SUCCESSOR_TYPE, &late)), 403);
    // Nor has a token alone.
    drop(journey);
    let agent = site.agent("vault1", "fs01");
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let error = agent.name_successor(&vault, &server, sample.seed, key.public()).unwrap_err();
    assert_eq!(error.code(), Some(&Code::AuthorizationFailed), "{error}");
    assert!(error.to_string().contains("agent register"), "{error}");
}

#[test]
fn nobody_is_named_to_sign_for_a_seed_that_was_given_up() {
    let site = Site::new();
    let sample = Sample::new("abandoned", 6);
    let (journey, machine) = machine(&site, &sample);
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    journey.agent.abandon_seed(&vault, &server, sample.seed).unwrap();
    let key = SigningKey::from_bytes(&[37; 32]).public();
    let error = journey.agent.name_successor(&vault, &server, sample.seed, key).unwrap_err();
    assert_eq!(error.code(), Some(&Code::SeedAbandoned), "{error}");
    assert_eq!(named(&machine.client, sample.seed), None);
    assert!(!log(&site, sample.seed).contains("signer-named"));
}
