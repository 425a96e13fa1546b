//! Units and names by server.

use std::collections::BTreeMap;

use murder_locations::request::{Request, Response};
use murder_model::{Fence, ServerId};

use crate::support::*;

fn named(counts: BTreeMap<ServerId, u64>) -> Vec<(String, u64)> {
    let name = |id: ServerId| {
        let text = String::from_utf8_lossy(id.as_bytes()).into_owned();
        text.trim_end_matches('\0').to_owned()
    };
    counts.into_iter().map(|(id, n)| (name(id), n)).collect()
}

#[test]
fn units_and_names_are_counted_by_owner_of_record() {
    let mut master = master_of(&["be-a", "be-b", "be-c"]);
    for (server, user) in [("be-a", "user.a"), ("be-a", "user.b"), ("be-b", "user.c")] {
        assert!(matches!(
            grant(&mut master, server, user),
            Response::Granted(_)
        ));
        for (name, number) in [(user.to_owned(), 1), (format!("{user}.Sent"), 2)] {
            let (who, request) = row(server, user, 1, number, put(&name, "a\tlr\t"));
            ask(&mut master, &who, request);
        }
    }
    let reader = master.reader();
    let units = [("be-a".to_owned(), 2), ("be-b".to_owned(), 1)];
    assert_eq!(named(reader.owned_counts().unwrap()), units);
    let mut counting = reader.count_names();
    let mut steps = 1;
    while counting.step(2).unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 4);
    let names = [("be-a".to_owned(), 4), ("be-b".to_owned(), 2)];
    assert_eq!(named(counting.counts()), names);
    flip(&mut master, "be-a", "be-c", "user.a", 1, 1);
    let units = ["be-a", "be-b", "be-c"].map(|name| (name.to_owned(), 1));
    assert_eq!(named(reader.owned_counts().unwrap()), units);
}

#[test]
fn the_fence_is_the_highest_seen() {
    let mut master = master();
    assert_eq!(master.reader().fence().unwrap(), Fence::new(0));
    for fence in [4, 3] {
        let fence = Fence::new(fence);
        ask(&mut master, &operator(), Request::Raise { fence });
    }
    assert_eq!(master.reader().fence().unwrap(), Fence::new(4));
}
