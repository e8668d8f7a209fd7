//! Resources that tokens are given for, and which of them a request may come with. Knows no caller.

/// What a request may be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The resource manager, and our own API.
    Manager,
    /// Graph.
    Graph,
    /// A vault, for registering with it. Which one is known by the application.
    Vault,
}

/// Azure's names of the resource manager.
const MANAGER: [&str; 2] = ["https://management.azure.com", "https://management.core.windows.net"];
/// Azure's names of Graph, and of the one before it.
const GRAPH: [&str; 3] = [
    "https://graph.microsoft.com",
    "00000003-0000-0000-c000-000000000000",
    "https://graph.windows.net",
];
/// Others that clients ask tokens for; nothing here takes them.
const STORAGE: &str = "https://storage.azure.com";
const VAULTS: &str = "https://recoveryservicevault/";
/// The longest name of a resource.
const LONGEST: usize = 512;

/// The same without its last slash and in lower case: what tells one resource from another.
pub(crate) fn plain(resource: &str) -> String {
    resource.strip_suffix('/').unwrap_or(resource).to_ascii_lowercase()
}

impl Audience {
    /// Whether a token for that resource is one for this.
    pub(crate) fn takes(self, resource: &str, endpoint: &str) -> bool {
        let resource = plain(resource);
        let names: &[&str] = match self {
            Self::Manager => &MANAGER,
            Self::Graph => &GRAPH,
            Self::Vault => return resource.starts_with(VAULTS),
        };
        resource == plain(endpoint) || names.contains(&resource.as_str())
    }
}

/// Whether tokens are given for that resource.
pub(crate) fn is_known(resource: &str, endpoint: &str) -> bool {
    let taken =
        [Audience::Manager, Audience::Graph].iter().any(|one| one.takes(resource, endpoint));
    let lower = resource.to_ascii_lowercase();
    let vault = lower.strip_prefix(VAULTS).is_some_and(|rest| !rest.is_empty());
    resource.len() <= LONGEST && (taken || plain(resource) == STORAGE || vault)
}

/// The resource of a scope: what stands before `/.default`, a last slash of its own included.
/// OpenID's own scopes beside it do not count.
pub(crate) fn of_scope(scope: &str) -> Option<&str> {
    let known = ["openid", "profile", "offline_access"];
    let mut others = scope.split_whitespace().filter(|word| !known.contains(word));
    let one = others.next()?;
    if others.next().is_some() {
        return None;
    }
    one.strip_suffix("/.default").filter(|resource| !resource.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "https://127.0.0.1:8443";

    #[test]
    fn a_scope_with_two_slashes_is_a_resource_with_one() {
        let of = |scope| of_scope(scope);
        assert_eq!(of("https://a/.default"), Some("https://a"));
        assert_eq!(of("https://a//.default"), Some("https://a/"));
        assert_eq!(of("openid https://a/.default offline_access"), Some("https://a"));
        for bad in ["", "/.default", "https://a", "https://a/user", "https://a/.default b/.default"]
        {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn tokens_are_given_for_what_the_design_lists_and_taken_for_what_they_are() {
        for resource in
            ["https://management.azure.com", "https://management.core.windows.net/", HERE]
        {
            assert!(is_known(resource, HERE) && Audience::Manager.takes(resource, HERE));
            assert_eq!(Audience::Graph.takes(resource, HERE), resource == HERE, "{resource}");
        }
        for resource in ["https://graph.microsoft.com/", "00000003-0000-0000-C000-000000000000"] {
            assert!(is_known(resource, HERE) && Audience::Graph.takes(resource, HERE));
            assert!(!Audience::Manager.takes(resource, HERE), "{resource}");
        }
        for resource in ["https://storage.azure.com/", "https://RecoveryServiceVault/l/v/1"] {
            assert!(is_known(resource, HERE), "{resource}");
            assert!(
                !Audience::Manager.takes(resource, HERE) && !Audience::Graph.takes(resource, HERE)
            );
        }
        for resource in [
            "",
            "/",
            "https://RecoveryServiceVault/",
            "https://management.azure.com//",
            "https://127.0.0.1:84430",
        ] {
            assert!(!is_known(resource, HERE), "{resource}");
        }
    }
}
