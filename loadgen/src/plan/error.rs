//! Why a plan cannot be done, and what to change.

use std::fmt;
use std::time::Duration;

use throng_wire::limits::BODY_BYTES_MAX;

use super::{Part, Storm};
use crate::limits::{
    ATTEMPTS_MAX, CONNECTIONS_MAX, OUTSTANDING_MAX, STORM_BACKOFF_MIN, USER_MESSAGES_MAX, USER_RATE_PER_S_MAX,
};
use crate::scenario::Protocol;
use crate::stamp::STAMP_BYTES;

/// Why a plan cannot be done. Its text says what to change.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanError {
    /// Nobody, or more than can be numbered.
    Connections {
        /// How many were asked for.
        connections: u64,
    },
    /// A part without users.
    EmptyPart {
        /// Which.
        part: Part,
        /// Users of the whole plan.
        connections: u64,
    },
    /// Somebody would be without a partner.
    OddUsers {
        /// How many were asked for.
        connections: u64,
    },
    /// The ramp ends at another number of connections than asked for.
    RampElsewhere {
        /// How many were asked for.
        connections: u64,
        /// How many the last stage reaches.
        reaches: u64,
    },
    /// A ramp that cannot be climbed, in words.
    Stages(String),
    /// A connect rate that is no rate.
    ConnectRate {
        /// What was asked for.
        rate_per_s: f64,
    },
    /// The measured window has no length.
    NoWindow,
    /// A body too small for its stamp, or too large for a frame.
    Payload {
        /// What was asked for.
        bytes: u64,
    },
    /// A rate that is no rate, or more than one user can send.
    Rate {
        /// Messages per second of all users.
        rate_per_s: f64,
        /// Users.
        connections: u64,
    },
    /// A window that the protocol does not allow.
    ClosedLoopWindow {
        /// What was asked for.
        window: u32,
    },
    /// Idle users send nothing that could wait for an outcome.
    ClosedLoopIdle,
    /// Heartbeats without a pause between them.
    Heartbeat {
        /// What was asked for.
        every: Duration,
    },
    /// Only the native protocol has heartbeats.
    NoHeartbeat {
        /// What is spoken instead.
        protocol: Protocol,
    },
    /// A storm with impossible numbers.
    Storm {
        /// What was asked for.
        storm: Storm,
    },
    /// A setting of a storm for a scenario that has none, or not this one.
    NoStorm {
        /// Which.
        what: &'static str,
    },
    /// A ramp for users who all connect at once.
    RampInStorm,
    /// A protocol without messages cannot have a rate of them.
    NoMessages,
    /// Two settings that exclude each other.
    Both {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Connections { connections: 0 } => {
                f.write_str("no users: --connections must be at least 1")
            }
            PlanError::Connections { connections } => {
                write!(f, "{connections} users are more than one plan can number: at most {CONNECTIONS_MAX}")
            }
            PlanError::EmptyPart { part, connections } => write!(
                f,
                "part {part} of {connections} users has nobody: take fewer parts, or more users"
            ),
            PlanError::OddUsers { connections } => write!(
                f,
                "{connections} users leave one without a partner: set --connections to {} or {}",
                connections.saturating_sub(1),
                connections + 1
            ),
            PlanError::RampElsewhere { connections, reaches } => write!(
                f,
                "{connections} connections are asked for, but the last stage reaches {reaches}: make both equal, or leave \
                 --connections out"
            ),
            PlanError::Stages(what) => f.write_str(what),
            PlanError::ConnectRate { rate_per_s } => {
                write!(f, "a connect rate of {rate_per_s} per second: --connect-rate must be above 0")
            }
            PlanError::NoWindow => {
                f.write_str("nothing would be measured: --duration must be longer than zero")
            }
            PlanError::Payload { bytes } => write!(
                f,
                "a payload of {bytes} bytes: --size must be from {STAMP_BYTES} (the stamp that every message carries) to \
                 {BODY_BYTES_MAX}"
            ),
            PlanError::Rate { rate_per_s, connections } => write!(
                f,
                "{rate_per_s} messages per second of {connections} users: --rate must be above 0 and at most \
                 {USER_RATE_PER_S_MAX} per user and {USER_MESSAGES_MAX} messages of one user in a run; use more \
                 --connections"
            ),
            PlanError::ClosedLoopWindow { window } => write!(
                f,
                "{window} messages in flight: --closed-loop must be from 1 to {OUTSTANDING_MAX}, which the protocol allows"
            ),
            PlanError::ClosedLoopIdle => f.write_str(
                "idle users have no closed loop: leave --closed-loop out, or use the scenario pairs",
            ),
            PlanError::Heartbeat { every } => {
                write!(f, "a heartbeat every {every:?}: --heartbeat must be at least 1s, or 0s for none")
            }
            PlanError::NoHeartbeat { protocol } => {
                write!(
                    f,
                    "the protocol {protocol} has no heartbeat: leave --heartbeat out, or use --protocol native"
                )
            }
            PlanError::Storm { storm } => write!(
                f,
                "a storm of a share of {} of the users with a back-off from {:?} to {:?} and {} attempts: --storm-share must be \
                 above 0 and at most 1, --reconnect-base at least {STORM_BACKOFF_MIN:?}, --reconnect-cap no shorter than it, \
                 --reconnect-attempts from 1 to {ATTEMPTS_MAX}",
                storm.share, storm.base, storm.cap, storm.attempts_max
            ),
            PlanError::NoStorm { what } => {
                write!(f, "{what} does not belong to this scenario: leave it out, or use reconnect-storm")
            }
            PlanError::RampInStorm => f.write_str(
                "in a login-storm all connect at one instant: leave --connect-rate and --stages out, or use idle",
            ),
            PlanError::NoMessages => {
                f.write_str("the protocol connect sends no messages: leave --rate and --closed-loop out")
            }
            PlanError::Both { first, second } => {
                write!(f, "{first} and {second} exclude each other: use one")
            }
        }
    }
}

impl std::error::Error for PlanError {}
