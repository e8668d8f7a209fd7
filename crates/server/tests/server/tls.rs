//! The certificate that the server shows: made elsewhere, and renewed while it runs.

use crate::site::Site;
use client::Client;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use server::TlsFiles;
use std::path::Path;
use std::time::{Duration, Instant};

/// An authority and a certificate for the loopback address, as somebody else makes them. Good at any time: callers judge
/// it by their own clock, wherever the server's is.
pub(crate) fn make(folder: &Path, name: &str) -> TlsFiles {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::from_ca_cert_pem(&authority, &ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    let files = TlsFiles {
        certificate: folder.join("server.pem"),
        key: folder.join("server.key"),
        authority: None,
    };
    std::fs::write(&files.certificate, format!("{certificate}{authority}")).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    files
}

fn trusting(site: &Site, pem: &str) -> Client {
    let mut credentials = site.admin().credentials().clone();
    credentials.ca_pem = Some(pem.to_owned());
    Client::new(credentials).unwrap()
}

#[test]
fn a_certificate_that_was_made_elsewhere_is_shown_and_read_again_when_it_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path(), "first");
    let site = Site::with(|config| {
        config.tls = Some(files.clone());
        config.tick = Duration::from_millis(50);
    });
    let own = site.admin();
    own.health().unwrap();
    let before = own.credentials().ca_pem.clone().unwrap();
    assert!(std::fs::read_to_string(&files.certificate).unwrap().ends_with(&before));
    // Half written: the one before is shown on.
    std::fs::write(&files.key, "-----BEGIN").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    trusting(&site, &before).health().unwrap();
    make(folder.path(), "second");
    let text = std::fs::read_to_string(&files.certificate).unwrap();
    let after = format!(
        "-----BEGIN CERTIFICATE-----{}",
        text.rsplit("-----BEGIN CERTIFICATE-----").next().unwrap()
    );
    let began = Instant::now();
    while trusting(&site, &after).health().is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not read again");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(trusting(&site, &before).health().is_err());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path(), "one");
    let other = make(
        &{
            let other = folder.path().join("other");
            std::fs::create_dir(&other).unwrap();
            other
        },
        "two",
    );
    for (broken, named) in [
        (TlsFiles { key: other.key.clone(), ..files.clone() }, "server.key"),
        (TlsFiles { certificate: folder.path().join("nothing"), ..files.clone() }, "nothing"),
        (TlsFiles { authority: Some(folder.path().join("none")), ..files.clone() }, "none"),
    ] {
        let data = tempfile::tempdir().unwrap();
        let mut config =
            server::Config::new(data.path().join("data"), "127.0.0.1:0".parse().unwrap());
        config.tls = Some(broken);
        let error = server::Server::start(config).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
