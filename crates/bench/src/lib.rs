//! `sheave bench` and `sheave report`: what a rule change, a lookup and a connection cost as Services and backends grow.
//!
//! Data flows one way: a runner measures and makes [`record::Point`]s, a [`record::Run`] of them is written as `run.json`, and
//! [`report::report`] turns any number of such files into a page, a table, and formats for other tools. Nothing that is shown
//! comes from anywhere but the raw samples in those files.
pub mod cluster;
mod connect;
mod contender;
mod environment;
pub mod growth;
mod lookup;
mod place;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod stats;
mod usage;
pub mod worker;
