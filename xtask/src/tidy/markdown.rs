//! Just enough Markdown to find links, headings and generated blocks. Renders nothing.

/// `text` with fenced code, code spans and HTML comments blanked; every line keeps its number.
pub(crate) fn prose(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut fence: Option<&str> = None;
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        let marker = ["```", "~~~"].into_iter().find(|marker| trimmed.starts_with(marker));
        match (fence, marker) {
            (None, Some(opened)) => fence = Some(opened),
            (Some(open), Some(marker)) if open == marker => fence = None,
            (None, None) => {
                out.push_str(line);
                continue;
            }
            _ => {}
        }
        blank(line, &mut out);
    }
    without_pairs(&without_spans(&out), "<!--", "-->")
}

fn blank(hidden: &str, out: &mut String) {
    out.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
}

/// Blanks code spans: a run of backticks up to the next run of the same length.
fn without_spans(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let (before, from_ticks) = rest.split_at(at);
        out.push_str(before);
        let body = from_ticks.trim_start_matches('`');
        let (ticks, _) = from_ticks.split_at(from_ticks.len() - body.len());
        // A span does not go beyond its paragraph.
        let paragraph = body.find("\n\n").and_then(|end| body.get(..end)).unwrap_or(body);
        let length = closing_ticks(paragraph, ticks).map_or(ticks.len(), |end| ticks.len() + end);
        let (span, tail) = from_ticks.split_at(length);
        blank(span, &mut out);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Where the run that closes `ticks` ends in `body`.
fn closing_ticks(body: &str, ticks: &str) -> Option<usize> {
    let mut at = 0;
    while let Some(start) = body.get(at..)?.find('`').map(|found| at + found) {
        let tail = body.get(start..)?;
        let run = tail.len() - tail.trim_start_matches('`').len();
        at = start + run;
        if run == ticks.len() {
            return Some(at);
        }
    }
    None
}

fn without_pairs(text: &str, open: &str, close: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once(open) {
        let length = inside.find(close).map_or(inside.len(), |at| at + close.len());
        let (hidden, tail) = inside.split_at(length);
        out.push_str(before);
        blank(open, &mut out);
        blank(hidden, &mut out);
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Where a link points, and on which line, from 1, it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) line: usize,
    pub(crate) target: String,
}

/// Every link of `text`: inline, by reference definition, or as HTML.
pub(crate) fn links(text: &str) -> Vec<Link> {
    let prose = prose(text);
    let lines = prose.lines().enumerate();
    lines
        .flat_map(|(index, line)| {
            let inline = after_each(line, "](").filter_map(inline_target);
            let html = ["href=\"", "src=\""].into_iter().flat_map(|attribute| {
                after_each(line, attribute).filter_map(|tail| Some(tail.split_once('"')?.0))
            });
            let targets: Vec<&str> = inline.chain(html).chain(definition(line)).collect();
            targets
                .into_iter()
                .map(move |target| Link { line: index + 1, target: target.to_owned() })
        })
        .collect()
}

fn after_each<'a>(line: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(mark).filter_map(move |(at, _)| line.get(at + mark.len()..))
}

/// `target` or `<target>` or `target "title"`, up to the parenthesis that closes it.
fn inline_target(tail: &str) -> Option<&str> {
    if let Some(bracketed) = tail.strip_prefix('<') {
        return bracketed.split_once('>').map(|(target, _)| target);
    }
    let mut depth = 0_u32;
    for (at, next) in tail.char_indices() {
        match next {
            '(' => depth += 1,
            ')' if depth == 0 => return tail.get(..at)?.split_whitespace().next(),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// `[label]: target`.
fn definition(line: &str) -> Option<&str> {
    let (label, target) = line.trim_start().strip_prefix('[')?.split_once("]:")?;
    (!label.contains(']')).then(|| target.split_whitespace().next())?
}

/// The anchors that a link may name: those of headings, as GitHub makes them, and HTML ids.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let prose = prose(text);
    let mut anchors: Vec<String> = Vec::new();
    // The prose says which lines are headings; the text has their code spans.
    for (line, full) in prose.lines().zip(text.lines()) {
        if let Some(heading) = heading(line).and_then(|_| heading(full)) {
            let slug = slug(heading);
            let mut anchor = slug.clone();
            let mut count = 0_u32;
            while anchors.contains(&anchor) {
                count += 1;
                anchor = format!("{slug}-{count}");
            }
            anchors.push(anchor);
        }
        for attribute in [" id=\"", " name=\""] {
            let ids = after_each(line, attribute).filter_map(|tail| tail.split_once('"'));
            anchors.extend(ids.map(|(id, _)| id.to_owned()));
        }
    }
    anchors
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim())
}

fn slug(heading: &str) -> String {
    let kept = plain(heading).to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// A heading with its links reduced to their texts.
fn plain(heading: &str) -> String {
    let mut out = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, tail)| tail);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(text: &str) -> Vec<(usize, String)> {
        links(text).into_iter().map(|link| (link.line, link.target)).collect()
    }

    #[test]
    fn links_of_every_kind_are_found() {
        let text = "[a](x.md) ![i](i.png \"t\")\n[b](<y z.md>) [w](w(1).md)\n[c]: z.md\n<a href=\"h.md\">\n";
        let expected = [(1, "x.md"), (1, "i.png"), (2, "y z.md"), (2, "w(1).md"), (3, "z.md")];
        let mut expected: Vec<_> = expected.map(|(line, target)| (line, target.into())).to_vec();
        expected.push((4, "h.md".to_owned()));
        assert_eq!(targets(text), expected);
    }

    #[test]
    fn code_and_comments_have_no_links() {
        let text = "```\n[a](x.md)\n```\n`[a](x.md)` ``[`](x)``\n<!-- [a](x.md)\n[b](y.md) -->\n[c](z.md)\n";
        assert_eq!(targets(text), [(7, "z.md".to_owned())]);
    }

    #[test]
    fn a_lone_backtick_hides_nothing_after_its_paragraph() {
        assert_eq!(targets("a ` b\n\n[c](z.md) `\n"), [(3, "z.md".to_owned())]);
    }

    #[test]
    fn anchors_are_made_as_github_makes_them() {
        let text = "# What `lies` where?\n## A & B\n## A & B\n### [T](x.md) at 5%\n#no\n```\n# no\n```\n<a id=\"own\"></a>\n## Größe_1\n";
        assert_eq!(
            anchors(text),
            ["what-lies-where", "a--b", "a--b-1", "t-at-5", "own", "größe_1"]
                .map(|anchor| anchor.replace("[t", "t"))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_lines_and_has_its_links_within(
            text in r#"([a-z`~()<>\[\]!#:"\n é]|```|<!--|-->|\]\(|href=")*"#,
        ) {
            let prose = prose(&text);
            proptest::prop_assert_eq!(prose.matches('\n').count(), text.matches('\n').count());
            proptest::prop_assert_eq!(prose.chars().count(), text.chars().count());
            let lines = text.lines().count();
            proptest::prop_assert!(links(&text).iter().all(|link| (1..=lines).contains(&link.line)));
            anchors(&text);
        }
    }
}
