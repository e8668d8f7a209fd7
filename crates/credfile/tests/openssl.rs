//! OpenSSL as the judge: what it writes we read, what we write it reads. Old encryption included.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use credfile::{Error, Identity};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

const NULL_PASSWORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/null_password.py");

/// Says that a test, or a part of it, cannot run here.
fn skip(test: &str, reason: impl std::fmt::Display) {
    let line = format!("SKIP: credfile::{test}: {reason}\n");
    if let Some(path) = std::env::var_os("PACKMULE_SKIPS") {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

fn identity() -> &'static Identity {
    static MADE: OnceLock<Identity> = OnceLock::new();
    MADE.get_or_init(|| {
        credfile::seeding_identity(77, "2026-11-25T10:00:00Z".parse().unwrap()).unwrap()
    })
}

/// Files for OpenSSL: `all.pem` has key and certificate.
struct Bench {
    folder: TempDir,
    test: &'static str,
}

impl Bench {
    /// None, with a word about it, where there is no OpenSSL.
    fn new(test: &'static str) -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_err() {
            skip(test, "openssl is not installed");
            return None;
        }
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("all.pem"), identity().to_pem().as_bytes()).unwrap();
        Some(Self { folder, test })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program).args(arguments).current_dir(self.folder.path()).output().unwrap()
    }

    fn openssl(&self, arguments: &[&str]) -> String {
        let output = self.run("openssl", arguments);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Exports with these options. None, with a word about it, where OpenSSL cannot do that.
    fn export(&self, options: &[&str]) -> Option<Vec<u8>> {
        let base = ["pkcs12", "-export", "-in", "all.pem", "-out", "x.p12", "-passout"];
        let password = if options.contains(&"-passout") { &[][..] } else { &["pass:"][..] };
        let base = if password.is_empty() { &base[..base.len() - 1] } else { &base[..] };
        let output = self.run("openssl", &[base, password, options].concat());
        if !output.status.success() {
            skip(self.test, format!("openssl pkcs12 {}: {}", options.join(" "), words(&output)));
            return None;
        }
        Some(std::fs::read(self.path("x.p12")).unwrap())
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned()
}

#[track_caller]
fn is_ours(pkcs12: &[u8], how: &str) {
    let read = Identity::from_pkcs12(pkcs12).unwrap_or_else(|error| panic!("{how}: {error}"));
    assert_eq!(&read, identity(), "{how}");
}

#[test]
fn what_openssl_writes_is_read_old_encryption_included() {
    let Some(bench) = Bench::new("what_openssl_writes_is_read_old_encryption_included") else {
        return;
    };
    for options in [
        "",
        "-name x",
        "-iter 1",
        "-macalg sha512 -keypbe AES-128-CBC -certpbe AES-192-CBC",
        "-macalg sha384 -keypbe DES-EDE3-CBC -certpbe DES-EDE3-CBC",
        "-keypbe NONE -certpbe NONE",
        "-macalg sha1 -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES",
        "-macalg sha1 -keypbe PBE-SHA1-2DES -certpbe PBE-SHA1-2DES",
        "-legacy",
        "-legacy -macalg sha1 -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-RC2-40",
        "-legacy -macalg sha1 -keypbe PBE-SHA1-RC2-40 -certpbe PBE-SHA1-RC2-128 -nomaciter",
    ] {
        let words: Vec<&str> = options.split_whitespace().collect();
        if let Some(made) = bench.export(&words) {
            is_ours(&made, options);
        }
    }
}

#[test]
fn a_password_that_is_nothing_at_all_is_read_like_one_that_is_empty() {
    const TEST: &str = "a_password_that_is_nothing_at_all_is_read_like_one_that_is_empty";
    let Some(bench) = Bench::new(TEST) else { return };
    // PBE-SHA1-3DES, PBE-SHA1-RC2-40, AES-256-CBC.
    for [key, certificate] in [["146", "149"], ["146", "146"], ["149", "149"], ["427", "427"]] {
        let made = bench.run("python3", &[NULL_PASSWORD, "all.pem", "y.p12", key, certificate]);
        if !made.status.success() {
            return skip(
                TEST,
                String::from_utf8_lossy(&made.stderr).lines().last().unwrap_or("python3"),
            );
        }
        is_ours(&std::fs::read(bench.path("y.p12")).unwrap(), key);
    }
}

#[test]
fn a_password_a_missing_seal_and_rc4_are_named() {
    let Some(bench) = Bench::new("a_password_a_missing_seal_and_rc4_are_named") else { return };
    let read = |options: &[&str]| {
        bench.export(options).map(|made| Identity::from_pkcs12(&made).unwrap_err())
    };
    if let Some(error) = read(&["-passout", "pass:secret"]) {
        assert_eq!(error, Error::Seal);
    }
    if let Some(error) = read(&["-nomac"]) {
        assert!(error.to_string().contains("no seal"), "{error}");
    }
    if let Some(error) = read(&["-legacy", "-keypbe", "PBE-SHA1-RC4-128"]) {
        assert!(error.to_string().contains("1.2.840.113549.1.12.1.1"), "{error}");
    }
    if let Some(error) = read(&["-nokeys"]) {
        assert!(matches!(error, Error::Key { .. }), "{error}");
    }
}

#[test]
fn authorities_beside_it_do_not_hide_the_certificate_of_the_key() {
    let Some(bench) = Bench::new("authorities_beside_it_do_not_hide_the_certificate_of_the_key")
    else {
        return;
    };
    let make = "req -x509 -newkey rsa:2048 -nodes -keyout o.key -out o.pem -days 2 -subj /CN=Other";
    bench.openssl(&make.split(' ').collect::<Vec<_>>());
    if let Some(made) = bench.export(&["-certfile", "o.pem"]) {
        is_ours(&made, "with another certificate");
    }
    let strange = "pkcs12 -export -inkey o.key -in o.pem -out o.p12 -passout pass:";
    bench.openssl(&strange.split(' ').collect::<Vec<_>>());
    let other = Identity::from_pkcs12(&std::fs::read(bench.path("o.p12")).unwrap()).unwrap();
    assert_eq!(other.certificate().subject(), "CN=Other");
    let key = zeroize::Zeroizing::new(identity().private_key().to_vec());
    assert!(matches!(Identity::new(other.certificate().clone(), key), Err(Error::Key { .. })));
}

#[test]
fn what_we_write_openssl_opens() {
    let Some(bench) = Bench::new("what_we_write_openssl_opens") else { return };
    std::fs::write(bench.path("ours.p12"), identity().to_pkcs12().unwrap().as_slice()).unwrap();
    let shown = bench.openssl(&["pkcs12", "-in", "ours.p12", "-passin", "pass:", "-nodes"]);
    let ids: Vec<&str> = shown.lines().filter(|line| line.contains("localKeyID")).collect();
    assert_eq!(ids.len(), 2, "{shown}");
    assert_eq!(ids[0], ids[1]);
    for label in ["PRIVATE KEY", "CERTIFICATE"] {
        assert_eq!(block(&shown, label), block(&identity().to_pem(), label));
    }
    let output =
        bench.run("openssl", &["pkcs12", "-in", "ours.p12", "-passin", "pass:x", "-noout"]);
    assert!(!output.status.success(), "it has a password");
}

fn block<'a>(pem: &'a str, label: &str) -> &'a str {
    let (_, rest) = pem.split_once(&format!("-----BEGIN {label}-----")).unwrap();
    rest.split_once(&format!("-----END {label}-----")).unwrap().0
}

#[test]
fn openssl_sees_the_same_certificate_that_we_say() {
    let Some(bench) = Bench::new("openssl_sees_the_same_certificate_that_we_say") else { return };
    let certificate = identity().certificate();
    std::fs::write(bench.path("c.cer"), certificate.as_der()).unwrap();
    std::fs::write(bench.path("c.pem"), certificate.to_pem()).unwrap();
    let ask = |what: &[&str]| {
        bench.openssl(&[&["x509", "-inform", "DER", "-in", "c.cer", "-noout"], what].concat())
    };
    let colons = |text: &str| {
        let pairs: Vec<String> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).into_owned())
            .collect();
        pairs.join(":")
    };
    assert!(
        ask(&["-fingerprint", "-sha1"]).contains(&colons(&certificate.thumbprint().to_string()))
    );
    assert!(ask(&["-fingerprint", "-sha256"]).contains(&colons(&certificate.thumbprint_sha256())));
    assert!(
        ask(&["-subject"]).contains("CN = CB_AzureADCertforOfflineSeeding_77"),
        "{}",
        ask(&["-subject"])
    );
    let dates = ask(&["-dates", "-dateopt", "iso_8601"]);
    assert!(dates.contains("notBefore=2026-11-24 00:00:00Z"), "{dates}");
    assert!(dates.contains("notAfter=2029-11-25 00:00:00Z"), "{dates}");
    assert!(ask(&["-text"]).contains("Public-Key: (2048 bit)"));
    let same = bench.openssl(&["x509", "-in", "c.pem", "-outform", "PEM"]);
    assert_eq!(same, certificate.to_pem());
    verifies(bench.folder.path());
}

/// The certificate is signed with its own key.
fn verifies(folder: &Path) {
    let output = Command::new("openssl")
        .args(["verify", "-CAfile", "c.pem", "-attime", "1800000000", "c.pem"])
        .current_dir(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A time within three years from the one it was made for.
    assert!(said.contains("OK"), "{said}{}", words(&output));
}
