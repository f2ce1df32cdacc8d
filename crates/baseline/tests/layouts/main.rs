//! The layouts as text, as numbers, and in the kernel.
mod changes;
mod counts;
mod desired;
mod fixture;
mod golden;
mod kernel;
