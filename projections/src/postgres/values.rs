//! Values on their way to and from the server.
//!
//! Postgres text cannot hold U+0000. It is written as U+0001 U+0001, and U+0001 as U+0001 U+0002: no two texts are written
//! alike, and they keep their order, so filters, pages and digests are those of every other store.

use crate::statement::Value;
use bytes::BytesMut;
use std::error::Error;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

type Failed = Box<dyn Error + Sync + Send>;

/// A parameter.
#[derive(Debug, Clone)]
pub(super) struct Param(Value);

impl From<Value> for Param {
    fn from(value: Value) -> Self {
        Self(match value {
            Value::Text(text) => Value::Text(written(text)),
            other => other,
        })
    }
}

impl Param {
    /// What the server is told of its type.
    pub(super) fn ty(&self) -> Type {
        match self.0 {
            Value::Int(_) => Type::INT8,
            Value::Bytes(_) => Type::BYTEA,
            Value::Text(_) | Value::Null | Value::Read(_) => Type::TEXT,
        }
    }
}

impl ToSql for Param {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Failed> {
        match (&self.0, ty) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Int(n), &Type::INT8) => n.to_sql(ty, out),
            (Value::Text(text), &Type::TEXT) => text.to_sql(ty, out),
            (Value::Bytes(bytes), &Type::BYTEA) => bytes.to_sql(ty, out),
            // As a column of text takes a number elsewhere.
            (Value::Int(n), &Type::TEXT) => n.to_string().to_sql(ty, out),
            (Value::Int(_), _) => Err(format!("a column of type {ty} holds no number").into()),
            (Value::Text(_), _) => Err(format!("a column of type {ty} holds no text").into()),
            (Value::Bytes(_), _) => Err(format!("a column of type {ty} holds no bytes").into()),
            (Value::Read(read), _) => Err(format!("a read of {} was not resolved", read.table.name).into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    to_sql_checked!();
}

/// A value that the server holds.
pub(super) struct Held(pub(super) Value);

impl<'a> FromSql<'a> for Held {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Failed> {
        Ok(Self(match *ty {
            Type::INT8 => Value::Int(i64::from_sql(ty, raw)?),
            Type::TEXT => Value::Text(read(<&str>::from_sql(ty, raw)?)),
            _ => Value::Bytes(raw.to_vec()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Failed> {
        Ok(Self(Value::Null))
    }

    fn accepts(ty: &Type) -> bool {
        Param::accepts(ty)
    }
}

fn written(text: String) -> String {
    if !text.bytes().any(|byte| byte <= 1) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\u{1}\u{1}"),
            '\u{1}' => out.push_str("\u{1}\u{2}"),
            other => out.push(other),
        }
    }
    out
}

fn read(text: &str) -> String {
    if !text.contains('\u{1}') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\u{1}' if chars.next() == Some('\u{1}') => '\0',
            other => other,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_keeps_its_order() {
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            let longer: Vec<_> = texts
                .iter()
                .flat_map(|text| ['\0', '\u{1}', '\u{2}', 'é'].map(|c| format!("{text}{c}")))
                .collect();
            texts.extend(longer);
        }
        texts.sort();
        texts.dedup();
        let all: Vec<_> = texts.iter().map(|text| written(text.clone())).collect();
        assert!(all.iter().all(|text| !text.contains('\0')));
        assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(all.iter().map(|text| read(text)).collect::<Vec<_>>(), texts);
    }
}
