//! The cluster's own certificate authority: the API server's certificate, client certificates, and the key that
//! signs service-account tokens.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// The address under which QEMU's user network shows the host's loopback address to the guest.
pub const HOST_AS_SEEN_BY_GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// First address of the service range: the `kubernetes` service.
const KUBERNETES_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The authority, able to issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, PEM.
    pub certificate: String,
}

impl Authority {
    /// Makes an authority, the API server's certificate and the token-signing key, as files in `folder`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let key = KeyPair::generate().context("make the authority's key")?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "rdmamesh-rig");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params
            .self_signed(&key)
            .context("sign the authority's certificate")?
            .pem();
        let authority = Self {
            issuer: Issuer::new(params, key),
            certificate,
        };
        std::fs::write(folder.join("ca.crt"), &authority.certificate).context("write ca.crt")?;
        let server = authority.api_server()?;
        std::fs::write(folder.join("apiserver.crt"), server.certificate)
            .context("write apiserver.crt")?;
        write_secret(&folder.join("apiserver.key"), &server.key)?;
        let tokens = KeyPair::generate().context("make the token-signing key")?;
        write_secret(
            &folder.join("service-accounts.key"),
            &tokens.serialize_pem(),
        )?;
        std::fs::write(folder.join("service-accounts.pub"), tokens.public_key_pem())
            .context("write service-accounts.pub")?;
        Ok(authority)
    }

    fn api_server(&self) -> Result<ClientCertificate> {
        let mut params = CertificateParams::new(
            SERVER_NAMES
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>(),
        )
        .context("the server's names are DNS names")?;
        for address in [
            Ipv4Addr::LOCALHOST,
            HOST_AS_SEEN_BY_GUEST,
            KUBERNETES_SERVICE,
        ] {
            params
                .subject_alt_names
                .push(SanType::IpAddress(IpAddr::V4(address)));
        }
        params
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client certificate: the API server takes the common name as user and the organisation as group.
    ///
    /// # Errors
    /// When signing fails.
    pub fn client(&self, user: &str, group: Option<&str>) -> Result<ClientCertificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<ClientCertificate> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("make a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("sign a certificate")?;
        Ok(ClientCertificate {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Writes a file that only its owner may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_secret(path: &Path, content: &str) -> Result<()> {
    use std::io::Write as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}
