//! stateful-svc.
