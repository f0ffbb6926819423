//! EC2's quotas of running On-Demand instances: so many vCPUs for the instance families of one quota, in one region.

/// One quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Its code with the service `ec2` of Service Quotas.
    pub code: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// What the names of its instance types begin with, before the first digit or hyphen.
    families: &'static [&'static str],
}

/// Source: the EC2 user guide, "Amazon EC2 instance type quotas" (On-Demand instances), with the codes that its links to Service Quotas carry. Mac
/// instances run on dedicated hosts and have none. Instances in Local Zones count against the quota of their parent region.
const QUOTAS: [Quota; 10] = [
    Quota {
        code: "L-1216C47A",
        name: "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
        families: &["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"],
    },
    Quota { code: "L-6E869C2A", name: "Running On-Demand DL instances", families: &["dl"] },
    Quota { code: "L-74FC7D96", name: "Running On-Demand F instances", families: &["f"] },
    Quota { code: "L-DB2E81BA", name: "Running On-Demand G and VT instances", families: &["g", "gr", "vt"] },
    Quota { code: "L-F7808C92", name: "Running On-Demand HPC instances", families: &["hpc"] },
    Quota { code: "L-43DA4232", name: "Running On-Demand High Memory instances", families: &["u"] },
    Quota { code: "L-1945791B", name: "Running On-Demand Inf instances", families: &["inf"] },
    Quota { code: "L-417A185B", name: "Running On-Demand P instances", families: &["p"] },
    Quota { code: "L-2C3B7624", name: "Running On-Demand Trn instances", families: &["trn"] },
    Quota { code: "L-7295265B", name: "Running On-Demand X instances", families: &["x"] },
];

/// The quota that instances of a type count against; `None` for a family that has none, or that nobody told us of.
#[must_use]
pub fn of_type(instance_type: &str) -> Option<&'static Quota> {
    let end = instance_type.find(|c: char| !c.is_ascii_lowercase())?;
    QUOTAS.iter().find(|quota| quota.families.contains(&&instance_type[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_count_against_the_quota_of_their_family() {
        for (instance_type, code) in [
            ("c6i.4xlarge", Some("L-1216C47A")),
            ("im4gn.large", Some("L-1216C47A")),
            ("t3.medium", Some("L-1216C47A")),
            ("dl1.24xlarge", Some("L-6E869C2A")),
            ("g4dn.xlarge", Some("L-DB2E81BA")),
            ("vt1.3xlarge", Some("L-DB2E81BA")),
            ("hpc7a.96xlarge", Some("L-F7808C92")),
            ("u-6tb1.metal", Some("L-43DA4232")),
            ("u7i-12tb.224xlarge", Some("L-43DA4232")),
            ("inf2.xlarge", Some("L-1945791B")),
            ("p5.48xlarge", Some("L-417A185B")),
            ("x2gd.medium", Some("L-7295265B")),
            ("mac2.metal", None),
            ("new9.large", None),
            ("", None),
        ] {
            assert_eq!(of_type(instance_type).map(|q| q.code), code, "{instance_type}");
        }
    }
}
