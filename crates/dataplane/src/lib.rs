//! The port between a [`Plan`](sheave_core::plan::Plan) and a kernel dataplane.
