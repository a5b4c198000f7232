//! The counters as one line of JSON.

use crate::tap_report;
use serde_json::{Map, Value, json};
use vmsgr_messenger::EntitySums;
use vmsgr_messenger::tap::Sums;
use vmsgr_reactor::Counters;

/// What a core tells.
#[derive(Debug, Default)]
pub struct Told {
    pub counters: Counters,
    /// What its taps have seen, if it has any.
    pub tap: Option<Box<Sums>>,
    /// What its entities have done, if it has any.
    pub entities: Option<Box<EntitySums>>,
}

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
    told: Option<Told>,
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
    pub fn told(&mut self, place: usize, told: Told) {
        if let Some(core) = self.cores.get_mut(place) {
            core.told = Some(told);
        }
    }

    /// The last that the core at `place` of the mask tells.
    pub fn stopped(&mut self, place: usize, told: Told) {
        if let Some(core) = self.cores.get_mut(place) {
            (core.told, core.stopped) = (Some(told), true);
        }
    }

    /// Whether every core has told its last.
    pub fn are_final(&self) -> bool {
        self.cores.iter().all(|core| core.stopped)
    }

    /// Whether there are taps, as far as cores have told.
    pub fn are_tapped(&self) -> bool {
        self.cores.iter().filter_map(|core| core.told.as_ref()).any(|told| told.tap.is_some())
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
        let mut taps: Option<Sums> = None;
        let mut entities: Option<EntitySums> = None;
        let mut cores = Vec::new();
        for core in &self.cores {
            let Some(Told { counters, tap, entities: sums }) = &core.told else { continue };
            total.add(counters);
            if let Some(tap) = tap {
                taps.get_or_insert_default().merge(tap);
            }
            if let Some(sums) = sums {
                entities.get_or_insert_default().add(sums);
            }
            let mut object = object(counters);
            object.insert("core".into(), json!(core.number));
            cores.push(Value::Object(object));
        }
        let mut line = json!({ "cores": cores, "total": object(&total) });
        if let Some(taps) = taps {
            line["tap"] = tap_report::json(&taps);
        }
        if let Some(sums) = entities {
            line["msgr2"] = msgr2(&sums);
        }
        line.to_string()
    }
}

fn msgr2(sums: &EntitySums) -> Value {
    json!({
        "messages_in": sums.messages_in,
        "message_bytes_in": sums.message_bytes_in,
        "messages_out": sums.messages_out,
        "opened": sums.opened,
        "closed": sums.closed,
        "held": sums.held,
        "sessions": sums.sessions,
        "streams": sums.streams,
    })
}

fn object(counters: &Counters) -> Map<String, Value> {
    counters.iter().map(|(name, _, value)| (name.to_owned(), json!(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(turns: u64) -> Told {
        Told { counters: Counters { turns, ..Counters::default() }, ..Told::default() }
    }

    #[test]
    fn taps_are_added_up_and_told_only_where_there_are_some() {
        let mut reports = Reports::new(&[0, 1]);
        assert!(reports.begin());
        let mut sums = Sums::default();
        sums.connections = 2;
        reports.told(0, turns(1));
        reports.told(1, turns(1));
        assert!(!reports.are_tapped() && !reports.are_final());
        assert!(!reports.take().unwrap().contains("tap"));
        for place in [0, 1] {
            reports.stopped(place, Told { tap: Some(Box::new(sums.clone())), ..Told::default() });
        }
        assert!(reports.are_tapped() && reports.are_final());
        assert!(reports.begin());
        let value: Value = serde_json::from_str(&reports.take().unwrap()).unwrap();
        assert_eq!(value["tap"]["connections"], 4);
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
