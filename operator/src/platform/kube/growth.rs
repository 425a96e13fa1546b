//! Volumes that grow: a claim asks for what its spec says, if its StorageClass lets it. Nothing ever shrinks.
//!
//! A claim that its user brought (`spec.adoptVolume`) is its maker's to enlarge. Without the right to read
//! StorageClasses the API server itself is asked, which refuses what cannot grow.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::EventType;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::apply::FIELD_MANAGER;
use super::context::Context;
use super::memory::Memory;
use super::objects::{Objects, RETIRED};
use super::{call, changes};
use crate::core::Kind;
use crate::crd::VolumeStatus;
use crate::resources::names;
use crate::status::Resize;

/// How long a claim that cannot grow is left alone.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// A claim that is not as large as asked.
pub(super) struct Stuck {
    since: Instant,
    wanted: String,
    why: Resize,
}

/// A Kubernetes quantity in thousandths.
fn quantity(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let tens = |exponent: u32| 10_u128.checked_pow(exponent);
    let power = |index: usize| u32::try_from(index).ok();
    let scale = match suffix {
        "" => 1000,
        "m" => 1,
        _ if suffix.ends_with('i') => {
            let index = "KMGTPE".find(suffix.strip_suffix('i')?)?;
            1000 * 1024_u128.checked_pow(power(index)? + 1)?
        }
        _ if suffix.len() == 1 => tens(3 * (power("kMGTPE".find(suffix)?)? + 2))?,
        _ => {
            let exponent: u32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            tens(exponent.checked_add(3)?)?
        }
    };
    let divisor = tens(power(fraction.len())?)?;
    Some(digits.checked_mul(scale)? / divisor)
}

fn requested(claim: &PersistentVolumeClaim) -> Option<&str> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    Some(resources.requests.as_ref()?.get("storage")?.0.as_str())
}

fn capacity(claim: &PersistentVolumeClaim) -> Option<&str> {
    let capacity = claim.status.as_ref()?.capacity.as_ref()?;
    Some(capacity.get("storage")?.0.as_str())
}

fn is_less(one: &str, other: &str) -> bool {
    // What cannot be understood is not larger than anything.
    let (one, other) = (quantity(one), quantity(other));
    one.zip(other).is_some_and(|(one, other)| one < other)
}

/// Whether a claim should ask for more.
fn should_grow(claim: &PersistentVolumeClaim, wanted: &str) -> bool {
    let phase = claim.status.as_ref().and_then(|s| s.phase.as_deref());
    phase == Some("Bound")
        && claim.metadata.deletion_timestamp.is_none()
        && !claim.annotations().contains_key(RETIRED)
        && requested(claim).is_some_and(|asked| is_less(asked, wanted))
}

/// Lets the claims of a murder ask for what their specs say.
pub(super) async fn apply(context: &Context, objects: &Objects, memory: &mut Memory) {
    let mut wanted = Vec::new();
    for backend in &objects.backends {
        let goes = backend.metadata.deletion_timestamp.is_some();
        if goes || backend.spec.paused || backend.spec.adopt_volume.is_some() {
            continue;
        }
        let name = backend.name_any();
        let size = backend.spec.storage.size.clone();
        wanted.push((objects.claim_of(&name), size, Kind::Backend, name));
    }
    let spec = &objects.cluster.spec.mupdate;
    if spec.replicas > 0 {
        let cluster = objects.key.name.clone();
        let claim = names::claim(&names::mupdate(&cluster));
        let size = spec.storage.size.clone();
        wanted.push((claim, size, Kind::MurderCluster, cluster));
    }
    let mut stuck = std::mem::take(&mut memory.growth);
    for (name, wanted, kind, owner) in wanted {
        let Some(claim) = objects.claims.get(&name) else {
            continue;
        };
        if !should_grow(claim, &wanted) || !context.leadership.is_held() {
            continue;
        }
        let uid = claim.uid().unwrap_or_default();
        if let Some(known) = stuck.remove(&uid)
            && known.wanted == wanted
            && known.since.elapsed() < TRY_AGAIN
        {
            memory.growth.insert(uid, known);
            continue;
        }
        match grow(context, objects, claim, kind, &wanted).await {
            Ok(true) => {
                let what = format!("claim {name} now asks for {wanted}");
                tracing::info!(murder = %objects.key, claim = name, size = wanted, "volume_grows");
                let type_ = EventType::Normal;
                changes::event(context, objects, kind, &owner, type_, "VolumeGrows", &what);
            }
            Ok(false) => {}
            Err(why) => {
                let since = Instant::now();
                memory.growth.insert(uid, Stuck { since, wanted, why });
            }
        }
    }
}

/// Enlarges one claim if its class allows it; says whether it did, or why it cannot be done.
async fn grow(
    context: &Context,
    objects: &Objects,
    claim: &PersistentVolumeClaim,
    kind: Kind,
    wanted: &str,
) -> Result<bool, Resize> {
    let name = claim.name_any();
    let stuck = |reason, message| Resize {
        stuck: true,
        reason,
        message,
    };
    let class = claim.spec.as_ref();
    let class = class.and_then(|spec| spec.storage_class_name.as_deref());
    if let Some(why) = class_refuses(context, class.unwrap_or_default()).await {
        let has = requested(claim).unwrap_or_default();
        let cure = match kind {
            Kind::Backend => ", or make a Backend with a larger volume and drain this one",
            Kind::Frontend | Kind::MurderCluster => "",
        };
        let message = format!("claim {name} has {has} and cannot grow to {wanted}: {why}{cure}");
        return Err(stuck("ExpansionNotSupported", message));
    }
    let patch = json!({
        "metadata": {"uid": claim.uid(), "resourceVersion": claim.resource_version()},
        "spec": {"resources": {"requests": {"storage": wanted}}},
    });
    let parameters = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let api: Api<PersistentVolumeClaim> =
        Api::namespaced(context.client.clone(), &objects.key.namespace);
    let patch = Patch::Merge(&patch);
    let patching = api.patch(&name, &parameters, &patch);
    match call("patch PersistentVolumeClaim", &name, patching).await {
        Ok(_) => Ok(true),
        // It changed meanwhile, or is another: the watch will tell.
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(false),
        Err(error) => {
            let message = format!("claim {name} cannot grow to {wanted}: {error}");
            Err(stuck("ExpansionRefused", message))
        }
    }
}

/// Why volumes of a class cannot grow, and what to do; none if they can, or if it cannot be told.
async fn class_refuses(context: &Context, class: &str) -> Option<String> {
    if class.is_empty() {
        return Some("it has no StorageClass; enlarge it by hand".to_owned());
    }
    let api: Api<StorageClass> = Api::all(context.client.clone());
    match call("get StorageClass", class, api.get_opt(class)).await {
        Ok(Some(found)) if found.allow_volume_expansion == Some(true) => None,
        Ok(Some(_)) => Some(format!(
            "StorageClass {class} does not allow it; set its allowVolumeExpansion if its driver can"
        )),
        Ok(None) => Some(format!("there is no StorageClass {class}; make it again")),
        Err(error) => {
            tracing::debug!(class, %error, "storage_class_not_read");
            None
        }
    }
}

/// What the status says of a volume.
pub(super) fn volume_status(claim: &PersistentVolumeClaim, movable: Option<bool>) -> VolumeStatus {
    let status = claim.status.as_ref();
    let conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
    let mut resizing = conditions.filter(|condition| condition.status == "True");
    VolumeStatus {
        phase: status.and_then(|status| status.phase.clone()),
        movable,
        size: capacity(claim).map(str::to_owned),
        resize: resizing.next().map(|condition| condition.type_.clone()),
    }
}

/// What is to be said of the size of a claim: what Kubernetes says of it first.
pub(super) fn of_claim(claim: &PersistentVolumeClaim, memory: &Memory) -> Option<Resize> {
    let name = claim.name_any();
    if let Some(known) = claim.uid().and_then(|uid| memory.growth.get(&uid)) {
        return Some(known.why.clone());
    }
    let status = claim.status.as_ref()?;
    let holding = |wanted: &dyn Fn(&str) -> bool| {
        let conditions = status.conditions.iter().flatten();
        let mut found = conditions.filter(|c| c.status == "True" && wanted(&c.type_));
        found.next()
    };
    if let Some(failed) = holding(&|type_| type_.ends_with("ResizeError")) {
        let message = failed.message.clone().unwrap_or_default();
        return Some(Resize {
            stuck: true,
            reason: "ResizeFailed",
            message: format!("the volume of claim {name} cannot grow: {message}"),
        });
    }
    let (asked, has) = (requested(claim)?, capacity(claim)?);
    let progress = status.allocated_resource_statuses.as_ref();
    let progress = progress
        .and_then(|of| of.get("storage"))
        .map(String::as_str);
    if let Some(state @ ("ControllerResizeInfeasible" | "NodeResizeInfeasible")) = progress {
        return Some(Resize {
            stuck: true,
            reason: "ResizeFailed",
            message: format!(
                "the storage cannot make the volume of claim {name} as large as {asked}; it has {has} ({state})"
            ),
        });
    }
    let going = |reason, message: String| Resize {
        stuck: false,
        reason,
        message,
    };
    if holding(&|type_| type_ == "FileSystemResizePending").is_some() {
        let message = format!(
            "the volume of claim {name} has grown to {asked}; its file system grows while a pod uses it"
        );
        return Some(going("FileSystemResizePending", message));
    }
    is_less(has, asked).then(|| {
        let message = format!("the volume of claim {name} grows from {has} to {asked}");
        going("Resizing", message)
    })
}

/// What is wrong with the size of the mupdate master's volume.
pub(super) fn of_master(objects: &Objects, memory: &Memory) -> Option<String> {
    let claim = objects.claim(&names::mupdate(&objects.key.name))?;
    let resize = of_claim(claim, memory)?;
    let said = || format!("mupdate master: {}: {}", resize.reason, resize.message);
    resize.stuck.then(said)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Memory, Resize, apply, of_claim, of_master, quantity, volume_status};
    use crate::platform::kube::stage::Stage;

    const CLASS: &str = "/apis/storage.k8s.io/v1/storageclasses/fast";
    const CLAIM: &str = "/api/v1/namespaces/mail/persistentvolumeclaims/be-a-data";
    const MASTER: &str = "/api/v1/namespaces/mail/persistentvolumeclaims/mc-mupdate-data";

    fn class(expands: Value) -> Value {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"},
            "provisioner": "example.org/disks", "allowVolumeExpansion": expands,
        })
    }

    async fn stage(size: &str) -> Stage {
        let mut stage = Stage::new(json!({"domains": ["example.org"]})).await;
        stage.backend_with_claim("be-a", size);
        stage
    }

    fn asked(stage: &Stage, claim: &str) -> Value {
        let claim = stage.api.get(claim).unwrap();
        claim["spec"]["resources"]["requests"]["storage"].clone()
    }

    fn said(stage: &Stage, memory: &Memory) -> Option<(bool, &'static str, String)> {
        let objects = stage.objects();
        let resize = of_claim(objects.claims.get("be-a-data").unwrap(), memory);
        resize.map(
            |Resize {
                 stuck,
                 reason,
                 message,
             }| (stuck, reason, message),
        )
    }

    /// row 61
    #[tokio::test(start_paused = true)]
    async fn a_larger_size_in_the_spec_reaches_the_claim() {
        let mut stage = stage("20Gi").await;
        stage.api.put(CLASS, class(json!(true)));
        stage.claim("mc-mupdate-data", &json!({}));
        stage.change("MurderCluster", "mc", |mc| {
            mc["spec"]["mupdate"] = json!({"storage": {"size": "11Gi"}});
        });
        let mut memory = Memory::default();
        apply(&stage.context, &stage.objects(), &mut memory).await;
        assert_eq!(asked(&stage, CLAIM), "20Gi");
        assert_eq!(asked(&stage, MASTER), "11Gi");
        assert_eq!(
            stage.api.get(CLAIM).unwrap()["spec"]["storageClassName"],
            "fast"
        );
        assert_eq!(said(&stage, &memory), None);
    }

    /// row 61
    #[tokio::test(start_paused = true)]
    async fn what_is_smaller_equal_unbound_adopted_or_another_claim_stays() {
        let mut small = stage("5Gi").await;
        let mut equal = stage("10240Mi").await;
        let mut unbound = stage("20Gi").await;
        unbound.change("PersistentVolumeClaim", "be-a-data", |claim| {
            claim["status"]["phase"] = json!("Pending");
        });
        let mut adopted = stage("20Gi").await;
        adopted.change("Backend", "be-a", |backend| {
            backend["spec"]["adoptVolume"] = json!({"claimName": "be-a-data", "serverID": "s"});
        });
        let mut paused = stage("20Gi").await;
        paused.change("Backend", "be-a", |backend| {
            backend["spec"]["paused"] = json!(true)
        });
        for stage in [
            &mut small,
            &mut equal,
            &mut unbound,
            &mut adopted,
            &mut paused,
        ] {
            stage.api.put(CLASS, class(json!(true)));
            apply(&stage.context, &stage.objects(), &mut Memory::default()).await;
            assert_eq!(stage.writes(), Vec::<String>::new());
        }
        let other = stage("20Gi").await;
        other.api.put(CLASS, class(json!(true)));
        let mut claim = other.api.get(CLAIM).unwrap();
        claim["metadata"]["uid"] = json!("another");
        other.api.put(CLAIM, claim);
        let mut memory = Memory::default();
        apply(&other.context, &other.objects(), &mut memory).await;
        assert_eq!(asked(&other, CLAIM), "10Gi");
        assert_eq!(said(&other, &memory), None);
    }

    /// row 61
    #[tokio::test(start_paused = true)]
    async fn a_class_that_cannot_expand_is_named_with_what_to_do() {
        let mut stage = stage("20Gi").await;
        stage.claim("mc-mupdate-data", &json!({}));
        stage.change("MurderCluster", "mc", |mc| {
            mc["spec"]["mupdate"] = json!({"storage": {"size": "11Gi"}});
        });
        stage.api.put(CLASS, class(Value::Null));
        let mut memory = Memory::default();
        apply(&stage.context, &stage.objects(), &mut memory).await;
        let cure = "set its allowVolumeExpansion if its driver can, or make a Backend with a larger volume and drain this one";
        let message = format!(
            "claim be-a-data has 10Gi and cannot grow to 20Gi: StorageClass fast does not allow it; {cure}"
        );
        let expected = Some((true, "ExpansionNotSupported", message));
        assert_eq!(said(&stage, &memory), expected);
        let of_master = of_master(&stage.objects(), &memory).unwrap();
        let expected_of_master = "mupdate master: ExpansionNotSupported: claim mc-mupdate-data has 10Gi and cannot \
             grow to 11Gi: StorageClass fast does not allow it; set its allowVolumeExpansion if its driver can";
        assert_eq!(of_master, expected_of_master);
        let looked = stage.api.calls().len();
        apply(&stage.context, &stage.objects(), &mut memory).await;
        assert_eq!(stage.api.calls().len(), looked, "asked again at once");
        assert_eq!(said(&stage, &memory), expected);
        // Another size is another wish.
        stage.api.put(CLASS, class(json!(true)));
        stage.change("Backend", "be-a", |backend| {
            backend["spec"]["storage"]["size"] = json!("30Gi");
        });
        apply(&stage.context, &stage.objects(), &mut memory).await;
        assert_eq!(asked(&stage, CLAIM), "30Gi");
        assert_eq!(said(&stage, &memory), None);
    }

    /// row 61: in one namespace there is no right to read classes.
    #[tokio::test(start_paused = true)]
    async fn without_the_right_to_read_classes_the_api_server_decides() {
        let allowed = stage("20Gi").await;
        let none = json!({"message": "storageclasses is forbidden"});
        allowed.api.refuse(&format!("GET {CLASS}"), 403, &none);
        apply(&allowed.context, &allowed.objects(), &mut Memory::default()).await;
        assert_eq!(asked(&allowed, CLAIM), "20Gi");

        let refused = stage("20Gi").await;
        refused.api.refuse(&format!("GET {CLASS}"), 403, &none);
        let why = json!({"message": "only dynamically provisioned pvc can be resized"});
        refused.api.refuse(&format!("PATCH {CLAIM}"), 403, &why);
        let mut memory = Memory::default();
        apply(&refused.context, &refused.objects(), &mut memory).await;
        let message = "claim be-a-data cannot grow to 20Gi: patch PersistentVolumeClaim/be-a-data: 403 Forbidden: only \
             dynamically provisioned pvc can be resized";
        let expected = Some((true, "ExpansionRefused", message.to_owned()));
        assert_eq!(said(&refused, &memory), expected);
    }

    /// row 61
    #[tokio::test(start_paused = true)]
    async fn what_kubernetes_says_of_a_resize_is_shown() {
        let mut stage = stage("20Gi").await;
        let memory = Memory::default();
        stage.change("PersistentVolumeClaim", "be-a-data", |claim| {
            claim["spec"]["resources"]["requests"]["storage"] = json!("20Gi");
        });
        let growing = "the volume of claim be-a-data grows from 10Gi to 20Gi";
        let expected = Some((false, "Resizing", growing.to_owned()));
        assert_eq!(said(&stage, &memory), expected);
        let mut condition = |type_: &str, message: &str| {
            stage.change("PersistentVolumeClaim", "be-a-data", |claim| {
                claim["status"]["conditions"] =
                    json!([{"type": type_, "status": "True", "message": message}]);
            });
            let objects = stage.objects();
            let claim = objects.claims.get("be-a-data").unwrap();
            assert_eq!(volume_status(claim, None).resize.as_deref(), Some(type_));
            said(&stage, &memory)
        };
        assert_eq!(condition("Resizing", ""), expected);
        let pending = "the volume of claim be-a-data has grown to 20Gi; its file system grows while a pod uses it";
        let expected = Some((false, "FileSystemResizePending", pending.to_owned()));
        assert_eq!(condition("FileSystemResizePending", "waits"), expected);
        let failed = "the volume of claim be-a-data cannot grow: no space";
        let expected = Some((true, "ResizeFailed", failed.to_owned()));
        assert_eq!(condition("ControllerResizeError", "no space"), expected);
        stage.change("PersistentVolumeClaim", "be-a-data", |claim| {
            claim["status"]["conditions"] = json!([]);
            claim["status"]["allocatedResourceStatuses"] =
                json!({"storage": "ControllerResizeInfeasible"});
        });
        let failed = "the storage cannot make the volume of claim be-a-data as large as 20Gi; it has 10Gi \
                      (ControllerResizeInfeasible)";
        let expected = Some((true, "ResizeFailed", failed.to_owned()));
        assert_eq!(said(&stage, &memory), expected);
    }

    #[test]
    fn quantities_are_compared_by_what_they_mean() {
        const GI: u128 = 1000 << 30;
        let table = [
            ("1", 1000),
            ("1m", 1),
            ("1k", 1_000_000),
            ("1.5Gi", GI * 3 / 2),
            ("10Gi", 10 * GI),
            ("10240Mi", 10 * GI),
            ("2Ti", 2048 * GI),
            ("1G", 1_000_000_000_000),
            ("1e9", 1_000_000_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
        ];
        for (text, expected) in table {
            assert_eq!(quantity(text), Some(expected), "{text}");
        }
        for text in ["", "Gi", "1Zi", "-1", "1..2", "1e", "1KM"] {
            assert_eq!(quantity(text), None, "{text}");
        }
    }
}
