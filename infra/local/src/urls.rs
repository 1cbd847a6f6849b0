//! The URLs of a stack's listeners.

use proto_contracts::agent::{GatewayUrls, Urls};

use crate::class::Classroom;
use crate::component::Component;
use crate::ports::{Ports, loopback};
use crate::topology::{Extent, Gateways};

/// The URLs of a stack with these ports, whose gateways have this scheme.
pub(crate) fn of(
    ports: &Ports,
    extent: Extent,
    gateways: Gateways,
    class: &Classroom,
    scheme: &str,
) -> Urls {
    let http = |port| format!("http://{}", loopback(port));
    let gateway = |port| format!("{scheme}://{}", loopback(port));
    Urls {
        https: (extent >= Extent::Edge).then(|| format!("https://{}", loopback(ports.https))),
        gateway: gateway(ports.gateway),
        control: http(ports.control),
        second: (gateways == Gateways::Two).then(|| GatewayUrls {
            name: Component::SecondGateway.to_string(),
            gateway: gateway(ports.second_gateway),
            control: http(ports.second_control),
        }),
        class: (class.is_open && extent >= Extent::Edge).then(|| class.url(ports.class)),
        agent: http(ports.agent),
        prometheus: (extent >= Extent::Monitoring).then(|| http(ports.prometheus)),
    }
}
