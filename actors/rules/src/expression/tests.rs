use super::*;
use proptest::prelude::*;
use serde_json::json;

fn variables() -> Variables {
    [
        (
            "input".to_owned(),
            json!({"total": 120, "rate": 0.5, "tags": ["a", "b"], "name": "Ada", "none": null, "nested": {"x": 1}}),
        ),
        ("items".to_owned(), json!([1, 2, 3, 4])),
        ("wide".to_owned(), (0..64).collect()),
    ]
    .into()
}

fn run(source: &str) -> Result<JsonValue, ExpressionError> {
    Expression::parse(source)?.evaluate(&variables())
}

fn code(source: &str) -> &'static str {
    match run(source) {
        Ok(value) => panic!("{} gave {value}", &source[..source.len().min(200)]),
        Err(error) => error.code.as_str(),
    }
}

#[test]
fn expressions_mean_what_cel_says() {
    for (source, expected) in [
        ("1 + 2 * 3", json!(7)),
        ("-7 / 2", json!(-3)),
        ("-7 % 2", json!(-1)),
        ("7u / 2u", json!(3)),
        ("1.5 + 1", json!(2.5)),
        ("'a' + \"b\"", json!("ab")),
        ("[1] + [2, 3]", json!([1, 2, 3])),
        ("{'a': 1, 'b': [true, null]}", json!({"a": 1, "b": [true, null]})),
        ("input.total > 100 && input.name == 'Ada'", json!(true)),
        ("input.total >= 120.0", json!(true)),
        ("1 == 1.0 && 1u == 1 && 1 != 2", json!(true)),
        ("input.none == null", json!(true)),
        ("input['tags'][1]", json!("b")),
        ("'a' in input.tags && !('z' in input.tags) && 'x' in input.nested", json!(true)),
        ("has(input.total) && !has(input.missing)", json!(true)),
        ("input.total > 200 ? 'high' : 'low'", json!("low")),
        ("items.map(x, x * 2)", json!([2, 4, 6, 8])),
        ("items.map(x, x > 2, x * 10)", json!([30, 40])),
        ("items.filter(x, x % 2 == 0)", json!([2, 4])),
        (
            "items.all(x, x > 0) && items.exists(x, x == 3) && items.exists_one(x, x == 3)",
            json!(true),
        ),
        ("input.nested.map(k, k)", json!(["x"])),
        ("[1, 2].map(x, [3].map(y, x + y))", json!([[4], [5]])),
        ("size('äöü') + size(items) + items.size()", json!(11)),
        (
            "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')",
            json!(true),
        ),
        ("string(12) + string(true) + string(1.5)", json!("12true1.5")),
        ("int('42') + int(3.9) + int(2u)", json!(47)),
        ("double('1.5') + double(1)", json!(2.5)),
        ("uint(3)", json!(3)),
        ("bool('true')", json!(true)),
        ("type(1) == int && type('a') == string && type(null) == null_type", json!(true)),
        // An error on one side does not matter where the other side decides.
        ("true || 1 / 0 == 1", json!(true)),
        ("1 / 0 == 1 || true", json!(true)),
        ("1 / 0 == 1 && false", json!(false)),
        ("[0, 1].exists(x, 1 / x == 1)", json!(true)),
        ("r'\\d'", json!("\\d")),
        ("'(((' + \"[[[\"", json!("((([[[")),
        ("// a remark (((\n 1", json!(1)),
        ("9007199254740993 == 9007199254740992.0", json!(false)),
    ] {
        assert_eq!(run(source).unwrap_or_else(|e| panic!("{source}: {e}")), expected, "{source}");
    }
}

#[test]
fn errors_are_ordinary_results_with_a_code() {
    for (source, expected) in [
        ("1 +", "syntax"),
        ("", "syntax"),
        ("'open", "syntax"),
        (")", "syntax"),
        ("missing", "unknown_name"),
        ("input.missing", "no_such_key"),
        ("{'a': 1}['b']", "no_such_key"),
        ("items[9]", "out_of_range"),
        ("items[-1]", "out_of_range"),
        ("1 / 0", "division_by_zero"),
        ("1 % 0", "division_by_zero"),
        ("9223372036854775807 + 1", "overflow"),
        ("-9223372036854775808 / -1", "overflow"),
        ("0u - 1u", "overflow"),
        ("int(1e30)", "overflow"),
        ("int('x')", "bad_conversion"),
        ("1 + 'a'", "type_error"),
        ("1 < 'a'", "type_error"),
        ("!1", "type_error"),
        ("1 ? 2 : 3", "type_error"),
        ("1 / 0 == 1 || false", "division_by_zero"),
        ("5.all(x, true)", "type_error"),
        ("1.0 / 0.0", "type_error"),
        ("{1: 2, 1: 3}", "type_error"),
        ("'abc'.matches('a.*')", "unsupported"),
        ("b'abc'", "unsupported"),
        ("nothing(1)", "unsupported"),
        ("Message{a: 1}", "unsupported"),
    ] {
        assert_eq!(code(source), expected, "{source}");
    }
}

#[test]
fn names_are_checked_without_values() {
    let parsed = Expression::parse("input.a + items.map(x, x + y)").unwrap();
    assert_eq!(
        parsed.check_names(&["input", "items"]).unwrap_err().code,
        ExpressionCode::UnknownName
    );
    parsed.check_names(&["input", "items", "y"]).unwrap();
}

/// Sources that have broken evaluators: each ends within the limits, on a thread with a small stack.
#[test]
fn hostile_sources_stay_within_the_limits() {
    let hostile = std::thread::Builder::new().stack_size(1 << 20).spawn(|| {
        let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        assert_eq!(code(&"1".repeat(5_000)), "too_large");
        assert_eq!(code(&deep("(", ")", 2_000)), "too_deep");
        assert_eq!(code(&deep("[", "]", 33)), "too_deep");
        assert_eq!(code(&deep("{1:", "}", 100)), "too_deep");
        assert_eq!(code(&format!("1{}", "+1".repeat(200))), "too_deep");
        assert_eq!(code(&format!("1{}", "+1".repeat(2_000))), "too_large");
        assert_eq!(code(&format!("input{}", ".a".repeat(250))), "too_deep");
        assert_eq!(code(&"true?".repeat(60)), "too_deep");
        assert_eq!(code(&"items[".repeat(40)), "too_deep");
        // Refused by the guard or the parser; never a crash.
        for source in [
            format!("{}true", "!".repeat(500)),
            format!("{}1", "-".repeat(500)),
            "(".repeat(32),
            "a.".repeat(255),
            "?:".repeat(30),
        ] {
            let _ = run(&source);
        }
        // Bombs: small source, much work or memory.
        let list = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32]";
        assert_eq!(code(&format!("{list}.map(a,{list}.map(b,{list}.map(c,[a,b,c])))")), "out_of_memory");
        assert_eq!(
            code(&format!("{list}.all(a,{list}.all(b,{list}.all(c,a+b+c+a+b+c>0)))")),
            "out_of_steps"
        );
        assert_eq!(code("[1].map(a,[a].map(b,[b].map(c,[c].map(d,d))))"), "too_deep");
        let doubling = "[[1,2,3,4,5,6,7,8]].map(a,[a+a+a+a].map(b,[b+b+b+b].map(c,c+c+c+c+c+c+c+c+c+c+c+c+c+c+c+c)))[0][0]";
        assert_eq!(code(doubling), "out_of_memory");
        let text = format!(
            "['{}'].map(a,[a+a+a+a+a+a+a+a].map(b,[b+b+b+b+b+b+b+b].map(c,c+c+c+c+c+c+c+c)))",
            "x".repeat(400)
        );
        assert_eq!(code(&text), "out_of_memory");
        // Sharing makes a small value that is huge as JSON: the result is bounded too.
        let shared =
            "[['0123456789']].map(a,[[a,a,a,a,a,a,a,a,a,a]].map(b,[[b,b,b,b,b,b,b,b,b,b]].map(c,[c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c,c])))";
        let wide = format!("{shared}.map(z,[z,z,z,z,z,z,z,z,z,z])");
        assert_eq!(code(&wide), "out_of_memory");
    });
    hostile.expect("a thread").join().expect("no panic, no overflow");
    let big: Variables = [("input".to_owned(), json!("x".repeat(limits::EXPRESSION_MAX_INPUT_BYTES)))].into();
    assert_eq!(
        Expression::parse("1").unwrap().evaluate(&big).unwrap_err().code,
        ExpressionCode::InputTooLarge
    );
}

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
        // A list behind a macro's name, or a call of another name, is no comprehension.
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
        ("7.5 * 2", json!(15.0)),
        ("7.5 / 2.0", json!(3.75)),
        ("-(2.5)", json!(-2.5)),
        ("-input.rate", json!(-0.5)),
        ("-input.total", json!(-120)),
        ("double(7u)", json!(7.0)),
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
    assert_eq!(detail("input.missing"), "there is no field `missing`");
    assert_eq!(detail("int('x')"), "`x` is no int");
    // A long name is cut.
    assert_eq!(detail(&"n".repeat(41)), format!("`{}` is not known here", "n".repeat(40)));
    assert_eq!(detail("nothing(1)"), "the function `nothing` with 1 argument(s) is not supported");
    assert!(detail("'abc'.matches('a.*')").contains("regular expressions have no step budget"));
}

#[test]
fn height_is_counted_along_one_branch() {
    let fields = |count: usize| Expression::parse(&format!("input{}", ".a".repeat(count))).map(drop);
    assert_eq!(fields(limits::EXPRESSION_MAX_HEIGHT - 1), Ok(()));
    assert_eq!(fields(limits::EXPRESSION_MAX_HEIGHT).unwrap_err().code, ExpressionCode::TooDeep);
    let wide = vec!["1"; 2 * limits::EXPRESSION_MAX_HEIGHT - 1].join(",");
    assert!(Expression::parse(&format!("[{wide}]")).is_ok(), "neighbours are no height");
}

#[test]
fn exhaustion_is_never_absorbed() {
    let mut tight = Budget { steps: 20, bytes: 1024 };
    let source = Expression::parse("true && items.all(x, x + x + x + x > 0) || true").unwrap();
    assert_eq!(
        source.evaluate_within(&variables(), &mut tight).unwrap_err().code,
        ExpressionCode::OutOfSteps
    );
    let text = "size(input.name + input.name) > 0";
    let long: Variables = [("input".to_owned(), json!({"name": "x".repeat(1_000)}))].into();
    for source in [
        format!("{text} || true"),
        format!("!({text}) && false"),
        format!("1 / 0 == 1 || {text}"),
        format!("false || {text}"),
        format!("[1, 2].exists(x, x == 2 || {text})"),
        format!("![1, 2].all(x, x == 1 && {text})"),
    ] {
        // Room for the lists and their items, and not for the text.
        let mut budget = Budget {
            steps: 1_000,
            bytes: 1_500,
        };
        let error = Expression::parse(&source).unwrap().evaluate_within(&long, &mut budget).unwrap_err();
        assert_eq!(error.code, ExpressionCode::OutOfMemory, "{source}");
    }
    assert_eq!(
        code("1 / 0 == 1 || input.missing"),
        "division_by_zero",
        "the first error is the one that is told"
    );
}

const PIECES: &[&str] = &[
    "1",
    "0",
    "-",
    "+",
    "*",
    "/",
    "%",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'a'",
    "\"",
    "input",
    "items",
    ".",
    ",",
    ":",
    "?",
    "!",
    "&&",
    "||",
    "==",
    "<",
    "in",
    ".map(x,",
    ".filter(x,",
    ".all(x,",
    "x",
    "has(",
    "size(",
    "true",
    "null",
    "9223372036854775807",
    "1e308",
    "1u",
    " ",
    "\n",
    "é",
    "\\",
    "`",
    "@",
    "//",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_source_panics(source in "\\PC{0,200}") {
        let _ = run(&source);
    }

    #[test]
    fn no_mixture_of_pieces_panics_and_equal_sources_give_equal_results(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let source: String = pieces.iter().map(|i| PIECES[*i]).collect();
        prop_assert_eq!(run(&source), run(&source));
    }
}
