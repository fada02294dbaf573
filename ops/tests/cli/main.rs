//! The binary `quipu` as a person uses it.

mod commands;
mod damage;
mod demo;
mod import_crash;
mod importing;
mod keys;
mod login;
