//! A bounded model check of moves.
