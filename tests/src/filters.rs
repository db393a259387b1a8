//! What a filter means, told a second time: a judge for the daemon's answers.
//!
//! The grammar of the README in its plainest form, evaluated on one metadata object. It is slow
//! and knows only what the tests use; an operator it does not know stops the test.

use std::cmp::Ordering;

use serde_json::{Map, Value};

/// Does the entry with this metadata match?
pub fn matches(filter: &Value, metadata: &Map<String, Value>) -> bool {
    let Value::Object(parts) = filter else { panic!("a filter is an object, not {filter}") };
    parts.iter().all(|(name, part)| match name.as_str() {
        "$and" => list(part).iter().all(|inner| matches(inner, metadata)),
        "$or" => list(part).iter().any(|inner| matches(inner, metadata)),
        "$not" => !matches(part, metadata),
        field => condition(part, metadata.get(field)),
    })
}

fn condition(part: &Value, found: Option<&Value>) -> bool {
    let Value::Object(operators) = part else { return found.is_some_and(|f| equal(f, part)) };
    operators.iter().all(|(operator, wanted)| match operator.as_str() {
        "$exists" => found.is_some() == (wanted == &Value::Bool(true)),
        "$eq" => found.is_some_and(|f| equal(f, wanted)),
        "$ne" => !found.is_some_and(|f| equal(f, wanted)),
        "$in" => found.is_some_and(|f| list(wanted).iter().any(|w| equal(f, w))),
        "$nin" => !found.is_some_and(|f| list(wanted).iter().any(|w| equal(f, w))),
        "$gt" => order(found, wanted) == Some(Ordering::Greater),
        "$gte" => matches!(order(found, wanted), Some(Ordering::Greater | Ordering::Equal)),
        "$lt" => order(found, wanted) == Some(Ordering::Less),
        "$lte" => matches!(order(found, wanted), Some(Ordering::Less | Ordering::Equal)),
        other => panic!("this judge does not know {other}"),
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list"))
}

fn equal(found: &Value, wanted: &Value) -> bool {
    match (found.as_f64(), wanted.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => found == wanted,
    }
}

fn order(found: Option<&Value>, wanted: &Value) -> Option<Ordering> {
    match (found?, wanted) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_judge_follows_the_contract() {
        let metadata = json!({"a": 3, "b": "x"});
        let fields = metadata.as_object().unwrap();
        for (filter, wanted) in [
            (json!({"a": 3}), true),
            (json!({"a": {"$gte": 3, "$lt": 4}}), true),
            (json!({"a": {"$gt": "3"}}), false),
            (json!({"c": 1}), false),
            (json!({"c": {"$ne": 1}}), true),
            (json!({"c": {"$nin": [1]}}), true),
            (json!({"c": {"$exists": false}, "b": "x"}), true),
            (json!({"$or": [{"a": 1}, {"b": {"$in": ["x", "y"]}}]}), true),
            (json!({"$not": {"b": "x"}}), false),
            (json!({}), true),
        ] {
            assert_eq!(matches(&filter, fields), wanted, "{filter}");
        }
    }
}
