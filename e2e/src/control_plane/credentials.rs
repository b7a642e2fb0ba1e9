//! Who may talk to the API server: kubeconfig files, and tokens of the product's service accounts.

use std::path::Path;

use anyhow::{Context, Result};
use axum::http::{HeaderValue, header};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use super::pki::{ClientCertificate, write_secret};

/// Namespace of the product.
pub const NAMESPACE: &str = "rdmamesh-system";
/// Tokens are made once per environment and must outlive it.
const TOKEN_LIFETIME_SECONDS: i64 = 7 * 24 * 3600;

/// How a kubeconfig's user proves itself.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A client certificate.
    Certificate(ClientCertificate),
    /// A service account's token.
    Token(String),
}

impl From<ClientCertificate> for Credential {
    fn from(certificate: ClientCertificate) -> Self {
        Self::Certificate(certificate)
    }
}

/// Writes a kubeconfig that needs no other file, readable by its owner only.
///
/// # Errors
/// When the file cannot be written.
pub fn write_kubeconfig(
    path: &Path,
    server: &str,
    authority: &str,
    credential: &Credential,
) -> Result<()> {
    let user = match credential {
        Credential::Certificate(pair) => json!({
            "client-certificate-data": base64(pair.certificate.as_bytes()),
            "client-key-data": base64(pair.key.as_bytes()),
        }),
        Credential::Token(token) => json!({ "token": token }),
    };
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "rig", "cluster": {
            "server": server, "certificate-authority-data": base64(authority.as_bytes()),
        }}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "user"}}],
        "current-context": "rig",
    });
    // JSON is YAML, which is what a kubeconfig is.
    let text = serde_json::to_string_pretty(&config).context("serialise the kubeconfig")?;
    write_secret(path, &text)
}

/// Beginning of the user agent of every client made here: audit logs tell tests from the product by it.
pub const USER_AGENT: &str = "rdmamesh-e2e/";

/// A client for a kubeconfig file.
///
/// # Errors
/// When the file cannot be read or is not a kubeconfig.
pub async fn client(kubeconfig: &Path) -> Result<kube::Client> {
    // An error means that this process has a provider already, which is as good.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let file = Kubeconfig::read_from(kubeconfig)
        .with_context(|| format!("read {}", kubeconfig.display()))?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("use {}", kubeconfig.display()))?;
    let agent = HeaderValue::from_static(concat!("rdmamesh-e2e/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, agent));
    kube::Client::try_from(config).context("make a client")
}

/// The operator's token.
///
/// # Errors
/// When the API server refuses.
pub async fn operator_token(client: &kube::Client) -> Result<String> {
    token(client, "rdmamesh-operator", None).await
}

/// An agent's token, bound to its Node: requests made with it carry the node's name, and it dies with the Node.
///
/// # Errors
/// When there is no such Node or the API server refuses.
pub async fn agent_token(client: &kube::Client, node: &str) -> Result<String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let node = nodes
        .get(node)
        .await
        .with_context(|| format!("read node {node}"))?;
    let reference = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: node.metadata.name,
        uid: node.metadata.uid,
    };
    token(client, "rdmamesh-agent", Some(reference)).await
}

async fn token(
    client: &kube::Client,
    account: &str,
    bound_object_ref: Option<BoundObjectReference>,
) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(TOKEN_LIFETIME_SECONDS),
            bound_object_ref,
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("ask for a token of {account}"))?;
    Ok(answer
        .status
        .context("the API server answers with a token")?
        .token)
}

/// Base64 with padding, as Kubernetes writes binary data.
pub fn base64(bytes: &[u8]) -> String {
    let value = serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()));
    // A ByteString serialises as a base64 text and nothing else.
    value
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
