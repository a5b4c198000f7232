//! What taps have seen, as JSON.

use serde_json::{Map, Value, json};
use std::time::Duration;
use vmsgr_messenger::tap::{
    Flow, Kind, KindSums, Slow, Sums, Traffic, message_name, operation_name,
};

/// All of it as one object.
pub fn json(sums: &Sums) -> Value {
    let mut messages = Map::new();
    for (kind, traffic) in &sums.messages {
        let name = message_name(*kind).map_or_else(|| format!("type-{kind}"), str::to_owned);
        messages.insert(name, self::traffic(traffic));
    }
    if sums.other_messages != Traffic::default() {
        messages.insert("others".to_owned(), traffic(&sums.other_messages));
    }
    let operations: Map<_, _> = Kind::ALL
        .map(|kind| (kind.name().to_owned(), operations(sums.kind(kind))))
        .into_iter()
        .collect();
    json!({
        "connections": sums.connections,
        "blind": {
            "secure": sums.blind.secure,
            "compressed": sums.blind.compressed,
            "broken": sums.blind.broken,
        },
        "messages": messages,
        "control_frames": traffic(&sums.control_frames),
        "operations": operations,
        "in_flight": sums.in_flight,
        "most_in_flight": sums.most_in_flight,
        "untracked": sums.untracked,
        "unmatched": sums.unmatched,
        "abandoned": sums.abandoned,
        "repeated": sums.repeated,
        "slowest": sums.slowest().iter().map(slow).collect::<Vec<_>>(),
    })
}

fn traffic(traffic: &Traffic) -> Value {
    let flow = |flow: Flow| json!({ "messages": flow.messages, "bytes": flow.bytes });
    json!({ "from_client": flow(traffic.from_client), "from_server": flow(traffic.from_server) })
}

fn operations(sums: &KindSums) -> Value {
    let at = |percentile| micros(sums.percentile(percentile));
    json!({
        "operations": sums.operations,
        "errors": sums.errors,
        "bytes": sums.bytes,
        "mean_us": micros(sums.mean()),
        "p50_us": at(50.0),
        "p90_us": at(90.0),
        "p99_us": at(99.0),
        "p999_us": at(99.9),
        "max_us": micros(sums.max()),
    })
}

fn slow(slow: &Slow) -> Value {
    json!({
        "us": micros(Some(slow.latency)),
        "kind": slow.kind.name(),
        "operation": slow.code.map(|code| {
            operation_name(code).map_or_else(|| format!("{code:#x}"), str::to_owned)
        }),
        "pool": slow.pool,
        "object": slow.object,
        "bytes": slow.bytes,
        "client": slow.client.map(|client| client.to_string()),
    })
}

fn micros(time: Option<Duration>) -> Value {
    time.map_or(Value::Null, |time| json!(time.as_nanos() as u64 / 1000))
}
