//! Licence expressions: whether one can be satisfied with the licences we accept.
//!
//! The grammar is SPDX's (annex D of the specification), with the older `/` for OR that packages
//! still carry. `WITH` binds tighter than `AND`, which binds tighter than `OR`.

/// Additional permissions, which only ever loosen the licence before `WITH`.
const EXCEPTIONS: [&str; 2] = ["LLVM-exception", "Classpath-exception-2.0"];

/// Whether `expression` can be satisfied by `accepted` licences alone.
///
/// # Errors
/// What is wrong with the expression.
pub(crate) fn satisfied(expression: &str, accepted: &[&str]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " / ");
    let mut parser = Parser { words: spaced.split_whitespace().collect(), accepted, depth: 0 };
    parser.words.reverse();
    let answer = parser.any()?;
    match parser.words.pop() {
        None => Ok(answer),
        Some(word) => Err(format!("unexpected {word}")),
    }
}

/// Deeper than any licence, and shallower than our stack.
const DEEPEST: u32 = 32;

struct Parser<'a> {
    /// What is left, next word last.
    words: Vec<&'a str>,
    accepted: &'a [&'a str],
    depth: u32,
}

impl<'a> Parser<'a> {
    fn take(&mut self, expected: &[&str]) -> bool {
        let found = self.words.last().is_some_and(|word| expected.contains(word));
        if found {
            self.words.pop();
        }
        found
    }

    fn any(&mut self) -> Result<bool, String> {
        let mut answer = self.all()?;
        while self.take(&["OR", "/"]) {
            answer |= self.all()?;
        }
        Ok(answer)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut answer = self.one()?;
        while self.take(&["AND"]) {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.take(&["("]) {
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err("too many parentheses".to_owned());
            }
            let answer = self.any()?;
            self.depth -= 1;
            return if self.take(&[")"]) { Ok(answer) } else { Err("a ) is missing".to_owned()) };
        }
        let name = self.name()?;
        let licence = name.strip_suffix('+').unwrap_or(name);
        let accepted = self.accepted.contains(&licence);
        if self.take(&["WITH"]) {
            let exception = self.name()?;
            return Ok(accepted && EXCEPTIONS.contains(&exception));
        }
        Ok(accepted)
    }

    fn name(&mut self) -> Result<&'a str, String> {
        match self.words.pop() {
            None => Err("a licence is missing at the end".to_owned()),
            Some(word) if ["AND", "OR", "WITH", "/", "(", ")"].contains(&word) => {
                Err(format!("a licence is missing before {word}"))
            }
            Some(word) => Ok(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ACCEPTED: [&str; 4] = ["MIT", "Apache-2.0", "ISC", "Unicode-3.0"];

    #[test]
    fn expressions_are_evaluated_as_spdx_means_them() {
        let cases = [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only OR MIT", true),
            ("MIT AND GPL-3.0-only", false),
            ("MIT/GPL-3.0-only", true),
            ("GPL-3.0-only / Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH LLVM-exception", false),
            ("Apache-2.0 WITH unheard-of", false),
            ("GPL-3.0-only AND MIT OR ISC", true),
            ("ISC OR GPL-3.0-only AND MIT", true),
            ("(ISC OR GPL-3.0-only) AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("((GPL-3.0-only))", false),
            ("Apache-2.0+", true),
            ("mit", false),
        ];
        for (expression, expected) in cases {
            assert_eq!(satisfied(expression, &ACCEPTED), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error_and_never_a_yes() {
        let deep = "(".repeat(100_000);
        for bad in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "OR", &deep] {
            assert!(satisfied(bad, &ACCEPTED).is_err(), "{}", bad.get(..9).unwrap_or(bad));
        }
    }

    /// An expression, and whether a slow and obvious reading of it is satisfied.
    fn expression() -> impl Strategy<Value = (String, bool)> {
        let leaf = prop_oneof![Just(("MIT".to_owned(), true)), Just(("GPL-3.0".to_owned(), false))];
        leaf.prop_recursive(6, 40, 2, |inner| {
            (inner.clone(), inner, any::<bool>()).prop_map(|((a, x), (b, y), or)| {
                let (word, answer) = if or { ("OR", x || y) } else { ("AND", x && y) };
                (format!("({a} {word} {b})"), answer)
            })
        })
    }

    proptest! {
        #[test]
        fn a_bracketed_expression_means_what_its_parts_mean((text, expected) in expression()) {
            prop_assert_eq!(satisfied(&text, &ACCEPTED), Ok(expected));
        }

        #[test]
        fn any_words_are_answered(words in "(MIT|GPL|AND|OR|WITH|[()/ +])*") {
            let _ = satisfied(&words, &ACCEPTED);
        }
    }
}
