//! The layouts as text, as numbers, and in the kernel.
mod changes;
mod counts;
mod fixture;
mod golden;
mod kernel;
