//! The stack's certificate authority, Nginx's server certificate, and that of the servers behind
//! it.
//!
//! The authority is made once per state folder, so that clients keep trusting it. The server
//! certificate is issued at each start, so it never expires while in use.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use sha2::{Digest, Sha256};

use crate::error::{Attempt, StackError};
use crate::secrets::write_private;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Validity of the authority.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Validity of a server certificate: the longest that browsers accept.
const LEAF_LIFE: Duration = Duration::from_secs(397 * 24 * 60 * 60);

/// The certificate files.
#[derive(Clone, Debug)]
pub(crate) struct Tls {
    /// The authority's certificate, for `curl --cacert`.
    pub(crate) ca: PathBuf,
    /// The server's certificate followed by the authority's.
    pub(crate) chain: PathBuf,
    /// The server's key.
    pub(crate) key: PathBuf,
}

/// What a server certificate names, and what its authority may sign.
pub(crate) enum Names {
    /// This machine, for itself. The authority can sign for loopback names only.
    Loopback,
    /// This machine, for the local network, by a name or an address. The authority can sign for
    /// this, and for private addresses.
    Network(String),
}

impl Names {
    fn subjects(&self) -> Vec<String> {
        match self {
            Self::Loopback => ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            Self::Network(host) => vec![host.clone()],
        }
    }

    fn permitted(&self) -> Vec<GeneralSubtree> {
        let v4 = |address, mask| GeneralSubtree::IpAddress(CidrSubnet::V4(address, mask));
        let v6 = |first: [u8; 2], mask: [u8; 2]| {
            let filled = |[high, low]: [u8; 2]| {
                let mut bytes = [0; 16];
                bytes[..2].copy_from_slice(&[high, low]);
                bytes
            };
            GeneralSubtree::IpAddress(CidrSubnet::V6(filled(first), filled(mask)))
        };
        let loopback_v4 = v4([127, 0, 0, 0], [255, 0, 0, 0]);
        match self {
            Self::Loopback => vec![
                GeneralSubtree::DnsName("localhost".to_owned()),
                loopback_v4,
                GeneralSubtree::IpAddress(CidrSubnet::V6(
                    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                    [0xff; 16],
                )),
            ],
            Self::Network(host) => {
                // RFC 1918, link-local, and unique local addresses.
                let mut permitted = vec![
                    loopback_v4,
                    v4([10, 0, 0, 0], [255, 0, 0, 0]),
                    v4([172, 16, 0, 0], [255, 240, 0, 0]),
                    v4([192, 168, 0, 0], [255, 255, 0, 0]),
                    v4([169, 254, 0, 0], [255, 255, 0, 0]),
                    v6([0xfc, 0], [0xfe, 0]),
                    v6([0xfe, 0x80], [0xff, 0xc0]),
                ];
                let address = host.parse::<IpAddr>().ok();
                permitted.extend(address.map(|own| {
                    GeneralSubtree::IpAddress(match own {
                        IpAddr::V4(own) => CidrSubnet::V4(own.octets(), [0xff; 4]),
                        IpAddr::V6(own) => CidrSubnet::V6(own.octets(), [0xff; 16]),
                    })
                }));
                // A list without a name permits every name.
                let name = if address.is_some() { "localhost" } else { host };
                permitted.push(GeneralSubtree::DnsName(name.to_owned()));
                permitted
            }
        }
    }
}

impl Tls {
    /// Loads or makes the authority, and issues a new server certificate with these names.
    pub(crate) fn issue(dir: &Path, names: &Names) -> Result<Self, StackError> {
        Self::issue_as("server", dir, names)
    }

    /// The same for the servers behind Nginx.
    pub(crate) fn issue_internal(dir: &Path) -> Result<Self, StackError> {
        Self::issue_as("internal", dir, &Names::Loopback)
    }

    fn issue_as(name: &str, dir: &Path, names: &Names) -> Result<Self, StackError> {
        fs::create_dir_all(dir).attempt(|| format!("make {}", dir.display()))?;
        let files = Self {
            ca: dir.join("ca.pem"),
            chain: dir.join(format!("{name}.pem")),
            key: dir.join(format!("{name}.key")),
        };
        let (ca_pem, issuer) = authority(&files.ca, &dir.join("ca.key"), names)?;

        let mut params = CertificateParams::new(names.subjects())?;
        params.distinguished_name.push(DnType::CommonName, names.subjects().swap_remove(0));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_life(&mut params, LEAF_LIFE);
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &issuer)?;

        write_private(&files.key, key.serialize_pem().as_bytes())
            .attempt(|| format!("write {}", files.key.display()))?;
        let chain = format!("{}{ca_pem}", leaf.pem());
        fs::write(&files.chain, chain).attempt(|| format!("write {}", files.chain.display()))?;
        Ok(files)
    }
}

fn authority(
    cert: &Path,
    key_file: &Path,
    names: &Names,
) -> Result<(String, Issuer<'static, KeyPair>), StackError> {
    if let (Ok(pem), Ok(key)) = (fs::read_to_string(cert), fs::read_to_string(key_file)) {
        let key = KeyPair::from_pem(&key)?;
        return Ok((pem, Issuer::new(authority_params(&key, names), key)));
    }
    let key = KeyPair::generate()?;
    let params = authority_params(&key, names);
    let pem = params.self_signed(&key)?.pem();
    write_private(key_file, key.serialize_pem().as_bytes())
        .attempt(|| format!("write {}", key_file.display()))?;
    fs::write(cert, &pem).attempt(|| format!("write {}", cert.display()))?;
    Ok((pem, Issuer::new(params, key)))
}

/// Parameters of the authority's certificate. They derive from the key alone, so the certificate
/// need not be parsed, and each machine's authority has another name.
fn authority_params(key: &KeyPair, names: &Names) -> CertificateParams {
    let mut params = CertificateParams::default();
    let hash: String = Sha256::digest(key.public_key_raw())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Tandem local authority {hash}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // So that whoever trusts it trusts no more than it is made for.
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: names.permitted(),
        excluded_subtrees: Vec::new(),
    });
    set_life(&mut params, CA_LIFE);
    params
}

/// Valid from yesterday, to allow for clock skew.
fn set_life(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now - DAY + life).into();
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_stays_and_the_certificate_is_new() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let issue = || Tls::issue(dir.path(), &Names::Loopback);
        let files = issue().expect("issued");
        let read = |path: &Path| fs::read_to_string(path).expect("readable");
        let (ca, chain) = (read(&files.ca), read(&files.chain));
        let files = issue().expect("issued again");
        assert_eq!(ca, read(&files.ca));
        assert_ne!(chain, read(&files.chain));
        assert!(chain.ends_with(&ca));
        for key in ["ca.key", "server.key"] {
            let mode = fs::metadata(dir.path().join(key)).expect("exists").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}
