//! What was seen, as a table.

use std::fmt::{self, Display};
use std::time::Duration;
use vmsgr_messenger::tap::{Flow, Kind, Sums, Traffic, message_name, operation_name};

/// Shows the sums.
#[derive(Debug)]
pub struct Table<'a>(pub &'a Sums);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.messages(f)?;
        self.operations(f)?;
        self.slowest(f)
    }
}

impl Table<'_> {
    fn messages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(sums) = self;
        writeln!(
            f,
            "{:24}{:>13}{:>15}{:>14}{:>15}",
            "messages", "from clients", "bytes", "from servers", "bytes"
        )?;
        for (kind, traffic) in &sums.messages {
            let name = message_name(*kind).map_or_else(|| format!("type {kind}"), str::to_owned);
            row(f, &name, traffic)?;
        }
        if sums.other_messages != Traffic::default() {
            row(f, "of other types", &sums.other_messages)?;
        }
        row(f, "(control frames)", &sums.control_frames)
    }

    fn operations(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(sums) = self;
        writeln!(
            f,
            "\n{:12}{:>10}{:>8}{:>15}{:>10}{:>10}{:>10}{:>10}{:>10}  ms",
            "operations", "count", "errors", "bytes", "mean", "p50", "p90", "p99", "max"
        )?;
        for kind in Kind::ALL {
            let of = sums.kind(kind);
            write!(f, "{:12}{:>10}{:>8}{:>15}", kind.name(), of.operations, of.errors, of.bytes)?;
            let times = [
                of.mean(),
                of.percentile(50.0),
                of.percentile(90.0),
                of.percentile(99.0),
                of.max(),
            ];
            for time in times {
                match time {
                    Some(time) => write!(f, "{:>10.3}", milliseconds(time))?,
                    None => write!(f, "{:>10}", "-")?,
                }
            }
            writeln!(f)?;
        }
        writeln!(
            f,
            "in flight {}, at most {}; not followed {}; replies to nothing {}; never answered {}; \
             repeated {}",
            sums.in_flight,
            sums.most_in_flight,
            sums.untracked,
            sums.unmatched,
            sums.abandoned,
            sums.repeated
        )
    }

    fn slowest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slowest = self.0.slowest();
        if !slowest.is_empty() {
            writeln!(f, "\n{:>10} ms  {:14}{:>6}{:>12}  object", "slowest", "", "pool", "bytes")?;
        }
        for slow in slowest {
            let name = slow.code.and_then(operation_name).unwrap_or(slow.kind.name());
            let pool = slow.pool.map_or_else(|| "-".to_owned(), |pool| pool.to_string());
            let time = milliseconds(slow.latency);
            writeln!(f, "{time:>10.3}     {name:14}{pool:>6}{:>12}  {}", slow.bytes, slow.object)?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, traffic: &Traffic) -> fmt::Result {
    let Traffic { from_client, from_server } = traffic;
    let flow = |flow: &Flow| (flow.messages, flow.bytes);
    let ((sent, sent_bytes), (got, got_bytes)) = (flow(from_client), flow(from_server));
    writeln!(f, "{name:24}{sent:>13}{sent_bytes:>15}{got:>14}{got_bytes:>15}")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
