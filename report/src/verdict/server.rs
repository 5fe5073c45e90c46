//! What the server's own counters say that a reader should know: where it had no room, and what to do about that.

use crate::schema::Summary;

/// One sentence per cause, with the remedy. Whom the server closed or did not let in is counted as lost or failed
/// besides; this says why.
pub(super) fn warnings(summary: &Summary) -> Vec<String> {
    let Some(server) = &summary.server else { return Vec::new() };
    let counter = |name: &str| server.counters.get(name).copied().filter(|count| *count > 0);
    let mut warnings = Vec::new();
    if let Some(pauses) = counter("accept_pauses") {
        warnings.push(format!(
            "the server paused accepting {pauses} times, because its whole machine was out of open files, memory or epoll \
             watches: clients waited meanwhile; raise fs.file-max, net.ipv4.tcp_mem or fs.epoll.max_user_watches, \
             or connect fewer users"
        ));
    }
    if let Some(times) = counter("accept_left_group") {
        warnings.push(format!(
            "shards of the server were full and took no more clients, {times} times: the others had to take them, or nobody \
             did; raise the server's limit on open files (ulimit -n), or give it more --shards"
        ));
    }
    if let Some(overflows) = counter("ring_overflows") {
        warnings.push(format!(
            "completions came faster than the server took them from its ring, {overflows} times: nothing is lost by that, \
             but it costs time; give it more --shards, or lower the rate"
        ));
    }
    if let Some(closed) = counter("closed_slow_reader") {
        warnings.push(format!(
            "the server closed {closed} connections because their clients read too slowly: give the generator more \
             cores, or lower the rate"
        ));
    }
    if let Some(closed) = counter("closed_no_room") {
        warnings.push(format!(
            "the server closed {closed} connections because too much waited for all clients of a shard together, or too \
             many had left frames unfinished: give the generator more cores, or lower the rate"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::judge;
    use super::super::tests::passing;
    use crate::schema::{Server, Verdict};

    #[test]
    fn each_lack_of_room_is_told_with_its_remedy_and_changes_no_verdict() {
        let warned = |name: &str, count: u64| {
            let mut summary = passing();
            let counters = [(name.to_owned(), count)].into();
            summary.server = Some(Server { counters, ..Server::default() });
            judge(&mut summary, &[]);
            assert_eq!(summary.verdict, Verdict::Pass, "{:?}", summary.reasons);
            summary.warnings
        };
        for (name, count, remedy) in [
            ("accept_pauses", "paused accepting 7 times", "fs.file-max"),
            ("accept_left_group", "no more clients, 7 times", "ulimit -n"),
            ("ring_overflows", "its ring, 7 times", "--shards"),
            ("closed_slow_reader", "closed 7 connections", "more cores"),
            ("closed_no_room", "closed 7 connections", "more cores"),
        ] {
            let warnings = warned(name, 7);
            assert_eq!(warnings.len(), 1, "{name}: {warnings:?}");
            assert!(warnings[0].contains(count) && warnings[0].contains(remedy), "{name}: {warnings:?}");
            assert_eq!(warned(name, 0), Vec::<String>::new(), "{name}");
        }
        assert_eq!(warned("turns", 7), Vec::<String>::new());
    }
}
