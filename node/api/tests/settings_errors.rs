//! What a wrong settings file is told: file, line, key, and what is allowed.

use std::path::Path;

use murder_api::Settings;

const GOOD: &str = "role: unified
cluster: mc
name: one-0
server: one
dataDir: data
listeners:
  imap: 127.0.0.1:1143
  lmtp: 127.0.0.1:2003
accounts: accounts
";

fn error(text: &str) -> String {
    Settings::parse(Path::new("s.yaml"), text)
        .expect_err("the file is wrong")
        .to_string()
}

#[test]
fn the_file_that_the_others_are_made_of_is_good() {
    assert!(Settings::parse(Path::new("s.yaml"), GOOD).is_ok());
}

#[test]
fn an_unknown_role_is_told_the_four_there_are() {
    assert_eq!(
        error(&GOOD.replace("unified", "boss")),
        "s.yaml:1: role: unknown variant `boss`, \
         expected one of `backend`, `frontend`, `mupdate`, `unified`"
    );
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_whole_path() {
    assert_eq!(
        error(&format!("{GOOD}imap:\n  sessionsMax: many\n")),
        "s.yaml:11: imap.sessionsMax: invalid type: string \"many\", expected usize"
    );
}

#[test]
fn a_missing_key_and_a_doubled_key_are_named() {
    assert_eq!(
        error(&GOOD.replace("accounts: accounts\n", "")),
        "s.yaml:1: missing field `accounts`"
    );
    assert_eq!(
        error(&format!("{GOOD}accounts: b\n")),
        "s.yaml:1: duplicate field `accounts`"
    );
}

#[test]
fn a_number_out_of_range_is_told_the_range() {
    assert_eq!(
        error(&format!("{GOOD}transfer:\n  parallel: 0\n")),
        "s.yaml:11: transfer.parallel: 0 is not between 1 and 64"
    );
}

#[test]
fn a_listener_that_needs_certificates_says_so() {
    assert_eq!(
        error(&GOOD.replace("  lmtp:", "  admin: 127.0.0.1:8443\n  lmtp:")),
        "s.yaml:8: listeners.admin: needs `tls`"
    );
}

/// Both sections have the key; the line of the other one was told.
#[test]
fn a_key_of_two_sections_is_found_in_the_right_one() {
    assert_eq!(
        error(&format!(
            "{GOOD}lmtp:\n  sessionsMax: 5\nimap:\n  sessionsMax: 0\n"
        )),
        "s.yaml:13: imap.sessionsMax: 0 is not between 1 and 1000000"
    );
}

#[test]
fn domains_and_folders_that_cannot_be_are_refused() {
    assert_eq!(
        error(&format!("{GOOD}domains: ['a b@@']\n")),
        "s.yaml:10: domains: \"a b@@\" is not a domain such as example.org"
    );
    assert_eq!(
        error(&format!(
            "{GOOD}autocreate:\n  folders:\n  - name: INBOX/x\n"
        )),
        "s.yaml:11: autocreate.folders: \"INBOX/x\" is not a folder: \
         names a namespace, not a mailbox"
    );
}

#[test]
fn what_does_not_fit_the_role_is_told() {
    let murder = "tls: {certificate: a, key: b, ca: c}\nmupdate: {host: m}\n";
    assert_eq!(
        error(&format!("{GOOD}{murder}")),
        "s.yaml:6: listeners: with a master a server of mailboxes needs `imaps`, `lmtp` and `transfer`"
    );
    assert_eq!(
        error(&GOOD.replace("unified", "mupdate")),
        "s.yaml:6: listeners: the master needs `listeners.mupdate`\n\
         s.yaml:1: role: the master needs `tls`: nodes log in by certificate"
    );
    assert_eq!(
        error(&format!("{GOOD}publicTls: {{certificate: a, key: b}}\n")),
        "s.yaml:10: publicTls: needs `tls` beside it"
    );
}

#[test]
fn an_address_of_version_6_stands_in_brackets() {
    let good = GOOD.replace("127.0.0.1:1143", "\"[::1]:1143\"");
    assert!(Settings::parse(Path::new("s.yaml"), &good).is_ok());
    assert_eq!(
        error(&GOOD.replace("127.0.0.1:1143", "::1:1143")),
        "s.yaml:7: listeners.imap: \"::1:1143\" is not `host:port` or `[address]:port`"
    );
}

#[test]
fn a_log_level_that_there_is_not_is_told_the_levels() {
    let good = format!("{GOOD}logging: {{level: \"warn,murder_node::backend=debug\"}}\n");
    assert!(Settings::parse(Path::new("s.yaml"), &good).is_ok());
    assert_eq!(
        error(&format!("{GOOD}logging: {{level: '!!'}}\n")),
        "s.yaml:10: logging.level: \"!!\" is not a list of LEVEL or MODULE=LEVEL; \
         levels are off, error, warn, info, debug and trace"
    );
}

#[test]
fn proxies_and_the_end_of_a_node_are_checked() {
    let murder = "tls: {certificate: a, key: b, ca: c}\nmupdate: {host: m}\n";
    let proxied = GOOD.replace("  lmtp:", "  proxyProtocol: {networks: [here]}\n  lmtp:");
    assert_eq!(
        error(&proxied),
        "s.yaml:8: listeners.proxyProtocol: \"here\" is not `address/prefix`"
    );
    let backend = GOOD.replace("unified", "backend").replace(
        "  lmtp:",
        "  imaps: 127.0.0.1:1993\n  transfer: 127.0.0.1:2006\n  \
         proxyProtocol: {networks: [10.0.0.0/8]}\n  lmtp:",
    );
    assert_eq!(
        error(&format!("{backend}{murder}")),
        "s.yaml:10: listeners.proxyProtocol: \
         is for frontends and unified nodes, which clients connect to"
    );
    assert_eq!(
        error(&format!("{GOOD}stop: {{acceptSeconds: 6}}\n")),
        "s.yaml:10: stop.acceptSeconds: 6 is not between 0 and 5"
    );
}

#[test]
fn what_a_node_advertises_is_a_host() {
    let good = format!("{GOOD}advertise: be-a-0.be-a.mail.svc\n");
    assert!(Settings::parse(Path::new("s.yaml"), &good).is_ok());
    assert_eq!(
        error(&format!("{GOOD}advertise: be-a-0:1143\n")),
        "s.yaml:10: advertise: \"be-a-0:1143\" is not a host; ports are those of `listeners`"
    );
}
