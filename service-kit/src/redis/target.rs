//! The address of Redis: one server, one master with Sentinels, or a cluster.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion, PushInfo,
    RedisResult, TlsCertificates,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;

use super::cluster::Cluster;
use super::connection::{Manager, Source};
use super::node_pool::{RedisTimeouts, node_pool};
use super::sentinel::{Sentinel, require_master};
use super::{PoolUnusable, RedisPool, Servers, slot};
use crate::tls::{Trust, TrustError, install_provider};

/// The schemes of several servers, without and with TLS, and that of each of them.
const SENTINEL: [(&str, &str); 2] =
    [("redis+sentinel://", "redis://"), ("rediss+sentinel://", "rediss://")];
const CLUSTER: [(&str, &str); 2] =
    [("redis+cluster://", "redis://"), ("rediss+cluster://", "rediss://")];

/// A parsed Redis URL.
#[derive(Clone)]
pub struct RedisTarget(Kind);

#[derive(Clone)]
enum Kind {
    Server(ConnectionInfo),
    Sentinel { sentinels: Vec<ConnectionInfo>, server: ConnectionInfo, master_name: String },
    Cluster(Vec<ConnectionInfo>),
}

/// Why a Redis URL is invalid. Never quotes the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTarget {
    /// None of the known forms.
    #[error(
        "is neither redis://, redis+unix://, redis+sentinel:// nor redis+cluster://, nor one of \
         rediss://, rediss+sentinel:// and rediss+cluster://, or its host or port is malformed"
    )]
    Malformed,
    /// `#insecure` would turn verification off.
    #[error("ends with #insecure: certificates are always verified, so set TLS_CA_FILE instead")]
    Insecure,
    /// The authorities cannot be used.
    #[error("needs the certificates of authorities: {0}")]
    Trust(#[from] TrustError),
    /// The list of servers is empty or has an empty member.
    #[error("has an empty list of hosts, or an empty host in it")]
    NoHost,
    /// Sentinels monitor several masters, each under a name.
    #[error("does not name the master after the Sentinels, as in redis+sentinel://host:26379/name")]
    NoMasterName,
    /// A cluster has one database, and no path.
    #[error("names a database or a path, which a cluster does not have")]
    Path,
}

impl RedisTarget {
    /// Reads a URL: `redis://user:password@host:6379/0`,
    /// `redis+sentinel://user:password@host:26379,host:26379/master` or
    /// `redis+cluster://user:password@host:6379,host:6379`. The credentials are for the servers;
    /// Sentinels get none. With `rediss` for `redis`, all connections use TLS, those to Sentinels,
    /// too, and the certificates must be of an authority in `trust`.
    ///
    /// # Errors
    /// When it has none of these forms.
    pub fn parse(url: &SecretString, trust: &Trust) -> Result<Self, InvalidTarget> {
        let url = url.expose_secret();
        let of_several = |schemes: [(&str, &'static str); 2]| {
            let mut schemes = schemes.into_iter();
            schemes.find_map(|(scheme, one)| Some((one, url.strip_prefix(scheme)?)))
        };
        if let Some((scheme, rest)) = of_several(SENTINEL) {
            let (servers, master_name) =
                rest.rsplit_once('/').ok_or(InvalidTarget::NoMasterName)?;
            if master_name.is_empty() {
                return Err(InvalidTarget::NoMasterName);
            }
            let (login, hosts) = login_and_hosts(servers);
            let sentinels = all_servers(scheme, "", hosts, trust)?;
            let server = all_servers(scheme, login, hosts, trust)?.swap_remove(0);
            return Ok(Self(Kind::Sentinel {
                sentinels,
                server,
                master_name: master_name.to_owned(),
            }));
        }
        if let Some((scheme, rest)) = of_several(CLUSTER) {
            let (login, hosts) = login_and_hosts(rest);
            return match hosts.contains('/') {
                true => Err(InvalidTarget::Path),
                false => all_servers(scheme, login, hosts, trust).map(Kind::Cluster).map(Self),
            };
        }
        server(url, trust).map(Kind::Server).map(Self)
    }

    /// The pool. It connects on first use, which must be within a Tokio runtime.
    ///
    /// # Errors
    /// When the client rejects the URL.
    pub fn pool(&self, timeouts: RedisTimeouts) -> Result<RedisPool, PoolUnusable> {
        let source = match &self.0 {
            Kind::Server(server) => Source::Server(Client::open(server.clone())?),
            Kind::Sentinel { .. } => Source::Master(self.sentinel(timeouts)?),
            Kind::Cluster(seeds) => {
                let cluster = Cluster::new(seeds.clone(), timeouts);
                return Ok(RedisPool(Arc::new(Servers::Cluster(cluster))));
            }
        };
        let pool = node_pool(Manager::new(source, timeouts.connection_config()), timeouts)?;
        Ok(RedisPool(Arc::new(Servers::One(pool))))
    }

    /// A connection outside the pool to any master, and its push messages: those of subscribed
    /// channels, and finally that it was closed. A message published on any node of a cluster
    /// reaches every master.
    ///
    /// # Errors
    /// When Redis cannot be reached.
    pub async fn channel(
        &self,
        timeouts: RedisTimeouts,
    ) -> RedisResult<(MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>)> {
        let client = match &self.0 {
            Kind::Server(server) => Client::open(server.clone())?,
            Kind::Sentinel { .. } => self.sentinel(timeouts)?.look_up().await?,
            Kind::Cluster(seeds) => {
                Client::open(Cluster::new(seeds.clone(), timeouts).any_server().await?)?
            }
        };
        self.listen(client, timeouts).await
    }

    /// The same to the master that owns a key.
    ///
    /// # Errors
    /// See [`RedisTarget::channel`].
    pub async fn channel_of(
        &self,
        key: &str,
        timeouts: RedisTimeouts,
    ) -> RedisResult<(MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>)> {
        match &self.0 {
            Kind::Server(_) | Kind::Sentinel { .. } => self.channel(timeouts).await,
            Kind::Cluster(seeds) => {
                let server = Cluster::new(seeds.clone(), timeouts).server_of(slot::of(key)).await?;
                self.listen(Client::open(server)?, timeouts).await
            }
        }
    }

    async fn listen(
        &self,
        client: Client,
        timeouts: RedisTimeouts,
    ) -> RedisResult<(MultiplexedConnection, mpsc::UnboundedReceiver<PushInfo>)> {
        // Unbounded, since the client cannot wait. The reader must keep up; messages are short.
        let (sender, pushes) = mpsc::unbounded_channel();
        let options = timeouts.connection_config().set_push_sender(sender);
        let mut connection = client.get_multiplexed_async_connection_with_config(&options).await?;
        if matches!(self.0, Kind::Sentinel { .. }) {
            require_master(&mut connection).await?;
        }
        Ok((connection, pushes))
    }

    fn sentinel(&self, timeouts: RedisTimeouts) -> RedisResult<Arc<Sentinel>> {
        let Kind::Sentinel { sentinels, server, master_name } = &self.0 else {
            return Err(
                (redis::ErrorKind::InvalidClientConfig, "the URL names no Sentinels").into()
            );
        };
        let sentinels = sentinels.iter().cloned().map(Client::open).collect::<RedisResult<_>>()?;
        Ok(Sentinel::new(
            sentinels,
            master_name.clone(),
            server.clone(),
            timeouts.connection_config(),
        ))
    }
}

/// Splits `user:password@hosts`; the first part keeps its `@`.
fn login_and_hosts(servers: &str) -> (&str, &str) {
    servers.split_at(servers.rfind('@').map_or(0, |at| at + 1))
}

fn all_servers(
    scheme: &str,
    login: &str,
    hosts: &str,
    trust: &Trust,
) -> Result<Vec<ConnectionInfo>, InvalidTarget> {
    let server = |host: &str| match host {
        "" => Err(InvalidTarget::NoHost),
        host => server(&format!("{scheme}{login}{host}"), trust),
    };
    hosts.split(',').map(server).collect()
}

fn server(url: &str, trust: &Trust) -> Result<ConnectionInfo, InvalidTarget> {
    let server = url.into_connection_info().map_err(|_| InvalidTarget::Malformed)?;
    let server = match server.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => return Err(InvalidTarget::Insecure),
        ConnectionAddr::TcpTls { .. } => {
            install_provider();
            // Else the client would trust its built-in ones.
            let root_cert = Some(trust.pem()?);
            let client =
                Client::build_with_tls(server, TlsCertificates { client_tls: None, root_cert });
            client.map_err(|_| InvalidTarget::Malformed)?.get_connection_info().clone()
        }
        _ => server,
    };
    Ok(with_resp3(server))
}

/// RESP3, which delivers push messages on the connection that sends commands.
fn with_resp3(server: ConnectionInfo) -> ConnectionInfo {
    let settings = server.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    server.set_redis_settings(settings)
}

impl std::fmt::Debug for RedisTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RedisTarget")
    }
}

#[cfg(test)]
mod tests {
    use super::super::address;
    use super::*;

    fn parse(url: &str) -> Result<RedisTarget, InvalidTarget> {
        RedisTarget::parse(&SecretString::from(url), &Trust::system())
    }

    fn has_tls(server: &ConnectionInfo) -> bool {
        matches!(server.addr(), ConnectionAddr::TcpTls { insecure: false, tls_params: Some(_), .. })
    }

    #[test]
    fn with_tls_each_server_that_is_found_has_it_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let key = rcgen::KeyPair::generate().expect("a key");
        let ca = rcgen::CertificateParams::default().self_signed(&key).expect("an authority");
        std::fs::write(&path, ca.pem()).expect("written");
        let trust = Trust::file(&path).expect("an authority");
        let parse = |url: &str| RedisTarget::parse(&SecretString::from(url), &trust).expect(url).0;

        let Kind::Server(server) = parse("rediss://:p@127.0.0.1") else { panic!("not one") };
        assert!(has_tls(&server));
        let sentinels = parse("rediss+sentinel://u:p@a:1,b:2/sessions");
        let Kind::Sentinel { sentinels, server, .. } = sentinels else { panic!("no Sentinels") };
        assert!(sentinels.iter().all(has_tls));
        let found = address::moved(&server, "127.0.0.2".to_owned(), 7);
        assert!(has_tls(&found), "the master");
        assert_eq!(found.addr().to_string(), "127.0.0.2:7");
        let Kind::Cluster(seeds) = parse("rediss+cluster://a:1,b:2") else { panic!("no cluster") };
        assert!(seeds.iter().all(has_tls));
        let Kind::Server(server) = parse("redis://a") else { panic!("not one") };
        assert!(!has_tls(&server) && !has_tls(&address::moved(&server, "b".to_owned(), 1)));
    }

    #[test]
    fn each_topology_has_its_form() {
        assert!(matches!(parse("redis://127.0.0.1:6379").expect("a URL").0, Kind::Server(_)));
        let sentinels = parse("redis+sentinel://u:p@a:1,b:2,c/sessions").expect("a URL").0;
        let Kind::Sentinel { sentinels, server, master_name } = sentinels else {
            panic!("not Sentinels")
        };
        assert_eq!((sentinels.len(), master_name.as_str()), (3, "sessions"));
        assert_eq!(
            (server.redis_settings().password(), sentinels[0].redis_settings().password()),
            (Some("p"), None)
        );
        let Kind::Cluster(seeds) = parse("redis+cluster://a:1,b:2").expect("a URL").0 else {
            panic!("not a cluster")
        };
        assert_eq!(seeds.len(), 2);
    }

    #[test]
    fn an_invalid_url_is_reported_with_its_fault_and_not_quoted() {
        for (url, fault) in [
            ("http://hunter2@a", InvalidTarget::Malformed),
            ("rediss://:hunter2@a/#insecure", InvalidTarget::Insecure),
            ("redis+sentinel://:hunter2@a:1,b:2", InvalidTarget::NoMasterName),
            ("redis+sentinel://:hunter2@a:1,b:2/", InvalidTarget::NoMasterName),
            ("redis+sentinel://:hunter2@a:1,,b:2/x", InvalidTarget::NoHost),
            ("redis+cluster://:hunter2@", InvalidTarget::NoHost),
            ("redis+cluster://:hunter2@a:1/0", InvalidTarget::Path),
            ("redis+cluster://:hunter2@a:port", InvalidTarget::Malformed),
        ] {
            let error = parse(url).expect_err(url).to_string();
            assert_eq!(error, fault.to_string(), "{url}");
            assert!(!error.contains("hunter2"));
        }
    }
}
