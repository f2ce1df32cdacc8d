//! Links, addresses and routes of this node, followed at run time.
