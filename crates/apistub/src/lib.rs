//! An in-memory Kubernetes API server for tests, demo and bench.
