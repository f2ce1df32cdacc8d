//! What layouts for nft have in common: how a transaction is written, and elements of which only the differences are.
mod elements;
mod transaction;

pub(crate) use elements::{Elements, Value};
pub(crate) use transaction::{Transaction, Words, rule, words};
