//! A test cluster on one machine: network namespaces, veths, cgroups, probes.
