//! The daemon: configuration, sync loop, source and dataplane brought together.
