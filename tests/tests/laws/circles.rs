//! Which files of a crate import each other in a circle.
//!
//! A file imports another one where it writes a path to it: `use` or not, by `crate::`, `super::`, `self::` or the name of a
//! module that it declares. What only tests import does not count. A module and what lies below it may name each other.

use crate::tokens::{tokens, without_tests};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// A module: the names from the crate's root down to it; the root has none.
type Module = Vec<String>;

/// The files of a crate, and which of them import which.
pub(crate) struct Imports(BTreeMap<Module, BTreeSet<Module>>);

impl Imports {
    /// Reads the crate whose `lib.rs` is in `src`.
    pub(crate) fn of(src: &Path) -> Self {
        let mut files = BTreeMap::new();
        read(src, &[], &src.join("lib.rs"), &mut files);
        let known: BTreeSet<Module> = files.keys().cloned().collect();
        let imports = files.into_iter().map(|(module, paths)| {
            let targets = paths
                .into_iter()
                .map(|path| deepest(&known, &path))
                .filter(|target| *target != module);
            (module.clone(), targets.collect())
        });
        Self(imports.collect())
    }

    /// The same between modules of the crate's root, each with everything below it.
    pub(crate) fn of_rooms(&self) -> Self {
        let room = |module: &Module| module.iter().take(1).cloned().collect::<Module>();
        let mut rooms: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, targets) in &self.0 {
            let from = room(module);
            let others = targets.iter().map(room).filter(|to| *to != from);
            rooms.entry(from.clone()).or_default().extend(others);
        }
        Self(rooms)
    }

    /// Circles, each with its members by name. A circle that closes only by way of a module and something below it, there and
    /// back, is none.
    pub(crate) fn circles(&self) -> BTreeSet<String> {
        let without = |left_out: fn(&Module, &Module) -> bool| {
            let kept = self.0.iter().map(|(from, targets)| {
                let targets = targets.iter().filter(|to| !left_out(from, to)).cloned();
                (from.clone(), targets.collect())
            });
            strongly_connected(&kept.collect())
        };
        let mut circles = without(|from, to| to.starts_with(from));
        circles.extend(without(|from, to| from.starts_with(to)));
        // One that is whole within another one is told with it.
        let inner: Vec<_> = circles
            .iter()
            .filter(|a| circles.iter().any(|b| a != &b && a.is_subset(b)))
            .cloned()
            .collect();
        circles.retain(|circle| !inner.contains(circle));
        let shown = |circle: BTreeSet<Module>| circle.iter().map(|module| module.join("/")).collect::<Vec<_>>().join(" ");
        circles.into_iter().map(shown).collect()
    }
}

/// Reads a file and those of the modules that it declares, but for tests.
fn read(src: &Path, module: &[String], file: &Path, out: &mut BTreeMap<Module, BTreeSet<Module>>) {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let source = Source::read(module, &text);
    out.insert(module.to_vec(), source.paths);
    for child in source.children {
        let below: Module = module.iter().cloned().chain([child]).collect();
        let stem = src.join(below.join("/"));
        let flat = stem.with_extension("rs");
        let path = if flat.exists() { flat } else { stem.join("mod.rs") };
        read(src, &below, &path, out);
    }
}

/// The module that a path leads to: its longest beginning that is a file.
fn deepest(known: &BTreeSet<Module>, path: &[String]) -> Module {
    let lengths = (0..=path.len()).rev();
    lengths
        .map(|n| path[..n].to_vec())
        .find(|module| known.contains(module))
        .unwrap_or_default()
}

/// Sets of more than one member of which each reaches each.
fn strongly_connected(graph: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<BTreeSet<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> = graph.keys().map(|from| (from, reach(graph, from))).collect();
    let circle = |from: &Module| {
        let mutual = reached[from]
            .iter()
            .filter(|to| reached.get(**to).is_some_and(|back| back.contains(from)));
        mutual.map(|to| (*to).clone()).chain([from.clone()]).collect::<BTreeSet<_>>()
    };
    graph.keys().map(circle).filter(|circle| circle.len() > 1).collect()
}

fn reach<'a>(graph: &'a BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<&'a Module> {
    let (mut seen, mut next) = (BTreeSet::new(), graph.get(from).into_iter().flatten().collect::<Vec<_>>());
    while let Some(module) = next.pop() {
        if seen.insert(module) {
            next.extend(graph.get(module).into_iter().flatten());
        }
    }
    seen
}

/// What a file declares and names.
#[derive(Default)]
struct Source {
    children: BTreeSet<String>,
    paths: BTreeSet<Module>,
}

impl Source {
    fn read(module: &[String], text: &str) -> Self {
        let tokens = without_tests(&tokens(text));
        let mut this = Self::default();
        for window in tokens.windows(3) {
            if let [word, name, end] = window
                && (word.as_str(), end.as_str()) == ("mod", ";")
            {
                this.children.insert(name.clone());
            }
        }
        // Modules within the file: `super` there is the file itself.
        let mut inline: Vec<usize> = Vec::new();
        let mut depth = 0usize;
        for at in 0..tokens.len() {
            match tokens[at].as_str() {
                "{" => {
                    depth += 1;
                    if at >= 2 && tokens[at - 2] == "mod" {
                        inline.push(depth);
                    }
                }
                "}" => {
                    inline.pop_if(|opened| *opened == depth);
                    depth = depth.saturating_sub(1);
                }
                _ => this.path(module, &tokens, at, inline.len()),
            }
        }
        this
    }

    /// Takes the path that begins here, if one does.
    fn path(&mut self, module: &[String], tokens: &[String], at: usize, inline: usize) {
        let is_followed = tokens.get(at + 1).is_some_and(|token| token == "::");
        let is_inner = at > 0 && ["::", ".", "$"].contains(&tokens[at - 1].as_str());
        let before_in_tree = at > 0 && ["{", ","].contains(&tokens[at - 1].as_str());
        // Within the tree of a `use`, its own reader goes on.
        if !is_followed || is_inner || (before_in_tree && in_tree(tokens, at)) {
            return;
        }
        let base = match tokens[at].as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => {
                // Each `super` goes up by one; the first ones only to the file, within modules that it holds.
                let ups = tokens[at..].iter().step_by(2).take_while(|token| *token == "super").count();
                let up = ups.saturating_sub(inline);
                let base = module[..module.len().saturating_sub(up)].to_vec();
                self.tree(&base, tokens, at + 2 * ups - 1);
                return;
            }
            child if self.children.contains(child) => down(module, child),
            _ => return,
        };
        self.tree(&base, tokens, at + 1);
    }

    /// Takes what follows a path's beginning; `at` is its `::`. Gives the place behind.
    fn tree(&mut self, base: &[String], tokens: &[String], mut at: usize) -> usize {
        let mut path = base.to_vec();
        while tokens.get(at).is_some_and(|token| token == "::") {
            match tokens.get(at + 1).map(String::as_str) {
                Some("{") => {
                    at += 2;
                    while tokens.get(at).is_some_and(|token| token != "}") {
                        let token = tokens[at].as_str();
                        at = match token {
                            "," => at + 1,
                            "self" | "*" => {
                                self.paths.insert(path.clone());
                                at + 1
                            }
                            name => self.tree(&down(&path, name), tokens, at + 1),
                        };
                    }
                    return at + 1;
                }
                Some(name) if is_name(name) => {
                    path = down(&path, name);
                    at += 2;
                }
                _ => break,
            }
        }
        self.paths.insert(path);
        // A name that is taken under another one.
        if tokens.get(at).is_some_and(|token| token == "as") {
            at + 2
        } else {
            at
        }
    }
}

/// The path one name further; `super` goes up.
fn down(path: &[String], name: &str) -> Module {
    match name {
        "super" => path.split_last().map(|(_, above)| above.to_vec()).unwrap_or_default(),
        name => path.iter().cloned().chain([name.to_owned()]).collect(),
    }
}

/// Whether the braces around this token belong to a `use` of a path that has begun before them.
fn in_tree(tokens: &[String], at: usize) -> bool {
    let mut open = 0usize;
    for before in (0..at).rev() {
        match tokens[before].as_str() {
            "}" => open += 1,
            "{" if open == 0 => return before > 0 && tokens[before - 1] == "::",
            "{" => open -= 1,
            ";" => return false,
            _ => {}
        }
    }
    false
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn paths_in_trees_and_in_passing_are_seen_and_tests_are_not() {
    let text = r##"
        //! crate::comment
        mod below;
        mod inline { use super::of_the_parent; fn f() { super::super::up::g() } }
        use crate::{a::{self, b::c}, d::E as F, std_like};
        use other::{below::X};
        use super::{sibling, *, super::{above}};
        const T: &str = "crate::text \" crate::x"; const R: &str = r#"crate::"raw"#; const C: char = '"';
        fn f<'a>(x: &'a u8) { below::run(); crate::passing::y(x.crate_like) }
        #[cfg(test)] mod tests { use crate::only_tests; }
        #[cfg(not(test))] use crate::not_tests;
        #[test] fn t() { crate::a_test::run() }
    "##;
    let module = ["here".to_owned(), "file".to_owned()];
    let source = Source::read(&module, text);
    let paths: BTreeSet<String> = source.paths.iter().map(|path| path.join("::")).collect();
    let expected = [
        "a",
        "above",
        "a::b::c",
        "d::E",
        "here",
        "here::file::below::run",
        "here::file::of_the_parent",
        "here::sibling",
        "here::up::g",
        "not_tests",
        "passing::y",
        "std_like",
    ];
    assert_eq!(paths, expected.map(str::to_owned).into());
    assert_eq!(source.children, ["below".to_owned()].into());
}

#[test]
fn circles_are_told_whole_and_parents_with_children_are_none() {
    let module = |path: &str| {
        path.split('/')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Module>()
    };
    let circles = |pairs: &[(&str, &[&str])]| {
        let mut graph: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, targets) in pairs {
            graph.entry(module(from)).or_default().extend(targets.iter().map(|to| module(to)));
            for to in *targets {
                graph.entry(module(to)).or_default();
            }
        }
        Imports(graph).circles().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(circles(&[("a", &["a/x", "a/y"]), ("a/x", &["a"]), ("a/y", &["a", "a/x"])]), [""; 0]);
    assert_eq!(circles(&[("a", &["b"]), ("b", &["c"]), ("c", &["b", "d"])]), ["b c"]);
    assert_eq!(circles(&[("a", &["b"]), ("b", &["a/x"]), ("a/x", &["a"])]), ["a a/x b"]);
    assert_eq!(circles(&[("a", &["a/x"]), ("a/x", &["b"]), ("b", &["a"])]), ["a a/x b"]);
    let rooms = Imports([(module("a/x"), [module("b/y")].into()), (module("b/z"), [module("a/w")].into())].into());
    assert!(rooms.circles().is_empty());
    assert_eq!(rooms.of_rooms().circles(), ["a b".to_owned()].into());
}
