//! What bounds launches besides capacity, as far as a cloud says it beforehand.

use std::collections::BTreeSet;

use crate::CloudError;

/// What is asked about one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Region whose API is called.
    pub region: String,
    /// Subnets, by ID.
    pub subnets: BTreeSet<String>,
    /// Instance types, whose quotas are asked for.
    pub instance_types: BTreeSet<String>,
}

/// What the cloud said. One half may be known and the other not: each is another permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Those of the subnets that exist.
    pub subnets: Result<Vec<Subnet>, CloudError>,
    /// The quotas that the cloud knows for these types.
    pub quotas: Result<Vec<Quota>, CloudError>,
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// ID.
    pub id: String,
    /// Zone that it is in.
    pub zone: String,
    /// IPv4 addresses that nobody has.
    pub free_addresses: i32,
}

/// One quota of running vCPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Code.
    pub code: String,
    /// Name.
    pub name: String,
    /// vCPUs that the account may run in the region.
    pub limit: i32,
    /// vCPUs that are not this cluster's: every running instance but those of its pools.
    pub used_by_others: i32,
}

impl Facts {
    /// Neither is known, and why.
    #[must_use]
    pub fn unknown(error: CloudError) -> Self {
        Self { subnets: Err(error.clone()), quotas: Err(error) }
    }
}
