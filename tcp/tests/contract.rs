//! The reactor's contract, rule by rule, where clients are users in user space and the server is the kernel's.
//!
//! The rules are written once, in the tests of `throng-reactor`. Left out are those that say the opposite of what the contract
//! says of a reactor of packets: here no `Closed` comes before the peer has ended its half, too.
#![allow(dead_code)] // what servers alone are tested with

#[path = "../../reactor/tests/contract/bounds.rs"]
mod bounds;
#[path = "kernel/device.rs"]
mod device;
#[path = "../../reactor/tests/contract/harness.rs"]
mod harness;
#[path = "../../reactor/tests/contract/kernel.rs"]
mod kernel;
#[path = "../../reactor/tests/contract/life.rs"]
mod life;
#[path = "../../reactor/tests/contract/network.rs"]
mod network;
#[path = "../../reactor/tests/contract/stream.rs"]
mod stream;

use std::net::{Ipv4Addr, SocketAddr};

use harness::Backend;
use throng_reactor::epoll::Epoll;
use throng_reactor::{Config, Tun, Waker};
use throng_tcp::{Addresses, Users};

/// Users on a device, and servers over epoll on its near side.
struct OverUsers;

impl Backend for OverUsers {
    type Reactor = Epoll;
    type Client = Users<Tun>;
    /// Packets come in the order of the wire, so that one turn may take a whole window.
    const CLIENT_READS: u32 = u32::MAX;

    fn new() -> OverUsers {
        OverUsers
    }

    fn reactor(&self, config: &Config) -> Epoll {
        Epoll::new(config, Waker::new().expect("an eventfd")).expect("an epoll")
    }

    fn client(&self, config: &Config) -> Users<Tun> {
        let addresses = Addresses::new(Ipv4Addr::new(198, 18, 0, 2), 10);
        Users::new(device::tun().expect("a device"), config, addresses, 42)
    }

    fn address() -> SocketAddr {
        "198.18.0.1:0".parse().expect("an address")
    }
}

/// Instantiates rules.
macro_rules! rules {
    ($($module:ident: $($rule:ident)*;)*) => {
        $(mod $module {
            $(#[test]
            fn $rule() {
                crate::device::in_a_namespace(crate::$module::$rule::<crate::OverUsers>);
            })*
        })*
    };
}

mod users {
    rules! {
        life:
            a_connection_begins_on_both_sides_and_ends_with_one_closed
            a_client_comes_with_the_number_of_its_listener
            a_refused_connect_is_closed_without_connected
            an_index_is_not_reused_before_its_closed_was_seen
            an_index_is_not_reused_while_its_last_batch_is_handled
            a_stale_slot_takes_no_calls
            a_reset_in_the_middle_of_a_send_gives_the_buffer_back
            a_reset_ends_an_idle_connection_with_an_error
            a_reset_ends_a_connection_after_its_eof
            a_close_delivers_what_the_kernel_took
            a_connection_may_be_closed_right_after_accept
            a_connect_may_be_closed_before_its_outcome
            a_second_send_in_flight_is_a_mistake;
        stream:
            a_mebibyte_arrives_whole_and_in_order_through_small_buffers
            streams_in_both_directions_do_not_disturb_each_other
            a_paused_connection_gives_nothing_until_it_is_resumed
            a_pause_in_the_middle_of_a_flood_holds
            an_eof_waits_while_paused
            each_half_closes_by_itself
            fin_follows_the_send_that_was_given_before;
        bounds:
            a_greedy_connection_does_not_starve_another
            those_who_wait_for_a_buffer_get_one_in_order
            stopping_to_listen_keeps_the_connections
            many_wakes_before_a_wait_are_one
            two_thousand_connections_leave_nothing_behind;
        kernel:
            a_wake_from_another_thread_is_never_lost
            a_wake_before_the_wait_ends_it
            a_wait_does_not_end_before_its_deadline
            an_earlier_deadline_replaces_a_later_one;
    }
}
