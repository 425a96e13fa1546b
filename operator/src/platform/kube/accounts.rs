//! The first account of a murder, made if nobody brought accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};

use super::calls::{ApiError, call_within};
/// Name of the account.
pub const ADMIN: &str = "admin";
/// Key of the accounts file in its Secret.
pub const ACCOUNTS_KEY: &str = "accounts";

/// Why the accounts could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The API server refused or could not be reached.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The password's Secret was made by somebody else and has no password.
    #[error(
        "NameTaken: Secret {0} has no key `password` and belongs to somebody else; rename it, or make the accounts \
         yourself"
    )]
    NoPassword(String),
    /// No random bytes, or no verifier could be made of them.
    #[error("a password: {0}")]
    Password(String),
}

/// Names of the two Secrets of a MurderCluster.
pub fn secret_names(cluster: &str) -> (String, String) {
    (
        format!("{cluster}-accounts"),
        format!("{cluster}-admin-password"),
    )
}

/// Makes the Secrets `CLUSTER-admin-password` and `CLUSTER-accounts` if they are missing; what exists is never
/// changed. `metadata` has the labels and owners of both; its name is not used. Whether the accounts were made now.
pub async fn ensure_accounts(
    client: &Client,
    namespace: &str,
    cluster: &str,
    metadata: &ObjectMeta,
    limit: Duration,
) -> Result<bool, AccountsError> {
    let secrets = Secrets {
        api: Api::namespaced(client.clone(), namespace),
        limit,
    };
    let (accounts, password) = secret_names(cluster);
    if secrets.get(&accounts).await?.is_some() {
        return Ok(false);
    }
    // The password goes first: accounts without it would be of no use to anybody.
    let text = match secrets.get(&password).await? {
        Some(secret) => password_of(&password, &secret)?,
        None => {
            let text = random_password()?;
            let content = [("username", ADMIN), ("password", text.as_str())];
            if secrets.create(&password, metadata, &content).await? {
                text
            } else {
                let secret = secrets.get(&password).await?.unwrap_or_default();
                password_of(&password, &secret)?
            }
        }
    };
    let line = tokio::task::spawn_blocking(move || account_line(ADMIN, text.as_bytes()))
        .await
        .map_err(|error| AccountsError::Password(error.to_string()))??;
    secrets
        .create(&accounts, metadata, &[(ACCOUNTS_KEY, &line)])
        .await
}

struct Secrets {
    api: Api<Secret>,
    limit: Duration,
}

impl Secrets {
    async fn get(&self, name: &str) -> Result<Option<Secret>, AccountsError> {
        let getting = self.api.get_opt(name);
        Ok(call_within(self.limit, "get Secret", name, getting).await?)
    }

    /// Whether it was created; false if it exists.
    async fn create(
        &self,
        name: &str,
        metadata: &ObjectMeta,
        content: &[(&str, &str)],
    ) -> Result<bool, AccountsError> {
        let bytes = |(key, text): &(&str, &str)| {
            let value = ByteString(text.as_bytes().to_vec());
            ((*key).to_owned(), value)
        };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..metadata.clone()
            },
            data: Some(content.iter().map(bytes).collect::<BTreeMap<_, _>>()),
            type_: Some("Opaque".to_owned()),
            ..Secret::default()
        };
        let parameters = PostParams {
            field_manager: Some("murder-operator".to_owned()),
            ..PostParams::default()
        };
        let creating = self.api.create(&parameters, &secret);
        match call_within(self.limit, "create Secret", name, creating).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

fn password_of(name: &str, secret: &Secret) -> Result<String, AccountsError> {
    let value = secret.data.as_ref().and_then(|data| data.get("password"));
    value
        .and_then(|value| String::from_utf8(value.0.clone()).ok())
        .filter(|text| !text.is_empty())
        .ok_or_else(|| AccountsError::NoPassword(name.to_owned()))
}

fn random_password() -> Result<String, AccountsError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| AccountsError::Password(error.to_string()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A line of an accounts file, as the nodes read it.
fn account_line(name: &str, password: &[u8]) -> Result<String, AccountsError> {
    // As `murder-node passwd` does: 19 MiB, two passes, one lane.
    let params = Params::new(19 * 1024, 2, 1, None).expect("the parameters are in range");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let verifier = argon2
        .hash_password(password)
        .map_err(|error| AccountsError::Password(error.to_string()))?;
    Ok(format!("{name}:{verifier}\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argon2::Argon2;
    use argon2::password_hash::PasswordVerifier as _;
    use argon2::password_hash::phc::PasswordHash;
    use k8s_openapi::api::core::v1::Secret;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::{Value, json};

    use super::{AccountsError, ensure_accounts};
    use crate::platform::kube::fake_api::FakeApi;

    const ACCOUNTS: &str = "/api/v1/namespaces/mail/secrets/mc-accounts";
    const PASSWORD: &str = "/api/v1/namespaces/mail/secrets/mc-admin-password";

    async fn ensure(api: &FakeApi) -> Result<bool, AccountsError> {
        let metadata = ObjectMeta {
            labels: Some([("murder.rs/cluster".to_owned(), "mc".to_owned())].into()),
            ..ObjectMeta::default()
        };
        let limit = Duration::from_secs(60);
        ensure_accounts(&api.client(), "mail", "mc", &metadata, limit).await
    }

    fn text(api: &FakeApi, path: &str, key: &str) -> String {
        let secret: Secret = serde_json::from_value(api.get(path).unwrap()).unwrap();
        String::from_utf8(secret.data.unwrap()[key].0.clone()).unwrap()
    }

    fn secret(name: &str, data: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data})
    }

    fn opens(line: &str, password: &str) -> bool {
        let verifier = line.strip_prefix("admin:").unwrap().trim_end();
        assert!(
            verifier.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{verifier}"
        );
        let verifier = PasswordHash::new(verifier).unwrap();
        let argon2 = Argon2::default();
        argon2
            .verify_password(password.as_bytes(), &verifier)
            .is_ok()
    }

    #[tokio::test]
    async fn a_new_murder_gets_an_administrator_whose_password_opens_the_account() {
        let api = FakeApi::default();
        assert!(ensure(&api).await.unwrap());
        let password = text(&api, PASSWORD, "password");
        assert_eq!(password.len(), 32);
        assert_eq!(text(&api, PASSWORD, "username"), "admin");
        assert!(opens(&text(&api, ACCOUNTS, "accounts"), &password));
        assert!(!opens(&text(&api, ACCOUNTS, "accounts"), "other"));
        let labels = &api.get(ACCOUNTS).unwrap()["metadata"]["labels"];
        assert_eq!(*labels, json!({"murder.rs/cluster": "mc"}));
    }

    #[tokio::test]
    async fn accounts_that_exist_are_left_alone() {
        let api = FakeApi::default();
        api.put(
            ACCOUNTS,
            secret("mc-accounts", &json!({"accounts": "b3du"})),
        );
        assert!(!ensure(&api).await.unwrap());
        assert_eq!(text(&api, ACCOUNTS, "accounts"), "own");
        assert_eq!(api.get(PASSWORD), None);
    }

    #[tokio::test]
    async fn a_password_that_exists_is_used() {
        let api = FakeApi::default();
        api.put(
            PASSWORD,
            secret("mc-admin-password", &json!({"password": "c2VjcmV0"})),
        );
        let before = api.get(PASSWORD);
        assert!(ensure(&api).await.unwrap());
        assert!(opens(&text(&api, ACCOUNTS, "accounts"), "secret"));
        assert_eq!(api.get(PASSWORD), before);
    }

    #[tokio::test]
    async fn a_password_secret_without_a_password_is_named() {
        let api = FakeApi::default();
        api.put(
            PASSWORD,
            secret("mc-admin-password", &json!({"username": "eA=="})),
        );
        let error = ensure(&api).await.unwrap_err().to_string();
        let expected = "NameTaken: Secret mc-admin-password has no key `password` and belongs to somebody else; rename it, \
                        or make the accounts yourself";
        assert_eq!(error, expected);
        assert_eq!(api.get(ACCOUNTS), None);
    }
}
