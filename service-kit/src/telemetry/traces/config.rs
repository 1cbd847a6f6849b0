//! OpenTelemetry's environment variables.
//!
//! The SDK's own parsing (0.33) replaces an invalid value by a default: a mistyped ratio samples
//! all requests. It does not decode `%20` in attributes and ignores `OTEL_SDK_DISABLED`. Here an
//! invalid value is a configuration error.

use std::str::FromStr;
use std::time::Duration;

use opentelemetry_sdk::trace::{Sampler, ShouldSample};
use percent_encoding::percent_decode_str;
use proto_contracts::InstanceName;

use crate::env::{ConfigError, Env};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
const TIMEOUT: &str = "OTEL_EXPORTER_OTLP_TIMEOUT";
const SDK_DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARG: &str = "OTEL_TRACES_SAMPLER_ARG";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
const SCHEDULE_DELAY: &str = "OTEL_BSP_SCHEDULE_DELAY";
const QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";

/// Export and sampling of spans.
#[derive(Clone, Debug)]
pub struct TraceConfig {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`
    /// after it.
    pub(super) endpoint: String,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`: how long the export of a batch may take; 10,000 ms by default.
    pub(super) timeout: Duration,
    /// `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`; `parentbased_always_on` by default.
    pub(super) sampler: Sampling,
    /// `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and the instance's name.
    pub(super) resource: Vec<(String, String)>,
    /// `OTEL_BSP_SCHEDULE_DELAY`: how long spans are collected into a batch; 1,000 ms by default.
    pub(super) schedule_delay: Duration,
    /// `OTEL_BSP_MAX_QUEUE_SIZE`: how many spans may wait; 2,048 by default.
    pub(super) queue_size: usize,
}

/// The sampler.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sampling {
    /// Whether the sender's decision applies, if there is one.
    pub(super) follows_parent: bool,
    /// For requests without a sender's decision.
    roots: Roots,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Roots {
    All,
    None,
    Ratio(f64),
}

impl TraceConfig {
    /// The variables that [`TraceConfig::from_env`] reads.
    pub const VARIABLES: [&str; 12] = [
        ENDPOINT,
        TRACES_ENDPOINT,
        PROTOCOL,
        TIMEOUT,
        SDK_DISABLED,
        EXPORTER,
        SAMPLER,
        SAMPLER_ARG,
        SERVICE_NAME,
        RESOURCE,
        SCHEDULE_DELAY,
        QUEUE_SIZE,
    ];

    /// Reads OpenTelemetry's variables; `None` when they name no collector or turn traces off. The
    /// exporter itself reads `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// # Errors
    /// For the first variable whose value cannot be used.
    pub fn from_env(
        env: &Env,
        service: &str,
        instance: &InstanceName,
    ) -> Result<Option<Self>, ConfigError> {
        let Switch(is_disabled) = env.parse(SDK_DISABLED, "false", "true")?;
        let exporter: Exporter = env.parse(EXPORTER, "otlp", "none")?;
        let _checked: Protocol = env.parse(PROTOCOL, "http/protobuf", "http/protobuf")?;
        let Url(base) = env.parse(ENDPOINT, "", "http://127.0.0.1:4318")?;
        let Url(traces) = env.parse(TRACES_ENDPOINT, "", "http://127.0.0.1:4318/v1/traces")?;
        let base = base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let timeout = milliseconds(env, TIMEOUT, "10000", 1..=600_000)?;
        let sampler = Sampling::from_env(env)?;
        let Attributes(mut resource) =
            env.parse(RESOURCE, "", "deployment.environment.name=staging")?;
        let in_resource = resource
            .iter()
            .find(|(name, _)| name == "service.name")
            .map(|(_, value)| value.clone());
        let name: String =
            env.parse(SERVICE_NAME, in_resource.as_deref().unwrap_or(service), "gateway")?;
        let schedule_delay = milliseconds(env, SCHEDULE_DELAY, "1000", 10..=600_000)?;
        let queue_size = env.parse_within(QUEUE_SIZE, "2048", 1..=1 << 20, "2048")?;
        let Some(endpoint) = traces.or(base).filter(|_| !is_disabled && exporter == Exporter::Otlp)
        else {
            return Ok(None);
        };
        resource
            .retain(|(name, _)| !["service.name", "service.instance.id"].contains(&name.as_str()));
        let own = [
            ("service.name", name.as_str()),
            ("service.instance.id", instance.as_str()),
            ("service.version", env!("CARGO_PKG_VERSION")),
        ];
        resource.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Ok(Some(Self { endpoint, timeout, sampler, resource, schedule_delay, queue_size }))
    }
}

impl Sampling {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let example = "parentbased_traceidratio";
        let mut sampling: Self = env.parse(SAMPLER, "parentbased_always_on", example)?;
        if matches!(sampling.roots, Roots::Ratio(_)) {
            sampling.roots = Roots::Ratio(env.parse_within(SAMPLER_ARG, "1", 0.0..=1.0, "0.01")?);
        }
        Ok(sampling)
    }

    pub(super) fn to_sdk(self) -> Box<dyn ShouldSample> {
        let roots = match self.roots {
            Roots::All => Sampler::AlwaysOn,
            Roots::None => Sampler::AlwaysOff,
            Roots::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
        };
        if self.follows_parent {
            Box::new(Sampler::ParentBased(Box::new(roots)))
        } else {
            Box::new(roots)
        }
    }
}

impl FromStr for Sampling {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (follows_parent, roots) = match name.strip_prefix("parentbased_") {
            Some(roots) => (true, roots),
            None => (false, name),
        };
        let roots = match roots {
            "always_on" => Roots::All,
            "always_off" => Roots::None,
            "traceidratio" => Roots::Ratio(1.0),
            _ => {
                return Err(
                    "the samplers are always_on, always_off and traceidratio, each also with the \
                     prefix parentbased_",
                );
            }
        };
        Ok(Self { follows_parent, roots })
    }
}

fn milliseconds(
    env: &Env,
    variable: &'static str,
    default: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Duration, ConfigError> {
    env.parse_within(variable, default, range, "1000").map(Duration::from_millis)
}

struct Switch(bool);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            _ if text.eq_ignore_ascii_case("true") => Ok(Self(true)),
            _ if text.eq_ignore_ascii_case("false") => Ok(Self(false)),
            _ => Err("expected true or false"),
        }
    }
}

#[derive(PartialEq)]
enum Exporter {
    Otlp,
    None,
}

impl FromStr for Exporter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "otlp" => Ok(Self::Otlp),
            "none" => Ok(Self::None),
            _ => Err("the exporters are otlp and none"),
        }
    }
}

struct Protocol;

impl FromStr for Protocol {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "http/protobuf" { Ok(Self) } else { Err("only http/protobuf is supported") }
    }
}

/// A collector's URL; `None` when the text is empty.
struct Url(Option<String>);

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let url = reqwest::Url::parse(text).map_err(|error| error.to_string())?;
        match (url.scheme(), url.has_host()) {
            ("http" | "https", true) => Ok(Self(Some(text.to_owned()))),
            _ => Err("expected a URL with http:// or https:// and a host".to_owned()),
        }
    }
}

/// `name=value` pairs with commas between them; values are percent-encoded.
struct Attributes(Vec<(String, String)>);

impl FromStr for Attributes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("'{pair}' is not name=value"))?;
            let value = percent_decode_str(value.trim())
                .decode_utf8()
                .map_err(|error| format!("'{pair}': {error}"))?;
            Ok((name.trim().to_owned(), value.into_owned()))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<TraceConfig>, ConfigError> {
        let instance = "stateless-1".parse().expect("a name");
        TraceConfig::from_env(&Env::from_pairs(pairs.iter().copied()), "stateless-svc", &instance)
    }

    fn on(pairs: &[(&str, &str)]) -> TraceConfig {
        let collector = [(ENDPOINT, "http://collector:4318")];
        read(&[&collector[..], pairs].concat()).expect("settings").expect("on")
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named() {
        assert!(read(&[]).expect("defaults").is_none());
        assert!(read(&[(SAMPLER, "always_on")]).expect("settings").is_none());
        let collector = (ENDPOINT, "http://collector:4318");
        assert!(read(&[collector, (SDK_DISABLED, "TRUE")]).expect("settings").is_none());
        assert!(read(&[collector, (EXPORTER, "none")]).expect("settings").is_none());
        assert!(read(&[collector]).expect("settings").is_some());
    }

    #[test]
    fn the_path_is_added_to_the_general_endpoint_alone() {
        assert_eq!(on(&[]).endpoint, "http://collector:4318/v1/traces");
        assert_eq!(
            on(&[(ENDPOINT, "https://collector/otlp/")]).endpoint,
            "https://collector/otlp/v1/traces"
        );
        assert_eq!(on(&[(TRACES_ENDPOINT, "http://other/x")]).endpoint, "http://other/x");
    }

    #[test]
    fn an_invalid_value_is_reported_even_while_traces_are_off() {
        for (variable, value) in [
            (ENDPOINT, "collector"),
            (ENDPOINT, "collector:4318"),
            (ENDPOINT, "http://"),
            (ENDPOINT, "ftp://collector"),
            (TRACES_ENDPOINT, "127.0.0.1:4318"),
            (PROTOCOL, "grpc"),
            (TIMEOUT, "soon"),
            (SDK_DISABLED, "maybe"),
            (EXPORTER, "zipkin"),
            (SAMPLER, "sometimes"),
            (RESOURCE, "nonsense"),
            (SCHEDULE_DELAY, "1"),
            (QUEUE_SIZE, "0"),
        ] {
            let error = read(&[(variable, value)]).expect_err(value);
            let text = error.to_string();
            assert!(
                error.variable == variable && text.contains(value) && text.contains("for example"),
                "{text}"
            );
        }
        let ratio = read(&[(SAMPLER, "traceidratio"), (SAMPLER_ARG, "1.5")]).expect_err("no ratio");
        assert_eq!(ratio.variable, SAMPLER_ARG);
    }

    #[test]
    fn the_standard_samplers_are_supported() {
        let sampler = |name| on(&[(SAMPLER, name), (SAMPLER_ARG, "0.25")]).sampler;
        assert_eq!(on(&[]).sampler, sampler("parentbased_always_on"));
        assert_eq!(sampler("always_off"), Sampling { follows_parent: false, roots: Roots::None });
        let ratio = Sampling { follows_parent: true, roots: Roots::Ratio(0.25) };
        assert_eq!(sampler("parentbased_traceidratio"), ratio);
    }

    #[test]
    fn the_resource_has_service_and_instance() {
        let value = |config: &TraceConfig, name: &str| {
            let found: Vec<_> = config
                .resource
                .iter()
                .filter(|(of, _)| of == name)
                .map(|(_, v)| v.clone())
                .collect();
            found.join(" and ")
        };
        assert_eq!(value(&on(&[]), "service.name"), "stateless-svc");
        let custom = on(&[(RESOURCE, "service.name=shop, region=eu%20west,service.instance.id=x")]);
        assert_eq!(value(&custom, "service.name"), "shop");
        assert_eq!(value(&custom, "region"), "eu west");
        assert_eq!(value(&custom, "service.instance.id"), "stateless-1");
        let both = on(&[(RESOURCE, "service.name=shop"), (SERVICE_NAME, "till")]);
        assert_eq!(value(&both, "service.name"), "till");
    }
}
