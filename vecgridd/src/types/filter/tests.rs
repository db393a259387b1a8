use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Filter, MAX_DEPTH, MAX_STRING_BYTES, MAX_TERMS};

fn matches(filter: Value, row: Value) -> bool {
    Filter::parse(&filter).unwrap().matches(row.as_object().unwrap())
}

fn refused(filter: Value) -> (String, String) {
    let invalid = Filter::parse(&filter).unwrap_err();
    assert_eq!(invalid.code, "invalid_filter");
    (invalid.field, invalid.message)
}

#[test]
fn an_empty_filter_matches_every_row() {
    assert!(matches(json!({}), json!({})));
    assert!(matches(json!({}), json!({"a": 1})));
}

#[test]
fn members_of_an_object_must_all_hold() {
    let row = json!({"a": 1, "b": "x"});
    assert!(matches(json!({"a": 1, "b": "x"}), row.clone()));
    assert!(!matches(json!({"a": 1, "b": "y"}), row.clone()));
    assert!(matches(json!({"a": {"$gt": 0, "$lt": 2}}), row.clone()));
    assert!(!matches(json!({"a": {"$gt": 0, "$lt": 1}}), row));
}

#[test]
fn a_bare_value_is_equality_and_a_bare_array_is_the_whole_array() {
    assert!(matches(json!({"a": [1, 2]}), json!({"a": [1, 2.0]})));
    assert!(!matches(json!({"a": [1, 2]}), json!({"a": [2, 1]})));
    assert!(!matches(json!({"a": [1]}), json!({"a": 1})));
    assert!(!matches(json!({"a": 1}), json!({"a": [1]})));
}

#[test]
fn logical_operators_combine() {
    let row = json!({"a": 1});
    assert!(matches(json!({"$and": [{"a": 1}, {"b": {"$exists": false}}]}), row.clone()));
    assert!(!matches(json!({"$and": [{"a": 1}, {"b": 1}]}), row.clone()));
    assert!(matches(json!({"$or": [{"b": 1}, {"a": 1}]}), row.clone()));
    assert!(!matches(json!({"$or": [{"b": 1}]}), row.clone()));
    assert!(matches(json!({"$not": {"a": 2}}), row.clone()));
    assert!(!matches(json!({"$not": {}}), row.clone()));
    assert!(matches(json!({"$or": [{}]}), row));
}

#[test]
fn a_missing_field_matches_only_exists_false_ne_and_nin() {
    let row = json!({"other": 1});
    for yes in [json!({"$exists": false}), json!({"$ne": 1}), json!({"$ne": null}), json!({"$nin": [1]})] {
        assert!(matches(json!({"a": yes}), row.clone()), "{yes}");
    }
    for no in [
        json!({"$eq": null}),
        json!({"$exists": true}),
        json!({"$gt": 0}),
        json!({"$gte": 0}),
        json!({"$lt": 0}),
        json!({"$lte": 0}),
        json!({"$in": [null]}),
        json!({"$contains": "x"}),
    ] {
        assert!(!matches(json!({"a": no}), row.clone()), "{no}");
    }
}

#[test]
fn null_is_a_value() {
    assert!(matches(json!({"a": null}), json!({"a": null})));
    assert!(!matches(json!({"a": null}), json!({})));
    assert!(!matches(json!({"a": null}), json!({"a": 0})));
    assert!(matches(json!({"a": {"$exists": true}}), json!({"a": null})));
    assert!(matches(json!({"a": {"$in": [null, 1]}}), json!({"a": null})));
    assert!(!matches(json!({"a": {"$ne": null}}), json!({"a": null})));
}

#[test]
fn unlike_types_match_nothing_but_ne_and_nin() {
    let row = json!({"a": "1"});
    for no in [
        json!({"$eq": 1}),
        json!({"$gt": 0}),
        json!({"$lte": 9}),
        json!({"$in": [1, true]}),
        json!({"$contains": 1}),
    ] {
        assert!(!matches(json!({"a": no}), row.clone()), "{no}");
    }
    assert!(matches(json!({"a": {"$ne": 1}}), row.clone()));
    assert!(matches(json!({"a": {"$nin": [1]}}), row));
    assert!(!matches(json!({"a": {"$gt": ""}}), json!({"a": 5})));
    assert!(!matches(json!({"a": true}), json!({"a": 1})));
    assert!(!matches(json!({"a": 0}), json!({"a": false})));
}

#[test]
fn numbers_compare_by_value_and_never_round() {
    assert!(matches(json!({"a": 1}), json!({"a": 1.0})));
    assert!(matches(json!({"a": 0}), json!({"a": -0.0})));
    assert!(matches(json!({"a": {"$in": [2.0]}}), json!({"a": 2})));
    let (odd, even) = (9_007_199_254_740_993_i64, 9_007_199_254_740_992.0);
    assert!(!matches(json!({"a": odd}), json!({"a": even})));
    assert!(!matches(json!({"a": {"$in": [even]}}), json!({"a": odd})));
    assert!(matches(json!({"a": {"$gt": even}}), json!({"a": odd})));
    assert!(!matches(json!({"a": {"$lte": even}}), json!({"a": odd})));
    assert!(!matches(json!({"a": u64::MAX}), json!({"a": 18_446_744_073_709_551_616.0})));
    assert!(matches(json!({"a": {"$lt": 18_446_744_073_709_551_616.0}}), json!({"a": u64::MAX})));
    assert!(matches(json!({"a": {"$gt": i64::MIN}}), json!({"a": u64::MAX})));
    assert!(matches(json!({"a": {"$lt": 1e300}}), json!({"a": u64::MAX})));
    assert!(matches(json!({"a": {"$gt": -1e300}}), json!({"a": i64::MIN})));
    assert!(matches(json!({"a": {"$gt": 1}}), json!({"a": 1.5})));
    assert!(matches(json!({"a": {"$gt": -1.5}}), json!({"a": -1})));
    assert!(matches(json!({"a": {"$lt": -1.5}}), json!({"a": -2})));
    assert!(matches(json!({"a": 1e300}), json!({"a": 1e300})));
}

#[test]
fn strings_are_ordered_by_code_point() {
    assert!(matches(json!({"day": {"$gte": "2024-02-01", "$lt": "2024-03"}}), json!({"day": "2024-02-29"})));
    assert!(matches(json!({"a": {"$gt": "Z"}}), json!({"a": "a"})));
    assert!(matches(json!({"a": {"$gt": "\u{ffff}"}}), json!({"a": "\u{1f600}"})));
    assert!(matches(json!({"a": {"$lte": "x"}}), json!({"a": "x"})));
}

#[test]
fn contains_looks_into_arrays_and_strings() {
    assert!(matches(json!({"a": {"$contains": 2}}), json!({"a": [1, 2.0]})));
    assert!(matches(json!({"a": {"$contains": null}}), json!({"a": [null]})));
    assert!(!matches(json!({"a": {"$contains": "b"}}), json!({"a": ["abc"]})));
    assert!(matches(json!({"a": {"$contains": "b"}}), json!({"a": "abc"})));
    assert!(!matches(json!({"a": {"$contains": 1}}), json!({"a": "1"})));
    assert!(!matches(json!({"a": {"$contains": "k"}}), json!({"a": {"k": 1}})));
}

#[test]
fn deep_equality_ignores_the_order_of_keys() {
    let row = json!({"a": {"x": [1, {"y": 2}], "z": null}});
    assert!(matches(json!({"a": {"$eq": {"z": null, "x": [1.0, {"y": 2.0}]}}}), row.clone()));
    assert!(!matches(json!({"a": {"$eq": {"x": [1, {"y": 2}]}}}), row.clone()));
    assert!(matches(json!({"a": {"$ne": {"x": []}}}), row));
}

#[test]
fn a_name_is_a_key_first_and_a_path_second() {
    let nested = json!({"a": {"b": {"c": 1}}});
    assert!(matches(json!({"a.b.c": 1}), nested.clone()));
    assert!(!matches(json!({"a.b.d": 1}), nested.clone()));
    assert!(matches(json!({"a.b.c.d": {"$exists": false}}), nested));
    let both = json!({"a.b": 1, "a": {"b": 2}});
    assert!(matches(json!({"a.b": 1}), both.clone()));
    assert!(!matches(json!({"a.b": 2}), both));
    assert!(!matches(json!({"a.0": 1}), json!({"a": [1]})), "arrays are not walked");
}

#[test]
fn empty_lists_are_what_they_say() {
    assert!(!matches(json!({"a": {"$in": []}}), json!({"a": 1})));
    assert!(matches(json!({"a": {"$nin": []}}), json!({"a": 1})));
    assert!(matches(json!({"a": []}), json!({"a": []})));
}

#[test]
fn a_refusal_names_the_place_and_what_would_be_right() {
    let (field, message) = refused(json!({"$or": [{"a": 1}, {"size": {"$lt": [1]}}]}));
    assert_eq!(field, "filter/$or/1/size/$lt");
    assert!(message.contains("number or a string"), "{message}");
    let (field, message) = refused(json!({"a/b": {"$gtt": 1}}));
    assert_eq!(field, "filter/a~1b/$gtt");
    assert!(message.contains("did you mean $gt?"), "{message}");
    let (_, message) = refused(json!({"$xor": []}));
    assert!(message.contains("did you mean $or?"), "{message}");
    let (_, message) = refused(json!({"$nothing like it": []}));
    assert!(message.contains("known here: $and $or $not"), "{message}");
    let (field, message) = refused(json!({"a": {"b": 1}}));
    assert_eq!(field, "filter/a/b");
    assert!(message.contains("$eq"), "{message}");
    let (field, _) = refused(json!({"a": {"$in": [1, []]}}));
    assert_eq!(field, "filter/a/$in/1");
}

#[test]
fn what_is_not_in_the_grammar_is_refused() {
    for bad in [
        json!(null),
        json!([]),
        json!("a"),
        json!({"a": {}}),
        json!({"a": {"$gt": null}}),
        json!({"a": {"$gte": true}}),
        json!({"a": {"$lt": {}}}),
        json!({"a": {"$in": 1}}),
        json!({"a": {"$nin": {"x": 1}}}),
        json!({"a": {"$in": [{}]}}),
        json!({"a": {"$exists": 1}}),
        json!({"a": {"$contains": [1]}}),
        json!({"a": {"$contains": {}}}),
        json!({"a": {"$eq": 1, "b": 2}}),
        json!({"a": {"$and": [{"b": 1}]}}),
        json!({"a": {"$not": {"$eq": 1}}}),
        json!({"$and": []}),
        json!({"$or": []}),
        json!({"$or": {"a": 1}}),
        json!({"$or": [1]}),
        json!({"$not": [{"a": 1}]}),
        json!({"$eq": 1}),
        json!({"$where": "x"}),
        json!({"$": 1}),
    ] {
        let _ = refused(bad);
    }
    assert_eq!(Filter::parse_json("{").unwrap_err().code, "invalid_filter");
    assert!(Filter::parse_json(r#"{"a": 1}"#).is_ok());
    let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(Filter::parse_json(&nested).unwrap_err().code, "invalid_filter");
}

#[test]
fn nesting_is_limited() {
    let nest = |depth: usize| (1..depth).fold(json!({"a": 1}), |inner, _| json!({ "$not": inner }));
    assert!(Filter::parse(&nest(MAX_DEPTH)).is_ok());
    assert!(refused(nest(MAX_DEPTH + 1)).1.contains("nested"));
    let operand = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert!(refused(json!({ "a": operand })).1.contains("nested"));
}

#[test]
fn terms_and_strings_are_limited() {
    let list = |n: usize| json!({"a": {"$in": (0..n).collect::<Vec<_>>()}});
    assert!(Filter::parse(&list(MAX_TERMS - 1)).is_ok());
    assert!(refused(list(MAX_TERMS)).1.contains("at most 4096"));
    let empties = json!({"$and": vec![json!({}); MAX_TERMS + 1]});
    assert!(refused(empties).1.contains("at most 4096"));
    let many: Map<String, Value> = (0..=MAX_TERMS).map(|i| (format!("f{i}"), json!(i))).collect();
    assert!(refused(Value::Object(many)).1.contains("at most 4096"));
    let array = json!({"a": vec![1; MAX_TERMS]});
    assert!(refused(array).1.contains("at most 4096"));
    assert!(Filter::parse(&json!({"a": "x".repeat(MAX_STRING_BYTES - 1)})).is_ok());
    let (field, message) = refused(json!({"a": "x".repeat(MAX_STRING_BYTES)}));
    assert!(message.contains("bytes") && field.len() < 100);
    let (field, _) = refused(json!({ "x".repeat(MAX_STRING_BYTES + 1): 1 }));
    assert!(field.len() < 300, "a refusal is short");
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        prop::sample::select(vec![-1.5, -1.0, 0.0, 1.0, 1.5, 9_007_199_254_740_992.0, 1e300])
            .prop_map(Value::from),
        prop::sample::select(vec![9_007_199_254_740_993_i64, i64::MAX]).prop_map(Value::from),
        prop::sample::select(vec!["", "a", "ab", "b"]).prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn row() -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map("[abc]", value(), 0..4).prop_map(|fields| fields.into_iter().collect())
}

fn condition() -> impl Strategy<Value = Value> {
    let ordered = prop_oneof![(-2_i64..3).prop_map(Value::from), Just(json!(0.5)), Just(json!("a"))];
    let list = prop::collection::vec(scalar(), 0..4);
    let test = prop_oneof![
        value().prop_map(|v| json!({ "$eq": v })),
        value().prop_map(|v| json!({ "$ne": v })),
        (prop::sample::select(vec!["$gt", "$gte", "$lt", "$lte"]), ordered)
            .prop_map(|(op, v)| json!({ op: v })),
        (prop::sample::select(vec!["$in", "$nin"]), list).prop_map(|(op, v)| json!({ op: v })),
        any::<bool>().prop_map(|v| json!({ "$exists": v })),
        scalar().prop_map(|v| json!({ "$contains": v })),
    ];
    let field = ("[abc]|a\\.b", test).prop_map(|(name, test)| json!({ name: test }));
    field.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| json!({ "$and": v })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| json!({ "$or": v })),
            inner.prop_map(|v| json!({ "$not": v })),
        ]
    })
}

proptest! {
    #[test]
    fn not_is_the_complement(condition in condition(), row in row()) {
        let plain = Filter::parse(&condition).unwrap();
        let not = Filter::parse(&json!({ "$not": condition })).unwrap();
        prop_assert_ne!(plain.matches(&row), not.matches(&row));
    }

    #[test]
    fn ne_complements_eq_and_nin_complements_in(operand in value(), list in prop::collection::vec(scalar(), 0..4), row in row()) {
        let holds = |filter: Value| Filter::parse(&filter).unwrap().matches(&row);
        prop_assert_ne!(holds(json!({"a": {"$eq": operand}})), holds(json!({"a": {"$ne": operand}})));
        prop_assert_ne!(holds(json!({"a": {"$in": list}})), holds(json!({"a": {"$nin": list}})));
    }

    #[test]
    fn in_is_any_eq(list in prop::collection::vec(scalar(), 1..4), row in row()) {
        let holds = |filter: Value| Filter::parse(&filter).unwrap().matches(&row);
        let any: Vec<Value> = list.iter().map(|v| json!({ "a": v })).collect();
        prop_assert_eq!(holds(json!({"a": {"$in": list}})), holds(json!({ "$or": any })));
    }

    #[test]
    fn numbers_have_a_total_order(a in scalar(), b in scalar()) {
        prop_assume!(a.is_number() && b.is_number());
        let row = json!({"a": a});
        let holds = |op: &str| matches(json!({"a": {op: b.clone()}}), row.clone());
        let sides = [holds("$lt"), holds("$eq"), holds("$gt")];
        prop_assert_eq!(sides.iter().filter(|side| **side).count(), 1, "{} {}", a, b);
        prop_assert_eq!(holds("$lte"), sides[0] || sides[1]);
        prop_assert_eq!(holds("$gte"), sides[2] || sides[1]);
    }

    #[test]
    fn whatever_comes_in_nothing_panics(value in value(), row in row()) {
        if let Ok(filter) = Filter::parse(&json!({"a": value})).or_else(|_| Filter::parse(&value)) {
            let _ = filter.matches(&row);
        }
    }
}
