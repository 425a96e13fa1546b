//! Tokens of a received command (RFC 3501 section 9, "Formal Syntax").
//!
//! An [`Input`] walks over the complete bytes of one command, literals included where the client put
//! them. Nothing here can run past the end: each step looks before it goes.

use bytes::Bytes;
use murder_model::{Day, InternalDate, SequenceSet, SetError};

/// Why a command is bad, in words for its user.
pub(crate) type Refusal = &'static str;

/// Result of one parsing step.
pub(crate) type Parsed<T> = Result<T, Refusal>;

/// Elements in one parenthesized list: flags, items, header names.
pub(crate) const LIST_ITEMS_MAX: usize = 1000;

/// A place in a command.
pub(crate) struct Input<'a> {
    raw: &'a Bytes,
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(raw: &'a Bytes) -> Self {
        Self { raw, at: 0 }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.raw[self.at..]
    }

    /// The last `length` bytes that were passed.
    pub(crate) fn behind(&self, length: usize) -> &'a [u8] {
        &self.raw[self.at - length..self.at]
    }

    /// Passes `byte` if it is next.
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, byte: u8, refusal: Refusal) -> Parsed<()> {
        if self.eat(byte) { Ok(()) } else { Err(refusal) }
    }

    pub(crate) fn space(&mut self) -> Parsed<()> {
        self.expect(b' ', "argument missing")
    }

    /// The end of the command. Spaces before it are forgiven.
    pub(crate) fn end(&mut self) -> Parsed<()> {
        while self.eat(b' ') {}
        match self.rest() {
            b"\r\n" | b"\n" => Ok(()),
            _ => Err("unexpected argument"),
        }
    }

    /// Everything up to the line end, which must be the command's last.
    pub(crate) fn arguments(&mut self) -> Bytes {
        let rest = self.rest();
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        let length = rest.strip_suffix(b"\r").unwrap_or(rest).len();
        self.take(length)
    }

    /// `1*ATOM-CHAR`.
    pub(crate) fn atom(&mut self) -> Parsed<Bytes> {
        self.run(is_atom_char, "atom expected")
    }

    /// `astring`: an atom that may hold `]`, or a string.
    pub(crate) fn astring(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => self.run(is_astring_char, "string or atom expected"),
        }
    }

    /// `string`: quoted or literal.
    pub(crate) fn string(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => Err("string expected"),
        }
    }

    /// `nstring`: a string or `NIL`.
    pub(crate) fn nstring(&mut self) -> Parsed<Option<Bytes>> {
        if matches!(self.peek(), Some(b'"' | b'{')) {
            return self.string().map(Some);
        }
        self.nil().map(|()| None)
    }

    /// `NIL`.
    pub(crate) fn nil(&mut self) -> Parsed<()> {
        match self.rest().get(..3) {
            Some(word) if word.eq_ignore_ascii_case(b"NIL") => {
                self.at += 3;
                Ok(())
            }
            _ => Err("string or NIL expected"),
        }
    }

    /// `list-mailbox`: as a string, or an atom with wildcards.
    pub(crate) fn pattern(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            _ => self.run(
                |byte| is_astring_char(byte) || matches!(byte, b'%' | b'*'),
                "mailbox pattern expected",
            ),
        }
    }

    /// A word of letters, digits, `.`, `-` and `+`, in upper case; empty if there is none or it is
    /// longer than any that is known.
    pub(crate) fn word<'b>(&mut self, buffer: &'b mut [u8; WORD_BYTES_MAX]) -> &'b [u8] {
        let rest = self.rest();
        let is_word =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
        let length = rest
            .iter()
            .position(|byte| !is_word(byte))
            .unwrap_or(rest.len());
        self.at += length;
        match buffer.get_mut(..length) {
            Some(word) => {
                word.copy_from_slice(&rest[..length]);
                word.make_ascii_uppercase();
                word
            }
            None => b"",
        }
    }

    /// `number`, at most 32 bits.
    pub(crate) fn number(&mut self) -> Parsed<u32> {
        u32::try_from(self.number64()?).map_err(|_| "number too large")
    }

    /// `number64` and `mod-sequence-valzer`: at most 63 bits (RFC 7162 section 7).
    pub(crate) fn number64(&mut self) -> Parsed<u64> {
        let start = self.at;
        let mut number = 0_u64;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u64::from(digit - b'0')))
                .filter(|number| *number <= i64::MAX as u64)
                .ok_or("number too large")?;
            self.at += 1;
        }
        if start == self.at {
            Err("number expected")
        } else {
            Ok(number)
        }
    }

    /// `nz-number`.
    pub(crate) fn nz_number(&mut self) -> Parsed<u32> {
        match self.number()? {
            0 => Err("number must not be 0"),
            number => Ok(number),
        }
    }

    /// `sequence-set`.
    pub(crate) fn sequence_set(&mut self) -> Parsed<SequenceSet> {
        let rest = self.rest();
        let is_set = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b':' | b',' | b'*');
        let length = rest
            .iter()
            .position(|byte| !is_set(byte))
            .unwrap_or(rest.len());
        let set = SequenceSet::parse(&rest[..length]).map_err(|error| match error {
            SetError::TooMany => "too many ranges in a sequence set",
            SetError::Syntax => "invalid sequence set",
        })?;
        self.at += length;
        Ok(set)
    }

    /// `flag`: an atom, with a backslash before it for a system flag.
    pub(crate) fn flag(&mut self) -> Parsed<Bytes> {
        let start = self.at;
        self.eat(b'\\');
        self.run(is_atom_char, "flag expected")?;
        Ok(self.raw.slice(start..self.at))
    }

    /// `flag-list`: flags in parentheses, perhaps none.
    pub(crate) fn flag_list(&mut self) -> Parsed<Vec<Bytes>> {
        self.list(true, Self::flag)
    }

    /// Elements in parentheses with a space between them.
    pub(crate) fn list<T>(
        &mut self,
        may_be_empty: bool,
        element: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        self.expect(b'(', "( expected")?;
        if may_be_empty && self.eat(b')') {
            return Ok(Vec::new());
        }
        let elements = self.spaced(b')', element)?;
        self.expect(b')', ") expected")?;
        Ok(elements)
    }

    /// One element or more, a space between them, up to `until` or whatever is not a space.
    fn spaced<T>(
        &mut self,
        until: u8,
        mut element: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut elements = vec![element(self)?];
        while self.eat(b' ') {
            if self.peek() == Some(until) {
                break;
            }
            if elements.len() == LIST_ITEMS_MAX {
                return Err("list too long");
            }
            elements.push(element(self)?);
        }
        Ok(elements)
    }

    /// `date`: a day, quoted or not.
    pub(crate) fn day(&mut self) -> Parsed<Day> {
        let quoted = self.eat(b'"');
        let rest = self.rest();
        let is_date = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let length = rest
            .iter()
            .position(|byte| !is_date(byte))
            .unwrap_or(rest.len());
        let day = Day::parse(&rest[..length]).ok_or("invalid date")?;
        self.at += length;
        if quoted {
            self.expect(b'"', "invalid date")?;
        }
        Ok(day)
    }

    /// `date-time`: quoted.
    pub(crate) fn date_time(&mut self) -> Parsed<InternalDate> {
        let text = self.quoted()?;
        InternalDate::parse(&text).map_err(|_| "invalid date-time")
    }

    /// `quoted`. Bytes above 127 pass: whether a name may hold them is for the server to say.
    fn quoted(&mut self) -> Parsed<Bytes> {
        self.expect(b'"', "string expected")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    if !matches!(self.peek(), Some(b'"' | b'\\')) {
                        return Err("invalid escape in a quoted string");
                    }
                }
                None | Some(b'\r' | b'\n') => return Err("quoted string not ended"),
                Some(0) => return Err("NUL in a quoted string"),
                Some(_) => {}
            }
            self.at += 1;
        }
        let content = self.raw.slice(start..self.at);
        self.at += 1;
        Ok(if escaped { unescape(&content) } else { content })
    }

    /// `literal`.
    fn literal(&mut self) -> Parsed<Bytes> {
        let content = self.literal_of_any_bytes()?;
        if memchr::memchr(0, &content).is_some() {
            return Err("NUL in a literal");
        }
        Ok(content)
    }

    /// `string` of a server, whose literals may hold NUL.
    pub(crate) fn binary_string(&mut self) -> Parsed<Bytes> {
        match self.peek() {
            Some(b'{') => self.literal_of_any_bytes(),
            _ => self.quoted(),
        }
    }

    /// A word of a server: anything up to a space, a parenthesis, a string or the line end.
    pub(crate) fn value_word(&mut self) -> Parsed<Bytes> {
        let is_word = |byte| byte > b' ' && !matches!(byte, b'(' | b')' | b'{' | b'"' | 0x7f);
        self.run(is_word, "word expected")
    }

    /// A FETCH item's name with its section and origin, `BODY[HEADER.FIELDS ("a]b")]<0>`.
    pub(crate) fn fetch_item_name(&mut self) -> Parsed<Bytes> {
        let start = self.at;
        self.run(
            |byte| byte.is_ascii_alphanumeric() || byte == b'.',
            "item expected",
        )?;
        if self.eat(b'[') {
            while !self.eat(b']') {
                match self.peek() {
                    Some(b'"' | b'{') => drop(self.binary_string()?),
                    None | Some(b'\r' | b'\n') => return Err("section not ended"),
                    Some(_) => self.at += 1,
                }
            }
            if self.eat(b'<') {
                self.number()?;
                self.expect(b'>', "origin not ended")?;
            }
        }
        Ok(self.raw.slice(start..self.at))
    }

    /// A literal, whose length the reader has checked.
    fn literal_of_any_bytes(&mut self) -> Parsed<Bytes> {
        const BROKEN: Refusal = "invalid literal";
        self.expect(b'{', BROKEN)?;
        let length = usize::try_from(self.number64()?).map_err(|_| BROKEN)?;
        self.eat(b'+');
        self.expect(b'}', BROKEN)?;
        self.eat(b'\r');
        self.expect(b'\n', BROKEN)?;
        if self.rest().len() < length {
            return Err(BROKEN);
        }
        Ok(self.take(length))
    }

    fn run(&mut self, accept: impl Fn(u8) -> bool, refusal: Refusal) -> Parsed<Bytes> {
        let rest = self.rest();
        let length = rest
            .iter()
            .position(|byte| !accept(*byte))
            .unwrap_or(rest.len());
        if length == 0 {
            Err(refusal)
        } else {
            Ok(self.take(length))
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        let taken = self.raw.slice(self.at..self.at + length);
        self.at += length;
        taken
    }
}

/// Longest word that [`Input::word`] reads.
pub(crate) const WORD_BYTES_MAX: usize = 24;

/// `ATOM-CHAR`: no control, no space, none of `(){%*"\]`, ASCII.
pub(crate) const fn is_atom_char(byte: u8) -> bool {
    is_astring_char(byte) && byte != b']'
}

/// `ASTRING-CHAR`.
pub(crate) const fn is_astring_char(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

/// Tag characters: `ASTRING-CHAR` without `+`.
pub(crate) const fn is_tag_char(byte: u8) -> bool {
    is_astring_char(byte) && byte != b'+'
}

fn unescape(content: &[u8]) -> Bytes {
    let mut plain = Vec::with_capacity(content.len());
    let mut bytes = content.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' {
            bytes.next()
        } else {
            Some(byte)
        };
        plain.extend(byte);
    }
    plain.into()
}
