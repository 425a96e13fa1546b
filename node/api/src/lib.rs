//! Node settings and admin API.
