//! Samples on their way into one of the two text formats.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, EncodeMetric as _, LabelSetEncoder,
        MetricEncoder, NoLabelSet, prometheus_text, text,
    },
    metrics::{MetricType, histogram::Histogram},
    registry::Registry,
};

use super::definitions::{Definition, Kind, all};

/// A format that scrapers read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// Prometheus' own, 0.0.4.
    Prometheus,
}

impl Format {
    /// The one that a scraper's `Accept` asks for. Who asks for none gets the older one, which everybody reads.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// What a metric is, of one set of labels.
#[derive(Clone, Debug)]
pub enum Value {
    /// A whole number: of a counter.
    Count(u64),
    /// Any number.
    Number(f64),
    /// What an info has to say is in its labels.
    Info,
    /// Durations.
    Durations(Histogram),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Number(f64::from(u8::from(is)))
    }
}

/// The value of a label. Shared, since many samples have the same.
pub type Label = Arc<str>;

#[derive(Debug)]
struct Sample {
    labels: Labels,
    value: Value,
}

#[derive(Debug)]
struct Labels(Vec<(&'static str, Label)>);

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| (*name, &**value).encode(encoder.encode_label()))
    }
}

/// Everything that is told at one time.
#[derive(Debug, Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, Vec<Sample>>,
}

impl Exposition {
    /// Adds a sample. `labels` are the values of the metric's labels, in their order.
    ///
    /// # Panics
    ///
    /// If there are more or fewer of them than the metric has, or the value is not of its kind.
    pub fn add<const N: usize>(&mut self, of: &Definition, labels: [&Label; N], value: impl Into<Value>) {
        let value = value.into();
        assert_eq!(of.labels.len(), N, "labels of {}", of.name);
        let fits = match value {
            Value::Count(_) => of.kind == Kind::Counter,
            Value::Number(_) => matches!(of.kind, Kind::Counter | Kind::Gauge),
            Value::Info => of.kind == Kind::Info,
            Value::Durations(_) => of.kind == Kind::Histogram,
        };
        assert!(fits, "{} is a {:?}", of.name, of.kind);
        let labels = Labels(of.labels.iter().copied().zip(labels.map(Arc::clone)).collect());
        self.families.entry(of.name).or_default().push(Sample { labels, value });
    }

    /// All of it, as a scraper reads it.
    ///
    /// # Errors
    ///
    /// Where a value cannot be written.
    pub fn written(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut text, &registry)?,
            Format::Prometheus => prometheus_text::encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for definition in all() {
            let Some(samples) = self.families.get(definition.name) else { continue };
            let kind = metric_type(definition.kind);
            let mut metric = encoder.encode_descriptor(definition.name, definition.help, None, kind)?;
            for sample in samples {
                sample.encode(definition.kind, &mut metric)?;
            }
        }
        Ok(())
    }
}

impl Sample {
    fn encode(&self, kind: Kind, metric: &mut MetricEncoder<'_>) -> fmt::Result {
        let Self { labels, value } = self;
        if kind == Kind::Info {
            return metric.encode_info(labels);
        }
        let mut metric = metric.encode_family(labels)?;
        match value {
            Value::Count(count) => metric.encode_counter::<NoLabelSet, _, u64>(count, None),
            Value::Number(number) if kind == Kind::Counter => {
                metric.encode_counter::<NoLabelSet, _, u64>(number, None)
            }
            Value::Number(number) => metric.encode_gauge(number),
            Value::Durations(histogram) => histogram.encode(metric),
            Value::Info => Ok(()),
        }
    }
}

const fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::definitions::{BACKEND_PACKETS, BUILD, FORWARDING};

    fn written(format: Format) -> String {
        let mut exposition = Exposition::default();
        exposition.add(&FORWARDING, [], true);
        let (service, backend): (Label, Label) = ("web".into(), "a \"quoted\" name".into());
        exposition.add(&BACKEND_PACKETS, [&service, &backend], 7_u64);
        exposition.add(&BUILD, [&"0.1.0".into()], Value::Info);
        exposition.written(format).unwrap()
    }

    #[test]
    fn both_formats_have_the_same_samples() {
        let samples = |text: &str| {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        let (new, old) = (written(Format::OpenMetrics), written(Format::Prometheus));
        let backend = r#"sluice_backend_packets_total{service="web",backend="a \"quoted\" name"} 7"#;
        assert_eq!(samples(&old)[0], backend);
        assert_eq!(samples(&old)[1..], [r#"sluice_build_info{version="0.1.0"} 1"#, "sluice_forwarding 1.0"]);
        assert_eq!(samples(&new).len(), 3);
        assert_eq!(samples(&new)[0], backend);
        assert!(new.ends_with("# EOF\n") && new.contains("# TYPE sluice_backend_packets counter\n"), "{new}");
        assert!(old.contains("# TYPE sluice_backend_packets_total counter\n"), "{old}");
    }

    #[test]
    fn format_is_the_one_that_is_accepted() {
        let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(accept), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Prometheus);
    }
}
