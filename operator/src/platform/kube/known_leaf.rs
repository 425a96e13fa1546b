//! Certificates that were found good: to check a thousand signatures in each pass took most of its time.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use jiff::Timestamp;

use super::authority::{AuthorityState, CERTIFICATE, Rotation, SecretData};
use super::certificates::Identity;

/// A certificate that was found good.
pub(super) struct KnownLeaf {
    /// Version of its Secret.
    version: String,
    /// Whom it is for.
    uri: String,
    /// Of the authority and the rotation under which it was checked.
    mark: u64,
    /// Until when it need not be looked at.
    due: Timestamp,
    pub(super) expires: Timestamp,
}

impl KnownLeaf {
    pub(super) fn of(
        secret: &SecretData,
        version: Option<String>,
        identity: &Identity,
        mark: u64,
        renew_before: Duration,
    ) -> Option<Self> {
        let certificate = secret.certificate(CERTIFICATE)?;
        Some(Self {
            version: version?,
            uri: identity.uri().to_owned(),
            mark,
            due: certificate.due(renew_before),
            expires: certificate.not_after(),
        })
    }

    /// Whether a Secret of this version need not be checked again.
    pub(super) fn is_good(
        &self,
        version: &Option<String>,
        identity: &Identity,
        mark: u64,
        now: Timestamp,
    ) -> bool {
        version.as_ref() == Some(&self.version)
            && self.uri == identity.uri()
            && self.mark == mark
            && now < self.due
    }
}

/// Differs whenever certificates that were good may not be so any more.
pub(super) fn mark(authority: &AuthorityState, rotation: &Rotation<'_>, now: Timestamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    authority.bundle.hash(&mut hasher);
    authority.signing.certificate.pem.hash(&mut hasher);
    // From then on certificates of other trusted authorities are replaced.
    (now >= authority.signs_from).hash(&mut hasher);
    rotation.wish.hash(&mut hasher);
    rotation.renew_before.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{KnownLeaf, mark};
    use crate::platform::kube::authority::{Rotation, desired_authority};
    use crate::platform::kube::certificates::{Identity, Role, desired_leaf};

    #[test]
    fn a_good_certificate_is_checked_again_only_if_it_or_its_authority_or_its_time_has_come() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let rotation = Rotation::default();
        let wished = Rotation {
            wish: Some("again"),
            ..Rotation::default()
        };
        let authority = desired_authority(None, "mc", &[], &rotation, now).unwrap();
        let other = desired_authority(None, "mc", &[], &rotation, now).unwrap();
        let of = |name| Identity::of_server("mc", Role::Backend, name, "mail");
        let leaf = desired_leaf(None, &of("be-a"), &authority, &rotation, now).unwrap();
        let at = |now| mark(&authority, &rotation, now);
        let version = |text: &str| Some(text.to_owned());
        let secret = leaf.secret().unwrap();
        let known = KnownLeaf::of(
            secret,
            version("7"),
            &of("be-a"),
            at(now),
            rotation.renew_before,
        )
        .unwrap();
        let life = rotation.leaf;
        let soon = now + life / 2;
        assert!(known.is_good(&version("7"), &of("be-a"), at(soon), soon));
        assert!(!known.is_good(&version("8"), &of("be-a"), at(now), now));
        assert!(!known.is_good(&None, &of("be-a"), at(now), now));
        assert!(!known.is_good(&version("7"), &of("be-b"), at(now), now));
        let of_other = mark(&other, &rotation, now);
        assert!(!known.is_good(&version("7"), &of("be-a"), of_other, now));
        let wish = mark(&authority, &wished, now);
        assert!(!known.is_good(&version("7"), &of("be-a"), wish, now));
        let due = now + life * 2 / 3 + Duration::from_secs(60);
        assert!(!known.is_good(&version("7"), &of("be-a"), at(due), due));
    }
}
