//! `SEARCH` (RFC 3501 6.4.4, RFC 7162 3.1.5).

use super::input::{Input, LIST_ITEMS_MAX, Parsed, WORD_BYTES_MAX};
use crate::imap::command::{Command, SEARCH_DEPTH_MAX, Search, SearchKey};

/// `[SP "CHARSET" SP astring] 1*(SP search-key)`.
pub(super) fn search(input: &mut Input<'_>, uid: bool) -> Parsed<Command> {
    input.space()?;
    let mut charset = None;
    if matches!(input.rest().get(..8), Some(word) if word.eq_ignore_ascii_case(b"CHARSET ")) {
        let mut buffer = [0; WORD_BYTES_MAX];
        input.word(&mut buffer);
        input.space()?;
        charset = Some(input.astring()?);
        input.space()?;
    }
    let keys = keys(input, 0, b'\r')?;
    Ok(Command::Search(Search { uid, charset, keys }))
}

/// Keys with a space between them. `until` may follow a space, which is forgiven.
fn keys(input: &mut Input<'_>, depth: usize, until: u8) -> Parsed<Vec<SearchKey>> {
    let mut keys = vec![key(input, depth)?];
    while input.eat(b' ') {
        if input.peek() == Some(until) {
            break;
        }
        if keys.len() == LIST_ITEMS_MAX {
            return Err("too many search keys");
        }
        keys.push(key(input, depth)?);
    }
    Ok(keys)
}

/// `search-key`.
fn key(input: &mut Input<'_>, depth: usize) -> Parsed<SearchKey> {
    if depth == SEARCH_DEPTH_MAX {
        return Err("search nested too deep");
    }
    match input.peek() {
        Some(b'(') => {
            input.eat(b'(');
            let keys = keys(input, depth + 1, b')')?;
            input.expect(b')', ") expected")?;
            return Ok(SearchKey::And(keys));
        }
        Some(b'0'..=b'9' | b'*') => return input.sequence_set().map(SearchKey::Sequence),
        _ => {}
    }
    let mut buffer = [0; WORD_BYTES_MAX];
    let word = input.word(&mut buffer);
    match plain(word) {
        Some(key) => Ok(key),
        None => with_argument(input, word, depth),
    }
}

/// Keys that stand for themselves.
fn plain(word: &[u8]) -> Option<SearchKey> {
    Some(match word {
        b"ALL" => SearchKey::All,
        b"ANSWERED" => SearchKey::Answered,
        b"DELETED" => SearchKey::Deleted,
        b"DRAFT" => SearchKey::Draft,
        b"FLAGGED" => SearchKey::Flagged,
        b"NEW" => SearchKey::New,
        b"OLD" => SearchKey::Old,
        b"RECENT" => SearchKey::Recent,
        b"SEEN" => SearchKey::Seen,
        b"UNANSWERED" => SearchKey::Unanswered,
        b"UNDELETED" => SearchKey::Undeleted,
        b"UNDRAFT" => SearchKey::Undraft,
        b"UNFLAGGED" => SearchKey::Unflagged,
        b"UNSEEN" => SearchKey::Unseen,
        _ => return None,
    })
}

/// Keys with arguments.
fn with_argument(input: &mut Input<'_>, word: &[u8], depth: usize) -> Parsed<SearchKey> {
    let text = |key: fn(bytes::Bytes) -> SearchKey, input: &mut Input<'_>| {
        input.space()?;
        input.astring().map(key)
    };
    let day = |key: fn(murder_model::Day) -> SearchKey, input: &mut Input<'_>| {
        input.space()?;
        input.day().map(key)
    };
    let size = |key: fn(u64) -> SearchKey, input: &mut Input<'_>| {
        input.space()?;
        input.number64().map(key)
    };
    match word {
        b"BCC" => text(SearchKey::Bcc, input),
        b"BODY" => text(SearchKey::Body, input),
        b"CC" => text(SearchKey::Cc, input),
        b"FROM" => text(SearchKey::From, input),
        b"SUBJECT" => text(SearchKey::Subject, input),
        b"TEXT" => text(SearchKey::Text, input),
        b"TO" => text(SearchKey::To, input),
        b"BEFORE" => day(SearchKey::Before, input),
        b"ON" => day(SearchKey::On, input),
        b"SENTBEFORE" => day(SearchKey::SentBefore, input),
        b"SENTON" => day(SearchKey::SentOn, input),
        b"SENTSINCE" => day(SearchKey::SentSince, input),
        b"SINCE" => day(SearchKey::Since, input),
        b"LARGER" => size(SearchKey::Larger, input),
        b"SMALLER" => size(SearchKey::Smaller, input),
        b"KEYWORD" => keyword(input).map(SearchKey::Keyword),
        b"UNKEYWORD" => keyword(input).map(SearchKey::Unkeyword),
        b"MODSEQ" => mod_seq(input),
        b"HEADER" => {
            input.space()?;
            let field = input.astring()?;
            input.space()?;
            Ok(SearchKey::Header(field, input.astring()?))
        }
        b"UID" => {
            input.space()?;
            input.sequence_set().map(SearchKey::Uid)
        }
        b"NOT" => {
            input.space()?;
            Ok(SearchKey::Not(Box::new(key(input, depth + 1)?)))
        }
        b"OR" => {
            input.space()?;
            let one = key(input, depth + 1)?;
            input.space()?;
            Ok(SearchKey::Or(
                Box::new(one),
                Box::new(key(input, depth + 1)?),
            ))
        }
        _ => Err("unknown search key"),
    }
}

fn keyword(input: &mut Input<'_>) -> Parsed<bytes::Bytes> {
    input.space()?;
    input.atom()
}

/// `[SP entry-name SP entry-type-req] SP mod-sequence-valzer`.
fn mod_seq(input: &mut Input<'_>) -> Parsed<SearchKey> {
    input.space()?;
    if input.peek() == Some(b'"') {
        input.string()?;
        input.space()?;
        let mut buffer = [0; WORD_BYTES_MAX];
        if !matches!(input.word(&mut buffer), b"PRIV" | b"SHARED" | b"ALL") {
            return Err("priv, shared or all expected");
        }
        input.space()?;
    }
    input.number64().map(SearchKey::ModSeq)
}
