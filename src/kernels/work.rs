//! What a dispatch computes and moves, by formulas in its contract.
//!
//! A formula has numbers, names, `+ - * /` and brackets. Names are scalar fields of `Params`,
//! constants and flags (0 or 1), `groups.x`, `.y` and `.z` (workgroups dispatched), and for a
//! binding `NAME.len` (scalars bound) and `NAME.bytes`; one that the variant leaves out has 0 of both.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The work of one dispatch, without what only fills up a tile. Where it depends on the data
/// (sequences that end early, rows gathered twice), the most that it can be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// Multiplications and additions of its matrix products; none for kernels without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flops: Option<Formula>,
    /// Bytes that must be read and written at least once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Formula>,
}

impl Work {
    /// All formulas.
    pub fn formulas(&self) -> impl Iterator<Item = &Formula> {
        self.flops.iter().chain(&self.bytes)
    }
}

/// A formula, as written and as understood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Formula {
    text: String,
    root: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Number(f64),
    Name(String),
    Apply(char, Box<[Node; 2]>),
}

impl Formula {
    /// Reads a formula.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Formula, String> {
        let mut parser = Parser { rest: text };
        let root = parser.sum()?;
        match parser.peek() {
            None => Ok(Formula {
                text: text.to_string(),
                root,
            }),
            Some(c) => Err(format!("formula '{text}': unexpected '{c}'")),
        }
    }

    /// Its value, names being given by `value`; `None` where one is unknown.
    pub fn value(&self, value: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
        self.root.value(value)
    }

    /// The names in it.
    pub fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.root.collect(&mut names);
        names
    }
}

impl fmt::Display for Formula {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Formula {
    type Error = String;

    fn try_from(text: String) -> Result<Formula, String> {
        Formula::parse(&text)
    }
}

impl From<Formula> for String {
    fn from(formula: Formula) -> String {
        formula.text
    }
}

impl Node {
    fn value(&self, value: &impl Fn(&str) -> Option<f64>) -> Option<f64> {
        Some(match self {
            Node::Number(number) => *number,
            Node::Name(name) => value(name)?,
            Node::Apply(operator, sides) => {
                let [a, b] = [sides[0].value(value)?, sides[1].value(value)?];
                match operator {
                    '+' => a + b,
                    '-' => a - b,
                    '*' => a * b,
                    _ => a / b,
                }
            }
        })
    }

    fn collect<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Node::Number(_) => {}
            Node::Name(name) => names.push(name),
            Node::Apply(_, sides) => sides.iter().for_each(|side| side.collect(names)),
        }
    }
}

/// sum = product (("+" | "-") product)*; product = atom (("*" | "/") atom)*.
struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    /// Takes the next character if it is one of these.
    fn take(&mut self, any: &[char]) -> Option<char> {
        let found = self.peek().filter(|c| any.contains(c))?;
        self.rest = &self.rest[found.len_utf8()..];
        Some(found)
    }

    fn sum(&mut self) -> Result<Node, String> {
        self.chain(&['+', '-'], Parser::product)
    }

    fn product(&mut self) -> Result<Node, String> {
        self.chain(&['*', '/'], Parser::atom)
    }

    fn chain(
        &mut self,
        operators: &[char],
        part: fn(&mut Self) -> Result<Node, String>,
    ) -> Result<Node, String> {
        let mut left = part(self)?;
        while let Some(operator) = self.take(operators) {
            left = Node::Apply(operator, Box::new([left, part(self)?]));
        }
        Ok(left)
    }

    fn atom(&mut self) -> Result<Node, String> {
        if self.take(&['(']).is_some() {
            let inner = self.sum()?;
            return match self.take(&[')']) {
                Some(_) => Ok(inner),
                None => Err("formula: a bracket is not closed".into()),
            };
        }
        self.peek();
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word.chars().next() {
            None => Err(format!(
                "formula: expected a name or number before '{rest}'"
            )),
            Some(c) if c.is_ascii_digit() => {
                let number = word.parse();
                number
                    .map(Node::Number)
                    .map_err(|_| format!("formula: '{word}' is no number"))
            }
            Some(_) => Ok(Node::Name(word.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<f64> {
        let names = |name: &str| match name {
            "m" => Some(3.0),
            "c.len" => Some(5.0),
            _ => None,
        };
        Formula::parse(text).expect("a formula").value(&names)
    }

    #[test]
    fn formulas_are_worked_out() {
        assert_eq!(value("2 * m + c.len"), Some(11.0));
        assert_eq!(value("2*(m+c.len)/4 - 1 - 1"), Some(2.0));
        assert_eq!(value("m * other"), None);
        let formula = Formula::parse("4 * (m + c.len)").expect("a formula");
        assert_eq!(formula.names(), ["m", "c.len"]);
    }

    #[test]
    fn what_is_no_formula_is_refused() {
        for text in ["", "2 *", "(m", "m n", "2m", "m % 2"] {
            assert!(Formula::parse(text).is_err(), "{text}");
        }
    }
}
