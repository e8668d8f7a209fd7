//! What callers may do, and where: roles at scopes. Decides; reads no request.

use std::str::FromStr;

/// What a route of the resource manager needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To see what is there.
    Read,
    /// To change it.
    Write,
    /// To say who else may.
    Own,
}

/// A role that a grant gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GrantRole {
    Owner,
    Contributor,
    Reader,
}

impl GrantRole {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "Owner",
            Self::Contributor => "Contributor",
            Self::Reader => "Reader",
        }
    }

    /// Whether the role gives that right.
    pub(crate) fn gives(self, right: Right) -> bool {
        match self {
            Self::Owner => true,
            Self::Contributor => right != Right::Own,
            Self::Reader => right == Right::Read,
        }
    }
}

impl FromStr for GrantRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Owner, Self::Contributor, Self::Reader]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text} is no role"))
    }
}

/// A role at a scope, for all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) role: GrantRole,
    /// A resource manager path; `/` is everything.
    pub(crate) scope: String,
}

impl Grant {
    /// Everything, everywhere.
    pub(crate) fn owner() -> Self {
        Self { role: GrantRole::Owner, scope: "/".to_owned() }
    }

    /// Everything at that scope but saying who may.
    pub(crate) fn contributor(scope: String) -> Self {
        Self { role: GrantRole::Contributor, scope }
    }

    /// Whether it gives that right for what is at that path.
    pub(crate) fn holds(&self, right: Right, path: &str) -> bool {
        self.role.gives(right) && covers(&self.scope, path)
    }
}

/// Whether a path is that scope or below it: by whole segments and without case. Slashes at the end
/// and doubled ones do not count. A segment that is escaped in one and not in the other is another.
pub(crate) fn covers(scope: &str, path: &str) -> bool {
    let segments = |text: &'_ str| -> Vec<String> {
        let kept = text.split('/').filter(|segment| !segment.is_empty());
        kept.map(str::to_ascii_lowercase).collect()
    };
    let below = segments(scope);
    // Only what is written as everything is everything.
    scope == "/" || (!below.is_empty() && segments(path).starts_with(&below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_is_below_it_by_whole_segments_and_without_case() {
        let scope = "/subscriptions/S/resourceGroups/Rg1";
        for below in [
            scope,
            "/SUBSCRIPTIONS/s//resourcegroups/rg1/",
            "/subscriptions/s/resourceGroups/rg1/providers/x",
        ] {
            assert!(covers(scope, below), "{below}");
        }
        for beside in [
            "/",
            "/subscriptions/S",
            "/subscriptions/s/resourceGroups/rg10",
            "/subscriptions/t/resourceGroups/rg1",
        ] {
            assert!(!covers(scope, beside), "{beside}");
        }
        assert!(covers("/", "/anything") && covers("/", "/"));
        assert!(!covers("", "/anything") && !covers("//", "/"));
    }

    #[test]
    fn roles_give_what_they_are_for() {
        let rights = [Right::Read, Right::Write, Right::Own];
        let given = |role: GrantRole| rights.map(|right| role.gives(right));
        assert_eq!(given(GrantRole::Owner), [true, true, true]);
        assert_eq!(given(GrantRole::Contributor), [true, true, false]);
        assert_eq!(given(GrantRole::Reader), [true, false, false]);
        assert_eq!("Reader".parse(), Ok(GrantRole::Reader));
        assert!("reader".parse::<GrantRole>().is_err());
    }
}
