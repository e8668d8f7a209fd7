//! Just enough of Rust's lexical structure to count lines and find functions. No parser: it trusts
//! that the compiler has accepted the file.

/// `source` with comments and the insides of literals blanked; every line keeps its number.
pub(crate) fn code(source: &str) -> String {
    let mut scan = Scan { rest: source, out: String::with_capacity(source.len()) };
    while let Some(next) = scan.rest.chars().next() {
        if let Some(length) = comment(scan.rest).or_else(|| scan.literal()) {
            scan.blank(length);
        } else {
            scan.keep(next);
        }
    }
    scan.out
}

struct Scan<'a> {
    rest: &'a str,
    out: String,
}

impl Scan<'_> {
    fn keep(&mut self, next: char) {
        self.out.push(next);
        self.rest = self.rest.get(next.len_utf8()..).unwrap_or_default();
    }

    fn blank(&mut self, length: usize) {
        let (hidden, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, ""));
        self.out.extend(hidden.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
    }

    /// The length of the string or character that begins here.
    fn literal(&self) -> Option<usize> {
        let in_word = self.out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if in_word && !self.rest.starts_with('"') {
            return None;
        }
        let unprefixed = self.rest.trim_start_matches(['b', 'c']);
        let prefix = self.rest.len() - unprefixed.len();
        if prefix > 1 {
            return None;
        }
        let length = raw_string(unprefixed).or_else(|| quoted(unprefixed))?;
        Some(prefix + length)
    }
}

fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(rest.len())
}

fn raw_string(rest: &str) -> Option<usize> {
    let after_r = rest.strip_prefix('r')?;
    let hashes = after_r.len() - after_r.trim_start_matches('#').len();
    let body = after_r.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let opening = 1 + hashes + 1;
    Some(opening + body.find(&end).map_or(body.len(), |at| at + end.len()))
}

/// A string, or a character literal as opposed to a lifetime.
fn quoted(rest: &str) -> Option<usize> {
    let quote = rest.chars().next().filter(|first| *first == '"' || *first == '\'')?;
    let mut escaped = false;
    for (count, (at, next)) in rest.char_indices().skip(1).enumerate() {
        if escaped {
            escaped = false;
        } else if next == '\\' {
            escaped = true;
        } else if next == quote {
            return Some(at + 1);
        } else if quote == '\'' && count > 0 && !rest.starts_with("'\\") {
            return None;
        }
    }
    (quote == '"').then_some(rest.len())
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The line of `fn`, from 1.
    pub(crate) line: usize,
    /// Lines from there to the closing brace.
    pub(crate) lines: usize,
}

/// The functions of blanked `code`, tests left out.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let tests = test_regions(code);
    words(code, "fn")
        .filter(|at| !tests.iter().any(|region| region.contains(at)))
        .filter_map(|at| function_at(code, at))
        .collect()
}

/// How many lines of blanked `code` are outside of `#[cfg(test)]` modules.
pub(crate) fn lines_without_tests(code: &str) -> usize {
    let in_tests: usize = test_regions(code)
        .into_iter()
        .filter_map(|region| code.get(region))
        .map(|region| region.lines().count())
        .sum();
    code.lines().count().saturating_sub(in_tests)
}

/// Names of modules in files of their own that exist for tests alone.
pub(crate) fn test_modules(code: &str) -> Vec<&str> {
    test_attributes(code)
        .filter_map(|(_, after)| {
            let (declaration, _) = after.split_once([';', '{'])?;
            let ends_with_semicolon = after.get(declaration.len()..)?.starts_with(';');
            let (_, name) = declaration.rsplit_once("mod ").filter(|_| ends_with_semicolon)?;
            Some(name.trim())
        })
        .collect()
}

fn test_attributes(code: &str) -> impl Iterator<Item = (usize, &str)> {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    code.match_indices(ATTRIBUTE)
        .filter_map(|(at, _)| Some((at, code.get(at + ATTRIBUTE.len()..)?)))
}

/// Where `#[cfg(test)]` modules with a body are, from the attribute to the closing brace.
fn test_regions(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut regions: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, after) in test_attributes(code) {
        if regions.last().is_some_and(|region| region.contains(&at)) {
            continue;
        }
        let (head, _) = after.split_once(['{', ';']).unwrap_or((after, ""));
        let begin = code.len() - after.len() + head.len();
        if words(head, "mod").next().is_some()
            && code.get(begin..).is_some_and(|body| body.starts_with('{'))
        {
            regions.push(at..closing_brace(code, begin));
        }
    }
    regions
}

fn function_at(code: &str, at: usize) -> Option<Function> {
    let after = code.get(at + 2..)?;
    let name: String =
        after.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None;
    }
    let mut depth = 0_i64;
    for (offset, next) in after.char_indices() {
        match next {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ';' if depth == 0 => return None,
            '{' if depth == 0 => {
                let end = closing_brace(code, at + 2 + offset);
                let line = code.get(..at)?.matches('\n').count() + 1;
                let lines = code.get(at..end)?.matches('\n').count() + 1;
                return Some(Function { name, line, lines });
            }
            _ => {}
        }
    }
    None
}

/// The position after the brace that closes the one at `open`.
fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_i64;
    for (offset, next) in code.get(open..).unwrap_or_default().char_indices() {
        match next {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    code.len()
}

/// Where `word` stands alone in `text`.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = text.get(..*at).is_some_and(|head| head.ends_with(part_of_word));
        let after = text.get(at + word.len()..).is_some_and(|tail| tail.starts_with(part_of_word));
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_lines_stay() {
        let cases = [
            ("a // fn b() {\nc", "a            \nc"),
            ("/* x /* y */ z */b", "                 b"),
            (r#"a("}\"{", b)"#, "a(      , b)"),
            ("r#\"\"{\"#;", "       ;"),
            ("b'{' '\\'' '\\u{7b}'", "                  "),
            ("fn a<'a>(x: &'a str) {}", "fn a<'a>(x: &'a str) {}"),
            ("'é'{\"é\"}", "   {   }"),
            ("\"a\nb\"c", "  \n  c"),
            ("br\"{\" c\"{\" bb\"{\"", "           bb   "),
            ("\"open", "     "),
        ];
        for (source, expected) in cases {
            assert_eq!(code(source), expected, "{source}");
        }
    }

    #[test]
    fn functions_are_measured_from_fn_to_closing_brace() {
        let source = "type F = fn(u8);\ntrait T {\n fn a(&self) -> [u8; 4];\n}\n\
                      fn b(x: [u8; 2]) -> u8 {\n  if x == [1, 2] {\n  }\n}\n";
        let found = functions(&code(source));
        assert_eq!(found, [Function { name: "b".into(), line: 5, lines: 4 }]);
    }

    #[test]
    fn tests_are_not_counted() {
        let source = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n";
        let code = code(source);
        assert_eq!(lines_without_tests(&code), 3);
        let names: Vec<String> = functions(&code).into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert!(test_modules(&code).is_empty());
    }

    #[test]
    fn a_test_module_in_its_own_file_is_known_by_name() {
        let source = "#[cfg(test)]\npub(crate) mod fixture;\n#[cfg(test)]\nuse a::b;\nmod real;\n";
        assert_eq!(test_modules(&code(source)), ["fixture"]);
        assert_eq!(lines_without_tests(&code(source)), 5);
    }

    proptest::proptest! {
        #[test]
        fn any_text_keeps_its_lines_and_has_its_functions_within(
            source in r#"([a-z{}()'"\\/*\n\t;# é]|fn f|r#"|"\#|\#\[cfg\(test\)\]|mod m )*"#,
        ) {
            let code = code(&source);
            proptest::prop_assert_eq!(code.matches('\n').count(), source.matches('\n').count());
            proptest::prop_assert_eq!(code.chars().count(), source.chars().count());
            let lines = code.lines().count();
            proptest::prop_assert!(lines_without_tests(&code) <= lines);
            for function in functions(&code) {
                proptest::prop_assert!(function.line + function.lines <= lines + 2);
            }
        }
    }
}
