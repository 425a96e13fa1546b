//! The wall clock and randomness, each in one place.

use murder_model::Timestamp;

/// Now, by this machine's clock. No decision rests on comparing it with another machine's.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// 128 random bits from the system.
///
/// # Panics
/// If the system gives no randomness: without it no identifier is safe to hand out.
pub fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the system gives randomness");
    id
}
