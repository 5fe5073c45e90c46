//! The contract of `src/contract.rs`, rule by rule, over every backend.
//!
//! A test is written once, for any backend, and instantiated for each by `suite!`. A backend that this machine does
//! not have is skipped with a message; where the variable CI is set, that is a failure.
#![allow(unsafe_code)] // system calls that fail when a test wants it

#[path = "contract/bounds.rs"]
mod bounds;
#[path = "contract/harness.rs"]
mod harness;
#[path = "contract/kernel.rs"]
mod kernel;
#[path = "contract/life.rs"]
mod life;
#[path = "contract/network.rs"]
mod network;
#[path = "contract/room.rs"]
mod room;
#[path = "contract/shortage.rs"]
mod shortage;
#[path = "contract/stream.rs"]
mod stream;
#[path = "contract/table.rs"]
mod table;

use harness::Backend;
use throng_reactor::epoll::Epoll;
use throng_reactor::sim::{Faults, Sim, World};
use throng_reactor::uring::{Uring, probe};
use throng_reactor::{Config, Waker};

struct OverEpoll;

impl Backend for OverEpoll {
    type Reactor = Epoll;
    type Client = Epoll;

    fn new() -> OverEpoll {
        OverEpoll
    }

    fn reactor(&self, config: &Config) -> Epoll {
        Epoll::new(config, Waker::new().expect("an eventfd")).expect("an epoll")
    }

    fn client(&self, config: &Config) -> Epoll {
        self.reactor(config)
    }
}

struct OverUring;

impl Backend for OverUring {
    type Reactor = Uring;
    type Client = Uring;

    fn new() -> OverUring {
        OverUring
    }

    fn reactor(&self, config: &Config) -> Uring {
        Uring::new(config, Waker::new().expect("an eventfd")).expect("an io_uring")
    }

    fn client(&self, config: &Config) -> Uring {
        self.reactor(config)
    }
}

/// Whether this machine has the backend. Where the variable CI is set, it must.
fn has_uring() -> bool {
    let probed = probe();
    if let Err(why) = &probed {
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    probed.is_ok()
}

/// io-uring with so few descriptors per table that hardly two connections share a ring.
struct OverSmallTables;

impl Backend for OverSmallTables {
    type Reactor = Uring;
    type Client = Uring;

    fn new() -> OverSmallTables {
        OverSmallTables
    }

    fn reactor(&self, config: &Config) -> Uring {
        OverUring.reactor(&Config { table_max: 2, ..config.clone() })
    }

    fn client(&self, config: &Config) -> Uring {
        self.reactor(config)
    }
}

struct OverSim(World);

impl Backend for OverSim {
    type Reactor = Sim;
    type Client = Sim;

    fn new() -> OverSim {
        OverSim(World::new(1, Faults::default()))
    }

    fn reactor(&self, config: &Config) -> Sim {
        self.0.reactor(config)
    }

    fn client(&self, config: &Config) -> Sim {
        self.reactor(config)
    }

    fn advance(&self) {
        self.0.advance();
    }

    fn where_clients_migrate(test: fn()) {
        test();
    }
}

/// Instantiates tests for one backend, which `available` says is there.
macro_rules! suite {
    ($backend:ty, $available:expr, $($module:ident: $($test:ident)*;)*) => {
        $(mod $module {
            $(#[test]
            fn $test() {
                if $available {
                    crate::$module::$test::<$backend>();
                }
            })*
        })*
    };
}

/// Every rule that all backends keep.
macro_rules! every_rule {
    ($backend:ty, $available:expr) => {
        suite! { $backend, $available,
            life:
                a_connection_begins_on_both_sides_and_ends_with_one_closed
                a_client_comes_with_the_number_of_its_listener
                a_refused_connect_is_closed_without_connected
                an_index_is_not_reused_before_its_closed_was_seen
                an_index_is_not_reused_while_its_last_batch_is_handled
                a_stale_slot_takes_no_calls
                closing_gives_back_the_send_that_the_peer_never_read
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
                fin_follows_the_send_that_was_given_before
                ipv6_works_like_ipv4;
            bounds:
                a_greedy_connection_does_not_starve_another
                those_who_wait_for_a_buffer_get_one_in_order
                a_send_that_waits_for_room_is_counted_and_others_are_not
                stopping_to_listen_keeps_the_connections
                many_wakes_before_a_wait_are_one
                a_deadline_in_the_past_does_not_wait
                two_thousand_connections_leave_nothing_behind;
            room:
                a_full_reactor_alone_refuses_and_returns_when_it_has_room
                a_full_reactor_gives_its_clients_to_another_of_its_group
                who_waits_at_a_full_reactor_goes_to_another_of_its_group;
        }
    };
}

/// What only a kernel can show.
macro_rules! every_kernel_rule {
    ($backend:ty, $available:expr) => {
        suite! { $backend, $available,
            kernel:
                a_wake_from_another_thread_is_never_lost
                a_wake_before_the_wait_ends_it
                a_wait_does_not_end_before_its_deadline
                an_earlier_deadline_replaces_a_later_one
                a_silent_client_is_kept_back_and_accepted_in_the_end;
        }
    };
}

/// What only a backend can show whose connections take descriptors of its thread's table, by calls of its thread. Those
/// of io_uring stand in the rings' tables, and the kernel makes its calls for it: no table is full and no call fails there.
macro_rules! every_descriptor_rule {
    ($backend:ty, $available:expr) => {
        suite! { $backend, $available,
            table:
                a_full_table_of_descriptors_pauses_accepting
                a_closed_connection_makes_room_in_a_full_table;
            shortage:
                what_the_machine_lacks_pauses_accepting_and_clients_wait
                no_watch_left_pauses_accepting_and_the_client_waits
                a_connect_without_a_watch_left_names_the_setting;
        }
    };
}

mod epoll {
    every_rule!(crate::OverEpoll, true);
    mod with_a_kernel {
        every_kernel_rule!(crate::OverEpoll, true);
    }
    mod with_descriptors {
        every_descriptor_rule!(crate::OverEpoll, true);
    }
}

mod uring {
    every_rule!(crate::OverUring, crate::has_uring());
    mod with_a_kernel {
        every_kernel_rule!(crate::OverUring, crate::has_uring());
    }
}

mod uring_with_small_tables {
    every_rule!(crate::OverSmallTables, crate::has_uring());
    mod with_a_kernel {
        every_kernel_rule!(crate::OverSmallTables, crate::has_uring());
    }
}

mod sim {
    every_rule!(crate::OverSim, true);
}
