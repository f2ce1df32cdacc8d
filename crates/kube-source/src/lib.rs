//! Watches a Kubernetes API server or manifest files and parses them to core types.
