//! Every way in which a cloud says no.

use jiff::SignedDuration;
use onsale_api::Reason;

/// Why the cloud did not do as asked. Messages name the object and say what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The zone has no capacity for the type now.
    #[error("no capacity for {instance_type} in {place}")]
    InsufficientCapacity {
        /// Instance type.
        instance_type: String,
        /// Zone or subnet.
        place: String,
    },
    /// The account's quota is used up.
    #[error("quota is used up for {instance_type}: ask for more ({message})")]
    QuotaExhausted {
        /// Instance type.
        instance_type: String,
        /// What the cloud said.
        message: String,
    },
    /// The subnet has no free addresses.
    #[error("subnet {subnet} has no free addresses: add a subnet to the pool")]
    AddressesExhausted {
        /// Subnet.
        subnet: String,
    },
    /// Too many calls.
    #[error("throttled by the cloud API")]
    Throttled,
    /// Credentials missing, refused or without the permission.
    #[error("the cloud refused our credentials: {message}")]
    Unauthorized {
        /// What the cloud said.
        message: String,
    },
    /// The request can never succeed as it is: template, subnet, type or token are wrong.
    #[error("the cloud refused the configuration: {message}")]
    Invalid {
        /// What the cloud said.
        message: String,
    },
    /// The type is not offered in the zone.
    #[error("the cloud does not support {instance_type} in {place} ({message}): remove it from the pool or correct the launch template")]
    Unsupported {
        /// Instance type.
        instance_type: String,
        /// Zone or subnet.
        place: String,
        /// What the cloud said.
        message: String,
    },
    /// No answer, or the cloud's own fault: whether anything was done is unknown.
    #[error("the cloud did not answer: {message}")]
    Unavailable {
        /// What went wrong.
        message: String,
    },
}

impl CloudError {
    /// One word, stable across releases: condition reason, event reason and metric label alike.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::InsufficientCapacity { .. } => Reason::InsufficientCapacity,
            Self::QuotaExhausted { .. } => Reason::QuotaExhausted,
            Self::AddressesExhausted { .. } => Reason::AddressesExhausted,
            Self::Throttled => Reason::Throttled,
            Self::Unauthorized { .. } => Reason::Unauthorized,
            Self::Invalid { .. } | Self::Unsupported { .. } => Reason::InvalidConfiguration,
            Self::Unavailable { .. } => Reason::CloudUnavailable,
        }
    }

    /// The order was refused for good: nothing was launched and the ledger entry is done. Otherwise the same order is placed again.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::InsufficientCapacity { .. }
            | Self::QuotaExhausted { .. }
            | Self::AddressesExhausted { .. }
            | Self::Unauthorized { .. }
            | Self::Invalid { .. }
            | Self::Unsupported { .. } => true,
            Self::Throttled | Self::Unavailable { .. } => false,
        }
    }

    /// Pause before the next try after `attempts` failures in a row: doubling from a base that fits the class, at most 10 minutes.
    /// A capacity error cools down for 3 minutes, as Karpenter's offerings do (`pkg/cache`, `UnavailableOfferingsTTL`).
    #[must_use]
    pub fn retry(&self, attempts: i32) -> SignedDuration {
        let base = match self {
            Self::InsufficientCapacity { .. } | Self::QuotaExhausted { .. } | Self::AddressesExhausted { .. } => 180,
            Self::Throttled | Self::Unavailable { .. } => 2,
            Self::Unauthorized { .. } | Self::Invalid { .. } | Self::Unsupported { .. } => 60,
        };
        SignedDuration::from_secs((base << attempts.clamp(1, 10).saturating_sub(1)).min(600))
    }
}
