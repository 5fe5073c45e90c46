//! Every bound of the server, with its reason.

use std::time::Duration;

/// Connections of one shard that have not logged in yet. Each costs a session and its kernel socket, and nobody has
/// vouched for it; what comes beyond is turned away with a reason. A storm of 75,000 logins a second passes when a login
/// takes less than 0.4 s.
pub const LOGINS_MAX: usize = 32_768;

/// Handshakes of TLS of one shard that have begun and are not over: each keeps some ten kilobytes. Whoever comes then waits for its
/// turn with no more than its ClientHello. With 200 ms between two flights of a phone it is 20,000 handshakes a second, and a core
/// makes a third of that.
pub const HANDSHAKES_MAX: usize = 4096;

/// Turns with something to do that a shard takes at most before a step of a handshake. One takes some 100 us, for so long others
/// wait; and in a storm of clients nearly every turn has something to do.
pub const BUSY_TURNS_MAX: u32 = 4;

/// Bytes that a client may say before its handshake is over, from where on it is not read: the longest message of a handshake. What
/// follows it in the same bytes is kept, too.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// How long a client that connected and says nothing stays the kernel's business: clients speak first, so who means it is
/// accepted together with its `Hello`, for one wake instead of two. The kernel's shortest time. Who is silent is then accepted,
/// and its login timeout begins.
pub const DEFER_ACCEPT: Duration = Duration::from_secs(1);

/// How long a connection may take from its accept to its `Hello`. ejabberd allows 120 s; a phone on a bad line needs 10.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Silence after which a connection is closed. Phones send a heartbeat every four minutes.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Bytes that may wait for one client behind the send in flight. It covers 64 outstanding messages of four busy
/// correspondents; whoever lets more pile up reads too slowly.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// Most shards of a server: as many as a slot can tell apart.
pub const SHARDS_MAX: usize = 4096;

/// Bytes that wait for all clients of a server together, those of sends in flight included, and as many again of frames that have
/// not arrived as a whole. Each shard has its share. Beyond it a client is told to go that has a send in flight when
/// more comes for it, and one that leaves another frame unfinished. It covers 1024 clients that
/// let as much wait as each may, with one in a hundred of the memory of a machine of 24 GiB.
pub const SIDE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A shard's share covers at least so many clients that let as much wait as each may.
pub const SIDE_CLIENTS_MIN: usize = 16;

/// Messages to one recipient that are not acknowledged, whoever sent them: 24 bytes each at the recipient's home.
pub const UNACKNOWLEDGED_MAX: usize = 4096;
const _: () = assert!(UNACKNOWLEDGED_MAX >= throng_wire::limits::OUTSTANDING_MAX as usize);

/// How long a connection that was told to go may take to read the reason and close.
pub const LINGER: Duration = Duration::from_secs(3);

/// How long a draining shard waits for messages that are on their way before it says bye.
pub const DRAIN_SETTLE: Duration = Duration::from_secs(1);

/// How often a draining shard looks whether they have.
pub const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// How long after the bye a draining shard waits for its clients to leave, counted from the last progress: a million clients
/// take longer than one.
pub const DRAIN_LEAVE: Duration = Duration::from_secs(4);
const _: () = assert!(DRAIN_LEAVE.as_nanos() > LINGER.as_nanos(), "a drain is as patient as ever");

/// What counts as progress: one in so many of the clients that were left has gone. So clients that never leave end a drain in time,
/// though a few go now and then: of a million after 15 minutes at the latest.
pub const DRAIN_LEAVE_SHARE: usize = 16;

/// How long a client that was told `Bye(Draining)` is asked to stay away.
pub const DRAIN_WAIT_MS: u32 = 5_000;

/// Connections told goodbye in one turn of a drain: every goodbye takes a send buffer.
pub const GOODBYES_PER_TURN: usize = 512;

/// Connections reset in one turn at the end of a drain: each comes back as an event.
pub const RESETS_PER_TURN: usize = 512;

/// Batches that one mailbox holds, per shard that may write to it. A shard writes one per turn.
pub const MAILBOX_BATCHES_PER_SHARD: usize = 4;

/// Bytes of a batch that found its destination's mailbox full, from where on the sessions that add messages to it are
/// paused. Acknowledgements, outcomes, logins and logouts are still added: they are what empties the other shards.
pub const PARKED_BYTES_MAX: usize = 256 * 1024;

/// Empty batches that a shard keeps for reuse, each of at most four times [`SPARE_BUFFER_BYTES`], all of at most
/// [`spare_bytes`].
pub const SPARE_BATCHES: usize = 16;

/// How soon a full mailbox is tried again.
pub const PARKED_RETRY: Duration = Duration::from_millis(1);

/// Empty buffers that a shard keeps for reuse, of each kind; all of at most [`spare_bytes`].
pub const SPARE_BUFFERS: usize = 256;

/// Bytes of empty buffers that all shards together keep for reuse, of each of three kinds: outboxes, partial frames, batches. At a
/// million idle sessions that is three bytes each.
pub const SPARE_BYTES: usize = 1024 * 1024;

/// A shard's share of [`SPARE_BYTES`], one large buffer at least.
pub const fn spare_bytes(shards: usize) -> usize {
    let share = SPARE_BYTES / shards;
    if share > SPARE_BUFFER_BYTES { share } else { SPARE_BUFFER_BYTES }
}

/// Emptied lists of messages on their way to a user that a home keeps for reuse, and the most messages for which one of
/// them has room: 24 KiB in all.
pub const SPARE_FLIGHTS: usize = 64;
/// See [`SPARE_FLIGHTS`].
pub const SPARE_FLIGHTS_LEN: usize = 16;

/// Entries for which a table that only busy sessions use may keep room, however few use it now. Beyond them it gives room
/// back when less than an eighth is used.
pub const TABLE_KEPT: usize = 1024;

/// Largest buffer kept for reuse, in bytes: the few that grew beyond it are freed.
pub const SPARE_BUFFER_BYTES: usize = 16 * 1024;

/// The unit of `Session::heard`: fine enough for an idle timeout of a second, coarse enough for 17 years in 32 bits.
pub const HEARD_TICK: Duration = Duration::from_millis(125);

/// How often a slice of the sessions is looked at for idleness.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);

/// Passes over all sessions within one idle timeout: a connection is closed at most an eighth of it late.
pub const SWEEPS_PER_TIMEOUT: u32 = 8;
