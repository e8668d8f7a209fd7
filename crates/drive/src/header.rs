//! What the header of a LUKS2 container asks of whoever opens it. Pure.

use serde_json::Value;

/// Whether opening it takes what our own containers take: one Argon2id key slot with at most 64 MiB, few
/// passes and few threads. Others are not opened at a dock: they could take all of its memory for hours.
pub(crate) fn is_ours(metadata: &[u8]) -> bool {
    let check = || {
        let metadata: Value = serde_json::from_slice(metadata).ok()?;
        let slots = metadata.get("keyslots")?.as_object()?;
        let kdf = slots.values().next()?.get("kdf")?;
        let most = |name: &str, most: u64| Some(kdf.get(name)?.as_u64()? <= most);
        let fits = slots.len() == 1
            && kdf.get("type")? == "argon2id"
            && most("memory", 64 << 10)?
            && most("time", 8)?
            && most("cpus", 4)?;
        let digests = metadata.get("digests")?.as_object()?;
        let few = |digest: &Value| Some(digest.get("iterations")?.as_u64()? <= 10_000_000);
        Some(fits && digests.len() == 1 && digests.values().all(|digest| few(digest) == Some(true)))
    };
    check() == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kdf: &str, more: &str) -> String {
        format!(
            r#"{{"keyslots":{{"0":{{"type":"luks2","kdf":{{{kdf}}}}}{more}}},"digests":{{"0":{{"type":"pbkdf2","iterations":170889}}}}}}"#
        )
    }

    #[test]
    fn only_what_costs_little_is_opened() {
        let ours = r#""type":"argon2id","time":4,"memory":65536,"cpus":1"#;
        assert!(is_ours(header(ours, "").as_bytes()));
        for dear in [
            ours.replace("65536", "4194304"),
            ours.replace("\"time\":4", "\"time\":4294967295"),
            ours.replace("argon2id", "pbkdf2"),
            ours.replace("\"cpus\":1", "\"cpus\":64"),
            ours.replace("\"memory\":65536,", ""),
        ] {
            assert!(!is_ours(header(&dear, "").as_bytes()), "{dear}");
        }
        assert!(!is_ours(header(ours, r#","1":{}"#).as_bytes()), "a second key");
        let slow = header(ours, "").replace("170889", "99999999999");
        assert!(!is_ours(slow.as_bytes()));
        assert!(!is_ours(b"") && !is_ours(b"{}") && !is_ours(b"[1]"));
    }
}
