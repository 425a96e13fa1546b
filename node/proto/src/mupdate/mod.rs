//! MUPDATE, sans-IO.
