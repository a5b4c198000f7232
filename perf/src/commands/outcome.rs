//! What a load has brought, for people.

use vmsgr_perf::load::Outcome;
use vmsgr_perf::load::idle::IdleOutcome;
use vmsgr_perf::probe::Probed;
use vmsgr_perf::system_calls::Means;
use vmsgr_perf::table::{Table, figure, rate};

/// What a load brought, of what has this name in a column's head and in full.
pub fn load_table(outcome: &Outcome, (units, unit): (&str, &str)) -> String {
    let latency = &outcome.latency;
    let mut table = Table::new([
        &format!("{units}/s"),
        "MB/s",
        "p50 us",
        "p90 us",
        "p99 us",
        "p99.9 us",
        "max us",
    ]);
    let mut cells = vec![rate(outcome.messages_per_s()), figure(outcome.megabytes_per_s())];
    cells.extend(
        [latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us]
            .map(figure),
    );
    table.row(cells);
    let mut text = table.to_string();
    if let (Some(cpu), Some((voluntary, involuntary))) =
        (outcome.cpu_us_per_message(), outcome.switches_per_message())
    {
        text += &format!(
            "server, per {unit}: {} us CPU, {voluntary:.4} voluntary and {involuntary:.4} \
             involuntary context switches\n",
            figure(cpu)
        );
    }
    if let Some(probed) = &outcome.probed {
        text +=
            &system_calls(probed, probed.all_system_calls_per_message(), &format!("per {unit}"));
    }
    text += &format!(
        "generator, per {unit}: {} us CPU; {:.0}% busy, waited for its core {:.1}% of the time, \
             found {} connections ready per wait\n",
        figure(outcome.own_cpu_us_per_message()),
        outcome.generator.busy * 100.0,
        outcome.generator.waited * 100.0,
        figure(outcome.generator.ready_per_wait)
    );
    if let Some(open) = outcome.open_loop {
        text += &format!(
            "open loop: {} {units}/s were due, {} unanswered at the end\n",
            rate(open.rate),
            open.unanswered
        );
    }
    if outcome.silent_connections > 0 {
        text += &format!("{} connections got no reply at all\n", outcome.silent_connections);
    }
    text
}

/// How far the server's core was from the generator's, as far as somebody answered from there.
pub fn distance(server_core: usize, round_trips_ns: &[f64]) -> String {
    let took = "cores: a cache line took";
    match *round_trips_ns {
        [] => format!("cores: nobody answered from core {server_core}, which others are using\n"),
        [one] => format!("{took} {} ns there and back; once nobody answered\n", figure(one)),
        [before, after, ..] => format!(
            "{took} {} ns there and back before, and {} after\n",
            figure(before),
            figure(after)
        ),
    }
}

/// How many system calls there were, or why that is not known.
fn system_calls(probed: &Probed, count: Option<f64>, of: &str) -> String {
    if let Some(why) = &probed.missing {
        return format!("server, system calls: not counted: {why}\n");
    }
    let means = match probed.means {
        Some(Means::Strace) => "; by strace, which slows the server down: fewer than without",
        _ => "",
    };
    count.map_or(String::new(), |count| format!("server, system calls {of}: {count:.4}{means}\n"))
}

/// What connections on which nobody spoke have cost.
pub fn idle_table(outcome: &IdleOutcome) -> String {
    let mut text =
        format!("{} connections, nothing sent for {:.3} s\n", outcome.connections, outcome.seconds);
    if let Some(usage) = outcome.server {
        text += &format!(
            "server: {:.6} s CPU, {} voluntary and {} involuntary context switches\n",
            usage.cpu_s, usage.voluntary_switches, usage.involuntary_switches
        );
    }
    if let Some(probed) = &outcome.probed {
        let all = probed.parts.iter().map(|part| part.system_calls).sum::<Option<u64>>();
        text += &system_calls(probed, all.map(|count| count as f64), "in all");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_told_as_far_as_it_was_seen() {
        for (seen, told) in [
            (&[][..], "cores: nobody answered from core 7, which others are using\n"),
            (&[90.0], "cores: a cache line took 90.0 ns there and back; once nobody answered\n"),
            (
                &[90.0, 400.0],
                "cores: a cache line took 90.0 ns there and back before, and 400 after\n",
            ),
        ] {
            assert_eq!(distance(7, seen), told);
        }
    }
}
