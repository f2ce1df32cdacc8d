//! The flow tables of the device entrance.
