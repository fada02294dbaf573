//! Which parts of its variables an expression looks into, read from its text alone.
//!
//! A part that only flows into the result (the whole of the expression, an item of a list, a field of an object, a branch of
//! a condition) is handed on: it need not be opened where it is sealed.

use super::lower::{Fold, Function, Literal, Node};

/// How far a part is looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// What leads to it is; the part itself flows into the result as it is.
    Handed,
    /// The part is, what it holds is not.
    Shallow,
    /// All of it.
    Deep,
}

/// A part of a variable: its name, then fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// `["inputs", "orders", "total"]` for `inputs.orders.total`.
    pub path: Vec<String>,
    /// How far it is looked into.
    pub depth: Depth,
}

/// The path that a node is, if it is one.
pub(super) fn path(node: &Node) -> Option<Vec<String>> {
    match node {
        Node::Name(name) => Some(vec![name.clone()]),
        Node::Select { of, field } => {
            let mut path = path(of)?;
            path.push(field.clone());
            Some(path)
        }
        _ => None,
    }
}

/// All parts that are mentioned, in the order of the text.
pub(super) fn of(root: &Node) -> Vec<Mention> {
    let mut walk = Walk::default();
    walk.node(root, Depth::Handed);
    walk.found
}

#[derive(Default)]
struct Walk<'a> {
    bound: Vec<&'a str>,
    found: Vec<Mention>,
}

impl<'a> Walk<'a> {
    fn node(&mut self, node: &'a Node, depth: Depth) {
        if let Some(path) = path(node) {
            // What a comprehension runs over is looked into as a whole.
            if !self.bound.contains(&path[0].as_str()) {
                self.found.push(Mention { path, depth });
            }
            return;
        }
        match node {
            Node::Literal(_) | Node::Name(_) => {}
            Node::Select { of, .. } => self.node(of, Depth::Deep),
            Node::Has { of, .. } => self.node(of, Depth::Shallow),
            Node::List(items) => items.iter().for_each(|item| self.node(item, depth)),
            Node::Map(entries) => {
                // Keys stand in the clear around what is handed on: only those that the text itself names may.
                let named = entries.iter().all(|(key, _)| matches!(key, Node::Literal(Literal::String(_))));
                let depth = if named { depth } else { Depth::Deep };
                for (key, value) in entries {
                    self.node(key, Depth::Deep);
                    self.node(value, depth);
                }
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                self.node(condition, Depth::Deep);
                self.node(then, depth);
                self.node(otherwise, depth);
            }
            Node::And(left, right) | Node::Or(left, right) | Node::Binary(_, left, right) => {
                self.node(left, Depth::Deep);
                self.node(right, Depth::Deep);
            }
            Node::Unary(_, operand) => self.node(operand, Depth::Deep),
            Node::Call(function, args) => {
                let depth = match function {
                    Function::Size | Function::Type => Depth::Shallow,
                    _ => Depth::Deep,
                };
                args.iter().for_each(|arg| self.node(arg, depth));
            }
            Node::Fold { over, name, fold } => self.fold(over, name, fold),
        }
    }

    fn fold(&mut self, over: &'a Node, name: &'a str, fold: &'a Fold) {
        self.node(over, Depth::Deep);
        self.bound.push(name);
        match fold {
            Fold::All(test) | Fold::Exists(test) | Fold::ExistsOne(test) => self.node(test, Depth::Deep),
            Fold::Map { when, item } => {
                when.iter().for_each(|when| self.node(when, Depth::Deep));
                self.node(item, Depth::Deep);
            }
        }
        self.bound.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::Expression;

    fn mentions(source: &str) -> Vec<(String, Depth)> {
        let expression = Expression::parse(source).unwrap();
        expression.mentions().into_iter().map(|m| (m.path.join("."), m.depth)).collect()
    }

    #[test]
    fn what_flows_into_the_result_is_handed_on() {
        use Depth::{Deep, Handed, Shallow};
        let cases: &[(&str, &[(&str, Depth)])] = &[
            ("input.a.b", &[("input.a.b", Handed)]),
            ("[input, texts.t]", &[("input", Handed), ("texts.t", Handed)]),
            ("{'a': input, 'b': input.n + 1}", &[("input", Handed), ("input.n", Deep)]),
            ("{input.k: texts.t}", &[("input.k", Deep), ("texts.t", Deep)]),
            (
                "input.ok ? inputs.x : inputs.y",
                &[("input.ok", Deep), ("inputs.x", Handed), ("inputs.y", Handed)],
            ),
            ("size(input)", &[("input", Shallow)]),
            ("has(input.a.b)", &[("input.a", Shallow)]),
            ("input.items[0].name", &[("input.items", Deep)]),
            ("input.map(x, x.n + run.input.k)", &[("input", Deep), ("run.input.k", Deep)]),
        ];
        for (source, expected) in cases {
            let expected: Vec<_> = expected.iter().map(|(path, depth)| ((*path).to_owned(), *depth)).collect();
            assert_eq!(mentions(source), expected, "{source}");
        }
    }
}
