//! A small chart of requests allowed and refused per hour: inline SVG, with the same in words for those who hear it.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::admin::records::Hours;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 96;
const GAP: u64 = 4;
/// For the scale.
const LEFT: u64 = 34;
/// For the number at the top of it.
const TOP: u64 = 12;

/// The last hours, the current one on the right.
pub(super) fn per_hour<const HOURS: usize>(counted: &Hours<HOURS>, now: Timestamp) -> Markup {
    let hours = &counted.hours;
    let most = hours.iter().map(|hour| hour.allowed + hour.refused).max().unwrap_or(0);
    let (allowed, refused) = hours.iter().fold((0, 0), |(allowed, refused), hour| (allowed + hour.allowed, refused + hour.refused));
    let step = (WIDTH - LEFT) / u64::try_from(hours.len().max(1)).unwrap_or(1);
    let scale = |count: u64| (count * HEIGHT).checked_div(most).unwrap_or(0).max(u64::from(count > 0) * 2);
    let name = |place: usize| {
        let back = i64::try_from(hours.len() - 1 - place).unwrap_or(0);
        Timestamp::from_second((now.as_second() / 3600 - back) * 3600).map(|hour| hour.strftime("%H:00").to_string()).unwrap_or_default()
    };
    html! {
        figure.chart {
            figcaption {
                span { "The last " (hours.len()) " hours" @if let Some(since) = counted.since { span.muted { " · counted from " (since.strftime("%H:%M").to_string()) " on, there is too much before" } } }
                span.legend { span.key.good { (allowed) " allowed" } span.key.bad { (refused) " refused" } span.muted { "UTC" } }
            }
            svg viewBox={ "0 -" (TOP) " " (WIDTH) " " (HEIGHT + TOP + 20) } role="img" aria-label={ "In the last " (hours.len()) " hours, " (allowed) " requests were allowed and " (refused) " refused." } {
                line.axis x1=(LEFT) y1=(HEIGHT) x2=(WIDTH) y2=(HEIGHT) {}
                @if most > 0 {
                    line.grid x1=(LEFT) y1="0" x2=(WIDTH) y2="0" {}
                    text x=(LEFT - 6) y="6" text-anchor="end" { (short(most)) }
                }
                @for (place, hour) in hours.iter().enumerate() {
                    @let x = LEFT + step * u64::try_from(place).unwrap_or(0) + GAP / 2;
                    @let (up, down) = (scale(hour.allowed), scale(hour.refused));
                    g {
                        title { (name(place)) " UTC: " (hour.allowed) " allowed, " (hour.refused) " refused" }
                        rect.back x=(x) y="0" width=(step - GAP) height=(HEIGHT) rx="2" {}
                        rect.good x=(x) y=(HEIGHT.saturating_sub(up + down)) width=(step - GAP) height=(up) rx="1" {}
                        rect.bad x=(x) y=(HEIGHT.saturating_sub(down)) width=(step - GAP) height=(down) rx="1" {}
                    }
                    @if place % 6 == 0 || place + 1 == hours.len() {
                        text x=(if place == 0 { x } else if place + 1 == hours.len() { x + step - GAP } else { x + (step - GAP) / 2 }) y=(HEIGHT + 15) text-anchor=(if place == 0 { "start" } else if place + 1 == hours.len() { "end" } else { "middle" }) { (name(place)) }
                    }
                }
            }
        }
    }
}

/// A number that fits beside the scale.
fn short(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..10_000_000 => format!("{}k", number / 1_000),
        _ => format!("{}M", number / 1_000_000),
    }
}
