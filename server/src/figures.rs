//! What a server tells about itself: counters that only grow and gauges, per shard.
//!
//! A shard counts in plain numbers and publishes them once per turn, so that reading them costs it nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// What one of a shard's figures is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// A sentence about it.
    pub text: &'static str,
    /// Whether it goes up and down; else it only grows.
    pub is_gauge: bool,
}

macro_rules! figures {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// One shard's figures as numbers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct ShardFigures { $($(#[doc = $doc])* pub $name: u64,)* }

        /// One shard's figures, for others to read. On cache lines of its own, since every turn writes them.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub(crate) struct Published {
            $($name: AtomicU64,)*
            thread: AtomicI64,
        }

        impl Published {
            pub(crate) fn publish(&self, figures: &ShardFigures) {
                $(self.$name.store(figures.$name, Ordering::Relaxed);)*
            }

            fn read(&self) -> ShardFigures {
                ShardFigures { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }

        impl ShardFigures {
            /// Adds another shard's.
            fn add(&mut self, other: &ShardFigures) {
                $(self.$name += other.$name;)*
            }

            /// Names and values, in the order of their declaration.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }

            /// What each of [`ShardFigures::list`] is, in that order.
            pub fn described() -> Vec<Description> {
                vec![$(Description {
                    name: stringify!($name),
                    text: concat!($($doc),*).trim(),
                    is_gauge: GAUGES.contains(&stringify!($name)),
                },)*]
            }
        }
    };
}

figures! {
    /// Connections now.
    connections,
    /// Connections now that are logged in.
    logged_in,
    /// Connections now that have not logged in yet.
    logging_in,
    /// Users in the part of the directory that this shard is home to.
    directory_users,
    /// Messages delivered and not yet acknowledged, at their recipients' home.
    unacknowledged,
    /// Connections accepted.
    connections_accepted,
    /// Connections that ended.
    connections_closed,
    /// Connections that ended by an error of the socket (reset, timeout).
    connections_failed,
    /// Logins that succeeded.
    logins,
    /// Logins that closed an earlier connection of the same user.
    logins_replaced,
    /// Messages received from senders.
    messages_received,
    /// Messages written to recipients.
    messages_delivered,
    /// Messages accepted: their recipient acknowledged.
    messages_accepted,
    /// Messages refused.
    messages_refused,
    /// Messages whose recipient's connection ended before it acknowledged.
    messages_unknown,
    /// Pings answered: the clients' heartbeats.
    pings_answered,
    /// Pings sent to silent clients.
    pings_sent,
    /// Connections now with TLS.
    tls_sessions,
    /// Bytes of the tables that hold connections' TLS.
    tls_bytes,
    /// Connections now whose TLS is kept whole by rustls, because the compact form cannot serve.
    tls_whole,
    /// Handshakes of TLS that have begun and are not over.
    handshakes_under_way,
    /// Connections whose handshake waits for its turn.
    handshakes_queued,
    /// Handshakes of TLS that succeeded, with a certificate.
    handshakes_full,
    /// Handshakes of TLS that succeeded, resuming an earlier session.
    handshakes_resumed,
    /// Handshakes of TLS that failed: no TLS, no version in common, a client that does not trust the certificate.
    handshakes_failed,
    /// Connections closed because no handshake was over in time.
    closed_handshake_timeout,
    /// Connections closed because of a record that was not sealed for them, or not allowed then.
    closed_bad_record,
    /// Connections closed because their key had sealed as many records as it may, and TLS 1.2 has no other.
    closed_key_used_up,
    /// Connections that ended without the goodbye of TLS.
    tls_truncated,
    /// Connections turned away because too many were logging in.
    closed_too_many_logins,
    /// Connections closed because no `Hello` came in time.
    closed_login_timeout,
    /// Connections closed because nothing was heard.
    closed_idle,
    /// Connections closed because the client read too slowly.
    closed_slow_reader,
    /// Connections closed because too much waited for all clients of the shard, or too many had left frames unfinished.
    closed_no_room,
    /// Connections closed because of bytes that are no frame, or too long a one.
    closed_bad_frame,
    /// Connections closed because of a frame that was not allowed then.
    closed_bad_conduct,
    /// Connections told to go that did not close in time, and were reset.
    closed_by_reset,
    /// Times that accepting paused because the whole machine was out of descriptors or memory.
    accept_pauses,
    /// Times that this shard took no more connections, for want of descriptors of its own or at its limit.
    accept_left_group,
    /// Batches written to other shards.
    batches_sent,
    /// Times that another shard's mailbox was full.
    mailbox_full,
    /// Sessions paused because of a full mailbox.
    mailbox_paused_sessions,
    /// Turns of the event loop.
    turns,
    /// System calls for waiting, receiving, sending and accepting.
    syscalls,
    /// Times that a connection waited for a receive buffer.
    recv_starved,
    /// Sends that the kernel took in parts.
    short_sends,
    /// Overflows of the completion ring.
    ring_overflows,
    /// CPU time of the shard's thread, in nanoseconds.
    cpu_ns,
}

/// Figures that go up and down.
const GAUGES: [&str; 10] = [
    "connections",
    "logged_in",
    "logging_in",
    "directory_users",
    "unacknowledged",
    "tls_sessions",
    "tls_bytes",
    "tls_whole",
    "handshakes_under_way",
    "handshakes_queued",
];

impl Published {
    /// Notes the calling thread as the one whose CPU time belongs to these figures.
    pub(crate) fn adopt_thread(&self) {
        let id = std::fs::read_link("/proc/thread-self").ok();
        let id = id.and_then(|path| path.file_name()?.to_str()?.parse().ok());
        self.thread.store(id.unwrap_or(0), Ordering::Relaxed);
    }

    /// Messages from this shard's senders that had no outcome when the shard last published.
    pub(crate) fn outstanding(&self) -> u64 {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        of(&self.messages_received)
            - of(&self.messages_accepted)
            - of(&self.messages_refused)
            - of(&self.messages_unknown)
    }

    /// What the shard last published, and the CPU time of its thread now.
    pub(crate) fn snapshot(&self) -> ShardFigures {
        let mut figures = self.read();
        let path = format!("/proc/self/task/{}/schedstat", self.thread.load(Ordering::Relaxed));
        if let Ok(text) = std::fs::read_to_string(path) {
            figures.cpu_ns = text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
        }
        figures
    }
}

/// All of a server's figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// CPU time of the process in seconds, user and system.
    pub cpu_s: f64,
    /// One entry per shard.
    pub shards: Vec<ShardFigures>,
}

impl Figures {
    /// The sum over all shards.
    pub fn total(&self) -> ShardFigures {
        let mut total = ShardFigures::default();
        self.shards.iter().for_each(|shard| total.add(shard));
        total
    }

    /// How unevenly connections are spread: those of the fullest shard by the average of all shards, so 1 is even and the
    /// number of shards is the most; `None` while nobody is connected.
    pub fn connections_skew(&self) -> Option<f64> {
        let counts = || self.shards.iter().map(|shard| shard.connections);
        let (sum, most) = (counts().sum::<u64>(), counts().max()?);
        (sum > 0).then(|| most as f64 * self.shards.len() as f64 / sum as f64)
    }

    /// The sum over all shards by name, for a report: counters since `earlier` figures of the same server, gauges as
    /// they are.
    pub fn counters_since(&self, earlier: &Figures) -> BTreeMap<String, u64> {
        let named = self.total().list().into_iter().zip(earlier.total().list());
        named
            .map(|((name, now), (_, then))| {
                let value = if GAUGES.contains(&name) { now } else { now.saturating_sub(then) };
                (name.to_owned(), value)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_json_and_missing_names_are_zero() {
        let figures =
            Figures { cpu_s: 1.5, shards: vec![ShardFigures { logins: 3, ..Default::default() }; 2] };
        let json = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<Figures>(&json).unwrap(), figures);
        let old: Figures = serde_json::from_str(r#"{"cpu_s":0,"shards":[{"logins":1}]}"#).unwrap();
        assert_eq!(old.total().logins, 1);
        assert_eq!(figures.counters_since(&old)["logins"], 5);
    }

    #[test]
    fn each_figure_is_described_in_a_sentence() {
        let (described, list) = (ShardFigures::described(), ShardFigures::default().list());
        assert!(described.iter().map(|one| one.name).eq(list.iter().map(|(name, _)| *name)));
        assert!(described.iter().all(|one| one.text.ends_with('.') && one.text.len() > 10), "{described:?}");
        assert_eq!(described.iter().filter(|one| one.is_gauge).count(), GAUGES.len());
    }

    #[test]
    fn skew_is_the_fullest_shard_by_the_average() {
        let skew = |counts: &[u64]| {
            let shards = counts
                .iter()
                .map(|&connections| ShardFigures { connections, ..Default::default() })
                .collect();
            Figures { cpu_s: 0.0, shards }.connections_skew()
        };
        assert_eq!((skew(&[]), skew(&[0, 0])), (None, None));
        assert_eq!((skew(&[7]), skew(&[5, 5])), (Some(1.0), Some(1.0)));
        assert_eq!((skew(&[90, 110]), skew(&[0, 0, 0, 8])), (Some(1.1), Some(4.0)));
    }

    #[test]
    fn a_thread_that_adopted_its_figures_tells_its_cpu_time() {
        let published = Published::default();
        published.adopt_thread();
        // The kernel accounts when it schedules: give it a few chances.
        let accounted = (0..1000).any(|_| {
            std::thread::yield_now();
            published.snapshot().cpu_ns > 0
        });
        assert!(accounted);
    }
}
