//! The counters as one line of JSON.

use serde_json::{Map, Value, json};
use std::fmt;
use vmsgr_reactor::Counters;

/// A report under way: complete once every core has told its counters.
#[derive(Debug)]
pub struct Report {
    /// The number of each core, and what it told.
    cores: Vec<(usize, Option<Counters>)>,
}

impl Report {
    /// A report of the loops on these cores.
    pub fn new(cores: &[usize]) -> Self {
        Self { cores: cores.iter().map(|&core| (core, None)).collect() }
    }

    /// What the core at `place` of the mask tells; true if that was the last one missing.
    pub fn add(&mut self, place: usize, counters: Counters) -> bool {
        if let Some((_, told)) = self.cores.get_mut(place) {
            *told = Some(counters);
        }
        self.cores.iter().all(|(_, told)| told.is_some())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut total = Counters::default();
        let mut cores = Vec::new();
        for (core, told) in &self.cores {
            let Some(counters) = told else { continue };
            total.add(counters);
            let mut object = object(counters);
            object.insert("core".into(), json!(core));
            cores.push(Value::Object(object));
        }
        json!({ "cores": cores, "total": object(&total) }).fmt(f)
    }
}

fn object(counters: &Counters) -> Map<String, Value> {
    counters.iter().map(|(name, _, value)| (name.to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_complete_with_its_last_core_and_is_one_line() {
        let mut report = Report::new(&[2, 5]);
        assert!(!report.add(1, Counters { turns: 3, ..Counters::default() }));
        assert!(report.add(0, Counters { turns: 4, ..Counters::default() }));
        let text = report.to_string();
        assert!(!text.contains('\n'));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cores"][0]["core"], 2);
        assert_eq!(value["cores"][1]["turns"], 3);
        assert_eq!(value["total"]["turns"], 7);
        assert_eq!(value["total"]["spin_window_us"], 0);
    }
}
