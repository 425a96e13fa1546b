//! Where the murder listens, for programs.

use murder_api::endpoints::{
    Account, Address, BackendEndpoint, Endpoints, FrontendEndpoint, MupdateEndpoint,
};

use super::accounts::user_name;
use super::render::{ADMIN, mupdate_pod};
use super::state::{Folder, Ports, State};
use crate::core::{BackendView, PodView, World};

/// The endpoints, once all pods serve.
pub(super) fn endpoints(
    folder: &Folder,
    state: &State,
    world: &World,
) -> anyhow::Result<Option<Endpoints>> {
    if !all_serve(world) {
        return Ok(None);
    }
    let of = |pod: &str| -> Option<(u32, Ports)> {
        Some((state.pods.get(pod)?.pid, *state.ports.get(pod)?))
    };
    let frontends = world
        .frontends
        .iter()
        .flat_map(|frontend| &frontend.pods)
        .filter_map(|pod| {
            let (pid, ports) = of(&pod.name)?;
            Some(FrontendEndpoint {
                name: pod.name.clone(),
                pid,
                imap: at(ports.imap),
                imaps: at(ports.imaps),
                lmtp: at(ports.lmtp),
                admin: at(ports.admin),
                metrics: at(ports.metrics),
            })
        });
    let backends = world.backends.iter().filter_map(|backend| {
        let name = backend.pod_name();
        let (pid, ports) = of(&name)?;
        Some(BackendEndpoint {
            name,
            pid,
            imap: at(ports.imap),
            imaps: at(ports.imaps),
            lmtp: at(ports.lmtp),
            admin: at(ports.admin),
            metrics: at(ports.metrics),
            transfer: at(ports.transfer),
            data_dir: folder.volume(&backend.name),
        })
    });
    let mupdate = world.mupdate.as_ref().and_then(|_| {
        let (pid, ports) = of(&mupdate_pod(&world.cluster.name))?;
        Some(MupdateEndpoint {
            host: "127.0.0.1".to_owned(),
            port: ports.mupdate,
            pid,
            admin: at(ports.admin),
            metrics: at(ports.metrics),
        })
    });
    let passwords = folder.passwords();
    let user = |number| Account {
        user: user_name(number),
        password_file: passwords.join("users"),
    };
    Ok(Some(Endpoints {
        frontends: frontends.collect(),
        backends: backends.collect(),
        mupdate,
        ca: folder.tls().join("ca.crt"),
        admin: Account {
            user: ADMIN.to_owned(),
            password_file: passwords.join(ADMIN),
        },
        users: (1..=state.users_made).map(user).collect(),
    }))
}

fn all_serve(world: &World) -> bool {
    let serves = |pod: &Option<PodView>| pod.as_ref().is_some_and(|pod| pod.ready);
    world.mupdate.iter().all(|mupdate| serves(&mupdate.pod))
        && world
            .backends
            .iter()
            .all(|b| serves(&b.pod) || (b.deleting && b.pod.is_none()) || is_emptied(b))
        && world.frontends.iter().all(|frontend| {
            frontend.pods.len() == frontend.replicas && frontend.pods.iter().all(|pod| pod.ready)
        })
}

/// A server that was emptied serves nothing and need not be ready.
fn is_emptied(backend: &BackendView) -> bool {
    let status = backend.status.as_ref();
    status.is_some_and(|status| status.deactivated)
}

fn at(port: u16) -> Address {
    Address {
        host: "127.0.0.1".to_owned(),
        port,
    }
}
