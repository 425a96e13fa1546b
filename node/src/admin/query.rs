//! Queries of `GET /v1/units` (RFC 3986 section 3.4).

use murder_api::admin::UNITS_PAGE_MAX;
use murder_model::RootName;

use super::refusal::Refused;

/// Which page of units.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct PageQuery {
    pub(super) after: Option<RootName>,
    pub(super) limit: usize,
}

impl PageQuery {
    /// Reads `after=ROOT&limit=N`, both optional, in any order.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Refused> {
        let mut page = Self {
            after: None,
            limit: UNITS_PAGE_MAX,
        };
        let pairs = query.unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescape(value)
                .ok_or_else(|| Refused::bad_request(format!("{key} is not escaped well")))?;
            match key {
                "after" => {
                    let root = RootName::parse(&value)
                        .map_err(|error| Refused::bad_request(format!("after: {error}")))?;
                    page.after = Some(root);
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| *limit > 0);
                    let limit: usize = limit.ok_or_else(|| {
                        Refused::bad_request(format!("limit is from 1 to {UNITS_PAGE_MAX}"))
                    })?;
                    page.limit = limit.min(UNITS_PAGE_MAX);
                }
                _ => {
                    let message = format!("{key:?} is neither \"after\" nor \"limit\"");
                    return Err(Refused::bad_request(message));
                }
            }
        }
        Ok(page)
    }
}

/// Takes percent-encoding back; `None` if it is broken or not UTF-8.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use murder_model::RootName;

    use super::PageQuery;

    #[test]
    fn a_page_has_a_start_and_a_size() {
        let page = PageQuery::parse(Some("limit=2&after=user.a%5Eb%3dc%40d")).unwrap();
        let after = Some(RootName::parse("user.a^b=c@d").unwrap());
        assert_eq!(page, PageQuery { after, limit: 2 });
        let all = PageQuery {
            after: None,
            limit: 1000,
        };
        assert_eq!(PageQuery::parse(None).unwrap(), all);
        assert_eq!(PageQuery::parse(Some("")).unwrap(), all);
        assert_eq!(PageQuery::parse(Some("limit=5000")).unwrap(), all);
    }

    #[test]
    fn broken_queries_are_refused() {
        for query in [
            "limit=0",
            "limit=-1",
            "limit=x",
            "limit",
            "after=",
            "after=user.a.b",
            "after=%",
            "after=%4",
            "after=%zz",
            "after=%ff",
            "before=user.a",
        ] {
            assert!(PageQuery::parse(Some(query)).is_err(), "{query}");
        }
    }
}
