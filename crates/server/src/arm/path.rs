//! Paths as Azure's clients write them, made plain: one slash where there are several, and lower case where
//! a word is ours. Names stay as they are. Decides nothing about what is there.

use std::borrow::Cow;

/// Protocols whose paths mean what they say: restic's, which knows no case but its own.
const ALONE: [&str; 7] = ["vaults", "pending", "increments", "storage", "exports", "api", "portal"];

/// The path that is routed in place of `path`.
pub(crate) fn plain(path: &str) -> Cow<'_, str> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if ALONE.contains(&first) && !path.starts_with("//") {
        return Cow::Borrowed(path);
    }
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let mut made = String::with_capacity(path.len());
    let mut before = "";
    for (at, segment) in segments.iter().enumerate() {
        made.push('/');
        if is_word(&segments, at, before) {
            made.push_str(&segment.to_ascii_lowercase());
        } else {
            made.push_str(segment);
        }
        before = segment;
    }
    if made.is_empty() {
        made.push('/');
    }
    Cow::Owned(made)
}

/// Whether the segment is a word of the protocol, not a name that somebody has given.
fn is_word(segments: &[&str], at: usize, before: &str) -> bool {
    let Some(first) = segments.first() else { return false };
    let is = |word: &str| first.eq_ignore_ascii_case(word);
    if ["subscriptions", "providers"].into_iter().any(is) {
        // Words and names take turns; a provider's name is one of ours.
        return at.is_multiple_of(2) || before.eq_ignore_ascii_case("providers");
    }
    if ["v1.0", "beta"].into_iter().any(is) {
        return at != 2;
    }
    if ["metadata", "tenants", "locations"].into_iter().any(is) {
        return true;
    }
    // `/{tenant}/oauth2/v2.0/token`
    at != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_lower_case_and_names_stay() {
        let cases = [
            (
                "/Subscriptions/ABC/resourceGroups/Rg1/Providers/Microsoft.ImportExport/Jobs/Job-1/listBitLockerKeys",
                "/subscriptions/ABC/resourcegroups/Rg1/providers/microsoft.importexport/jobs/Job-1/listbitlockerkeys",
            ),
            ("//metadata//Endpoints", "/metadata/endpoints"),
            (
                "/providers/Microsoft.ImportExport/locations/West%20US",
                "/providers/microsoft.importexport/locations/West%20US",
            ),
            ("/v1.0/Applications/ABC/addKey", "/v1.0/applications/ABC/addkey"),
            ("/ABC/OAuth2/v2.0/Token", "/ABC/oauth2/v2.0/token"),
            ("/vaults/V1/Fs01//data", "/vaults/V1/Fs01//data"),
            ("/api/v1/import-jobs/Job-1", "/api/v1/import-jobs/Job-1"),
            ("", "/"),
            ("//", "/"),
        ];
        for (given, wanted) in cases {
            assert_eq!(plain(given), wanted, "{given}");
        }
    }

    #[test]
    fn a_group_may_be_called_as_a_word_of_the_protocol() {
        let path = "/subscriptions/a/resourceGroups/Providers/providers/Microsoft.Storage/storageAccounts/x";
        let wanted = "/subscriptions/a/resourcegroups/Providers/providers/microsoft.storage/storageaccounts/x";
        assert_eq!(plain(path), wanted);
    }

    proptest! {
        #[test]
        fn a_plain_path_stays_as_it_is(path in "/{0,2}([A-Za-z0-9.%;~-]{0,9}/{1,2}){0,9}") {
            let once = plain(&path).into_owned();
            prop_assert_eq!(plain(&once), once.as_str());
        }
    }
}
