//! Session keys change on two gateways, step by step and one ahead of the other, and nobody is signed out.
