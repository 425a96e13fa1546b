//! The command line.

use crate::harness::{Node, murder_node};

#[test]
fn bad_settings_are_named_with_file_and_line_and_nothing_starts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.yaml");
    std::fs::write(&path, "role: unified\ncluster: mc\nnmae: one-0\n").unwrap();
    for command in ["run", "check-config"] {
        let output = murder_node(&[command, "-c", path.to_str().unwrap()], "");
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            error.contains("node.yaml:3: unknown field `nmae`, expected one of"),
            "{error}"
        );
    }
}

#[test]
fn a_partition_that_a_node_holds_is_left_alone() {
    let node = Node::start_new();
    let partition = node.partition();
    for command in ["check", "dump", "rebuild"] {
        let output = murder_node(&["store", command, partition.to_str().unwrap()], "");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains("lock "),
            "{output:?}"
        );
    }
}

#[test]
fn a_directory_without_a_partition_is_bad_usage() {
    let directory = tempfile::tempdir().unwrap();
    let output = murder_node(&["store", "check", directory.path().to_str().unwrap()], "");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_deleted_account_can_log_in_no_more() {
    let node = Node::start_with("imap: {loginFailureDelayMs: 0}\n");
    let config = node.config();
    let config = config.to_str().unwrap();
    assert!(
        murder_node(&["passwd", "-c", config, "bob", "--delete"], "")
            .status
            .success()
    );
    let answer = node.imap().command("LOGIN bob secret");
    assert_eq!(
        answer,
        ["t NO [AUTHENTICATIONFAILED] wrong user or password"]
    );
    assert_eq!(
        murder_node(&["passwd", "-c", config, "bob", "--delete"], "")
            .status
            .code(),
        Some(2)
    );
    assert!(node.path().join("accounts").exists());
}
