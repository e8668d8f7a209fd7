//! The REST client against a real server on the loopback, well-behaved and not.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

use packmule_store as store;

mod server;

use model::{ErrorKind, ObjectKey, ObjectKind};
use server::{Manners, Server, Trick};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use store::conformance::{key_of, run};
use store::{
    Credentials, Error, Folder, ManualClock, Memory, OpenOptions, Rest, RestOptions, Retry,
    RetryPolicy, Store, open_location,
};

fn quick() -> RestOptions {
    let idle_timeout = Duration::from_secs(10);
    RestOptions { idle_timeout, ..RestOptions::default() }
}

fn client(server: &Server) -> Rest {
    Rest::new(&server.url(), &quick()).unwrap()
}

fn serving(manners: Manners) -> (Rest, Arc<Memory>, Server) {
    let memory = Arc::new(Memory::new());
    let server = Server::start(memory.clone(), manners);
    (client(&server), memory, server)
}

fn pack(bytes: &[u8]) -> ObjectKey {
    key_of(ObjectKind::Pack, bytes)
}

/// Longer than what is sent without asking first.
fn large() -> Vec<u8> {
    (0..1_000_000_u32).map(|n| n.to_le_bytes()[1] ^ n.to_le_bytes()[0]).collect()
}

#[test]
fn a_rest_server_over_a_folder_keeps_the_contract() {
    // In memory where there is such a place: what syncing costs, the folder's own tests pay already.
    let place = std::path::Path::new("/dev/shm");
    let place = if place.is_dir() { place.to_owned() } else { std::env::temp_dir() };
    run(|| {
        let dir = tempfile::tempdir_in(&place).unwrap();
        let folder = Arc::new(Folder::new(dir.path().join("repository")));
        let server = Server::start(folder, Manners::default());
        (Arc::new(client(&server)) as Arc<dyn Store>, (server, dir))
    });
}

#[test]
fn servers_that_refuse_what_exists_keep_the_contract() {
    for existing in [403, 409] {
        let manners = Manners { existing, missing_folders: true, ..Manners::default() };
        run(|| {
            let (client, _, server) = serving(manners);
            (Arc::new(client) as Arc<dyn Store>, server)
        });
    }
}

#[test]
fn a_server_of_version_1_without_ranges_keeps_the_contract() {
    let manners = Manners { version_1: true, no_ranges: true, ..Manners::default() };
    run(|| {
        let (client, _, server) = serving(manners);
        (Arc::new(client) as Arc<dyn Store>, server)
    });
}

#[test]
fn connections_are_used_again() {
    let (client, _, server) = serving(Manners { existing: 403, ..Manners::default() });
    let (small, large) = (b"small".as_slice(), large());
    for bytes in [small, &large] {
        let key = pack(bytes);
        client.put(&key, bytes).unwrap();
        client.get(&key, u64::MAX).unwrap();
        client.read_at(&key, 1, &mut [0; 3]).unwrap();
        client.length(&key).unwrap();
        client.list(ObjectKind::Pack).unwrap();
        assert!(client.get(&pack(b"missing"), 10).is_err());
        io::copy(&mut client.open(&key).unwrap(), &mut io::sink()).unwrap();
        client.remove(&key).unwrap();
    }
    assert_eq!(server.connections(), 1, "{:?}", server.seen());
}

#[test]
fn a_restarted_server_is_not_noticed() {
    let (client, _, server) = serving(Manners::default());
    let large = large();
    client.put(&pack(b"x"), b"x").unwrap();
    server.break_connections();
    assert_eq!(client.get(&pack(b"x"), 1).unwrap(), b"x");
    server.tricks([Trick::HangUp]);
    assert_eq!(client.length(&pack(b"x")).unwrap(), 1);
    server.break_connections();
    client.put_from(&pack(&large), 1_000_000, &mut large.as_slice()).unwrap();
    server.break_connections();
    client.put(&ObjectKey::Config, b"c").unwrap();
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_whole() {
    let (client, _, server) = serving(Manners::default());
    let bytes = large();
    let key = pack(&bytes);
    client.put(&key, &bytes).unwrap();
    for after in [0, 1, 999_999] {
        server.tricks([Trick::BreakAfter(after)]);
        let refused = client.get(&key, u64::MAX);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable, "get, {after}");
        server.tricks([Trick::BreakAfter(after)]);
        let refused = client.read_at(&key, 0, &mut vec![0; 1_000_000]);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable, "read_at, {after}");
        server.tricks([Trick::BreakAfter(after)]);
        let streamed = client.open(&key).unwrap().read_to_end(&mut Vec::new());
        assert!(streamed.is_err(), "open, {after}");
    }
    for after in [0, 1, 40] {
        server.tricks([Trick::BreakAfter(after)]);
        let refused = client.list(ObjectKind::Pack).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "list, {after}");
    }
}

#[test]
fn a_range_that_is_not_what_was_asked_for_is_refused() {
    let (client, _, server) = serving(Manners::default());
    let bytes = large();
    let key = pack(&bytes);
    client.put(&key, &bytes).unwrap();
    for (trick, kind) in [
        (Trick::Shorten(1), ErrorKind::Corrupt),
        (Trick::Lengthen("x"), ErrorKind::Invalid),
        (Trick::OtherRange, ErrorKind::Invalid),
        (Trick::Answer(302, ""), ErrorKind::Invalid),
        (Trick::Answer(204, ""), ErrorKind::Invalid),
    ] {
        server.tricks([trick.clone()]);
        let refused = client.read_at(&key, 100, &mut [0; 1_000]).unwrap_err();
        assert_eq!(refused.kind(), kind, "{trick:?}: {refused}");
    }
}

#[test]
fn each_status_has_its_meaning() {
    let (client, _, server) = serving(Manners::default());
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (500, ErrorKind::Unavailable),
        (503, ErrorKind::Unavailable),
        (429, ErrorKind::Unavailable),
        (507, ErrorKind::Full),
        (418, ErrorKind::Invalid),
    ] {
        server.tricks([Trick::Answer(status, "words\u{1b}[31m of\n the server")]);
        let refused = client.get(&pack(b"x"), 1).unwrap_err();
        assert_eq!(refused.kind(), kind, "{status}: {refused}");
        assert!(!refused.to_string().contains('\u{1b}'), "{refused:?}");
        if status != 404 {
            server.tricks([Trick::Answer(status, "no")]);
            let refused = client.put(&pack(b"x"), b"x").unwrap_err();
            assert_eq!(refused.kind(), kind, "{status}: {refused}");
        }
    }
    server.tricks([Trick::Answer(400, "content does not match")]);
    assert_eq!(client.put(&pack(b"x"), b"x").unwrap_err().kind(), ErrorKind::Corrupt);
    server.tricks([Trick::Answer(200, "<html>Welcome!</html>")]);
    assert_eq!(client.list(ObjectKind::Pack).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_failure_that_passes_is_tried_again() {
    let (client, memory, server) = serving(Manners::default());
    let client = Retry::new(client, RetryPolicy::default(), Arc::new(ManualClock::new()));
    let large = large();
    server.tricks([Trick::Answer(500, ""), Trick::Answer(503, ""), Trick::Pass]);
    client.put(&pack(b"x"), b"x").unwrap();
    server.tricks([Trick::BreakAfter(0), Trick::Pass]);
    assert_eq!(client.get(&pack(b"x"), 1).unwrap(), b"x");
    server.tricks([Trick::Answer(502, "")]);
    client.put(&pack(&large), &large).unwrap();
    assert_eq!(memory.list(ObjectKind::Pack).unwrap().len(), 2);
}

#[test]
fn a_lost_answer_is_settled_by_looking() {
    let (client, memory, server) = serving(Manners::default());
    let large = large();
    for bytes in [b"small".as_slice(), &large] {
        server.tricks([Trick::LoseAnswer]);
        client.put(&pack(bytes), bytes).unwrap();
        let index = key_of(ObjectKind::Index, bytes);
        server.tricks([Trick::LoseAnswer]);
        client.put_from(&index, bytes.len() as u64, &mut &*bytes).unwrap();
        assert_eq!(memory.get(&index, u64::MAX).unwrap(), bytes);
    }
}

#[test]
fn a_refusal_before_the_body_is_read_is_still_understood() {
    let (client, memory, server) = serving(Manners { never_invites: true, ..Manners::default() });
    // Much more than sockets buffer, so that the client is still writing when it is cut off.
    let large = large().repeat(24);
    let key = pack(&large);
    memory.put(&key, &large).unwrap();
    server.tricks([Trick::RefuseUnread(403)]);
    client.put(&key, &large).unwrap();
    server.tricks([Trick::RefuseUnread(403)]);
    client.put_from(&key, large.len() as u64, &mut large.as_slice()).unwrap();
}

#[test]
fn what_exists_is_compared_byte_by_byte_before_it_counts_as_stored() {
    let (client, memory, _server) = serving(Manners { existing: 403, ..Manners::default() });
    let bytes = large();
    let key = pack(&bytes);
    let mut damaged = bytes.clone();
    damaged[500_000] ^= 1;
    memory.overwrite(&key, &damaged);
    assert!(matches!(client.put(&key, &bytes), Err(Error::Conflict { .. })));
    let refused = client.put_from(&key, 1_000_000, &mut bytes.as_slice());
    assert!(matches!(refused, Err(Error::Conflict { .. })));
    memory.overwrite(&key, &bytes);
    client.put(&key, &bytes).unwrap();
    client.put_from(&key, 1_000_000, &mut bytes.as_slice()).unwrap();
}

#[test]
fn a_refusal_of_what_is_not_there_stays_a_refusal() {
    let (client, _, server) = serving(Manners::default());
    for status in [401, 403] {
        server.tricks([Trick::Answer(status, "not yours")]);
        let refused = client.put(&pack(b"x"), b"x").unwrap_err();
        assert!(matches!(&refused, Error::Denied { what, .. } if what.contains("not yours")));
    }
}

#[test]
fn an_append_only_server_denies_removal_of_all_but_locks() {
    let (client, _, _server) = serving(Manners { append_only: true, ..Manners::default() });
    let lock = key_of(ObjectKind::Lock, b"x");
    for key in [pack(b"x"), lock] {
        client.put(&key, b"x").unwrap();
    }
    assert!(matches!(client.remove(&pack(b"x")), Err(Error::Denied { .. })));
    client.remove(&lock).unwrap();
}

#[test]
fn silence_ends_as_unavailable() {
    let (_, memory, server) = serving(Manners::default());
    let idle_timeout = Duration::from_millis(500);
    let client = Rest::new(&server.url(), &RestOptions { idle_timeout, ..quick() }).unwrap();
    memory.put(&pack(b"x"), b"x").unwrap();
    server.tricks([Trick::Silence]);
    assert_eq!(client.get(&pack(b"x"), 1).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(client.get(&pack(b"x"), 1).unwrap(), b"x");
}

#[test]
fn nobody_at_home_is_unavailable() {
    let url = {
        let (_, _, server) = serving(Manners::default());
        server.url()
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap().port();
    drop(listener);
    let mut url = url;
    url.set_port(Some(free)).unwrap();
    let client = Rest::new(&url, &quick()).unwrap();
    assert_eq!(client.list(ObjectKind::Pack).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(client.put(&pack(b"x"), b"x").unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_private_server_knows_who_comes_and_nobody_else_sees_the_password() {
    let (stranger, _, server) = serving(Manners { private: true, ..Manners::default() });
    assert!(matches!(stranger.put(&pack(b"x"), b"x"), Err(Error::Denied { .. })));
    let host = server.url().to_string().replace("http://", "");
    let text = format!("rest:http://me:pass%20word@{host}");
    let by_url = open_location(&text, &OpenOptions::default()).unwrap();
    by_url.put(&pack(b"x"), b"x").unwrap();
    let credentials = Credentials { user: "me".into(), password: "pass word".to_owned().into() };
    let options = RestOptions { credentials: Some(credentials), ..quick() };
    let given = Rest::new(&server.url(), &options).unwrap();
    assert_eq!(given.get(&pack(b"x"), 1).unwrap(), b"x");
    server.tricks([Trick::Answer(500, ""), Trick::HangUp, Trick::HangUp]);
    let first = given.get(&pack(b"x"), 1).unwrap_err();
    let second = given.get(&pack(b"x"), 1).unwrap_err();
    for shown in [format!("{by_url:?} {given:?} {options:?}"), format!("{first:?} {second:?}")] {
        assert!(!shown.contains("pass") && !shown.contains("bWU6"), "{shown}");
    }
    assert!(!by_url.location().contains("pass"));
}

#[test]
fn a_config_too_long_to_be_one_is_refused_unread() {
    let (client, _, server) = serving(Manners::default());
    let refused = client.put_from(&ObjectKey::Config, u64::MAX, &mut io::repeat(0));
    assert!(matches!(refused, Err(Error::TooLong { .. })));
    assert!(server.seen().is_empty());
}

#[test]
fn tls_trusts_the_authority_given_and_no_other() {
    let server_side = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let stranger = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(server_side.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server_side.cert.der().clone()], key.into())
        .unwrap();
    let server =
        Server::start_with(Arc::new(Memory::new()), Manners::default(), Some(Arc::new(config)));
    let trusting = |pem: Option<String>| {
        let ca_pem = pem.map(String::into_bytes);
        Rest::new(&server.url(), &RestOptions { ca_pem, ..quick() })
    };
    let bytes = large();
    let client = trusting(Some(server_side.cert.pem())).unwrap();
    client.put(&pack(&bytes), &bytes).unwrap();
    assert_eq!(client.get(&pack(&bytes), u64::MAX).unwrap(), bytes);
    for pem in [None, Some(stranger.cert.pem())] {
        let refused = trusting(pem).unwrap().get(&pack(&bytes), u64::MAX).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Denied, "{refused:?}");
    }
    assert!(matches!(trusting(Some("no certificate".to_owned())), Err(Error::Location { .. })));
    let pinned = |pem: Option<String>| {
        let ca_pem = pem.map(String::into_bytes);
        Rest::new(&server.url(), &RestOptions { ca_pem, ca_pinned: true, ..quick() })
    };
    let alone = pinned(Some(server_side.cert.pem())).unwrap();
    assert_eq!(alone.get(&pack(&bytes), u64::MAX).unwrap(), bytes);
    assert!(matches!(pinned(None), Err(Error::Location { .. })), "nobody is left to trust");
}
