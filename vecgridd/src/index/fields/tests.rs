//! Indexes against the plain evaluation, over the whole grammar.

use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Map, Value, json};

use super::{
    super::{
        chunk::Row,
        packed::{Packed, Shapes},
        rows::Rows,
    },
    *,
};
use crate::types::{Metadata, PartitionId, Version};

/// Few names, so that paths and keys meet.
const NAMES: [&str; 8] = ["a", "b", "c", "a.b", "b.c", "a.b.c", "", "é"];
const PATHS: [&str; 14] =
    ["a", "b", "c", "a.b", "b.c", "a.b.c", "", "é", "a.", ".a", "a.b.c.a", "a.b.c.a.b", "c.é", "absent"];

fn scalar() -> impl Strategy<Value = Value> {
    let long = "long ".repeat(30);
    let numbers = [
        json!(0),
        json!(-0.0),
        json!(1),
        json!(1.0),
        json!(-1),
        json!(2.5),
        json!(u64::MAX),
        json!(u64::MAX as f64),
        json!(i64::MIN),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_992.0),
        json!(1e300),
        json!(-1e-300),
    ];
    let strings = [
        "",
        "a",
        "b",
        "ab",
        "ba",
        "é",
        "\u{10FFFF}",
        "\u{E000}",
        "2024-05-01",
        "2024-05-02T10:00:00Z",
        "a\n\"\\",
    ];
    let strings = strings.into_iter().map(str::to_owned).chain([long.clone(), format!("{long}a")]);
    prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        3 => select(numbers.to_vec()),
        1 => (-20_i32..20).prop_map(Value::from),
        1 => (-2.0..2.0).prop_map(|float: f64| json!(float)),
        3 => select(strings.collect::<Vec<_>>()).prop_map(Value::from),
        1 => "[ab]{0,3}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(NAMES.to_vec()), inner), 0..3).prop_map(object),
        ]
    })
}

fn object(members: Vec<(&str, Value)>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn row() -> impl Strategy<Value = Value> {
    vec((select(NAMES.to_vec()), value()), 0..5).prop_map(object)
}

fn condition() -> impl Strategy<Value = Value> {
    let test = prop_oneof![
        (select(vec!["$eq", "$ne"]), value()).prop_map(|(name, operand)| json!({ name: operand })),
        (select(vec!["$gt", "$gte", "$lt", "$lte"]), scalar()).prop_map(|(name, v)| json!({ name: v })),
        (select(vec!["$in", "$nin"]), vec(scalar(), 0..4)).prop_map(|(name, v)| json!({ name: v })),
        any::<bool>().prop_map(|yes| json!({ "$exists": yes })),
        scalar().prop_map(|v| json!({ "$contains": v })),
    ];
    (select(PATHS.to_vec()), test).prop_map(|(path, test)| json!({ path: test }))
}

fn filter() -> impl Strategy<Value = Filter> {
    let filter = condition().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|all| json!({ "$and": all })),
            vec(inner.clone(), 1..4).prop_map(|any| json!({ "$or": any })),
            inner.prop_map(|not| json!({ "$not": not })),
        ]
    });
    // An order wants a number or a string.
    filter.prop_filter_map("not in the grammar", |filter| Filter::parse(&filter).ok())
}

fn rows_of(values: &[Value]) -> Rows {
    let mut shapes = Shapes::new();
    let packed: Vec<_> =
        values.iter().map(|value| shapes.pack(&Metadata::new(value.clone()).unwrap())).collect();
    let mut rows = Rows::new(1, 64);
    let (partition, version) = (PartitionId(0), Version::default());
    rows.append(packed.iter().map(|(shape, values)| {
        (Row { id: "id", partition, version, metadata: Packed { shape, values } }, None)
    }));
    rows
}

fn open_of(rows: &Rows) -> Segment<Open> {
    let mut open = Segment::<Open>::default();
    (0..rows.len()).for_each(|slot| open.add(slot as u16, rows.row(slot).metadata));
    open
}

/// Every row of `yes` matches, and every row that matches is found. Returns how many are not sure.
fn check(found: &Found, filter: &Filter, values: &[Value]) -> usize {
    let mut unsure = 0;
    for (place, value) in (0..).zip(values) {
        let (yes, maybe) = (found.yes.contains(place), found.maybe.contains(place));
        if filter.matches(value.as_object().unwrap()) {
            assert!(yes || maybe, "{value} matches {filter:?}");
        } else {
            assert!(!yes, "{value} does not match {filter:?}");
        }
        unsure += usize::from(maybe && !yes);
    }
    unsure
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn an_index_says_what_the_rows_say(
        values in vec(row(), 1..60),
        filters in vec(filter(), 1..12),
        budget in select(vec![0, 300, 1_000, 3_000, usize::MAX]),
    ) {
        let rows = rows_of(&values);
        let open = open_of(&rows);
        let sealed = open.seal(budget);
        prop_assert!(budget == 0 || budget < 1_000 || sealed.bytes() <= budget.saturating_add(2_000));
        for filter in &filters {
            check(&rows.select(0, filter), filter, &values);
            check(&open.evaluate(filter.root(), &rows.texts(0)), filter, &values);
            check(&sealed.evaluate(filter.root(), &rows.texts(0)), filter, &values);
        }
    }
}

/// How many rows have to be looked at: by the open segment, and by the sealed one.
fn unsure(values: &[Value], filter: Value) -> [usize; 2] {
    let rows = rows_of(values);
    let (open, filter) = (open_of(&rows), Filter::parse(&filter).unwrap());
    let texts = rows.texts(0);
    let sealed = open.seal(usize::MAX);
    [open.evaluate(filter.root(), &texts), sealed.evaluate(filter.root(), &texts)]
        .map(|found| check(&found, &filter, values))
}

#[test]
fn usual_conditions_need_no_row() {
    let value = |n: u32| {
        json!({
            "kind": (["noun", "verb", "adj"][n as usize % 3]),
            "n": n,
            "score": f64::from(n) / 7.0,
            "url": format!("https://example.com/{n}"),
            "day": format!("2024-05-{:02}T00:00:00Z", n % 28),
            "tags": [n % 5, "x", (["x", "y"][n as usize % 2])],
            "deep": {"a": {"b": n % 4}},
            "odd": n % 2 == 1,
            "text": "word ".repeat(40),
            "maybe": if n.is_multiple_of(3) { Value::Null } else { json!(n) },
        })
    };
    let values: Vec<_> = (0..3_000).map(value).collect();
    for filter in [
        json!({"kind": "noun", "n": {"$gte": 100, "$lt": 2_000}}),
        json!({"kind": {"$ne": "noun"}, "score": {"$lt": 12.5}}),
        json!({"$or": [{"kind": "verb"}, {"odd": true}], "maybe": null}),
        json!({"day": {"$gt": "2024-05-03", "$lte": "2024-05-20T00:00:00Z"}}),
        json!({"url": "https://example.com/77"}),
        json!({"url": {"$gte": "https://example.com/2", "$lt": "https://example.com/3"}}),
        json!({"tags": {"$contains": "y"}, "deep.a.b": {"$in": [1, 3]}}),
        json!({"tags": {"$contains": 3}}),
        json!({"absent": {"$exists": false}, "text": {"$exists": true}}),
        json!({"text": "short"}),
        json!({"$not": {"n": {"$nin": [1, 2, "x", null]}}}),
        json!({"kind": {"$contains": "er"}}),
    ] {
        assert_eq!(unsure(&values, filter.clone()), [0, 0], "{filter}");
    }
    for (filter, expected) in [
        (json!({"tags": [1, "x", "y"]}), [3_000, 3_000]),
        (json!({"text": "word ".repeat(40)}), [3_000, 3_000]),
        (json!({"url": {"$contains": "77"}}), [0, 3_000]),
        (json!({"kind": "verb", "text": {"$contains": "word"}}), [1_000, 1_000]),
    ] {
        assert_eq!(unsure(&values, filter.clone()), expected, "{filter}");
    }
}

#[test]
fn limits_cost_time_and_not_answers() {
    // Too many fields, too many elements, too long a name, too deep a path.
    let many: Map<String, Value> = (0..MAX_FIELDS + 5).map(|n| (format!("f{n:03}"), json!(n))).collect();
    let list: Vec<usize> = (0..MAX_ELEMENTS + 1).collect();
    let values = [
        Value::Object(many),
        json!({ "f000": list, "n".repeat(MAX_NAME + 1): 1 }),
        json!({"a": {"b": {"c": {"d": {"e": 1}}}}}),
    ];
    for (filter, expected) in [
        (json!({"f000": 0}), 1),
        (json!({"f000": {"$contains": 256}}), 1),
        (json!({format!("f{:03}", MAX_FIELDS + 4): MAX_FIELDS + 4}), 3),
        (json!({"n".repeat(MAX_NAME + 1): 1}), 3),
        (json!({"a.b.c.d.e": 1}), 3),
    ] {
        assert_eq!(unsure(&values, filter.clone()), [expected; 2], "{filter}");
    }
    // The dearest field goes first.
    let values: Vec<_> = (0..2_000).map(|n| json!({"n": n, "kind": n % 2})).collect();
    let rows = rows_of(&values);
    let sealed = open_of(&rows).seal(10_000);
    assert!(sealed.bytes() <= 10_000);
    let found = |filter: Value| {
        let filter = Filter::parse(&filter).unwrap();
        check(&sealed.evaluate(filter.root(), &rows.texts(0)), &filter, &values)
    };
    assert_eq!((found(json!({"kind": 1})), found(json!({"n": 7}))), (0, 2_000));
}

#[test]
fn memory_of_the_open_block_is_bounded() {
    let text = |n: u32| format!("{n:0>120}");
    let value = |n| {
        let fields = (0..8).map(|field| (format!("f{field}"), json!(text(8 * n + field))));
        Value::Object(fields.collect())
    };
    let values: Vec<_> = (0..PLACES as u32 / 2).map(value).collect();
    let rows = rows_of(&values);
    assert!(rows.field_bytes() < 2 * MAX_OPEN_BYTES as u64, "{}", rows.field_bytes());
    for n in [0, 5, 8 * (values.len() as u32 - 1) + 5] {
        let filter = Filter::parse(&json!({format!("f{}", n % 8): text(n)})).unwrap();
        check(&rows.select(0, &filter), &filter, &values);
    }
}
