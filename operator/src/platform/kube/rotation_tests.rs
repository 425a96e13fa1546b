//! Authority and certificates together, over years of virtual time; trust is judged by handshakes.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::{
    AUTHORITIES, AuthorityChange, CERTIFICATE, KEY, Rotation, SecretData, desired_authority,
    given_authority,
};
use crate::platform::kube::certificates::{
    Identity, IssueReason, LeafDecision, Role, desired_leaf,
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn rotation() -> Rotation<'static> {
    Rotation {
        authority: 365 * DAY,
        ..Rotation::default()
    }
}

fn identities() -> [Identity; 3] {
    [
        Identity::of_server("mc", Role::Mupdate, "mc-mupdate", "mail"),
        Identity::of_server("mc", Role::Backend, "be-a", "mail"),
        Identity::of_client("mc", "operator"),
    ]
}

#[derive(Debug)]
struct At(Timestamp);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.as_second()).unwrap();
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn chain(secret: &SecretData) -> Chain {
    let chain = CertificateDer::pem_slice_iter(&secret.data[CERTIFICATE]);
    let key = PrivateKeyDer::from_pem_slice(&secret.data[KEY]).unwrap();
    (chain.collect::<Result<_, _>>().unwrap(), key)
}

fn roots(secret: &SecretData) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(&secret.data[AUTHORITIES]) {
        roots.add(authority.unwrap()).unwrap();
    }
    roots
}

/// A handshake in which both sides check the other's certificate.
fn shake(
    server: &SecretData,
    client: &SecretData,
    name: &str,
    now: Timestamp,
) -> Result<(), rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots(server)), provider.clone());
    let (certificates, key) = chain(server);
    let accepting = ServerConfig::builder_with_details(provider.clone(), Arc::new(At(now)))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(certificates, key)?;
    let (certificates, key) = chain(client);
    let connecting = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(client))
        .with_client_auth_cert(certificates, key)?;
    let mut server = ServerConnection::new(Arc::new(accepting))?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(connecting), name)?;
    while server.is_handshaking() || client.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(())
}

/// The Secrets of a murder, as an operator keeps them.
#[derive(Clone, Default)]
struct Murder {
    authority: Option<SecretData>,
    leaves: [Option<SecretData>; 3],
}

/// What one look did.
#[derive(Debug, Default, PartialEq)]
struct Look {
    authority: Option<AuthorityChange>,
    issued: Vec<IssueReason>,
    trusting: usize,
    again: Option<Duration>,
}

impl Murder {
    fn new(now: Timestamp) -> Self {
        let mut murder = Self::default();
        murder.look(&rotation(), now);
        murder
    }

    fn present(&self) -> Vec<SecretData> {
        self.leaves.iter().flatten().cloned().collect()
    }

    fn look(&mut self, rotation: &Rotation<'_>, now: Timestamp) -> Look {
        let leaves = self.present();
        let state =
            desired_authority(self.authority.as_ref(), "mc", &leaves, rotation, now).unwrap();
        let mut look = Look {
            authority: state.change,
            again: state.look_again,
            ..Look::default()
        };
        if state.change.is_some() {
            self.authority.clone_from(&state.secret);
        } else {
            assert_eq!(self.authority, state.secret, "nothing changed");
        }
        for (leaf, identity) in self.leaves.iter_mut().zip(identities()) {
            let decision = desired_leaf(leaf.as_ref(), &identity, &state, rotation, now).unwrap();
            match &decision {
                LeafDecision::Keep => {}
                LeafDecision::Trust(_) => look.trusting += 1,
                LeafDecision::Issue { reason, .. } => look.issued.push(*reason),
            }
            if let Some(secret) = decision.secret() {
                *leaf = Some(secret.clone());
            }
        }
        look
    }

    /// Every node and client of one murder trusts those of the other, which it is at another time.
    fn assert_trusts(&self, other: &Self, now: Timestamp) {
        for (servers, clients) in [(self, other), (other, self)] {
            for (server, identity) in servers.leaves.iter().zip(identities()) {
                for client in clients.leaves.iter().flatten() {
                    let name = &identity.dns_names()[0];
                    let result = shake(server.as_ref().unwrap(), client, name, now);
                    assert_eq!(result, Ok(()), "{name} at {now}");
                }
            }
        }
    }
}

/// row 52
#[test]
fn nodes_trust_each_other_through_each_step_of_a_rotation() {
    let (mut murder, mut now) = (Murder::default(), start());
    murder.look(&rotation(), now);
    let (mut changes, mut issues) = (Vec::new(), 0);
    while now < start() + 400 * DAY {
        let before = murder.clone();
        let look = murder.look(&rotation(), now);
        if look.authority.is_some() || !look.issued.is_empty() || look.trusting > 0 {
            // Some use the Secrets as they were, some as they are.
            murder.assert_trusts(&before, now);
            murder.assert_trusts(&murder, now);
        }
        issues += look.issued.len();
        if let Some(change) = look.authority {
            let days = (now.as_second() - start().as_second()) / (24 * 3600);
            changes.push((days, change));
        }
        now += look.again.unwrap_or(6 * HOUR);
    }
    let expected = [
        (243, AuthorityChange::SuccessorAdded),
        (243, AuthorityChange::SuccessorSigns),
        (333, AuthorityChange::OldForgotten),
    ];
    assert_eq!(changes, expected);
    // Every 60 days, and once because of the new authority.
    assert_eq!(issues, 3 * 7);
    assert_eq!(murder.look(&rotation(), now), Look::default());
}

/// row 52
#[test]
fn a_wish_gives_new_certificates_at_once_and_a_new_authority_soon() {
    let mut murder = Murder::new(start());
    let rotation = Rotation {
        wish: Some("today"),
        ..rotation()
    };
    let (first, mut now) = (murder.clone(), start() + HOUR);
    let look = murder.look(&rotation, now);
    assert_eq!(look.authority, Some(AuthorityChange::SuccessorAdded));
    assert_eq!(look.issued, [IssueReason::Wished; 3]);
    murder.assert_trusts(&first, now);
    // It is carried out once, and the successor waits until it is known everywhere.
    now += rotation.propagation - Duration::from_secs(1);
    let again = Some(rotation.propagation);
    let waiting = Look {
        again,
        ..Look::default()
    };
    assert_eq!(murder.look(&rotation, now), waiting);
    now += Duration::from_secs(1);
    let second = murder.clone();
    let look = murder.look(&rotation, now);
    assert_eq!(look.authority, Some(AuthorityChange::SuccessorSigns));
    assert_eq!(look.issued, [IssueReason::OtherAuthority; 3]);
    murder.assert_trusts(&second, now);
    assert_eq!(murder.look(&rotation, now + HOUR), Look::default());
}

/// row 52
#[test]
fn a_certificate_is_renewed_as_long_before_its_end_as_wished() {
    for (renew_before, days) in [(10 * DAY, 80), (80 * DAY, 30)] {
        let mut murder = Murder::new(start());
        let rotation = Rotation {
            renew_before,
            ..rotation()
        };
        let due = start() + days * DAY;
        let early = due - HOUR;
        assert_eq!(murder.look(&rotation, early).issued, [], "{renew_before:?}");
        let look = murder.look(&rotation, due);
        assert_eq!(look.issued, [IssueReason::Due; 3], "{renew_before:?}");
    }
}

#[test]
fn a_successor_does_not_sign_before_the_last_node_knows_it() {
    let mut murder = Murder::new(start());
    let rotation = Rotation {
        wish: Some("today"),
        ..rotation()
    };
    let late = murder.leaves[1].clone();
    murder.look(&rotation, start() + HOUR);
    // The Secret of one node could not be written.
    murder.leaves[1] = late;
    let leaves = murder.present();
    let own = murder.authority.as_ref();
    let now = start() + 24 * HOUR;
    let state = desired_authority(own, "mc", &leaves, &rotation, now).unwrap();
    assert_eq!(state.change, None);
    // Now it is, and has to have arrived.
    assert_eq!(murder.look(&rotation, now).issued, [IssueReason::Wished]);
    assert_eq!(murder.look(&rotation, now).authority, None);
    let look = murder.look(&rotation, now + rotation.propagation);
    assert_eq!(look.authority, Some(AuthorityChange::SuccessorSigns));
}

#[test]
fn a_lost_authority_is_replaced_while_nodes_go_on() {
    let mut murder = Murder::new(start());
    let (before, now) = (murder.clone(), start() + HOUR);
    murder.authority = None;
    let look = murder.look(&rotation(), now);
    assert_eq!(look.authority, Some(AuthorityChange::Created));
    assert_eq!((look.issued.len(), look.trusting), (0, 3));
    murder.assert_trusts(&before, now);
    let (before, now) = (murder.clone(), now + look.again.unwrap());
    let look = murder.look(&rotation(), now);
    assert_eq!(look.issued, [IssueReason::OtherAuthority; 3]);
    murder.assert_trusts(&before, now);
}

#[test]
fn an_authority_that_cannot_be_read_or_has_expired_is_made_anew() {
    let murder = Murder::new(start());
    let own = murder.authority.unwrap();
    let other = Murder::new(start()).authority.unwrap();
    let spoilt = |key: &str, value: &[u8]| {
        let mut secret = own.clone();
        secret.data.insert(key.to_owned(), value.to_vec());
        secret
    };
    let cases = [
        (spoilt(CERTIFICATE, b"x"), HOUR),
        (spoilt(KEY, b""), HOUR),
        (spoilt(KEY, &other.data[KEY]), HOUR),
        (own.clone(), 365 * DAY),
    ];
    for (secret, later) in cases {
        let now = start() + later;
        let state = desired_authority(Some(&secret), "mc", &[], &rotation(), now).unwrap();
        assert_eq!(state.change, Some(AuthorityChange::Created));
        assert_eq!(state.expires, now + 365 * DAY);
    }
}

#[test]
fn a_certificate_is_issued_anew_only_for_a_reason() {
    let murder = Murder::new(start());
    let own = murder.authority.as_ref();
    let [be_a, be_b] =
        ["be-a", "be-b"].map(|n| Identity::of_server("mc", Role::Backend, n, "mail"));
    let leaf = murder.leaves[1].clone().unwrap();
    let mut other_key = leaf.clone();
    let key = murder.leaves[0].as_ref().unwrap().data[KEY].clone();
    other_key.data.insert(KEY.to_owned(), key);
    let foreign = Murder::new(start()).leaves[1].clone();
    let cases = [
        (Some(leaf.clone()), &be_a, 59 * DAY, None),
        (Some(leaf.clone()), &be_a, 61 * DAY, Some(IssueReason::Due)),
        (Some(leaf), &be_b, HOUR, Some(IssueReason::OtherNames)),
        (Some(other_key), &be_a, HOUR, Some(IssueReason::Missing)),
        (foreign, &be_a, HOUR, Some(IssueReason::OtherAuthority)),
        (None, &be_a, HOUR, Some(IssueReason::Missing)),
    ];
    for (existing, identity, later, expected) in cases {
        let now = start() + later;
        let state = desired_authority(own, "mc", &[], &rotation(), now).unwrap();
        let decision = desired_leaf(existing.as_ref(), identity, &state, &rotation(), now).unwrap();
        let LeafDecision::Issue { secret, reason } = decision else {
            assert_eq!((decision, expected), (LeafDecision::Keep, None));
            continue;
        };
        assert_eq!(Some(reason), expected);
        assert_eq!(secret.expires(), Some(now + 90 * DAY));
    }
}

/// A Secret as somebody else keeps it: without our annotations.
fn given(now: Timestamp) -> SecretData {
    let mut secret = Murder::new(now).authority.unwrap();
    secret.annotations.clear();
    secret
}

/// row 52
#[test]
fn a_given_authority_signs_and_can_be_exchanged() {
    let now = start() + HOUR;
    let (first, mut second) = (given(start()), given(start()));
    let leaves = |secret: &SecretData, before: Option<&[SecretData]>| -> Vec<SecretData> {
        let state = given_authority("ours", Some(secret), now).unwrap();
        assert_eq!((&state.secret, state.change), (&None, None));
        let decide = |(index, identity): (usize, &Identity)| {
            let existing = before.map(|before| &before[index]);
            let decision = desired_leaf(existing, identity, &state, &rotation(), now).unwrap();
            let kept = existing.cloned().unwrap_or_default();
            decision.secret().cloned().unwrap_or(kept)
        };
        identities().iter().enumerate().map(decide).collect()
    };
    let old = leaves(&first, None);
    assert_eq!(leaves(&first, Some(&old)), old);
    // Its owner lets both be trusted, then the second one sign.
    let both = [&first.data[AUTHORITIES][..], &second.data[AUTHORITIES]].concat();
    let mut trusting = first;
    trusting.data.insert(AUTHORITIES.to_owned(), both.clone());
    let middle = leaves(&trusting, Some(&old));
    second.data.insert(AUTHORITIES.to_owned(), both);
    let new = leaves(&second, Some(&middle));
    assert!(new[0].data[CERTIFICATE] != middle[0].data[CERTIFICATE]);
    for (one, other) in [(&old, &middle), (&middle, &new)] {
        assert_eq!(shake(&one[1], &other[2], "be-a-0", now), Ok(()));
        assert_eq!(shake(&other[1], &one[2], "be-a-0", now), Ok(()));
    }
    assert!(shake(&old[1], &new[2], "be-a-0", now).is_err());
}

#[test]
fn a_given_authority_that_cannot_sign_is_named() {
    let (good, other, murder) = (given(start()), given(start()), Murder::new(start()));
    let leaf = murder.leaves[1].clone().unwrap();
    let with = |key: &str, value: &[u8]| {
        let mut secret = good.clone();
        secret.data.insert(key.to_owned(), value.to_vec());
        Some(secret)
    };
    let pem = "is missing or not a certificate in PEM";
    let cases = [
        (None, HOUR, "Secret ours does not exist".to_owned()),
        (
            with(CERTIFICATE, b""),
            HOUR,
            format!("Secret ours: tls.crt {pem}"),
        ),
        (
            with(KEY, b"x"),
            HOUR,
            "Secret ours: tls.key is missing or not a key in PKCS#8".to_owned(),
        ),
        (
            with(AUTHORITIES, b""),
            HOUR,
            format!("Secret ours: ca.crt {pem}"),
        ),
        (
            with(KEY, &other.data[KEY]),
            HOUR,
            "Secret ours: tls.key does not belong to tls.crt".to_owned(),
        ),
        (
            Some(leaf),
            HOUR,
            "Secret ours: tls.crt is not an authority's certificate".to_owned(),
        ),
        (
            Some(good.clone()),
            366 * DAY,
            "Secret ours: the authority is valid from 2027-01-15T07:55:00Z to 2028-01-15T08:00:00Z"
                .to_owned(),
        ),
    ];
    for (secret, later, expected) in cases {
        let error = given_authority("ours", secret.as_ref(), start() + later).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn identities_have_the_names_that_nodes_are_called_by() {
    let names = |identity: &Identity| (identity.uri().to_owned(), identity.dns_names().join(" "));
    let frontend = Identity::of_frontend("mc", "fe", "mail");
    let cases = [
        (
            names(&identities()[0]),
            "murder://mc/mupdate/mc-mupdate/mc-mupdate-0",
            "mc-mupdate-0 mc-mupdate mc-mupdate-0.mc-mupdate mc-mupdate-0.mc-mupdate.mail \
             mc-mupdate-0.mc-mupdate.mail.svc localhost",
        ),
        (
            names(&frontend),
            "murder://mc/frontend/fe/fe",
            "fe fe.mail fe.mail.svc localhost",
        ),
        (
            names(&Identity::of_client("mc", "admin")),
            "murder://mc/operator/admin/admin",
            "admin localhost",
        ),
    ];
    for ((uri, dns), expected_uri, expected_dns) in cases {
        assert_eq!((uri.as_str(), dns.as_str()), (expected_uri, expected_dns));
    }
}

#[test]
fn a_secret_never_shows_its_content() {
    let text = format!("{:?}", given(start()));
    assert_eq!(
        text,
        r#"SecretData { keys: ["ca.crt", "tls.crt", "tls.key"], annotations: {}, .. }"#
    );
}
