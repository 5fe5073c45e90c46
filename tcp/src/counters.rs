//! What a stack counts, by the names that reports have for it.

use crate::segment::Reject;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Sums since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// All of them with their names.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Packets that came, whatever they were.
    segments_received,
    /// Segments that went out.
    segments_sent,
    /// Of those: acknowledgements that nothing else carried.
    acks_alone,
    /// Of those: sent before.
    retransmitted,
    /// Times that nothing was acknowledged for too long.
    timeouts,
    /// Losses that duplicate acknowledgements told of.
    fast_retransmits,
    /// Acknowledgements that said again what an earlier one had said, while something was on its way.
    duplicate_acks,
    /// Segments that were there already, or lay outside the window.
    duplicates,
    /// Segments that came before one that is to come before them.
    out_of_order,
    /// Of those: not kept, for want of room.
    out_of_order_dropped,
    /// Probes of a window that was closed.
    window_probes,
    /// Segments that were answered by the question whether the peer means it (RFC 5961).
    challenges,
    /// Resets that ended a connection.
    resets_received,
    /// Resets that went out.
    resets_sent,
    /// Connections whose peer did not answer any more.
    gave_up,
    /// Connections that we had closed, and whose peer did not.
    fin_timeouts,
    /// Segments for no connection of ours.
    strays,
    /// Answers to such that were not given, since too many waited.
    answers_dropped,
    /// Segments that make no sense where the connection stands.
    unexpected,
    /// Packets for addresses or ports that are not ours.
    foreign,
    /// Packets that are not TCP over IPv4.
    not_tcp,
    /// Parts of packets.
    fragments,
    /// Packets whose lengths contradict each other.
    malformed,
    /// Packets whose checksum does not fit.
    checksum_errors,
}

impl Counters {
    pub(crate) fn count(&mut self, reject: Reject) {
        *match reject {
            Reject::NotIpv4 | Reject::NotTcp => &mut self.not_tcp,
            Reject::Fragment => &mut self.fragments,
            Reject::Malformed => &mut self.malformed,
            Reject::Checksum => &mut self.checksum_errors,
        } += 1;
    }
}
