//! The query of a Graph request: what is asked for, how much of it, and which of its properties.

use super::GraphError;
use super::filter::{Filter, Known};
use serde_json::{Map, Value, json};
use url::form_urlencoded;

/// The longest page, as Graph has it.
const LONGEST_PAGE: usize = 999;

/// What a query asks for.
#[derive(Debug, Default)]
pub(super) struct Query {
    filter: Option<Filter>,
    top: Option<usize>,
    skip: usize,
    count: bool,
    /// In lower case; empty means all.
    select: Vec<String>,
}

impl Query {
    /// The query; unknown system options are refused, others are left alone.
    pub(super) fn read(query: Option<&str>) -> Result<Self, GraphError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match name.to_ascii_lowercase().as_str() {
                "$filter" => {
                    let bad = |why| GraphError::bad(format!("Invalid filter clause: {why}."));
                    read.filter = Some(Filter::parse(&value).map_err(bad)?);
                }
                "$top" => read.top = Some(number(&value, LONGEST_PAGE)?),
                "$skiptoken" => read.skip = number(&value, usize::MAX)?,
                "$count" => read.count = value.eq_ignore_ascii_case("true"),
                "$select" => {
                    let names = value.split(',').map(|name| name.trim().to_ascii_lowercase());
                    read.select = names.filter(|name| !name.is_empty()).collect();
                }
                option if option.starts_with('$') => {
                    return Err(GraphError::bad(format!("There is no query option {option}.")));
                }
                _ => {}
            }
        }
        Ok(read)
    }

    pub(super) fn meets(&self, known: Known<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.meets(known))
    }

    /// Whether the property is named, and not just among all.
    pub(super) fn names(&self, property: &str) -> bool {
        self.select.iter().any(|name| name == property)
    }

    /// The object with the properties that are asked for.
    pub(super) fn selected(&self, value: Value) -> Value {
        match value {
            Value::Object(map) if !self.select.is_empty() => {
                let kept = |(name, _): &(String, Value)| {
                    name.starts_with('@') || self.names(&name.to_ascii_lowercase())
                };
                Value::Object(map.into_iter().filter(kept).collect::<Map<_, _>>())
            }
            other => other,
        }
    }

    /// The page of these that is asked for, with a link to the next where there is one.
    pub(super) fn page(&self, all: Vec<Value>, here: &str, query: Option<&str>) -> Value {
        let total = all.len();
        let length = self.top.unwrap_or(total);
        let rest = all.into_iter().skip(self.skip).take(length);
        let value: Vec<Value> = rest.map(|one| self.selected(one)).collect();
        let mut page = json!({"@odata.context": context(here), "value": value});
        let next = self.skip.saturating_add(length);
        if let Some(page) = page.as_object_mut() {
            if self.count {
                page.insert("@odata.count".to_owned(), total.into());
            }
            if next < total {
                page.insert("@odata.nextLink".to_owned(), link(here, query, next).into());
            }
        }
        page
    }
}

/// Where the properties are described in Graph; clients copy it about and never go there.
fn context(here: &str) -> String {
    match here.split_once("/v1.0/").or_else(|| here.split_once("/beta/")) {
        Some((endpoint, collection)) => format!("{endpoint}/v1.0/$metadata#{collection}"),
        None => format!("{here}/$metadata"),
    }
}

fn number(text: &str, most: usize) -> Result<usize, GraphError> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| GraphError::bad(format!("'{text}' is no valid number here.")))
}

/// The same request from there on.
fn link(here: &str, query: Option<&str>, next: usize) -> String {
    let mut link = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !name.eq_ignore_ascii_case("$skiptoken") {
            link.append_pair(&name, &value);
        }
    }
    link.append_pair("$skiptoken", &next.to_string());
    format!("{here}?{}", link.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_until_the_last() {
        let all: Vec<Value> = (0..5).map(|number| json!({"id": number, "x": 1})).collect();
        let mut text = "$top=2&$select=id&$count=true".to_owned();
        let mut seen = Vec::new();
        loop {
            let query = Query::read(Some(&text)).unwrap();
            let page = query.page(all.clone(), "https://h/v1.0/a", Some(&text));
            seen.extend(page["value"].as_array().unwrap().iter().cloned());
            assert_eq!(page["@odata.count"], 5);
            assert_eq!(page["@odata.context"], "https://h/v1.0/$metadata#a");
            let Some(next) = page["@odata.nextLink"].as_str() else { break };
            text = next.split_once('?').unwrap().1.to_owned();
        }
        assert_eq!(seen, (0..5).map(|number| json!({"id": number})).collect::<Vec<_>>());
    }

    #[test]
    fn options_that_would_be_ignored_are_refused() {
        for bad in ["$top=0", "$top=x", "$top=1000", "$orderby=id", "$expand=owners", "$filter=x"] {
            assert!(Query::read(Some(bad)).is_err(), "{bad}");
        }
        assert!(Query::read(Some("api-version=1&x=y")).is_ok());
        assert!(Query::read(None).is_ok());
    }
}
