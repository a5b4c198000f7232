//! What is kept, and how much memory it may take.

use std::collections::{HashMap, VecDeque};

/// What an entry takes beside its bytes, about.
const OVERHEAD: usize = 64;

#[derive(Debug)]
pub(crate) enum Value {
    String(Vec<u8>),
    List(VecDeque<Vec<u8>>),
}

impl Value {
    fn cost(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(|item| item.len() + OVERHEAD).sum(),
        }
    }
}

/// What is in the way of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
}

/// Keys and values.
#[derive(Debug)]
pub(crate) struct Store {
    values: HashMap<Vec<u8>, Value>,
    used: usize,
    most: usize,
}

impl Store {
    /// May take about `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { values: HashMap::new(), used: 0, most }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Memory for something that is there already and is no value; given back with
    /// [`free`](Self::free).
    pub(crate) fn hold(&mut self, bytes: usize) {
        self.used += bytes;
    }

    fn take(&mut self, bytes: usize) -> Result<(), Refused> {
        if bytes > self.most.saturating_sub(self.used) {
            return Err(Refused::OutOfMemory);
        }
        self.used += bytes;
        Ok(())
    }

    pub(crate) fn free(&mut self, bytes: usize) {
        self.used -= bytes;
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<&[u8]>, Refused> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(bytes)) => Ok(Some(bytes)),
            Some(Value::List(_)) => Err(Refused::WrongType),
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.values.contains_key(key)
    }

    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        if let Some(Value::String(old)) = self.values.get_mut(key) {
            if value.len() > old.len() {
                let more = value.len() - old.len();
                if more > self.most.saturating_sub(self.used) {
                    return Err(Refused::OutOfMemory);
                }
            }
            self.used = self.used - old.len() + value.len();
            old.clear();
            old.extend_from_slice(value);
            old.shrink_to(2 * value.len());
            return Ok(());
        }
        self.take(key.len() + value.len() + OVERHEAD)?;
        if let Some(old) = self.values.insert(key.to_vec(), Value::String(value.to_vec())) {
            self.free(key.len() + OVERHEAD + old.cost());
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        let old = self.values.remove(key);
        if let Some(old) = &old {
            self.free(key.len() + OVERHEAD + old.cost());
        }
        old.is_some()
    }

    pub(crate) fn clear(&mut self) {
        let keys: usize = self.values.iter().map(|(k, v)| k.len() + OVERHEAD + v.cost()).sum();
        self.free(keys);
        self.values.clear();
    }

    pub(crate) fn increment(&mut self, key: &[u8]) -> Result<i64, Refused> {
        let number = match self.get(key)? {
            None => 0,
            Some(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or(Refused::NotAnInteger)?,
        };
        let number = number.checked_add(1).ok_or(Refused::Overflow)?;
        self.set(key, number.to_string().as_bytes())?;
        Ok(number)
    }

    fn list(&mut self, key: &[u8]) -> Result<&mut VecDeque<Vec<u8>>, Refused> {
        if !self.values.contains_key(key) {
            self.take(key.len() + OVERHEAD)?;
            self.values.insert(key.to_vec(), Value::List(VecDeque::new()));
        }
        match self.values.get_mut(key) {
            Some(Value::List(items)) => Ok(items),
            _ => Err(Refused::WrongType),
        }
    }

    /// Puts one item before the others; how many there are then.
    pub(crate) fn push(&mut self, key: &[u8], item: &[u8]) -> Result<usize, Refused> {
        let cost = item.len() + OVERHEAD;
        self.list(key)?;
        self.take(cost)?;
        let items = self.list(key)?;
        items.push_front(item.to_vec());
        Ok(items.len())
    }

    pub(crate) fn items(&self, key: &[u8]) -> Result<Option<&VecDeque<Vec<u8>>>, Refused> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::List(items)) => Ok(Some(items)),
            Some(Value::String(_)) => Err(Refused::WrongType),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_and_refused() {
        let mut store = Store::new(10_000);
        store.set(b"a", &[0; 4000]).unwrap();
        assert_eq!(store.set(b"b", &[0; 6000]), Err(Refused::OutOfMemory));
        assert_eq!(store.set(b"a", &[0; 10_000]), Err(Refused::OutOfMemory));
        store.set(b"a", &[0; 9000]).unwrap();
        store.set(b"a", b"x").unwrap();
        for _ in 0..50 {
            store.push(b"list", &[0; 100]).unwrap();
        }
        assert_eq!(store.push(b"list", &[0; 5000]), Err(Refused::OutOfMemory));
        assert_eq!(store.increment(b"list"), Err(Refused::WrongType));
        assert_eq!(store.push(b"a", b"x"), Err(Refused::WrongType));
        store.set(b"list", b"a string").unwrap();
        assert!(store.delete(b"list") && !store.delete(b"list"));
        store.push(b"list", b"x").unwrap();
        store.clear();
        assert_eq!((store.used(), store.len()), (0, 0));
    }
}
