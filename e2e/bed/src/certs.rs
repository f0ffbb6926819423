//! The bed's own authority and the certificates made with it: all P-256, written as PEM files that only the user reads.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::files;

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// Its key, PKCS#8 PEM.
    pub key: PathBuf,
}

/// The bed's certificate authority.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The authority's certificate, PEM.
    pub cert: PathBuf,
}

impl Authority {
    /// Makes a new authority whose files lie in `folder`.
    pub fn create(folder: &Path) -> Result<Self> {
        files::make_folder(folder)?;
        let key = KeyPair::generate().context("could not make the authority's key")?;
        let mut params = CertificateParams::new(Vec::new()).context("no names")?;
        params.distinguished_name.push(DnType::CommonName, "onsale-bed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key).context("could not sign the authority's certificate")?;
        let cert = folder.join("ca.crt");
        files::write_private(&cert, certificate.pem())?;
        Ok(Self { folder: folder.to_path_buf(), issuer: Issuer::new(params, key), cert })
    }

    /// A certificate for servers and clients alike that answer to `names` (DNS names and IP addresses).
    pub fn server(&self, file: &str, names: &[&str]) -> Result<Pair> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .with_context(|| format!("bad names for {file}"))?;
        params.distinguished_name.push(DnType::CommonName, file);
        self.sign(file, params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate: `user` and its groups, as Kubernetes reads them from CN and O.
    pub fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Pair> {
        let mut params = CertificateParams::new(Vec::new()).context("no names")?;
        params.distinguished_name.push(DnType::CommonName, user);
        // One organisation only: rcgen keeps one value per attribute.
        if let Some(group) = groups.first() {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        self.sign(file, params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A bare key pair (private, public), for service account tokens. Kubernetes signs them with ES256 then.
    pub fn key_pair(&self, file: &str) -> Result<Pair> {
        let key = KeyPair::generate().context("could not make a key")?;
        let pair = Pair { cert: self.folder.join(format!("{file}.pub")), key: self.folder.join(format!("{file}.key")) };
        files::write_private(&pair.cert, key.public_key_pem())?;
        files::write_private(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }

    fn sign(&self, file: &str, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().with_context(|| format!("could not make the key of {file}"))?;
        let certificate = params.signed_by(&key, &self.issuer).with_context(|| format!("could not sign {file}"))?;
        let pair = Pair { cert: self.folder.join(format!("{file}.crt")), key: self.folder.join(format!("{file}.key")) };
        files::write_private(&pair.cert, certificate.pem())?;
        files::write_private(&pair.key, key.serialize_pem())?;
        Ok(pair)
    }
}
