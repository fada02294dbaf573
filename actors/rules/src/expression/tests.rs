mod bounds;

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
fn whole_doubles_of_json_are_ints() {
    let variables: Variables = [
        (
            "input".to_owned(),
            json!({"seven": 7.0, "four": 4.0, "half": 1.5, "far": 1e300, "list": [2.0]}),
        ),
        ("edge".to_owned(), json!([9_007_199_254_740_992.0, 9_007_199_254_740_994.0, -0.0])),
    ]
    .into();
    for (source, expected) in [
        ("input.four % 2 == 0", json!(true)),
        ("input.seven / 2", json!(3)),
        ("input.seven / 2.0", json!(3.5)),
        ("double(input.seven) / 2.0", json!(3.5)),
        ("input.half * 1000", json!(1500)),
        ("input.half * 1001", json!(1501.5)),
        ("type(input.list[0]) == int && type(input.half) == double", json!(true)),
        (
            "type(edge[0]) == int && type(edge[1]) == double && type(edge[2]) == int",
            json!(true),
        ),
        ("input.far", json!(1e300)),
        ("input", json!({"seven": 7, "four": 4, "half": 1.5, "far": 1e300, "list": [2]})),
    ] {
        let result = Expression::parse(source).unwrap().evaluate(&variables);
        // The text, because JSON values of ints and doubles are never equal there.
        assert_eq!(
            result.unwrap_or_else(|e| panic!("{source}: {e}")).to_string(),
            expected.to_string(),
            "{source}"
        );
    }
}

#[test]
fn keys_that_are_one_in_json_are_refused() {
    for source in ["{1: 10, '1': 20}", "{true: 1, 'true': 2}", "[{'a': {-1: 1, '-1': 2}}]"] {
        assert_eq!(code(source), "type_error", "{source}");
    }
    assert_eq!(run("{1: 10, '1': 20}[1]"), Ok(json!(10)), "inside an expression they are two");
    assert_eq!(run("{1: 10, '2': 20}"), Ok(json!({"1": 10, "2": 20})));
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

#[test]
fn height_is_counted_along_one_branch() {
    let fields = |count: usize| Expression::parse(&format!("input{}", ".a".repeat(count))).map(drop);
    assert_eq!(fields(limits::EXPRESSION_MAX_HEIGHT - 1), Ok(()));
    assert_eq!(fields(limits::EXPRESSION_MAX_HEIGHT).unwrap_err().code, ExpressionCode::TooDeep);
    let wide = vec!["1"; 2 * limits::EXPRESSION_MAX_HEIGHT - 1].join(",");
    assert!(Expression::parse(&format!("[{wide}]")).is_ok(), "neighbours do not count as depth");
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
    fn random_expressions_do_not_panic_and_are_deterministic(pieces in proptest::collection::vec(0..PIECES.len(), 0..60)) {
        let source: String = pieces.iter().map(|i| PIECES[*i]).collect();
        prop_assert_eq!(run(&source), run(&source));
    }
}
