//! Whose mailbox a recipient's address means: `user`, `user+folder` or `+Shared Folders/x`, each
//! with or without a domain.

use murder_api::Settings;
use murder_model::{MailboxName, RootName, SHARED_FOLDERS, UserName};
use murder_proto::lmtp::address::Address;
use murder_proto::lmtp::reply::{EnhancedCode, Reply};

/// The root that a recipient's mailbox lies under, or the refusal of an address that can mean no
/// mailbox here, now or later.
pub fn root_of(settings: &Settings, address: &Address) -> Result<RootName, Reply> {
    let recipient = address.recipient();
    if let Some(domain) = &recipient.domain {
        let ours = |known: &String| known.eq_ignore_ascii_case(domain);
        if !settings.domains.is_empty() && !settings.domains.iter().any(ours) {
            return Err(other_domain());
        }
    }
    if !recipient.user.is_empty() {
        let user = UserName::parse(&recipient.user).map_err(|_| Reply::recipient_unknown())?;
        return Ok(RootName::user(&user));
    }
    let folder = recipient.shared_folder();
    let folder = folder.ok_or_else(Reply::recipient_unknown)?;
    // Names of shared folders are the same for everybody.
    let nobody = UserName::parse("nobody").expect("a valid user name");
    let external = format!("{SHARED_FOLDERS}/{folder}");
    let name = MailboxName::from_external(&nobody, external.as_bytes());
    name.map(|name| name.root())
        .map_err(|_| Reply::recipient_unknown())
}

/// The recipient's domain is none of ours.
pub fn other_domain() -> Reply {
    Reply::new(550, EnhancedCode(5, 1, 2), "domain is not served here")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use murder_api::Settings;
    use murder_proto::lmtp::address::Address;

    use super::root_of;

    fn root(local: &str, domain: Option<&str>) -> Result<String, u16> {
        let text = "role: unified\ncluster: mc\nname: one-0\nserver: one\ndataDir: d\n\
            accounts: a\nlisteners: {}\ndomains: [example.org]\n";
        let settings = Settings::parse(Path::new("node.yaml"), text).unwrap();
        let address = Address::new(local, domain.map(str::to_owned));
        root_of(&settings, &address)
            .map(|root| root.to_string())
            .map_err(|reply| reply.code())
    }

    #[test]
    fn users_folders_and_shared_folders_lie_under_their_roots() {
        for (local, expected) in [
            ("alice", Ok("user.alice")),
            ("Alice", Ok("user.alice")),
            ("a.b+Work/Plan", Ok("user.a^b")),
            ("+Shared Folders/team/plans", Ok("team")),
            ("+Shared Folders/", Err(550)),
            ("+team", Err(550)),
            ("a b/c", Err(550)),
        ] {
            assert_eq!(root(local, None), expected.map(str::to_owned), "{local}");
        }
    }

    #[test]
    fn only_our_domains_are_served() {
        assert_eq!(root("alice", Some("EXAMPLE.org")), Ok("user.alice".into()));
        assert_eq!(root("alice", Some("example.com")), Err(550));
    }
}
