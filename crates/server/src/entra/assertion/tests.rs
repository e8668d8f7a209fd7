//! Assertions as real clients spell them, and as attackers would. Tokens are put together by hand
//! here; the code under test makes none.

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as Rsa;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use std::sync::LazyLock;

const CLIENT: &str = "11111111-2222-3333-4444-555555555555";
const V1: &str = "https://127.0.0.1:1/tenant/oauth2/token";
const V2: &str = "https://127.0.0.1:1/tenant/oauth2/v2.0/token";
/// 2026-06-01T00:00:00Z.
const NOW: i64 = 1_780_272_000;

struct Signer {
    key: Rsa,
    registered: Registered,
}

/// Making a key takes a while: two for all tests.
static OWN: LazyLock<Signer> = LazyLock::new(|| Signer::new(2020, 2030));
static FOREIGN: LazyLock<Signer> = LazyLock::new(|| Signer::new(2020, 2030));

impl Signer {
    fn new(from: i32, to: i32) -> Self {
        let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        let mut params = CertificateParams::new(["host".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        let der = params.self_signed(&pair).unwrap().der().to_vec();
        let certificate = Certificate::parse(&der).unwrap();
        let key = Rsa::from_pkcs8(&pair.serialize_der()).unwrap();
        Self { key, registered: Registered { key_id: "k1".to_owned(), certificate } }
    }

    fn sha1(&self) -> [u8; 20] {
        self.registered.certificate.sha1
    }

    fn sha256(&self) -> [u8; 32] {
        self.registered.certificate.sha256
    }

    fn sign(&self, how: &'static dyn RsaEncoding, header: &Value, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", part(&header.to_string()), part(claims));
        self.seal(how, &signed, |bytes| URL_SAFE_NO_PAD.encode(bytes))
    }

    fn seal(
        &self,
        how: &'static dyn RsaEncoding,
        signed: &str,
        write: impl Fn(&[u8]) -> String,
    ) -> String {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(how, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", write(&signature))
    }
}

fn claims() -> Value {
    json!({"iss": CLIENT, "sub": CLIENT, "aud": V2, "jti": "j1", "iat": NOW, "nbf": NOW, "exp": NOW + 600})
}

fn with(change: &Value) -> String {
    let mut claims = claims();
    for (name, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims.to_string()
}

fn header() -> Value {
    json!({"typ": "JWT", "alg": "RS256", "x5t": URL_SAFE_NO_PAD.encode(OWN.sha1())})
}

fn check_at(token: &str, registered: &[Registered], now: i64) -> Result<Proof, Reason> {
    let audiences = [V1.to_owned(), V2.to_owned()];
    let now = Timestamp::from_second(now).unwrap();
    verify(token, registered, &Expected { client: CLIENT, audiences: &audiences, now })
}

fn check(token: &str) -> Result<Proof, Reason> {
    check_at(token, &[FOREIGN_KEY.clone(), OWN.registered.clone()], NOW)
}

/// Another certificate of the same application, which did not sign.
static FOREIGN_KEY: LazyLock<Registered> = LazyLock::new(|| Registered {
    key_id: "k0".to_owned(),
    certificate: Signer::new(2020, 2030).registered.certificate,
});

fn proof() -> Result<Proof, Reason> {
    Ok(Proof { key_id: "k1".to_owned(), jti: "j1".to_owned() })
}

#[test]
fn msal_for_python_with_a_thumbprint_is_taken() {
    // Floats, no nbf, x5t padded.
    let header = json!({"typ": "JWT", "alg": "RS256", "x5t": URL_SAFE.encode(OWN.sha1())});
    let times = json!({"iat": 1_780_272_000.909_417_4_f64, "exp": 1_780_272_600.909_417_4_f64, "nbf": null});
    assert_eq!(check(&OWN.sign(&RSA_PKCS1_SHA256, &header, &with(&times))), proof());
}

#[test]
fn msal_for_python_with_a_public_certificate_is_taken() {
    let chain = STANDARD.encode(&OWN.registered.certificate.der);
    let header = json!({"alg": "PS256", "x5t#S256": URL_SAFE.encode(OWN.sha256()), "x5c": [chain]});
    let times = json!({"iat": 1_780_272_000.5_f64, "exp": 1_780_272_600.5_f64, "nbf": null});
    assert_eq!(check(&OWN.sign(&RSA_PSS_SHA256, &header, &with(&times))), proof());
}

#[test]
fn msal_for_node_is_taken() {
    let header = json!({"alg": "PS256", "x5t#S256": URL_SAFE_NO_PAD.encode(OWN.sha256())});
    assert_eq!(check(&OWN.sign(&RSA_PSS_SHA256, &header, &claims().to_string())), proof());
}

#[test]
fn adal_with_the_first_endpoint_is_taken() {
    let header = json!({"alg": "RS256", "x5t": URL_SAFE.encode(OWN.sha1())});
    let said = with(&json!({"aud": V1, "iat": null}));
    assert_eq!(check(&OWN.sign(&RSA_PKCS1_SHA256, &header, &said)), proof());
}

#[test]
fn azure_identity_for_rust_with_the_standard_alphabet_is_taken() {
    let header = json!({"alg": "RS256", "typ": "JWT", "x5t": STANDARD.encode(OWN.sha1())});
    let said = with(&json!({"iat": null}));
    assert_eq!(check(&OWN.sign(&RSA_PKCS1_SHA256, &header, &said)), proof());
}

#[test]
fn padding_within_segments_is_no_obstacle() {
    let part = |text: &str| URL_SAFE.encode(text);
    let signed = format!("{}.{}", part(&header().to_string()), part(&claims().to_string()));
    let token = OWN.seal(&RSA_PKCS1_SHA256, &signed, |bytes| STANDARD.encode(bytes));
    assert_eq!(check(&token), proof());
}

fn refused(result: &Result<Proof, Reason>) {
    assert!(matches!(result, Err(Reason::Assertion(_))), "{result:?}");
}

#[test]
fn no_other_algorithm_is_taken_whatever_the_token_says() {
    for alg in ["none", "None", "", "rs256", "HS256", "RS384", "RS512", "ES256", "PS384"] {
        let mut header = header();
        header["alg"] = alg.into();
        refused(&check(&OWN.sign(&RSA_PKCS1_SHA256, &header, &claims().to_string())));
        refused(&check(&OWN.sign(&RSA_PSS_SHA256, &header, &claims().to_string())));
    }
    let unsigned = json!({"alg": "none", "x5t": URL_SAFE.encode(OWN.sha1())});
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    refused(&check(&format!("{}.{}.", part(&unsigned.to_string()), part(&claims().to_string()))));
    // One algorithm's signature under another's name.
    refused(&check(&OWN.sign(&RSA_PSS_SHA256, &header(), &claims().to_string())));
    refused(&check(&OWN.sign(&RSA_PKCS1_SHA512, &header(), &claims().to_string())));
}

#[test]
fn a_certificate_as_a_shared_key_is_refused() {
    let header = json!({"alg": "HS256", "x5t": URL_SAFE.encode(OWN.sha1())});
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", part(&header.to_string()), part(&claims().to_string()));
    for key in [&OWN.registered.certificate.der, &OWN.registered.certificate.key] {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        refused(&check(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))));
    }
}

#[test]
fn a_foreign_certificate_is_refused_and_one_within_the_token_is_never_believed() {
    let foreign = json!({"alg": "RS256", "x5t": URL_SAFE.encode(FOREIGN.sha1())});
    refused(&check(&FOREIGN.sign(&RSA_PKCS1_SHA256, &foreign, &claims().to_string())));
    let chain = STANDARD.encode(&FOREIGN.registered.certificate.der);
    let thumbprints = [OWN.sha1(), FOREIGN.sha1()];
    for thumbprint in thumbprints {
        let header = json!({"alg": "RS256", "x5t": URL_SAFE.encode(thumbprint), "x5c": [chain],
            "jwk": {"kty": "RSA"}, "jku": "https://elsewhere.example.org/keys"});
        refused(&check(&FOREIGN.sign(&RSA_PKCS1_SHA256, &header, &claims().to_string())));
    }
    // Two thumbprints of which one is another certificate's.
    let both = json!({"alg": "RS256", "x5t": URL_SAFE.encode(OWN.sha1()),
        "x5t#S256": URL_SAFE.encode(FOREIGN.sha256())});
    refused(&check(&OWN.sign(&RSA_PKCS1_SHA256, &both, &claims().to_string())));
    let none = json!({"alg": "RS256"});
    refused(&check(&OWN.sign(&RSA_PKCS1_SHA256, &none, &claims().to_string())));
    let short = json!({"alg": "RS256", "x5t": "AAAA"});
    refused(&check(&OWN.sign(&RSA_PKCS1_SHA256, &short, &claims().to_string())));
}

#[test]
fn what_was_changed_after_signing_is_refused() {
    let token = OWN.sign(&RSA_PKCS1_SHA256, &header(), &claims().to_string());
    let other = URL_SAFE_NO_PAD.encode(with(&json!({"jti": "j2"})));
    let mut parts: Vec<&str> = token.split('.').collect();
    parts[1] = &other;
    refused(&check(&parts.join(".")));
    assert_eq!(check(&token), proof());
}

#[test]
fn issuer_subject_and_audience_must_fit() {
    let sign = |change: &Value| check(&OWN.sign(&RSA_PKCS1_SHA256, &header(), &with(change)));
    refused(&sign(&json!({"iss": "another"})));
    refused(&sign(&json!({"sub": "another"})));
    for name in ["iss", "sub", "aud", "jti", "exp"] {
        refused(&sign(&json!({name: null})));
    }
    refused(&sign(&json!({"jti": ""})));
    refused(&sign(&json!({"jti": "j".repeat(257)})));
    refused(&sign(&json!({"exp": "1780272600"})));
    assert_eq!(sign(&json!({"aud": "https://elsewhere.example.org/token"})), Err(Reason::Audience));
    assert_eq!(sign(&json!({"aud": format!("{V2}/")})), Err(Reason::Audience));
    assert_eq!(sign(&json!({"aud": []})), Err(Reason::Audience));
    assert_eq!(sign(&json!({"aud": [V2, "https://elsewhere.example.org"]})), Err(Reason::Audience));
    assert_eq!(sign(&json!({"aud": [V2]})), proof());
    assert_eq!(sign(&json!({"iss": CLIENT.to_uppercase()})), proof());
}

#[test]
fn an_assertion_is_good_for_ten_minutes_and_clocks_may_differ_by_five() {
    let token = OWN.sign(&RSA_PKCS1_SHA256, &header(), &claims().to_string());
    let at = |second: i64| check_at(&token, std::slice::from_ref(&OWN.registered), NOW + second);
    assert_eq!(at(-299), proof());
    assert!(matches!(at(-301), Err(Reason::Time(_))));
    assert_eq!(at(899), proof());
    assert!(matches!(at(901), Err(Reason::Time(_))));
    let sign = |change: &Value| check(&OWN.sign(&RSA_PKCS1_SHA256, &header(), &with(change)));
    let late = |result| matches!(result, Err(Reason::Time(_)));
    assert!(late(sign(&json!({"exp": NOW + 603}))));
    assert!(late(sign(&json!({"exp": NOW + 901, "iat": null, "nbf": null}))));
    assert!(late(sign(&json!({"exp": 1e300, "iat": null}))));
    assert!(late(sign(&json!({"exp": -1e300}))));
    assert!(late(sign(&json!({"iat": NOW + 301}))));
    assert!(late(sign(&json!({"nbf": NOW + 301}))));
}

fn stated(token: &str, now: i64) -> Result<Stated<Value>, &'static str> {
    let registered = [OWN.registered.clone()];
    verify_statement(token, "packmule-test", &registered, Timestamp::from_second(now).unwrap())
}

#[test]
fn a_statement_counts_when_its_kind_is_said_and_it_is_of_now() {
    let header = |kind: &str| json!({"alg": "RS256", "typ": kind, "x5t#S256": URL_SAFE.encode(OWN.sha256())});
    let claims = json!({"what": "this", "iat": NOW, "exp": NOW + 300}).to_string();
    let sign = |kind: &str, claims: &str| OWN.sign(&RSA_PKCS1_SHA256, &header(kind), claims);
    let token = sign("packmule-test", &claims);
    let good = stated(&token, NOW).unwrap();
    assert_eq!((&good.claims["what"], good.certificate), (&json!("this"), OWN.sha256()));
    assert!(stated(&token, NOW + 601).is_err(), "it is over");
    for kind in ["JWT", "packmule-other", ""] {
        assert!(stated(&sign(kind, &claims), NOW).is_err(), "{kind}");
    }
    let undated = json!({"what": "this", "exp": NOW + 300}).to_string();
    assert!(stated(&sign("packmule-test", &undated), NOW).is_err());
    let foreign = json!({"alg": "RS256", "typ": "packmule-test", "x5t#S256": URL_SAFE.encode(FOREIGN.sha256())});
    assert!(stated(&FOREIGN.sign(&RSA_PKCS1_SHA256, &foreign, &claims), NOW).is_err());
    let posing =
        json!({"alg": "RS256", "typ": "packmule-test", "x5t#S256": URL_SAFE.encode(OWN.sha256())});
    assert!(stated(&FOREIGN.sign(&RSA_PKCS1_SHA256, &posing, &claims), NOW).is_err());
    // No statement opens the token endpoint, whatever it says.
    assert!(check(&token).is_err());
}

#[test]
fn what_is_remembered_outlives_every_assertion() {
    assert!(REMEMBER.as_secs_f64() > LIFETIME + 2.0 * SKEW);
}

#[test]
fn a_certificate_that_is_over_or_not_begun_is_refused() {
    for (from, to) in [(2010, 2020), (2027, 2030)] {
        let signer = Signer::new(from, to);
        let header = json!({"alg": "RS256", "x5t": URL_SAFE.encode(signer.sha1())});
        let token = signer.sign(&RSA_PKCS1_SHA256, &header, &claims().to_string());
        refused(&check_at(&token, std::slice::from_ref(&signer.registered), NOW));
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_refused_and_never_panics(text in ".{0,300}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(check(&text).is_err());
        prop_assert!(check(&String::from_utf8_lossy(&bytes)).is_err());
        let part = URL_SAFE_NO_PAD.encode(&bytes);
        let head = URL_SAFE_NO_PAD.encode(header().to_string());
        let unsigned = format!("{head}.{part}.{part}");
        prop_assert!(check(&unsigned).is_err());
        let _ = claimed_client(&format!("{head}.{part}."));
    }

    #[test]
    fn arbitrary_claims_under_a_right_signature_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100), exp in any::<f64>()) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        prop_assert!(check(&OWN.sign(&RSA_PKCS1_SHA256, &header(), &text)).is_err());
        let _ = check(&OWN.sign(&RSA_PKCS1_SHA256, &header(), &with(&json!({"exp": exp}))));
    }
}
