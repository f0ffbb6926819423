//! What EC2's error codes mean. The table is the documentation: a code that is not in it goes by its HTTP status.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ec2::{
    error::{ConnectorError, ErrorMetadata, ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use onsale_cloud::{CloudError, LaunchOrder};

/// Longest text that leaves this crate: it ends in a condition's message.
const MAX_TEXT: usize = 300;

/// Variants of [`CloudError`], before it is known what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Capacity,
    Quota,
    Addresses,
    Throttled,
    Unauthorized,
    Invalid,
    Unsupported,
    Unavailable,
}

/// Sources: the EC2 developer guide's "Error codes for the Amazon EC2 API", Karpenter's `pkg/errors`, the SDK's list of throttling codes.
const CODES: &[(Class, &[&str])] = &[
    (
        Class::Capacity,
        &[
            "InsufficientInstanceCapacity",
            "InsufficientCapacity",
            "InsufficientAddressCapacity",
            "InsufficientHostCapacity",
            "InsufficientCapacityOnHost",
            "InsufficientReservedInstanceCapacity",
            "InsufficientReservedInstancesCapacity",
            "InsufficientVolumeCapacity",
            "ReservationCapacityExceeded",
            "UnfulfillableCapacity",
            // Limits of Spot and of fleets, not of the family: On-Demand quota is untouched, so the pool is empty and no more.
            "MaxSpotInstanceCountExceeded",
            "MaxFleetCountExceeded",
        ],
    ),
    (
        Class::Quota,
        &[
            "VcpuLimitExceeded",
            "InstanceLimitExceeded",
            "VolumeLimitExceeded",
            "VolumeIOPSLimit",
            "MaxIOPSLimitExceeded",
            "NetworkInterfaceLimitExceeded",
            "ResourceLimitExceeded",
        ],
    ),
    (Class::Addresses, &["InsufficientFreeAddressesInSubnet"]),
    (
        Class::Throttled,
        &[
            "RequestLimitExceeded",
            "EC2ThrottledException",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "PriorRequestNotComplete",
            "SlowDown",
        ],
    ),
    (
        Class::Unauthorized,
        &[
            "UnauthorizedOperation",
            "AuthFailure",
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "PendingVerification",
            "Blocked",
            "OptInRequired",
            "AccessDenied",
            "AccessDeniedException",
            "ExpiredToken",
            "ExpiredTokenException",
            "IncompleteSignature",
            "InvalidClientTokenId",
            "MissingAuthenticationToken",
            "RequestExpired",
            "SignatureDoesNotMatch",
            "UnrecognizedClientException",
        ],
    ),
    // Most of what is invalid is not listed: every other 4xx is. These are here because the SDK must not ask again whatever their status.
    (Class::Invalid, &["IdempotentParameterMismatch", TOKEN_OF_TERMINATED, "InvalidCapacityReservationId.NotFound"]),
    (Class::Unsupported, &["Unsupported"]),
    (
        Class::Unavailable,
        &[
            "InternalError",
            "InternalFailure",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
            // Young instances and worn-out pages: ask again.
            UNKNOWN_INSTANCE,
            "InvalidPaginationToken",
            "InvalidNextToken",
        ],
    ),
];

/// The token's instances exist no more.
pub(crate) const TOKEN_OF_TERMINATED: &str = "IdempotentInstanceTerminated";
/// No such instance, or not visible yet.
pub(crate) const UNKNOWN_INSTANCE: &str = "InvalidInstanceID.NotFound";

fn class_of(code: &str) -> Option<Class> {
    CODES.iter().find(|(_, codes)| codes.contains(&code)).map(|(class, _)| *class)
}

/// EC2 has decided: the same request gets the same answer. Refused credentials are not among them, the SDK may set its clock right and sign again.
pub(crate) fn is_refusal(code: &str) -> bool {
    match class_of(code) {
        Some(Class::Capacity | Class::Quota | Class::Addresses | Class::Invalid | Class::Unsupported) => true,
        Some(Class::Throttled | Class::Unauthorized | Class::Unavailable) | None => false,
    }
}

/// A call that failed: class, code if EC2 gave one, and words that may be shown to anybody.
#[derive(Debug)]
pub(crate) struct Failure {
    class: Class,
    code: Option<String>,
    text: String,
}

impl Failure {
    pub(crate) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Typed, for a launch: the classes that speak of a place name the order's.
    pub(crate) fn of_launch(self, order: &LaunchOrder) -> CloudError {
        let instance_type = order.instance_type.clone();
        match self.class {
            Class::Capacity => CloudError::InsufficientCapacity { instance_type, place: order.subnet.clone() },
            Class::Quota => CloudError::QuotaExhausted { instance_type, message: self.text },
            Class::Addresses => CloudError::AddressesExhausted { subnet: order.subnet.clone() },
            Class::Unsupported => CloudError::Unsupported { instance_type, place: order.subnet.clone(), message: self.text },
            Class::Throttled | Class::Unauthorized | Class::Invalid | Class::Unavailable => self.into(),
        }
    }

    fn unavailable(text: &str) -> Self {
        Self { class: Class::Unavailable, code: None, text: bounded(text) }
    }

    /// EC2 answered. An answer without a code is not EC2's but some gateway's, and tells nothing about what was done.
    pub(crate) fn answered(error: &impl ProvideErrorMetadata, status: u16) -> Self {
        let Some(code) = error.code() else {
            let class = if status == 429 { Class::Throttled } else { Class::Unavailable };
            return Self { class, ..Self::unavailable(&format!("status {status} without an error of EC2's")) };
        };
        let class = class_of(code).unwrap_or(match status {
            401 | 403 => Class::Unauthorized,
            408 => Class::Unavailable,
            429 => Class::Throttled,
            400..500 => Class::Invalid,
            _ => Class::Unavailable,
        });
        let text = bounded(&format!("{code}: {}", error.message().unwrap_or("no message")));
        Self { class, code: Some(code.to_owned()), text }
    }

    /// The request was not sent, or its answer was lost.
    pub(crate) fn dispatch(error: &(dyn Error + 'static)) -> Self {
        match chain(error).find_map(|e| e.downcast_ref::<CredentialsError>()) {
            Some(CredentialsError::CredentialsNotLoaded(_)) => {
                let text = "no credentials found: give the operator's ServiceAccount a role, or the process a profile or keys".to_owned();
                Self { class: Class::Unauthorized, code: None, text }
            }
            Some(cause) if is_permanent(cause) => Self { class: Class::Unauthorized, code: None, text: bounded(&words(cause)) },
            _ => Self::unavailable(&words(error)),
        }
    }
}

impl<E: ProvideErrorMetadata + Error + Send + Sync + 'static> From<SdkError<E>> for Failure {
    fn from(error: SdkError<E>) -> Self {
        let failure = match &error {
            SdkError::ServiceError(answer) => Self::answered(answer.err(), answer.raw().status().as_u16()),
            SdkError::ResponseError(answer) => Self::unavailable(&format!("status {} and an answer cut short", answer.raw().status())),
            SdkError::TimeoutError(_) => Self::unavailable("no answer in time"),
            SdkError::ConstructionFailure(_) => Self { class: Class::Invalid, code: None, text: bounded(&words(&error)) },
            _ => Self::dispatch(&error),
        };
        // EC2's own words and the request's ID, for a support case: the ID differs every time and has no place in a condition.
        tracing::info!(class = ?failure.class, text = failure.text, request_id = error.request_id(), "EC2 call failed");
        failure
    }
}

/// For calls that launch nothing: a class that speaks of a place cannot come, and is reported as it stands if it does.
impl From<Failure> for CloudError {
    fn from(failure: Failure) -> Self {
        let message = failure.text;
        match failure.class {
            Class::Throttled => Self::Throttled,
            Class::Unauthorized => Self::Unauthorized { message },
            Class::Unavailable => Self::Unavailable { message },
            Class::Invalid | Class::Capacity | Class::Quota | Class::Addresses | Class::Unsupported => Self::Invalid { message },
        }
    }
}

/// Credentials are wrong or refused; not so when whoever hands them out cannot be reached or is in trouble itself.
fn is_permanent(cause: &CredentialsError) -> bool {
    match cause {
        CredentialsError::ProviderTimedOut(_) => false,
        CredentialsError::ProviderError(_) => !chain(cause).any(|e| e.is::<ConnectorError>() || e.downcast_ref().is_some_and(is_trouble)),
        _ => true,
    }
}

fn is_trouble(said: &ErrorMetadata) -> bool {
    matches!(said.code().and_then(class_of), Some(Class::Throttled | Class::Unavailable))
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&e| e.source())
}

/// The chain's messages. Never its `Debug`: that holds whole requests and answers.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut parts: Vec<String> = chain(error).map(ToString::to_string).collect();
    parts.dedup();
    parts.join(": ")
}

/// The first line without the encoded rest of an authorization failure, cut at [`MAX_TEXT`]. Later lines of a signature error repeat the request's
/// headers, the session token among them.
fn bounded(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let plain = line.split("Encoded authorization failure message").next().unwrap_or_default().trim_end();
    match plain.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}...", &plain[..end]),
        None => plain.to_owned(),
    }
}
