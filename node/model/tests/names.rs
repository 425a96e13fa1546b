//! Names from outside: what clients type, what peers send, and the order that both rely on.

use murder_model::{ListPattern, MailboxName, NameError, RootName, UserName, mutf7};
use proptest::prelude::*;

fn user(name: &str) -> UserName {
    UserName::parse(name).expect("a valid user name")
}

fn internal(name: &str) -> MailboxName {
    MailboxName::parse_internal(name).expect("a valid mailbox name")
}

/// A mailbox stands before its tree, but a sibling whose name goes on with a byte below `.` stands
/// between them: who wants a tree by a range of keys must ask for `name.` and not for `name`.
#[test]
fn byte_order_is_the_order_of_names() {
    let mut names = [
        "user.alice.Work",
        "user.alice-b",
        "user.aliceb",
        "user.alice",
        "projects",
    ]
    .map(internal);
    names.sort();
    assert_eq!(
        names.map(String::from),
        [
            "projects",
            "user.alice",
            "user.alice-b",
            "user.alice.Work",
            "user.aliceb"
        ]
    );
}

#[test]
fn a_tree_ends_at_the_separator() {
    let work = internal("user.alice.Work");
    assert!(internal("user.alice.Work.2024").is_under(&work));
    assert!(!internal("user.alice.Workshop").is_under(&work));
    assert!(!work.is_under(&work));
    let to = internal("user.alice.Old");
    let renamed = |name: &str| internal(name).renamed(&work, &to);
    assert_eq!(
        renamed("user.alice.Work.2024"),
        Some(Ok(internal("user.alice.Old.2024")))
    );
    assert_eq!(renamed("user.alice.Work"), Some(Ok(to.clone())));
    assert_eq!(renamed("user.alice.Workshop"), None);
}

#[test]
fn the_limits_of_names_are_the_last_that_is_taken() {
    let name = |bytes: usize| MailboxName::parse_internal(&"a".repeat(bytes));
    assert!(name(1024).is_ok());
    assert_eq!(name(1025), Err(NameError::TooLong));
    let levels = |count: usize| MailboxName::parse_internal(&vec!["a"; count].join("."));
    assert!(levels(32).is_ok());
    assert_eq!(levels(33), Err(NameError::TooDeep));
    assert!(UserName::parse(&"a".repeat(128)).is_ok());
    assert_eq!(UserName::parse(&"a".repeat(129)), Err(NameError::TooLong));
}

#[test]
fn only_roots_are_roots() {
    assert!(RootName::parse("user.alice").is_ok());
    assert!(RootName::parse("projects").is_ok());
    assert_eq!(RootName::parse("user.alice.Work"), Err(NameError::TooDeep));
    assert_eq!(RootName::parse("user"), Err(NameError::Namespace));
    assert_eq!(internal("user.alice").parent(), None);
    assert_eq!(internal("users.alice").root().as_str(), "users");
}

/// The slow and obvious meaning of a pattern.
fn oracle(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], name) => name.is_empty(),
        ([b'*', rest @ ..], name) => (0..=name.len()).any(|at| oracle(rest, &name[at..])),
        ([b'%', rest @ ..], name) => {
            let level = name
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(name.len());
            (0..=level).any(|at| oracle(rest, &name[at..]))
        }
        ([wanted, rest @ ..], [byte, name @ ..]) => wanted == byte && oracle(rest, name),
        (_, []) => false,
    }
}

proptest! {
    #[test]
    fn patterns_match_what_their_definition_says(
        reference in "[ab/]{0,3}",
        pattern in "[ab/%*]{0,7}",
        name in "[ab/]{0,8}",
    ) {
        let compiled = ListPattern::new(reference.as_bytes(), pattern.as_bytes());
        let joined = format!("{reference}{pattern}");
        let expected = oracle(joined.as_bytes(), name.as_bytes());
        prop_assert_eq!(compiled.matches(&name), expected, "{} {}", joined, name);
        prop_assert!(!expected || name.as_bytes().starts_with(compiled.literal_prefix()));
    }

    /// The first component of two letters keeps the namespaces' own words out.
    #[test]
    fn each_viewer_gets_back_to_the_same_mailbox(
        owner in "[a-c]{1,2}(\\.[a-c])?",
        viewer in "[a-c]{1,2}",
        folders in prop::collection::vec("[A-Za-c.]{1,2}|x&APw-y|a&-b| ", 0..4),
        shared: bool,
    ) {
        let root = if shared { "projects".to_owned() } else { format!("user.{}", user(&owner).component()) };
        let mut name = internal(&root);
        for folder in &folders {
            name = name.child(folder).unwrap();
        }
        let viewer = user(&viewer);
        let external = name.to_external(&viewer);
        prop_assert_eq!(MailboxName::from_external(&viewer, external.as_bytes()), Ok(name));
    }

    #[test]
    fn any_bytes_are_a_name_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(name) = MailboxName::from_external(&user("alice"), &bytes) {
            prop_assert_eq!(MailboxName::parse_internal(name.as_str()), Ok(name));
        }
    }

    #[test]
    fn two_valid_encodings_are_never_one_text(a in "[&A-C+,-]{0,8}", b in "[&A-C+,-]{0,8}") {
        if mutf7::is_valid(&a) && mutf7::is_valid(&b) && a != b {
            prop_assert_ne!(mutf7::decode(&a), mutf7::decode(&b));
        }
    }
}

/// With the right to create folders in a tree, somebody else could make one there that its owner
/// sees as a second INBOX, or as a namespace, and can never open.
#[test]
fn nobody_makes_a_folder_that_its_owner_cannot_name() {
    for folder in ["INBOX", "inbox", "Other Users", "Shared Folders"] {
        let external = format!("Other Users/alice/{folder}");
        assert_eq!(
            MailboxName::from_external(&user("bob"), external.as_bytes()),
            Err(NameError::Namespace),
            "{external}"
        );
    }
    assert!(MailboxName::parse_internal("user.alice.Work.INBOX").is_ok());
}

/// A list with a user of this name would be read back as one that gives everybody all rights.
#[test]
fn no_user_is_everybody_in_any_case() {
    for name in ["anyone", "Anyone", "ANONYMOUS"] {
        assert_eq!(UserName::parse(name), Err(NameError::Character), "{name}");
    }
}

#[test]
fn control_characters_do_not_hide_in_an_encoding() {
    for name in ["&AAA-", "&AA0ACg-", "&AH8-"] {
        assert_eq!(
            MailboxName::from_external(&user("alice"), name.as_bytes()),
            Err(NameError::Encoding),
            "{name}"
        );
    }
}

#[test]
fn inbox_is_listed_by_a_pattern_in_any_case() {
    for pattern in ["inb%", "%box", "*inbox", "INBOX"] {
        assert!(
            ListPattern::new(b"", pattern.as_bytes()).matches("INBOX"),
            "{pattern}"
        );
    }
    assert!(!ListPattern::new(b"", b"work").matches("Work"));
}
