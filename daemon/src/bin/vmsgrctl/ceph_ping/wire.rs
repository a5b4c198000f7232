//! A connection to a Ceph daemon, with frames in crc mode.

use super::diagnosis::Diagnosis;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use vmsgr_messenger::msgr2::{Banner, Control, FrameDecoder, Limits, Tag, control_frame};

/// What is read at once.
const PIECE: usize = 16 << 10;

/// What is asked for with our own.
const BANNER: &str = "a banner";

/// A connection, blocking, with a bound on every wait.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    decoder: FrameDecoder,
    time_out: Duration,
    /// Control frames that have come and were not asked for yet.
    received: VecDeque<Control>,
}

impl Wire {
    /// Connects, and waits for the other's banner; also how long each of the two took.
    pub fn connect(
        address: SocketAddr,
        time_out: Duration,
    ) -> Result<(Self, Banner, Duration), Diagnosis> {
        let begun = Instant::now();
        let stream = TcpStream::connect_timeout(&address, time_out)
            .map_err(|error| Diagnosis::of_connecting(error, time_out))?;
        let connected = begun.elapsed();
        stream.set_nodelay(true).map_err(Diagnosis::Failed)?;
        let (decoder, received) = (FrameDecoder::new(Limits::default()), VecDeque::new());
        let mut wire = Self { stream, decoder, time_out, received };
        match wire.write(&Banner::OURS.encode(), BANNER) {
            // Who has closed may have said why; reading tells.
            Ok(()) | Err(Diagnosis::Closed(_)) => {}
            Err(diagnosis) => return Err(diagnosis),
        }
        let banner = wire.banner()?;
        Ok((wire, banner, connected))
    }

    /// Our address.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    fn banner(&mut self) -> Result<Banner, Diagnosis> {
        let until = Instant::now() + self.time_out;
        let mut bytes = Vec::new();
        loop {
            match Banner::decode(&bytes) {
                Err(rule) => return Err(Diagnosis::of_first_bytes(&bytes, rule)),
                Ok(Some((banner, length))) => {
                    // What a daemon that cannot be talked to says next need not be understood.
                    match Diagnosis::of_banner(&banner) {
                        Some(diagnosis) => return Err(diagnosis),
                        None => self.decode(&bytes[length..])?,
                    }
                    return Ok(banner);
                }
                Ok(None) => {}
            }
            let mut piece = [0; PIECE];
            match self.read(&mut piece, until) {
                Ok(0) => return Err(Diagnosis::of_closing(bytes.len())),
                Err(error) => {
                    return Err(match error.kind() {
                        ErrorKind::WouldBlock => Diagnosis::of_silence(bytes.len(), self.time_out),
                        ErrorKind::ConnectionReset => Diagnosis::of_closing(bytes.len()),
                        _ => Diagnosis::Failed(error),
                    });
                }
                Ok(count) => bytes.extend_from_slice(&piece[..count]),
            }
        }
    }

    /// Sends a control frame.
    pub fn send(&mut self, control: &Control) -> Result<(), Diagnosis> {
        self.write(&control_frame(control), control.tag().name())
    }

    fn write(&mut self, bytes: &[u8], what: &'static str) -> Result<(), Diagnosis> {
        let sent = self.stream.set_write_timeout(Some(self.time_out));
        sent.and_then(|()| self.stream.write_all(bytes)).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Diagnosis::Closed(what),
            _ => Diagnosis::Failed(error),
        })
    }

    /// The next control frame, which is the answer to `asked`; messages are passed over.
    pub fn receive(&mut self, asked: &'static str) -> Result<Control, Diagnosis> {
        let within = self.time_out;
        let control = self.receive_until(asked, Instant::now() + within)?;
        control.ok_or(Diagnosis::Unanswered { asked, within })
    }

    /// The next control frame, if one comes in time.
    pub fn receive_until(
        &mut self,
        asked: &'static str,
        until: Instant,
    ) -> Result<Option<Control>, Diagnosis> {
        loop {
            if let Some(control) = self.received.pop_front() {
                return Ok(Some(control));
            }
            let mut piece = [0; PIECE];
            match self.read(&mut piece, until) {
                Ok(0) => return Err(Diagnosis::Closed(asked)),
                Ok(count) => self.decode(&piece[..count])?,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(None),
                    ErrorKind::ConnectionReset => return Err(Diagnosis::Closed(asked)),
                    _ => return Err(Diagnosis::Failed(error)),
                },
            }
        }
    }

    fn decode(&mut self, mut bytes: &[u8]) -> Result<(), Diagnosis> {
        while let Some(frame) = self.decoder.decode(&mut bytes)? {
            if frame.tag != Tag::Message {
                self.received.push_back(Control::decode(frame.tag, &frame.segments[0])?);
            }
        }
        Ok(())
    }

    /// Reads what has come; `WouldBlock` when nothing has until then.
    fn read(&mut self, into: &mut [u8], until: Instant) -> io::Result<usize> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }
}
