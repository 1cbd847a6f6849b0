//! stateless-svc.
