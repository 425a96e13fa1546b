//! Who may see a name: the lookup right in an access control list, and the keys of the reverse index.
//!
//! The index has one entry for each identifier that a list gives the lookup right (RFC 4314 `l`)
//! to, except an owner's on its own mailboxes, which are found by their prefix. Lists of Cyrus may hold
//! rights and identifiers that our own rules refuse, so they are read octet by octet.

use crate::name::Name;

/// One entry of a list: identifier without its minus, whether it had one, and its rights.
fn entries(acl: &[u8]) -> impl Iterator<Item = (&[u8], bool, &[u8])> {
    let mut fields = acl.split(|&octet| octet == b'\t');
    std::iter::from_fn(move || {
        let identifier = fields.next().filter(|field| !field.is_empty())?;
        let rights = fields.next()?;
        Some(match identifier.strip_prefix(b"-") {
            Some(identifier) => (identifier, true, rights),
            None => (identifier, false, rights),
        })
    })
}

fn has_lookup(rights: &[u8]) -> bool {
    rights.contains(&b'l')
}

/// Identifiers whose holders may see the name, in lower case, without the owner of the name.
pub(super) fn identifiers(name: &Name, acl: &[u8]) -> Vec<Vec<u8>> {
    let mut found: Vec<_> = entries(acl)
        .filter(|(_, negative, rights)| !negative && has_lookup(rights))
        .map(|(identifier, ..)| identifier.to_ascii_lowercase())
        .filter(|identifier| !name.is_under(&home(identifier)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether one of the identifiers may see a name with this list: given, and not taken away.
pub(super) fn may_look_up(acl: &[u8], identifiers: &[Vec<u8>]) -> bool {
    let mut given = false;
    for (identifier, negative, rights) in entries(acl) {
        let applies = has_lookup(rights)
            && identifiers
                .iter()
                .any(|held| held.eq_ignore_ascii_case(identifier));
        if applies && negative {
            return false;
        }
        given |= applies;
    }
    given
}

/// The root of a user's own mailboxes.
pub(super) fn home(user: &[u8]) -> Name {
    let component = user
        .iter()
        .map(|&octet| if octet == b'.' { b'^' } else { octet });
    Name::from_bytes(
        b"user."
            .iter()
            .copied()
            .chain(component)
            .collect::<Vec<_>>(),
    )
}

/// Key of a name in the index, under an identifier. Identifiers hold no NUL.
pub(super) fn key(identifier: &[u8], name: &[u8]) -> Vec<u8> {
    [identifier, b"\0", name].concat()
}

/// The first key after all of an identifier's.
pub(super) fn end(identifier: &[u8]) -> Vec<u8> {
    [identifier, b"\x01"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACL: &[u8] = b"alice\tlrswipkxtecdan\tbob\tlr\tcarol\tr\t-bob\tw\t-dave\tl\tanyone\tlp\t";

    #[test]
    fn an_index_entry_is_made_for_each_identifier_with_lookup_but_the_owner() {
        let found = identifiers(&Name::from("user.alice.Work"), ACL);
        assert_eq!(found, [b"anyone".to_vec(), b"bob".to_vec()]);
    }

    #[test]
    fn a_negative_entry_hides_a_name_from_one_of_anyone() {
        let held = |user: &str| vec![b"anyone".to_vec(), user.as_bytes().to_vec()];
        assert!(may_look_up(ACL, &held("carol")));
        assert!(!may_look_up(ACL, &held("dave")));
        assert!(!may_look_up(b"", &held("carol")));
        assert!(!may_look_up(b"carol", &held("carol")));
    }
}
