//! What the guard counts, how numbers and values compare, and what an evaluation costs.

use super::*;

/// The guard alone, before the parser: what it lets pass and what it refuses, on both sides of each bound.
#[test]
fn the_guard_counts_bytes_tokens_brackets_and_comprehensions() {
    const DEPTH: usize = limits::EXPRESSION_MAX_DEPTH;
    const TOKENS: usize = limits::EXPRESSION_MAX_TOKENS;
    const FOLDS: usize = limits::EXPRESSION_MAX_COMPREHENSIONS;
    let beyond = "(".repeat(DEPTH + 1);
    let cases = [
        (" ".repeat(limits::EXPRESSION_MAX_BYTES), None),
        (" ".repeat(limits::EXPRESSION_MAX_BYTES + 1), Some("too_large")),
        (",".repeat(TOKENS), None),
        (",".repeat(TOKENS + 1), Some("too_large")),
        // A name, a text or a remark is one token, however long.
        ("a_1".repeat(TOKENS), None),
        ("_".repeat(TOKENS + 1), None),
        (format!("'{}'", ",".repeat(TOKENS + 1)), None),
        (format!("//{}", ",".repeat(TOKENS + 1)), None),
        ("(".repeat(DEPTH), None),
        (beyond.clone(), Some("too_deep")),
        ("[".repeat(DEPTH), None),
        ("[".repeat(DEPTH + 1), Some("too_deep")),
        ("()".repeat(DEPTH + 1), None),
        ("?".repeat(DEPTH), None),
        ("?".repeat(DEPTH + 1), Some("too_deep")),
        ("a.map(".repeat(FOLDS), None),
        ("a.map(".repeat(FOLDS + 1), Some("too_deep")),
        ("exists_one(".repeat(FOLDS + 1), Some("too_deep")),
        // A list behind a macro's name, or a call of another name, does not count as a comprehension.
        ("map[".repeat(FOLDS + 1), None),
        ("size(".repeat(FOLDS + 1), None),
        ("a.map()".repeat(FOLDS + 1), None),
        // Brackets count outside texts and remarks only; a single slash divides.
        (format!("1 + '{beyond}'"), None),
        (format!("1 + \"{beyond}\""), None),
        (format!("1 + '''{beyond}'''"), None),
        (format!("1 + '''a\n''{beyond}'''"), None),
        (format!("'' + {beyond}"), Some("too_deep")),
        (format!("'a' + {beyond}"), Some("too_deep")),
        (format!("'''a''' + {beyond}"), Some("too_deep")),
        (format!("1 / {beyond}"), Some("too_deep")),
        (format!("// {beyond}"), None),
        (format!("// {beyond}\n{beyond}"), Some("too_deep")),
        // A backslash takes the next character along, except in a raw text.
        (format!(r"1 + '\'{beyond}'"), None),
        (format!(r"1 + '\\' + {beyond}"), Some("too_deep")),
        (format!(r"r'\' + {beyond}"), Some("too_deep")),
        (format!(r"bR'\' + '{beyond}'"), None),
        (format!(r"x'\'{beyond}'"), None),
        ("'a\nb'".into(), Some("syntax")),
        ("'''a\nb'''".into(), None),
        ("'a".into(), Some("syntax")),
        ("'''a''".into(), Some("syntax")),
        ("(]".into(), None),
        ("(]}".into(), Some("syntax")),
    ];
    for (source, expected) in cases {
        let found = guard::check(&source).err().map(|error| error.code.as_str());
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn a_condition_that_is_none_says_what_it_came_to() {
    let test = |source: &str| Expression::parse(source).unwrap().test_within(&variables(), &mut Budget::default());
    for (source, kind) in [
        ("null", "null"),
        ("1", "a number"),
        ("'a'", "a string"),
        ("[true]", "a list"),
        ("{'a': true}", "an object"),
    ] {
        let said = format!("type_error: a condition must be true or false, not {kind}");
        assert_eq!(test(source).unwrap_err().to_string(), said);
    }
    assert_eq!((test("1 == 1"), test("1 == 2")), (Ok(true), Ok(false)));
}

#[test]
fn numbers_compare_and_calculate_by_value_whatever_their_type() {
    for (source, expected) in [
        ("7 - 9", json!(-2)),
        ("7u + 2u", json!(9)),
        ("7u - 2u", json!(5)),
        ("7u * 2u", json!(14)),
        ("7u % 4u", json!(3)),
        ("7.5 - 0.25", json!(7.25)),
        ("7.5 * 2", json!(15)),
        ("7.5 / 2.0", json!(3.75)),
        ("-(2.5)", json!(-2.5)),
        ("-input.rate", json!(-0.5)),
        ("-input.total", json!(-120)),
        ("double(7u)", json!(7)),
        ("double(7u) + 0.5", json!(7.5)),
        ("uint(3.9)", json!(3)),
        ("uint(0.0)", json!(0)),
        ("uint('3')", json!(3)),
        ("int(-9223372036854775808.0)", json!(i64::MIN)),
        // Each order, at and beside equality.
        ("[1 < 2, 2 < 2, 3 < 2]", json!([true, false, false])),
        ("[1 <= 2, 2 <= 2, 3 <= 2]", json!([true, true, false])),
        ("[1 > 2, 2 > 2, 3 > 2]", json!([false, false, true])),
        ("[1 >= 2, 2 >= 2, 3 >= 2]", json!([false, true, true])),
        (
            "['a' < 'b', 'b' < 'a', false < true, true < false]",
            json!([true, false, true, false]),
        ),
        (
            "[1u < 2, 1 < 2u, 1.5 < 2, 1 < 1.5, 2 < 1.5]",
            json!([true, true, true, true, false]),
        ),
        // A double beside a whole number is not rounded, and no number is in order with NaN.
        (
            "[2 == 2.5, 2 < 2.5, 3 < 2.5, -2 > -2.5, -3 > -2.5]",
            json!([false, true, false, true, false]),
        ),
        (
            "[9223372036854775807 < 9223372036854775808.0, 9223372036854775807 == 9223372036854775808.0]",
            json!([true, false]),
        ),
        (
            "[18446744073709551615u < 1e30, -1 > -1e30, 18446744073709551615u == 18446744073709551616.0]",
            json!([true, true, false]),
        ),
        (
            "[-9223372036854775808 == -9223372036854775808.0, -9223372036854775808 > -9223372036854775808.0]",
            json!([true, false]),
        ),
        (
            "[-9223372036854775808 > -9223372036854777856.0, -9223372036854775808 < -9223372036854777856.0]",
            json!([true, false]),
        ),
        (
            "[double('NaN') < 1, double('NaN') >= 1, double('NaN') == double('NaN'), 1 > double('NaN')]",
            json!([false, false, false, false]),
        ),
    ] {
        assert_eq!(run(source).unwrap_or_else(|e| panic!("{source}: {e}")), expected, "{source}");
    }
    for (source, expected) in [
        ("int(9223372036854775808.0)", "overflow"),
        ("int(-9223372036854777856.0)", "overflow"),
        ("uint(-1)", "overflow"),
        ("uint(-0.5)", "overflow"),
        ("uint(18446744073709551616.0)", "overflow"),
        ("1u / 0u", "division_by_zero"),
        ("1u % 0u", "division_by_zero"),
        ("7.5 % 2.0", "type_error"),
        ("7 % 2.5", "type_error"),
        ("1u + 1", "type_error"),
        ("-'a'", "type_error"),
        ("[1] < [2]", "type_error"),
        ("null < null", "type_error"),
        ("1 < null", "type_error"),
        ("double('NaN') < 'a'", "type_error"),
    ] {
        assert_eq!(code(source), expected, "{source}");
    }
}

#[test]
fn lists_and_maps_are_equal_where_all_of_them_is() {
    for (source, expected) in [
        ("true == true && !(true == false)", json!(true)),
        ("[1, 'a'] == [1.0, 'a']", json!(true)),
        ("[1, 2] == [1]", json!(false)),
        ("[1] == [1, 2]", json!(false)),
        ("[1, 2] == [1, 3]", json!(false)),
        ("[] == [] && {} == {}", json!(true)),
        ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", json!(true)),
        ("{'a': 1} == {'a': 1, 'b': 2}", json!(false)),
        ("{'a': 1} == {'a': 2}", json!(false)),
        ("{'a': 1} == {'b': 1}", json!(false)),
        ("[1] == {'a': 1} || null == 0 || 'a' == type('a')", json!(false)),
        ("[[1], {'a': [2]}] == [[1], {'a': [2]}]", json!(true)),
        // A whole double finds the entry of its int; another double finds none.
        ("{1: 'a'}[1.0] + {1: 'a'}[1u]", json!("aa")),
        ("items[1.0] + items[2u]", json!(5)),
        ("1.0 in {1: 'a'} && !(1.5 in {1: 'a'}) && !(null in {1: 'a'})", json!(true)),
        ("[null] in [[1], [null]] && !([2] in [[1]])", json!(true)),
    ] {
        assert_eq!(run(source).unwrap_or_else(|e| panic!("{source}: {e}")), expected, "{source}");
    }
    for (source, expected) in [
        ("{1.5: 'a'}", "type_error"),
        ("{1: 'a'}[1.5]", "type_error"),
        ("items[0.5]", "type_error"),
        ("{1e19: 'a'}[-1e19]", "no_such_key"),
        ("{1.8e19: 'a'}", "type_error"),
        ("{'a': 1}.b", "no_such_key"),
        ("items['a']", "type_error"),
    ] {
        assert_eq!(code(source), expected, "{source}");
    }
}

/// What evaluations cost is part of the rules: a run must fail at the same step on every node and in every release.
#[test]
fn steps_and_bytes_are_charged_as_they_always_were() {
    let long = "x".repeat(640);
    let variables: Variables = [
        ("text".to_owned(), json!(long)),
        ("other".to_owned(), json!(format!("{long}y"))),
        ("list".to_owned(), json!([long, 1, [2, 3]])),
        ("map".to_owned(), json!({"a": 1, "b": long})),
    ]
    .into();
    let spent: Vec<(u64, usize)> = COSTS
        .iter()
        .map(|(source, ..)| {
            let mut budget = Budget::default();
            let full = budget;
            Expression::parse(source).unwrap().evaluate_within(&variables, &mut budget).unwrap();
            (full.steps - budget.steps, full.bytes - budget.bytes)
        })
        .collect();
    let expected: Vec<(u64, usize)> = COSTS.iter().map(|(_, steps, bytes)| (*steps, *bytes)).collect();
    assert_eq!(spent, expected);
}

/// Source, steps, bytes.
const COSTS: &[(&str, u64, usize)] = &[
    ("1", 1, 16),
    ("'abc'", 1, 22),
    ("text", 11, 656),
    ("list", 11, 736),
    ("map", 11, 690),
    ("[1, 2, 3]", 5, 136),
    ("{'a': 1, 'b': 2}", 5, 148),
    ("text + other", 43, 2578),
    ("list + [1]", 15, 872),
    ("text == other", 34, 16),
    ("list == list", 29, 16),
    ("map == map", 28, 16),
    ("text < other", 34, 16),
    ("text in list", 34, 16),
    ("text in map", 23, 16),
    ("size(text) + size(list) + size(map)", 48, 16),
    ("text.contains(other)", 103, 16),
    ("string(text)", 22, 1296),
    ("map.map(k, k)", 16, 146),
    ("list.exists(x, x == 1)", 22, 16),
    ("[1, 2].map(x, x > 1, x)", 15, 104),
    ("true || text == other", 2, 16),
];

/// The variables' size, as a bound on what is read at all.
#[test]
fn variables_are_bounded_as_json() {
    let room = limits::EXPRESSION_MAX_INPUT_BYTES;
    let read = |value: JsonValue| {
        let variables: Variables = [("v".to_owned(), value)].into();
        Expression::parse("1").unwrap().evaluate(&variables).is_ok()
    };
    // One byte of name; a text has two quotes, a list two brackets and a comma a value, a map four characters a key.
    assert!(read(json!("x".repeat(room - 3))) && !read(json!("x".repeat(room - 2))));
    assert!(read(json!(["x".repeat(room - 6)])) && !read(json!(["x".repeat(room - 5)])));
    assert!(read(json!({"key": "x".repeat(room - 12)})) && !read(json!({"key": "x".repeat(room - 11)})));
    assert!(read(json!([null, 1, "x".repeat(room - 21)])) && !read(json!([null, 1, "x".repeat(room - 20)])));
}

#[test]
fn results_are_bounded_by_their_texts() {
    let within = |bytes: usize| {
        let variables: Variables = [("v".to_owned(), json!("x".repeat(100)))].into();
        let mut budget = Budget { steps: 1_000, bytes };
        Expression::parse("v")
            .unwrap()
            .evaluate_within(&variables, &mut budget)
            .map(|_| budget.bytes)
    };
    assert_eq!(within(116), Ok(0));
    assert_eq!(within(115).unwrap_err().code, ExpressionCode::OutOfMemory);
}

#[test]
fn an_error_names_what_it_is_about() {
    let detail = |source: &str| run(source).unwrap_err().detail;
    assert_eq!(detail("missing"), "`missing` is not known here");
    assert_eq!(detail("input.missing"), "no such field: `missing`");
    assert_eq!(detail("int('x')"), "cannot read `x` as int");
    // A long name is cut.
    assert_eq!(detail(&"n".repeat(41)), format!("`{}` is not known here", "n".repeat(40)));
    assert_eq!(detail("nothing(1)"), "the function `nothing` with 1 argument(s) is not supported");
    assert!(detail("'abc'.matches('a.*')").contains("regular expressions have no step budget"));
}
