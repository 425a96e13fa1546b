//! The API server: which, as whom, and with one time limit for each request.

use std::time::Duration;

use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};

use crate::options::Options;

/// A way to the API server and a namespace there.
#[derive(Clone)]
pub(crate) struct Access {
    client: Client,
    namespace: String,
    limit: Duration,
}

impl Access {
    /// Finds the API server as kubectl does.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        let mut config = configuration(options).await?;
        config.connect_timeout = Some(options.request_timeout);
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("the API server cannot be used")?;
        Ok(Self::new(client, namespace, options.request_timeout))
    }

    pub(crate) fn new(client: Client, namespace: String, limit: Duration) -> Self {
        Self {
            client,
            namespace,
            limit,
        }
    }

    /// The namespace of all objects.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Longest time of a request.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Objects of a kind in the namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A request with its limit; `what` says what could not be done.
    pub(crate) async fn request<T>(
        &self,
        what: &str,
        request: impl Future<Output = kube::Result<T>>,
    ) -> anyhow::Result<T> {
        let answer = tokio::time::timeout(self.limit, request).await;
        let answer =
            answer.with_context(|| format!("cannot {what}: no answer in {:?}", self.limit));
        answer?.map_err(|error| match error {
            kube::Error::Api(status) => anyhow::anyhow!("cannot {what}: {}", status.message),
            error => anyhow::Error::new(error).context(format!("cannot {what}")),
        })
    }
}

async fn configuration(options: &Options) -> anyhow::Result<Config> {
    if options.kubeconfig.is_none() && options.context.is_none() {
        let config = Config::infer().await;
        return config.context("no API server: give --kubeconfig, or set KUBECONFIG");
    }
    let kubeconfig = match &options.kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    }?;
    let chosen = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    Ok(Config::from_custom_kubeconfig(kubeconfig, &chosen).await?)
}
