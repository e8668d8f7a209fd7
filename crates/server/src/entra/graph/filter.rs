//! `$filter` of Graph's lists: a small part of OData's language, and a refusal of the rest: a filter
//! that is ignored would answer with objects that nobody asked for.
//!
//! ```text
//! either = both *( "or" both )
//! both   = one *( "and" one )
//! one    = "(" either ")" | "startswith(" field "," text ")" | field "eq" text
//!        | field "/any(" name ":" name "eq" text ")"
//! text   = "'" … "'"      with ' within it doubled
//! ```

/// The longest filter, in bytes.
const LONGEST: usize = 4096;
/// How deep parentheses may be.
const DEEPEST: u8 = 16;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Either(Vec<Filter>),
    Both(Vec<Filter>),
    Equals(Field, String),
    Begins(Field, String),
    Any(Field, String),
}

/// A property that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id,
    AppId,
    DisplayName,
    /// Of several values.
    ServicePrincipalNames,
    /// Of several values.
    IdentifierUris,
}

/// What an object has of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) id: &'a str,
    pub(super) app_id: &'a str,
    pub(super) display_name: &'a str,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        let all = [
            ("id", Self::Id),
            ("appId", Self::AppId),
            ("displayName", Self::DisplayName),
            ("servicePrincipalNames", Self::ServicePrincipalNames),
            ("identifierUris", Self::IdentifierUris),
        ];
        let found = all.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, field)| field)
    }

    fn is_list(self) -> bool {
        matches!(self, Self::ServicePrincipalNames | Self::IdentifierUris)
    }

    /// One value, or those of a list.
    fn of(self, known: Known<'_>) -> Option<&str> {
        match self {
            Self::Id => Some(known.id),
            Self::AppId | Self::ServicePrincipalNames => Some(known.app_id),
            Self::DisplayName => Some(known.display_name),
            Self::IdentifierUris => None,
        }
    }
}

impl Filter {
    /// The condition in that text; otherwise why it is none, for the caller.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("a filter has {LONGEST} bytes at most"));
        }
        let mut reader = Reader { rest: text, depth: 0 };
        let filter = reader.either()?;
        reader.space();
        if reader.rest.is_empty() { Ok(filter) } else { Err(reader.unexpected()) }
    }

    /// Whether an object meets it. Case does not count, as in Graph.
    pub(super) fn meets(&self, known: Known<'_>) -> bool {
        match self {
            Self::Either(all) => all.iter().any(|one| one.meets(known)),
            Self::Both(all) => all.iter().all(|one| one.meets(known)),
            Self::Equals(field, text) | Self::Any(field, text) => {
                field.of(known).is_some_and(|value| value.to_lowercase() == text.to_lowercase())
            }
            Self::Begins(field, text) => field
                .of(known)
                .is_some_and(|value| value.to_lowercase().starts_with(&text.to_lowercase())),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: u8,
}

impl<'a> Reader<'a> {
    fn either(&mut self) -> Result<Filter, String> {
        let mut all = vec![self.both()?];
        while self.word("or") {
            all.push(self.both()?);
        }
        Ok(single(all, Filter::Either))
    }

    fn both(&mut self) -> Result<Filter, String> {
        let mut all = vec![self.one()?];
        while self.word("and") {
            all.push(self.one()?);
        }
        Ok(single(all, Filter::Both))
    }

    fn one(&mut self) -> Result<Filter, String> {
        self.space();
        if self.sign("(") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err("its parentheses are too deep".to_owned());
            }
            let filter = self.either()?;
            self.depth -= 1;
            self.expect(")")?;
            return Ok(filter);
        }
        let name = self.name()?;
        if name.eq_ignore_ascii_case("startswith") {
            self.expect("(")?;
            let field = self.single_field()?;
            self.expect(",")?;
            let text = self.text()?;
            self.expect(")")?;
            return Ok(Filter::Begins(field, text));
        }
        let field = field(name)?;
        if self.sign("/") {
            return self.any(field);
        }
        if field.is_list() {
            return Err(format!("{name} has several values: ask with any()"));
        }
        self.operator()?;
        Ok(Filter::Equals(field, self.text()?))
    }

    /// `any(x:x eq 'text')`, after the slash.
    fn any(&mut self, field: Field) -> Result<Filter, String> {
        if !field.is_list() || !self.name()?.eq_ignore_ascii_case("any") {
            return Err(self.unexpected());
        }
        self.expect("(")?;
        let variable = self.name()?;
        self.expect(":")?;
        if self.name()? != variable {
            return Err(self.unexpected());
        }
        self.operator()?;
        let text = self.text()?;
        self.expect(")")?;
        Ok(Filter::Any(field, text))
    }

    fn single_field(&mut self) -> Result<Field, String> {
        let field = field(self.name()?)?;
        if field.is_list() { Err(self.unexpected()) } else { Ok(field) }
    }

    fn operator(&mut self) -> Result<(), String> {
        if self.word("eq") { Ok(()) } else { Err("the only comparison here is eq".to_owned()) }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.sign(sign) { Ok(()) } else { Err(self.unexpected()) }
    }

    /// A whole word, if it is the next.
    fn word(&mut self, word: &str) -> bool {
        let before = self.rest;
        if self.name().is_ok_and(|name| name.eq_ignore_ascii_case(word)) {
            return true;
        }
        self.rest = before;
        false
    }

    fn name(&mut self) -> Result<&'a str, String> {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        match self.rest.split_at_checked(end) {
            Some((name, rest)) if !name.is_empty() => {
                self.rest = rest;
                Ok(name)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        self.expect("'")?;
        let mut text = String::new();
        loop {
            let (part, rest) =
                self.rest.split_once('\'').ok_or_else(|| "a quote does not end".to_owned())?;
            text.push_str(part);
            match rest.strip_prefix('\'') {
                Some(more) => {
                    text.push('\'');
                    self.rest = more;
                }
                None => {
                    self.rest = rest;
                    return Ok(text);
                }
            }
        }
    }

    fn unexpected(&self) -> String {
        match self.rest.chars().next() {
            Some(character) => format!("'{character}' is not expected there"),
            None => "it ends too early".to_owned(),
        }
    }
}

fn single(mut all: Vec<Filter>, several: fn(Vec<Filter>) -> Filter) -> Filter {
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => one,
        (last, _) => {
            all.extend(last);
            several(all)
        }
    }
}

fn field(name: &str) -> Result<Field, String> {
    Field::named(name).ok_or_else(|| format!("there is no filter by {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: Known<'_> = Known { id: "i1", app_id: "a1", display_name: "O'Neill's app" };

    fn meets(text: &str) -> bool {
        Filter::parse(text).unwrap().meets(KNOWN)
    }

    #[test]
    fn what_clients_send_is_understood() {
        for yes in [
            "appId eq 'a1'",
            "appid eq 'A1'",
            "displayName eq 'O''Neill''s app'",
            "startswith(displayName,'o''n')",
            "startswith(displayName, 'O')",
            "id eq 'i1'",
            "servicePrincipalNames/any(c:c eq 'a1')",
            "appId eq 'x' or id eq 'i1'",
            "appId eq 'x' and id eq 'y' or id eq 'i1'",
            "id eq 'i1' or appId eq 'x' and id eq 'y'",
            "(appId eq 'x' or appId eq 'a1') and id eq 'i1'",
        ] {
            assert!(meets(yes), "{yes}");
        }
        for no in [
            "appId eq ''",
            "startswith(displayName,'Neill')",
            "identifierUris/any(s:s eq 'a1')",
            "appId eq 'a1' and id eq 'x'",
            "(appId eq 'x' or appId eq 'a1') and id eq 'x'",
        ] {
            assert!(!meets(no), "{no}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let deep = format!("{}id eq 'i1'{}", "(".repeat(17), ")".repeat(17));
        for bad in [
            "",
            "appId",
            "appId ne 'x'",
            "appId eq x",
            "appId eq 'x",
            "appId eq 'x' and",
            "appId eq 'x' 'y'",
            "not appId eq 'x'",
            "endswith(displayName,'x')",
            "startswith(servicePrincipalNames,'x')",
            "servicePrincipalNames eq 'x'",
            "servicePrincipalNames/any(c:d eq 'x')",
            "servicePrincipalNames/all(c:c eq 'x')",
            "appId/any(c:c eq 'x')",
            "createdDateTime eq 'x'",
            "(appId eq 'x'",
            &deep,
            &format!("id eq '{}'", "x".repeat(LONGEST)),
        ] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[ a-zA-Z()/:,'é]{0,80}") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.meets(KNOWN);
            }
        }

        #[test]
        fn a_quoted_text_reads_back(text in ".{0,40}") {
            let filter = Filter::parse(&format!("id eq '{}'", text.replace('\'', "''")));
            prop_assert_eq!(filter, Ok(Filter::Equals(Field::Id, text)));
        }
    }
}
