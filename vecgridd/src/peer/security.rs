//! Whom this member trusts: TLS with certificates on both sides, or nothing at all.
//!
//! Two ways lead to the same thing. `--peer-cert`, `--peer-key` and `--peer-ca` are the operator's own certificates:
//! whoever has one that this authority signed is a member, and its name must fit the address it is reached at.
//! `--grid-secret-file` is a secret that all members share: the key of an authority is *derived* from it, and each member
//! signs a certificate for itself when it starts. So who does not know the secret can neither connect nor be connected
//! to, nothing is sent that could be replayed, and there is one code path that encrypts and checks.
//!
//! Left out: reloading certificates without a restart, and revocation lists (sign anew instead).

use std::{fs, path::Path, sync::Arc};

use aws_lc_rs::hkdf;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Shorter ones can be guessed by whoever sees one handshake.
pub const LEAST_SECRET_BYTES: usize = 32;
/// The name in every certificate that is made from a secret.
const DERIVED_NAME: &str = "member.vecgrid.internal";
/// All members are of our making.
const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
/// An Ed25519 private key in PKCS#8 is these bytes and 32 more.
const ED25519_PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Why no secure connections can be made.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// A file.
    #[error("cannot read {0}: {1}")]
    File(String, String),
    /// A secret that is easy to guess.
    #[error(
        "the secret in {0} has {1} bytes, it must have at least {LEAST_SECRET_BYTES}: make one with `openssl rand -hex 32`, \
         and give the same file to every member"
    )]
    ShortSecret(String, usize),
    /// Certificates that do not fit together, or cannot be made.
    #[error("the certificates for members cannot be used: {0}")]
    Certificates(String),
}

fn unusable(error: impl std::fmt::Display) -> SecurityError {
    SecurityError::Certificates(error.to_string())
}

/// Whom this member trusts. Cheap to clone.
#[derive(Clone)]
pub enum Security {
    /// Everybody who can connect.
    Open,
    /// Whoever has a certificate of the same authority.
    Tls(Arc<Tls>),
}

/// Both directions of TLS.
pub struct Tls {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// The name that others' certificates must have; `None` = that of the address.
    name: Option<ServerName<'static>>,
}

impl Security {
    /// By a secret that all members share.
    ///
    /// # Errors
    /// When the file cannot be read, or what it holds is too short.
    pub fn of_secret(file: &Path) -> Result<Self, SecurityError> {
        let shown = file.display().to_string();
        let bytes = fs::read(file).map_err(|e| SecurityError::File(shown.clone(), e.to_string()))?;
        let secret = bytes.trim_ascii();
        if secret.len() < LEAST_SECRET_BYTES {
            return Err(SecurityError::ShortSecret(shown, secret.len()));
        }
        let authority = Authority::derived(secret)?;
        let (chain, key) = authority.sign_member()?;
        let name = ServerName::try_from(DERIVED_NAME).map_err(unusable)?;
        Self::tls(vec![authority.certificate], chain, key, Some(name))
    }

    /// By certificates in PEM files.
    ///
    /// # Errors
    /// When a file cannot be read, or they do not fit together.
    pub fn of_files(cert: &Path, key: &Path, ca: &Path) -> Result<Self, SecurityError> {
        let failed = |file: &Path| {
            let shown = file.display().to_string();
            move |e: rustls::pki_types::pem::Error| SecurityError::File(shown.clone(), e.to_string())
        };
        let certificates = |file: &Path| {
            let found = CertificateDer::pem_file_iter(file).map_err(failed(file))?;
            found.collect::<Result<Vec<_>, _>>().map_err(failed(file))
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
        Self::tls(certificates(ca)?, certificates(cert)?, private, None)
    }

    fn tls(
        authorities: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        name: Option<ServerName<'static>>,
    ) -> Result<Self, SecurityError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(unusable)?;
        }
        let roots = Arc::new(roots);
        let crypto: Arc<CryptoProvider> = Arc::new(provider::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&crypto));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&crypto))
            .with_protocol_versions(VERSIONS)
            .map_err(unusable)?
            .with_client_cert_verifier(verifier.build().map_err(unusable)?)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(unusable)?;
        let mut client = ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(VERSIONS)
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self::Tls(Arc::new(Tls { client: Arc::new(client), server: Arc::new(server), name })))
    }
}

impl Tls {
    /// The name that the certificate of whoever answers at `address` must have.
    pub(super) fn name_at(&self, address: &str) -> Result<ServerName<'static>, SecurityError> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        ServerName::try_from(host.to_owned()).map_err(unusable)
    }
}

/// An authority whose key is derived from a secret: the same on every member that knows it.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn derived(secret: &[u8]) -> Result<Self, SecurityError> {
        let mut seed = [0_u8; 32];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"vecgrid.peer.v1");
        let expanded = salt.extract(secret);
        let okm = expanded.expand(&[b"certificate authority"], hkdf::HKDF_SHA256).map_err(unusable)?;
        okm.fill(&mut seed).map_err(unusable)?;
        let pkcs8 = PrivatePkcs8KeyDer::from([ED25519_PKCS8.as_slice(), &seed].concat());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519).map_err(unusable)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.distinguished_name.push(DnType::CommonName, "members of a vecgrid grid");
        let certificate = params.self_signed(&key).map_err(unusable)?.der().clone();
        Ok(Self { key, params, certificate })
    }

    /// A certificate for this run of the daemon, with a key that nobody else knows.
    fn sign_member(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SecurityError> {
        let key = KeyPair::generate().map_err(unusable)?;
        let params = CertificateParams::new(vec![DERIVED_NAME.to_owned()]).map_err(unusable)?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(unusable)?;
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok((vec![certificate.der().clone()], private.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;

    fn secret(folder: &TempDir, text: &str) -> PathBuf {
        let file = folder.path().join(format!("secret-{}", text.len()));
        fs::write(&file, text).unwrap();
        file
    }

    fn tls(security: Security) -> Arc<Tls> {
        match security {
            Security::Tls(tls) => tls,
            Security::Open => panic!("not secure"),
        }
    }

    /// Whether a byte gets from one to the other.
    async fn talk(client: &Tls, server: &Tls) -> bool {
        let (near, far) = duplex(1 << 16);
        let name = client.name_at("10.0.0.7:5701").unwrap();
        let connecting = TlsConnector::from(Arc::clone(&client.client)).connect(name, near);
        let accepting = TlsAcceptor::from(Arc::clone(&server.server)).accept(far);
        let (Ok(mut near), Ok(mut far)) = tokio::join!(connecting, accepting) else { return false };
        let said = near.write_all(b"x").await.is_ok() && near.flush().await.is_ok();
        let mut heard = [0];
        said && far.read_exact(&mut heard).await.is_ok() && heard == *b"x"
    }

    #[tokio::test]
    async fn who_knows_the_secret_is_trusted_and_nobody_else() {
        let folder = TempDir::new().unwrap();
        let ours = secret(&folder, &"a".repeat(32));
        let one = tls(Security::of_secret(&ours).unwrap());
        let two = tls(Security::of_secret(&ours).unwrap());
        let foreign = tls(Security::of_secret(&secret(&folder, &"b".repeat(33))).unwrap());
        assert!(talk(&one, &two).await && talk(&two, &one).await);
        assert!(!talk(&foreign, &one).await, "it must not be let in");
        assert!(!talk(&one, &foreign).await, "it must not be believed");
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        let folder = TempDir::new().unwrap();
        let refused = Security::of_secret(&secret(&folder, "short\n\n")).err().unwrap().to_string();
        assert!(refused.contains("5 bytes") && refused.contains("openssl rand"), "{refused}");
        assert!(Security::of_secret(Path::new("nowhere")).is_err());
    }

    #[tokio::test]
    async fn certificates_in_files_are_checked_against_their_authority() {
        let folder = TempDir::new().unwrap();
        let make = |name: &str, authority: &Authority, san: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![san.to_owned()]).unwrap();
            let issuer = Issuer::from_params(&authority.params, &authority.key);
            let cert = params.signed_by(&key, &issuer).unwrap();
            let ca = authority.params.self_signed(&authority.key).unwrap();
            let file = |what: &str, pem: String| {
                let path = folder.path().join(format!("{name}.{what}"));
                fs::write(&path, pem).unwrap();
                path
            };
            let (cert, key) = (file("crt", cert.pem()), file("key", key.serialize_pem()));
            tls(Security::of_files(&cert, &key, &file("ca", ca.pem())).unwrap())
        };
        let (ours, theirs) = (Authority::derived(b"1").unwrap(), Authority::derived(b"2").unwrap());
        let (one, two) = (make("one", &ours, "10.0.0.7"), make("two", &ours, "10.0.0.7"));
        assert!(talk(&one, &two).await);
        assert!(!talk(&make("three", &theirs, "10.0.0.7"), &one).await, "another authority");
        assert!(!talk(&one, &make("four", &ours, "10.0.0.8")).await, "another address");
    }
}
