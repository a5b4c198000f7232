//! The counters as one line of JSON.

use serde_json::{Map, Value, json};
use vmsgr_reactor::Counters;

/// Reports, one at a time: complete once every core has told its counters.
#[derive(Debug)]
pub struct Reports {
    cores: Vec<PerCore>,
    under_way: bool,
}

#[derive(Debug)]
struct PerCore {
    number: usize,
    /// For the report under way.
    told: Option<Counters>,
    /// It answers no more; what it told last holds for ever.
    stopped: bool,
}

impl Reports {
    /// Reports of the loops on these cores.
    pub fn new(cores: &[usize]) -> Self {
        let per_core = |&number| PerCore { number, told: None, stopped: false };
        Self { cores: cores.iter().map(per_core).collect(), under_way: false }
    }

    /// Begins a report; false if one is under way, which then serves who asks meanwhile, too.
    pub fn begin(&mut self) -> bool {
        if self.under_way {
            return false;
        }
        for core in self.cores.iter_mut().filter(|core| !core.stopped) {
            core.told = None;
        }
        self.under_way = true;
        true
    }

    /// What the core at `place` of the mask answers.
    pub fn told(&mut self, place: usize, counters: Counters) {
        if let Some(core) = self.cores.get_mut(place) {
            core.told = Some(counters);
        }
    }

    /// The last that the core at `place` of the mask tells.
    pub fn stopped(&mut self, place: usize, counters: Counters) {
        if let Some(core) = self.cores.get_mut(place) {
            (core.told, core.stopped) = (Some(counters), true);
        }
    }

    /// The report under way, if it is complete; it ends with that.
    pub fn take(&mut self) -> Option<String> {
        let complete = self.under_way && self.cores.iter().all(|core| core.told.is_some());
        complete.then(|| {
            self.under_way = false;
            self.line()
        })
    }

    fn line(&self) -> String {
        let mut total = Counters::default();
        let mut cores = Vec::new();
        for core in &self.cores {
            let Some(counters) = &core.told else { continue };
            total.add(counters);
            let mut object = object(counters);
            object.insert("core".into(), json!(core.number));
            cores.push(Value::Object(object));
        }
        json!({ "cores": cores, "total": object(&total) }).to_string()
    }
}

fn object(counters: &Counters) -> Map<String, Value> {
    counters.iter().map(|(name, _, value)| (name.to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(turns: u64) -> Counters {
        Counters { turns, ..Counters::default() }
    }

    fn total_turns(line: Option<String>) -> u64 {
        let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
        value["total"]["turns"].as_u64().unwrap()
    }

    #[test]
    fn a_report_is_complete_with_its_last_core_and_is_one_line() {
        let mut reports = Reports::new(&[2, 5]);
        assert!(reports.begin());
        reports.told(1, turns(3));
        assert!(!reports.begin(), "one is under way");
        assert_eq!(reports.take(), None);
        reports.told(0, turns(4));
        let text = reports.take().unwrap();
        assert!(!text.contains('\n'));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["cores"][0]["core"], 2);
        assert_eq!(value["cores"][1]["turns"], 3);
        assert_eq!(value["total"]["turns"], 7);
        assert_eq!(value["total"]["spin_window_us"], 0);
        assert_eq!(reports.take(), None, "it was taken");
        assert!(reports.begin());
        assert_eq!(reports.take(), None, "every report has answers of its own");
    }

    #[test]
    fn a_core_that_has_stopped_counts_with_what_it_told_last() {
        let mut reports = Reports::new(&[0, 1]);
        assert!(reports.begin());
        reports.told(1, turns(3));
        reports.stopped(0, turns(4));
        assert_eq!(total_turns(reports.take()), 7, "the report under way does not wait for it");
        assert!(reports.begin());
        assert_eq!(reports.take(), None, "the other one still answers");
        reports.told(1, turns(5));
        assert_eq!(total_turns(reports.take()), 9);
        reports.stopped(1, turns(6));
        assert_eq!(reports.take(), None, "nobody asked");
        assert!(reports.begin());
        assert_eq!(total_turns(reports.take()), 10, "nobody is left to answer");
    }
}
