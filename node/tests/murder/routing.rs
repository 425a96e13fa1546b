//! Frontends, backends and a master: users are placed, found, and served as if by one server.

use murder_e2e::murder::{Murder, Plan};

use crate::NODE;
use crate::client::{Client, message};

async fn discrete(users: &[&str]) -> Murder {
    let plan = Plan::discrete(NODE, 2, 1).users(users.iter().copied());
    plan.start().await.unwrap()
}

const NEW_USER: [&str; 7] = [
    "* LIST (\\HasNoChildren \\Archive) \"/\" \"Archive\"",
    "* LIST (\\HasNoChildren \\Drafts) \"/\" \"Drafts\"",
    "* LIST (\\HasNoChildren) \"/\" \"INBOX\"",
    "* LIST (\\HasNoChildren \\Junk) \"/\" \"Junk\"",
    "* LIST (\\HasNoChildren \\Sent) \"/\" \"Sent\"",
    "* LIST (\\HasNoChildren \\Trash) \"/\" \"Trash\"",
    "t OK done",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_new_user_gets_mailboxes_at_the_first_login_and_lists_them_at_once() {
    let murder = discrete(&["alice"]).await;
    let mut alice = Client::login(&murder, "fe-0", "alice");
    assert_eq!(alice.command("LIST \"\" \"*\""), NEW_USER);
    assert_eq!(
        alice.answer("CREATE Work/Deep"),
        "t OK done",
        "a folder is made"
    );
    let listed = alice.command("LIST \"\" \"Work*\"");
    assert_eq!(
        listed,
        [
            "* LIST (\\HasChildren) \"/\" \"Work\"",
            "* LIST (\\HasNoChildren) \"/\" \"Work/Deep\"",
            "t OK done"
        ]
    );
    let appended = alice.append("Work/Deep", "\\Flagged", &message("one"));
    assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    let selected = alice.ok("SELECT Work/Deep");
    assert!(selected.contains(&"* 1 EXISTS".to_owned()), "{selected:?}");
    let fetched = alice.ok("FETCH 1 (FLAGS BODY.PEEK[TEXT])");
    assert_eq!(
        fetched,
        [
            "* 1 FETCH (FLAGS (\\Flagged \\Recent) BODY[TEXT] {13}",
            "Text of one",
            ")",
            "t OK done"
        ]
    );
    let nothing = alice.answer("SELECT Nowhere");
    assert_eq!(nothing, "t NO [NONEXISTENT] mailbox does not exist");
    let nobody = alice.answer("STATUS \"Other Users/nobody\" (MESSAGES)");
    assert_eq!(nobody, "t NO [NONEXISTENT] mailbox does not exist");
    let nowhere = alice.append("Nowhere", "", &message("two"));
    assert_eq!(nowhere, "t NO [TRYCREATE] mailbox does not exist");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_are_spread_over_the_backends_and_each_finds_their_own() {
    let users: Vec<String> = (0..12).map(|number| format!("user{number:02}")).collect();
    let names: Vec<&str> = users.iter().map(String::as_str).collect();
    let murder = discrete(&names).await;
    for user in &users {
        let mut client = Client::login(&murder, "fe-0", user);
        let appended = client.append("INBOX", "", &message(user));
        assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
    }
    for user in &users {
        let mut client = Client::login(&murder, "fe-0", user);
        client.ok("SELECT INBOX");
        let found = client.ok(&format!("SEARCH SUBJECT \"about {user}\""));
        assert_eq!(found[0], "* SEARCH 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_outlives_the_backend_and_the_mail_is_there_again() {
    let mut murder = Plan::discrete(NODE, 1, 1)
        .users(["alice"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    alice.append("INBOX", "", &message("one"));
    alice.ok("SELECT INBOX");
    murder.kill("be-a-0").unwrap();
    let lost = "t NO [UNAVAILABLE] the selected mailbox is not available now, select it again";
    assert_eq!(alice.answer("FETCH 1 FLAGS"), lost);
    assert_eq!(alice.answer("NOOP"), lost);
    let unavailable = "t NO [UNAVAILABLE] mailbox is not available now";
    assert_eq!(alice.answer("SELECT INBOX"), unavailable);
    assert_eq!(alice.command("LIST \"\" \"*\""), NEW_USER, "LIST goes on");
    murder.start("be-a").await.unwrap();
    let selected = alice.ok("SELECT INBOX");
    assert!(selected.contains(&"* 1 EXISTS".to_owned()), "{selected:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_and_folders_go_on_without_the_master() {
    let mut murder = Plan::discrete(NODE, 1, 1)
        .users(["alice", "bob"])
        .start()
        .await
        .unwrap();
    let mut alice = Client::login(&murder, "fe-0", "alice");
    alice.append("INBOX", "", &message("one"));
    let master = murder.nodes()[0].name().to_owned();
    murder.kill(&master).unwrap();
    alice.ok("SELECT INBOX");
    alice.ok("CREATE Later");
    alice.ok("SELECT Later");
    let unavailable = "t NO [UNAVAILABLE] mailbox is not available now";
    let mut bob = Client::login(&murder, "fe-0", "bob");
    assert_eq!(bob.answer("SELECT INBOX"), unavailable);
    murder.start(&master).await.unwrap();
    let mut answer = bob.answer("SELECT INBOX");
    while answer == unavailable {
        answer = bob.answer("SELECT INBOX");
    }
    assert_eq!(
        answer, "t OK [READ-WRITE] selected",
        "made in the same session"
    );
    let mut alice = Client::login(&murder, "fe-0", "alice");
    let mut listed = alice.ok("LIST \"\" Later");
    while listed.len() == 1 {
        listed = alice.ok("LIST \"\" Later");
    }
    assert_eq!(listed[0], "* LIST (\\HasNoChildren) \"/\" \"Later\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_folder_on_another_backend_is_used_as_any_other() {
    let users: Vec<String> = (0..6).map(|number| format!("user{number}")).collect();
    let murder = Plan::discrete(NODE, 2, 1)
        .users(users.clone())
        .start()
        .await
        .unwrap();
    let mut admin = Client::login(&murder, "fe-0", "admin");
    admin.ok("CREATE \"Shared Folders/team\"");
    admin.ok("CREATE \"Shared Folders/team/news\"");
    admin.ok("SETACL \"Shared Folders/team/news\" anyone lrsi");
    // Whoever is placed where: all see and use the same folder.
    for user in &users {
        let mut client = Client::login(&murder, "fe-0", user);
        let listed = client.ok("LIST \"\" \"Shared Folders/*\"");
        assert_eq!(
            listed,
            [
                "* LIST (\\Noselect \\HasChildren) \"/\" \"Shared Folders/team\"",
                "* LIST (\\HasNoChildren) \"/\" \"Shared Folders/team/news\"",
                "t OK done"
            ]
        );
        let appended = client.append("Shared Folders/team/news", "\\Seen", &message(user));
        assert!(appended.starts_with("t OK [APPENDUID "), "{appended}");
        client.ok("SELECT \"Shared Folders/team/news\"");
        // Seen state is each reader's own.
        assert!(client.ok("SEARCH SEEN")[0].split(' ').count() == 3);
        client.ok("SUBSCRIBE \"Shared Folders/team/news\"");
        let subscribed = client.ok("LSUB \"\" \"Shared*\"");
        assert_eq!(
            subscribed[0],
            "* LSUB () \"/\" \"Shared Folders/team/news\""
        );
    }
}
