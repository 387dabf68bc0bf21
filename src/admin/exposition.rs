//! Prometheus' text format and OpenMetrics, which differ in few places: one writer for both.

use std::fmt::{Display, Write as _};

use crate::proxy::counts::{BUCKETS_US, Times};

/// The formats that a scraper may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text 0.0.4.
    Prometheus,
    /// OpenMetrics text 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that an `Accept` header asks for.
    pub(super) fn accepted(accept: Option<&str>) -> Self {
        let asks = accept.unwrap_or_default().split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let openmetrics = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
            openmetrics && !parts.any(|parameter| matches!(parameter.to_ascii_lowercase().as_str(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        });
        if asks { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page of metrics being written.
#[derive(Debug)]
pub(super) struct Page {
    format: Format,
    text: String,
}

/// One family being written; each method adds a sample to it.
pub(super) struct Family<'p> {
    page: &'p mut Page,
    name: &'static str,
    suffix: &'static str,
}

/// Label names and values.
pub(super) type Labels<'l> = &'l [(&'static str, &'l str)];

// ===== writing =====

impl Page {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(16 << 10) }
    }

    /// The whole page.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// A counter; `name` without `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        // The family's name has the suffix in one format and has it not in the other; its samples have it in both.
        let suffix = match self.format {
            Format::Prometheus => "_total",
            Format::OpenMetrics => "",
        };
        self.family(name, suffix, "counter", help);
        Family { page: self, name, suffix: "_total" }
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "", "gauge", help);
        Family { page: self, name, suffix: "" }
    }

    /// A latency histogram in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str, times: &Times) {
        self.family(name, "", "histogram", help);
        let mut sum = 0;
        for (place, count) in times.buckets.iter().enumerate() {
            sum += count;
            let bound = BUCKETS_US.get(place).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us));
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{bound}\"}} {sum}");
        }
        let _ = writeln!(self.text, "{name}_sum {}\n{name}_count {sum}", seconds(times.sum_us));
    }

    fn family(&mut self, name: &str, suffix: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
    }
}

impl Family<'_> {
    /// A sample.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        let text = &mut self.page.text;
        let _ = write!(text, "{}{}", self.name, self.suffix);
        for (place, (name, value)) in labels.iter().enumerate() {
            let _ = write!(text, "{}{name}=\"", if place == 0 { '{' } else { ',' });
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
        self
    }
}

/// Microseconds as seconds, with no rounding.
fn seconds(us: u64) -> String {
    let (whole, rest) = (us / 1_000_000, us % 1_000_000);
    let text = format!("{whole}.{rest:06}");
    let short = text.trim_end_matches('0');
    if let Some(whole) = short.strip_suffix('.') { format!("{whole}.0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.counter("vicar_x", "Things.").sample(&[("a", "1\"2\\3\n4"), ("b", "")], 7);
        page.gauge("vicar_y", "Now.").sample(&[], 1.5);
        let mut times = Times { sum_us: 1_234_567, ..Times::default() };
        times.buckets[0] = 2;
        times.buckets[BUCKETS_US.len()] = 1;
        page.histogram("vicar_z_seconds", "Took.", &times);
        page.finish()
    }

    #[test]
    fn the_two_formats_differ_where_they_must() {
        let (old, new) = (page(Format::Prometheus), page(Format::OpenMetrics));
        assert!(
            old.starts_with("# HELP vicar_x_total Things.\n# TYPE vicar_x_total counter\nvicar_x_total{a=\"1\\\"2\\\\3\\n4\",b=\"\"} 7\n"),
            "{old}"
        );
        assert!(new.starts_with("# HELP vicar_x Things.\n# TYPE vicar_x counter\nvicar_x_total{"), "{new}");
        assert!(new.ends_with("# EOF\n") && !old.contains("EOF"));
        for text in [old, new] {
            assert!(text.contains("vicar_y 1.5\n"));
            assert!(text.contains("vicar_z_seconds_bucket{le=\"0.000025\"} 2\n"));
            assert!(text.contains("vicar_z_seconds_bucket{le=\"30.0\"} 2\nvicar_z_seconds_bucket{le=\"+Inf\"} 3\n"));
            assert!(text.contains("vicar_z_seconds_sum 1.234567\nvicar_z_seconds_count 3\n"));
        }
    }

    #[test]
    fn openmetrics_is_served_to_those_who_ask_for_it() {
        let of = |accept| Format::accepted(Some(accept));
        assert_eq!(of("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"), Format::OpenMetrics);
        assert_eq!(of("text/plain, application/openmetrics-text; q=0"), Format::Prometheus);
        assert_eq!(of("*/*"), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
