//! How much of a client's input is held at once.

/// Limits of a [`Reader`](super::Reader). Nothing is read past them: what is longer is refused when
/// its length is known, or as soon as more than that has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of a command's lines, without its literals.
    pub line_bytes_max: usize,
    /// Bytes of one literal, except an `APPEND`'s message.
    pub literal_bytes_max: usize,
    /// Bytes of a command with its literals, except an `APPEND`'s message.
    pub command_bytes_max: usize,
    /// Literals in one command.
    pub literals_max: usize,
    /// Bytes of an `APPEND`'s message.
    pub append_bytes_max: u64,
    /// Bytes of a piece of a message, [`Event::Literal`](super::Event::Literal).
    pub chunk_bytes_max: usize,
    /// Bytes of one refused command that are read and thrown away before the reader gives up.
    pub skip_bytes_max: u64,
    /// Bad commands in a row before the reader gives up.
    pub bad_commands_max: u32,
}

impl Limits {
    /// For clients that have not authenticated: enough for a `LOGIN` or a token.
    pub const BEFORE_LOGIN: Self = Self {
        line_bytes_max: 16 << 10,
        literal_bytes_max: 4 << 10,
        command_bytes_max: 24 << 10,
        literals_max: 4,
        append_bytes_max: 0,
        chunk_bytes_max: 16 << 10,
        skip_bytes_max: 64 << 10,
        bad_commands_max: 10,
    };

    /// For authenticated clients. RFC 7162 section 4 asks for lines of 8,192 bytes; some clients
    /// send longer sets of UIDs.
    pub const AFTER_LOGIN: Self = Self {
        line_bytes_max: 64 << 10,
        literal_bytes_max: 16 << 10,
        command_bytes_max: 128 << 10,
        literals_max: 128,
        append_bytes_max: 64 << 20,
        chunk_bytes_max: 64 << 10,
        skip_bytes_max: 64 << 20,
        bad_commands_max: 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::AFTER_LOGIN
    }
}
