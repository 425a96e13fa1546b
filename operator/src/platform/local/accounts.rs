//! Accounts of the administrator and of test users, made with `murder-node passwd`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::render::ADMIN;
use super::state::{Folder, State, write_secret};

/// Makes the accounts that are missing. `settings` is any node's settings file.
pub(super) async fn ensure(
    folder: &Folder,
    state: &mut State,
    binary: &Path,
    settings: &Path,
) -> anyhow::Result<()> {
    let admin_password = folder.passwords().join(ADMIN);
    if !admin_password.exists() {
        let password = random_password()?;
        set(binary, settings, ADMIN, &password).await?;
        write_secret(&admin_password, password.as_bytes())?;
    }
    if state.users_made >= state.users {
        return Ok(());
    }
    let users_password = folder.passwords().join("users");
    if !users_password.exists() {
        write_secret(&users_password, random_password()?.as_bytes())?;
    }
    let password = std::fs::read_to_string(&users_password).context("read the users' password")?;
    while state.users_made < state.users {
        set(
            binary,
            settings,
            &user_name(state.users_made + 1),
            &password,
        )
        .await?;
        state.users_made += 1;
    }
    state.save(folder)
}

/// The name of the n-th test user.
pub(super) fn user_name(number: u32) -> String {
    format!("user{number:04}")
}

async fn set(binary: &Path, settings: &Path, user: &str, password: &str) -> anyhow::Result<()> {
    let mut child = Command::new(binary)
        .arg("passwd")
        .arg("-c")
        .arg(settings)
        .arg(user)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", binary.display()))?;
    let mut input = child.stdin.take().context("the program has no input")?;
    // A program that refuses early may not read; its exit code tells.
    let _ = input.write_all(password.as_bytes()).await;
    drop(input);
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        bail!(
            "account {user}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("random bytes: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
