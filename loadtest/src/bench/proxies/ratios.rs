//! Ratios of the compared proxies, and the bounds of the gateway's.

use super::running::{EDGE, PROXY};
use crate::bench::contender::Contender;
use crate::bench::report::{Bound, Load, Ratio, Spread};
use crate::bench::rounds::{Round, ratio};
use crate::bench::workload::Workload;

/// The rounds of all contenders with one load.
pub(super) struct Measured {
    pub(super) load: Load,
    pub(super) rounds: Vec<(Contender, Vec<Round>)>,
}

impl Measured {
    fn of(&self, wanted: Contender) -> Option<&[Round]> {
        self.rounds.iter().find(|(contender, _)| *contender == wanted).map(|(_, rounds)| &**rounds)
    }
}

/// Loads with few and with many connections, whose costs are compared.
const FEW_CONNECTIONS: usize = 64;
const MANY_CONNECTIONS: usize = 4_096;
/// Upper bound of their ratio.
const MANY_OVER_FEW: f64 = 1.6;

const PEERS: [Contender; 3] = [Contender::Haproxy, Contender::Nginx, Contender::Caddy];
/// Numerator and denominator.
const PAIRS: [(Contender, Contender); 7] = [
    (Contender::Relay, Contender::Haproxy),
    (Contender::Relay, Contender::Nginx),
    (Contender::GatewayH2, Contender::HaproxyH2),
    (Contender::GatewayH2, Contender::Gateway),
    (Contender::OtherGateway, Contender::Gateway),
    (Contender::OtherGatewayPingora, Contender::GatewayPingora),
    (Contender::OtherGatewayH2, Contender::GatewayH2),
];

/// Ratios of CPU time per request: of the gateways over other proxies, the same beyond what the
/// relay costs, and of many connections over few.
pub(super) fn ratios(measured: &Measured, before: &[Measured]) -> Vec<Ratio> {
    let Load { workload, connections, threads } = measured.load;
    let cpu = |round: &Round| cpu(workload, round);
    let over_peers = [Contender::Gateway, Contender::GatewayPingora, Contender::OtherGateway]
        .into_iter()
        .flat_map(|gateway| PEERS.map(|peer| (gateway, peer)));
    let mut ratios: Vec<Ratio> = over_peers
        .chain(PAIRS)
        .filter_map(|(left, right)| {
            let ratio = ratio(measured.of(left)?, measured.of(right)?, cpu);
            let bound = bound(measured.load, left, right).map(Bound::AtMost);
            Some(Ratio { name: format!("CPU, {left} over {right}"), ratio, bound })
        })
        .collect();
    ratios.extend(beyond_relay(measured, &cpu));
    let few = before.iter().find(|few| {
        connections == MANY_CONNECTIONS
            && few.load.connections == FEW_CONNECTIONS
            && few.load.workload == workload
            && few.load.threads == threads
    });
    let contenders = few.iter().flat_map(|few| few.rounds.iter());
    ratios.extend(contenders.filter_map(|(contender, few)| {
        let is_bound = *contender == Contender::Gateway && workload == Workload::Small;
        Some(Ratio {
            name: format!("CPU, {contender}, {connections} over {FEW_CONNECTIONS} connections"),
            ratio: ratio(measured.of(*contender)?, few, cpu),
            bound: is_bound.then_some(Bound::AtMost(MANY_OVER_FEW)),
        })
    }));
    ratios
}

/// Ratios of what proxies cost more than the relay, which is what TCP costs.
fn beyond_relay(measured: &Measured, cpu: &impl Fn(&Round) -> f64) -> Vec<Ratio> {
    let Some(relay) = measured.of(Contender::Relay) else { return Vec::new() };
    let own = |proxy| -> Option<Vec<f64>> {
        let rounds = measured.of(proxy)?.iter().zip(relay);
        Some(rounds.map(|(proxy, relay)| cpu(proxy) - cpu(relay)).collect())
    };
    let ratio = |gateway, peer| {
        let rounds = own(gateway)?.into_iter().zip(own(peer)?);
        Some(Ratio {
            name: format!("CPU, {gateway} over {peer}, beyond the relay"),
            ratio: Spread::of(rounds.map(|(gateway, peer)| gateway / peer)),
            bound: None,
        })
    };
    let pairs = [Contender::Gateway, Contender::OtherGateway].into_iter().flat_map(|gateway| {
        [Contender::Haproxy, Contender::Nginx].map(|peer| ratio(gateway, peer))
    });
    pairs.flatten().collect()
}

/// CPU time per request. Where an Nginx in front of the gateway ends TLS, its time is included.
fn cpu(workload: Workload, round: &Round) -> f64 {
    match workload {
        Workload::Tls => round.cpu_of(PROXY) + round.cpu_of(EDGE),
        _ => round.cpu_of(PROXY),
    }
}

/// What the gateway is to achieve with one thread.
fn bound(load: Load, left: Contender, right: Contender) -> Option<f64> {
    let Load { workload, connections, threads } = load;
    let is_bound = left == Contender::Gateway && threads == 1 && connections < MANY_CONNECTIONS;
    match (workload, right) {
        _ if !is_bound => None,
        (Workload::Small, Contender::Haproxy) => Some(0.65),
        (Workload::Small, Contender::Nginx) => Some(0.8),
        (Workload::BehindNginx, Contender::Haproxy) => Some(0.7),
        (Workload::BehindNginx, Contender::Nginx) => Some(0.85),
        (Workload::Large | Workload::Upload, Contender::Nginx) => Some(1.0),
        _ => None,
    }
}
