//! The master's units of record.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use murder_api::admin::{ROWS_PAGE_MAX, RowPage, UnitOfRecord};
use murder_locations::name::Name;
use murder_locations::record::{Standing, UnitRecord};
use murder_model::{Term, UnitId};

use super::Admin;
use super::master::{master, reading};
use super::query::unescape;
use super::refusal::Refused;

/// Which units.
#[derive(Debug, Eq, PartialEq)]
enum RowQuery {
    /// That of a root, if there is one.
    Root(Name),
    /// A page of all.
    Page { after: Option<UnitId>, limit: usize },
}

impl RowQuery {
    /// Reads `root=NAME`, or `after=UNIT&limit=N` with both optional.
    fn parse(query: Option<&str>) -> Result<Self, Refused> {
        let (mut root, mut after, mut limit) = (None, None, None);
        let pairs = query.unwrap_or("").split('&');
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescape(value)
                .ok_or_else(|| Refused::bad_request(format!("{key} is not escaped well")))?;
            match key {
                "root" => root = Some(Name::from(value.as_str())),
                "after" => {
                    let unit = value.parse::<UnitId>();
                    after = Some(unit.map_err(|error| Refused::bad_request(error.to_string()))?);
                }
                "limit" => {
                    let parsed = value.parse().ok().filter(|limit| *limit > 0);
                    limit = Some(parsed.ok_or_else(|| {
                        Refused::bad_request(format!("limit is from 1 to {ROWS_PAGE_MAX}"))
                    })?);
                }
                _ => {
                    let message = format!("{key:?} is none of \"root\", \"after\" and \"limit\"");
                    return Err(Refused::bad_request(message));
                }
            }
        }
        match root {
            None => Ok(Self::Page {
                after,
                limit: limit.unwrap_or(ROWS_PAGE_MAX).min(ROWS_PAGE_MAX),
            }),
            Some(root) if after.is_none() && limit.is_none() => Ok(Self::Root(root)),
            Some(_) => Err(Refused::bad_request(
                "a root has one row: no \"after\", no \"limit\"",
            )),
        }
    }
}

/// `GET /v1/rows?after=UNIT&limit=N`, or `?root=NAME`. A unit of record from the first page to the last is on one of
/// them.
pub(super) async fn rows(
    State(admin): State<Arc<Admin>>,
    RawQuery(query): RawQuery,
) -> Result<Json<RowPage>, Refused> {
    let query = RowQuery::parse(query.as_deref())?;
    let page = reading(master(&admin.context)?, move |reader| {
        let term = reader.position()?.term;
        let (records, limit) = match query {
            RowQuery::Root(root) => (Vec::from_iter(reader.unit_by_root(&root)?), usize::MAX),
            RowQuery::Page { after, limit } => (reader.units_after(after, limit)?, limit),
        };
        let last = records.last().filter(|_| records.len() == limit);
        let next = last.map(|last| last.unit);
        let rows = records.into_iter().map(|record| row(record, term));
        Ok(RowPage {
            rows: rows.collect(),
            next,
        })
    });
    Ok(Json(page.await?))
}

fn row(record: UnitRecord, term: Term) -> UnitOfRecord {
    let state = match record.standing {
        Standing::Owned => "Owned",
        Standing::Released { .. } => "Released",
        Standing::Cyrus => "Cyrus",
    };
    UnitOfRecord {
        unit: record.unit,
        root: String::from_utf8_lossy(record.root.as_bytes()).into_owned(),
        server: record.server,
        server_id: record.server_id,
        partition: record.partition,
        epoch: record.epoch,
        state: state.to_owned(),
        confirmed: record.confirmed == term,
    }
}
