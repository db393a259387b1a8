//! From JSON to a compiled filter, or to a sentence that says what would be right.
//!
//! The walk carries where it is, how deep it is and what is left of the limits, so it stops at the
//! first thing that breaks one, and cannot recurse deeper than [`MAX_DEPTH`].

use serde_json::{Map, Value};

use super::{
    MAX_DEPTH, MAX_STRING_BYTES, MAX_TERMS,
    eval::{Node, Operand, Order, Path, Scalars, Test},
    number::Number,
};
use crate::types::Invalid;

/// Stable code of every refusal.
pub(super) const CODE: &str = "invalid_filter";
/// Where paths start.
pub(super) const ROOT: &str = "filter";

const OPERATORS: [&str; 10] =
    ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains"];
const COMBINERS: [&str; 3] = ["$and", "$or", "$not"];
/// Characters of a name that a path repeats; a refusal must not be as long as what it refuses.
const SHOWN_CHARS: usize = 64;

pub(super) fn parse(value: &Value) -> Result<Node, Invalid> {
    let mut parser =
        Parser { path: vec![ROOT.to_owned()], depth: 0, terms: MAX_TERMS, bytes: MAX_STRING_BYTES };
    parser.conditions(value)
}

struct Parser {
    path: Vec<String>,
    depth: usize,
    /// Conditions still allowed.
    terms: usize,
    /// Bytes of names and strings still allowed.
    bytes: usize,
}

impl Parser {
    /// An object that is the AND of its members.
    fn conditions(&mut self, value: &Value) -> Result<Node, Invalid> {
        let Value::Object(members) = value else {
            return Err(self.refuse(format!(
                "expected an object of conditions such as {{\"field\": 1}}, not {}",
                kind(value)
            )));
        };
        if members.is_empty() {
            // Costs a term, so that a list of empty objects is bounded too.
            self.term()?;
        }
        let mut nodes = Vec::with_capacity(members.len().min(MAX_TERMS));
        self.deeper(|this| {
            for (name, value) in members {
                let node = this.at(name, |this| this.member(name, value))?;
                nodes.push(node);
            }
            Ok(())
        })?;
        Ok(one_or(nodes, Node::All))
    }

    fn member(&mut self, name: &str, value: &Value) -> Result<Node, Invalid> {
        match name {
            "$and" => Ok(one_or(self.branches(name, value)?, Node::All)),
            "$or" => Ok(one_or(self.branches(name, value)?, Node::Any)),
            "$not" => Ok(Node::Not(Box::new(self.conditions(value)?))),
            _ if OPERATORS.contains(&name) => Err(self.refuse(format!(
                "{name} belongs inside a field: {{\"field\": {{\"{name}\": …}}}}; around conditions go $and, $or, $not"
            ))),
            _ if name.starts_with('$') => Err(self.unknown(name, &COMBINERS)),
            _ => self.field(name, value),
        }
    }

    fn branches(&mut self, name: &str, value: &Value) -> Result<Vec<Node>, Invalid> {
        let Value::Array(branches) = value else {
            return Err(self.refuse(format!("{name} takes an array of conditions, not {}", kind(value))));
        };
        if branches.is_empty() {
            return Err(self.refuse(format!("{name} takes at least one condition")));
        }
        self.deeper(|this| {
            let branch =
                |(at, branch): (usize, &Value)| this.at(&at.to_string(), |this| this.conditions(branch));
            branches.iter().enumerate().map(branch).collect()
        })
    }

    fn field(&mut self, name: &str, value: &Value) -> Result<Node, Invalid> {
        self.text(name)?;
        let path = Path::new(name);
        let Value::Object(operators) = value else {
            self.term()?;
            self.operand(value)?;
            return Ok(Node::Field(path, Test::Eq(value.clone())));
        };
        if operators.is_empty() {
            return Err(self.refuse("expected an operator, such as {\"$eq\": …}; the object is empty"));
        }
        self.deeper(|this| {
            let tests = this.tests(operators)?;
            Ok(one_or(tests.into_iter().map(|test| Node::Field(path.clone(), test)).collect(), Node::All))
        })
    }

    fn tests(&mut self, operators: &Map<String, Value>) -> Result<Vec<Test>, Invalid> {
        let mut tests = Vec::with_capacity(operators.len().min(OPERATORS.len()));
        for (name, operand) in operators {
            tests.push(self.at(name, |this| this.test(name, operand))?);
        }
        Ok(tests)
    }

    fn test(&mut self, name: &str, operand: &Value) -> Result<Test, Invalid> {
        self.term()?;
        match name {
            "$eq" | "$ne" => {
                self.operand(operand)?;
                let operand = operand.clone();
                Ok(if name == "$eq" { Test::Eq(operand) } else { Test::Ne(operand) })
            }
            "$gt" => self.than(Order::Greater, name, operand),
            "$gte" => self.than(Order::GreaterOrEqual, name, operand),
            "$lt" => self.than(Order::Less, name, operand),
            "$lte" => self.than(Order::LessOrEqual, name, operand),
            "$in" => Ok(Test::In(self.scalars(name, operand)?)),
            "$nin" => Ok(Test::NotIn(self.scalars(name, operand)?)),
            "$exists" => match operand {
                Value::Bool(expected) => Ok(Test::Exists(*expected)),
                _ => Err(self.refuse(format!("$exists takes true or false, not {}", kind(operand)))),
            },
            "$contains" => {
                if operand.is_array() || operand.is_object() {
                    let message = format!(
                        "$contains takes a string, a number, true, false or null, not {}",
                        kind(operand)
                    );
                    return Err(self.refuse(message));
                }
                self.operand(operand)?;
                Ok(Test::Contains(operand.clone()))
            }
            _ if COMBINERS.contains(&name) => Err(self.refuse(format!(
                "{name} goes around conditions, not inside a field: {{\"{name}\": …{{\"field\": …}}…}}"
            ))),
            _ if name.starts_with('$') => Err(self.unknown(name, &OPERATORS)),
            _ => Err(self.refuse(
                "expected an operator that starts with $; to compare with an object write {\"$eq\": {…}}, \
                 to reach a nested field write \"outer.inner\"",
            )),
        }
    }

    fn than(&mut self, order: Order, name: &str, operand: &Value) -> Result<Test, Invalid> {
        self.operand(operand)?;
        let operand = match operand {
            Value::Number(number) => Number::of(number).map(Operand::Number),
            Value::String(text) => Some(Operand::String(text.clone())),
            _ => None,
        };
        match operand {
            Some(operand) => Ok(Test::Than(order, operand)),
            None => Err(self.refuse(format!("{name} takes a number or a string"))),
        }
    }

    fn scalars(&mut self, name: &str, operand: &Value) -> Result<Scalars, Invalid> {
        let Value::Array(values) = operand else {
            return Err(self.refuse(format!("{name} takes an array, not {}", kind(operand))));
        };
        let mut scalars = Scalars::default();
        self.deeper(|this| {
            for (at, value) in values.iter().enumerate() {
                this.at(&at.to_string(), |this| {
                    this.term()?;
                    this.operand(value)?;
                    if scalars.insert(value) {
                        return Ok(());
                    }
                    let message =
                        format!("{name} takes strings, numbers, true, false and null, not {}", kind(value));
                    Err(this.refuse(message))
                })?;
            }
            Ok(())
        })?;
        Ok(scalars)
    }

    /// Counts what an operand costs: its strings, and each value beyond the first.
    fn operand(&mut self, value: &Value) -> Result<(), Invalid> {
        match value {
            Value::Null | Value::Bool(_) => Ok(()),
            Value::Number(number) if Number::of(number).is_none() => {
                Err(self.refuse("expected a finite number"))
            }
            Value::Number(_) => Ok(()),
            Value::String(text) => self.text(text),
            Value::Array(values) => self.deeper(|this| {
                values.iter().try_for_each(|value| {
                    this.term()?;
                    this.operand(value)
                })
            }),
            Value::Object(members) => self.deeper(|this| {
                members.iter().try_for_each(|(name, value)| {
                    this.term()?;
                    this.text(name)?;
                    this.operand(value)
                })
            }),
        }
    }

    fn term(&mut self) -> Result<(), Invalid> {
        self.terms = self.terms.checked_sub(1).ok_or_else(|| {
            self.refuse(format!("a filter has at most {MAX_TERMS} conditions and listed values"))
        })?;
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Invalid> {
        self.bytes = self.bytes.checked_sub(text.len()).ok_or_else(|| {
            self.refuse(format!("a filter has at most {MAX_STRING_BYTES} bytes of names and strings"))
        })?;
        Ok(())
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T, Invalid>) -> Result<T, Invalid> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(format!("a filter is nested at most {MAX_DEPTH} deep")));
        }
        self.depth += 1;
        let result = inside(self);
        self.depth -= 1;
        result
    }

    fn at<T>(
        &mut self,
        name: &str,
        inside: impl FnOnce(&mut Self) -> Result<T, Invalid>,
    ) -> Result<T, Invalid> {
        self.path.push(step(name));
        let result = inside(self);
        self.path.pop();
        result
    }

    fn refuse(&self, message: impl Into<String>) -> Invalid {
        Invalid::new(CODE, self.path.join("/"), message)
    }

    fn unknown(&self, name: &str, known: &[&str]) -> Invalid {
        let nearest = known.iter().min_by_key(|word| edits(name, word));
        let hint = match nearest {
            Some(nearest) if edits(name, nearest) <= 2 => format!("did you mean {nearest}?"),
            _ => format!("known here: {}", known.join(" ")),
        };
        self.refuse(format!("unknown operator {}; {hint}", step(name)))
    }
}

/// One node needs no list around it.
fn one_or(mut nodes: Vec<Node>, list: fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1
        && let Some(node) = nodes.pop()
    {
        node
    } else {
        list(nodes)
    }
}

/// A name as a part of a path: `/` and `~` as in JSON pointers, long ones cut.
fn step(name: &str) -> String {
    let mut shown: String = name.chars().take(SHOWN_CHARS).collect();
    if shown.len() < name.len() {
        shown.push('…');
    }
    shown.replace('~', "~0").replace('/', "~1")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Letters to insert, remove or replace to get from one word to another (known words are short).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(SHOWN_CHARS).collect();
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}
