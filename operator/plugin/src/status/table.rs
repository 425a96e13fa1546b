//! A murder for people.

use super::report::{BackendLine, MasterLine, StatusReport};
use crate::status::alerts::is_blocked;
use crate::text::{self, Cell, Tone, head, table};

/// Characters inside a bar.
const BAR_WIDTH: usize = 20;
/// From here on a volume is shown as nearly full, in percent.
const NEARLY_FULL: u64 = 85;
/// Certificates that end so soon are shown as ending, in seconds.
const ENDING: i64 = 14 * 86_400;

/// The whole page.
pub(super) fn text(report: &StatusReport, wide: bool, colour: bool) -> String {
    let mut parts = vec![header(report, colour)];
    if !report.backends.is_empty() {
        parts.push(backends(report, wide, colour));
    }
    if !report.frontends.is_empty() {
        parts.push(frontends(report, colour));
    }
    if !report.certificates.is_empty() {
        parts.push(certificates(report, wide, colour));
    }
    parts.push(alerts(report, colour));
    parts.join("\n")
}

fn header(report: &StatusReport, colour: bool) -> String {
    let (word, tone) = match (report.paused, report.ready) {
        (true, _) => ("paused", Tone::Warning),
        (false, true) => ("ready", Tone::Good),
        (false, false) => ("not ready", Tone::Bad),
    };
    let mut rows = vec![vec![
        Cell::new("MURDER", Tone::Head),
        report.name.clone().into(),
        Cell::new(word, tone),
        format!("namespace {}", report.namespace).into(),
        report.topology.to_lowercase().into(),
        versions(&report.versions).into(),
    ]];
    rows.extend(report.mupdate.iter().map(master));
    let mut text = table(&rows, colour);
    if !report.message.is_empty() {
        text.push_str(&format!("{}\n", report.message));
    }
    text
}

fn versions(versions: &[String]) -> String {
    match versions {
        [] => String::new(),
        [one] => format!("version {one}"),
        several => format!("versions {}", several.join(", ")),
    }
}

fn master(master: &MasterLine) -> Vec<Cell> {
    let mut row = vec![
        Cell::new("MUPDATE", Tone::Head),
        master.pod.clone().into(),
        ready(master.ready, "ready", "not ready"),
    ];
    row.extend(master.term.map(|term| Cell::from(format!("term {term}"))));
    row.extend(
        master
            .units
            .map(|units| Cell::from(text::counted(units, "user", "users"))),
    );
    row
}

fn ready(ready: bool, yes: &str, no: &str) -> Cell {
    if ready {
        Cell::new(yes, Tone::Good)
    } else {
        Cell::new(no, Tone::Bad)
    }
}

fn backends(report: &StatusReport, wide: bool, colour: bool) -> String {
    let mut names = head(&[
        "BACKEND", "STATE", "READY", "VOLUME", "USERS", "MAIL", "DRAIN",
    ]);
    if wide {
        names.extend(head(&[
            "MAILBOXES",
            "SESSIONS",
            "VERSION",
            "NODE",
            "SERVERID",
        ]));
    }
    let mut rows = vec![names];
    for backend in &report.backends {
        let mut row = vec![
            backend.name.clone().into(),
            state(backend),
            ready(backend.ready, "yes", "no"),
            volume(backend),
            number(backend.users),
            size(backend.mail_bytes),
            drain(backend),
        ];
        if wide {
            row.extend([
                number(backend.mailboxes),
                number(backend.sessions),
                or_dash(backend.version.clone()),
                or_dash(backend.node.clone()),
                or_dash(backend.server_id.clone()),
            ]);
        }
        rows.push(row);
    }
    table(&rows, colour)
}

fn state(backend: &BackendLine) -> Cell {
    if backend.deleting {
        return Cell::new("Deleting", Tone::Warning);
    }
    let tone = match backend.desired_state.as_str() {
        "Active" => Tone::Plain,
        _ => Tone::Warning,
    };
    Cell::new(backend.desired_state.clone(), tone)
}

fn volume(backend: &BackendLine) -> Cell {
    let Some((used, total)) = backend.volume_used_bytes.zip(backend.volume_bytes) else {
        return "-".into();
    };
    if total == 0 {
        return "-".into();
    }
    let bar = text::fill_bar(used, total, BAR_WIDTH);
    let full = used >= total / 100 * NEARLY_FULL;
    let tone = if full { Tone::Warning } else { Tone::Plain };
    Cell::new(format!("{bar} of {}", text::bytes(total)), tone)
}

fn drain(backend: &BackendLine) -> Cell {
    let (moved, total) = (backend.moved, backend.moved + backend.remaining);
    match backend.drain.as_str() {
        "" => Cell::default(),
        "Empty" => Cell::new("Empty", Tone::Good),
        reason if is_blocked(reason) => Cell::new(reason, Tone::Bad),
        reason if total > 0 => Cell::new(format!("{reason} {moved}/{total}"), Tone::Warning),
        reason => Cell::new(reason, Tone::Warning),
    }
}

fn frontends(report: &StatusReport, colour: bool) -> String {
    let mut rows = vec![head(&["FRONTEND", "READY", "SESSIONS", "VERSION"])];
    for frontend in &report.frontends {
        let (ready, all) = (frontend.ready_replicas, frontend.replicas);
        let tone = match ready {
            _ if ready >= all => Tone::Good,
            0 => Tone::Bad,
            _ => Tone::Warning,
        };
        rows.push(vec![
            frontend.name.clone().into(),
            Cell::new(format!("{ready}/{all}"), tone),
            number(frontend.sessions),
            match frontend.versions.as_slice() {
                [] => "-".into(),
                versions => versions.join(", ").into(),
            },
        ]);
    }
    table(&rows, colour)
}

fn certificates(report: &StatusReport, wide: bool, colour: bool) -> String {
    let mut rows = vec![head(&["CERTIFICATE", "ENDS IN", "ON"])];
    let mut shown = report.certificates.iter();
    // They end in this order: the first tells whether anything is to be done.
    let count = if wide { usize::MAX } else { 3 };
    for certificate in shown.by_ref().take(count) {
        let left = certificate.expires_at - report.seen_at;
        let tone = match left {
            ..=0 => Tone::Bad,
            _ if left < ENDING => Tone::Warning,
            _ => Tone::Plain,
        };
        let left = match u64::try_from(left) {
            Ok(left) => text::seconds(left),
            Err(_) => "ended".to_owned(),
        };
        rows.push(vec![
            certificate.of.clone().into(),
            Cell::new(left, tone),
            certificate.expires.clone().into(),
        ]);
    }
    let mut text = table(&rows, colour);
    let more = shown.count() as u64;
    if more > 0 {
        text.push_str(&format!("and {more} that end later (-o wide)\n"));
    }
    text
}

fn alerts(report: &StatusReport, colour: bool) -> String {
    if report.alerts.is_empty() {
        return format!("{}\n", Tone::Good.paint("Nothing needs attention.", colour));
    }
    let mut rows = vec![head(&["ALERT", "OBJECT", "WHAT"])];
    for alert in &report.alerts {
        let tone = if alert.urgent {
            Tone::Bad
        } else {
            Tone::Warning
        };
        rows.push(vec![
            Cell::new(alert.name.clone(), tone),
            alert.object.clone().into(),
            alert.message.clone().into(),
        ]);
    }
    table(&rows, colour)
}

fn number(number: Option<u64>) -> Cell {
    or_dash(number.map(|number| number.to_string()))
}

fn size(size: Option<u64>) -> Cell {
    or_dash(size.map(text::bytes))
}

fn or_dash(text: Option<String>) -> Cell {
    text.unwrap_or_else(|| "-".to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::fixture;
    use crate::nodes::Answers;
    use crate::status::certificates::Certificate;
    use crate::status::report::{Picture, report};

    fn picture() -> Picture {
        let now = 1_800_000_000;
        let day = 86_400;
        Picture {
            now,
            murder: fixture::murder(),
            answers: fixture::answers(),
            certificates: vec![
                Certificate::new("fe-x1".to_owned(), now + 3 * day),
                Certificate::new("be-a-0".to_owned(), now + 80 * day),
                Certificate::new("be-b-0".to_owned(), now + 80 * day),
                Certificate::new("authority".to_owned(), now + 3650 * day),
            ],
            silence: None,
        }
    }

    #[test]
    fn a_murder_fits_on_a_page() {
        let expected = "\
MURDER    mc             ready   namespace mail   discrete   version 0.1.0
MUPDATE   mc-mupdate-0   ready   term 3           13 users

BACKEND   STATE     READY   VOLUME                                    USERS   MAIL       DRAIN
be-a      Active    yes     [###################.]  95% of 10.0 GiB   9       4.7 GiB
be-b      Drained   yes     [####................]  20% of 10.0 GiB   3       1.0 GiB    FailedMailboxes
be-c      Active    yes     [....................]   0% of 10.0 GiB   1       51.2 MiB

FRONTEND   READY   SESSIONS   VERSION
fe         1/2     -          0.1.0

CERTIFICATE   ENDS IN   ON
fe-x1         3 d       2027-01-18T08:00:00Z
be-a-0        80 d      2027-04-05T08:00:00Z
be-b-0        80 d      2027-04-05T08:00:00Z
and 1 that end later (-o wide)

ALERT             OBJECT              WHAT
DrainBlocked      backend/be-b        FailedMailboxes: 1 user was given up for now
MoveFailed        backend/be-b        user.bob after 8 tries: be-c refused
VolumeFull        pod/be-a-0          partition default has 512 MiB of 10.0 GiB left
NodeUnreachable   pod/fe-x2           fe-x2 did not answer in 5s
CertificateEnds   certificate/fe-x1   ends in 3 d
";
        assert_eq!(text(&report(&picture()), false, false), expected);
    }

    #[test]
    fn wide_shows_every_certificate_and_where_pods_run() {
        let expected = "\
MURDER    mc             ready   namespace mail   discrete   version 0.1.0
MUPDATE   mc-mupdate-0   ready   term 3           13 users

BACKEND   STATE     READY   VOLUME                                    USERS   MAIL       DRAIN             MAILBOXES   SESSIONS   VERSION   NODE       SERVERID
be-a      Active    yes     [###################.]  95% of 10.0 GiB   9       4.7 GiB                      36          5          0.1.0     worker-1   61616161-6161-6161-6161-616161616161
be-b      Drained   yes     [####................]  20% of 10.0 GiB   3       1.0 GiB    FailedMailboxes   12          5          0.1.0     worker-1   62626262-6262-6262-6262-626262626262
be-c      Active    yes     [....................]   0% of 10.0 GiB   1       51.2 MiB                     4           5          0.1.0     worker-1   63636363-6363-6363-6363-636363636363

FRONTEND   READY   SESSIONS   VERSION
fe         1/2     -          0.1.0

CERTIFICATE   ENDS IN   ON
fe-x1         3 d       2027-01-18T08:00:00Z
be-a-0        80 d      2027-04-05T08:00:00Z
be-b-0        80 d      2027-04-05T08:00:00Z
authority     3650 d    2037-01-12T08:00:00Z

ALERT             OBJECT              WHAT
DrainBlocked      backend/be-b        FailedMailboxes: 1 user was given up for now
MoveFailed        backend/be-b        user.bob after 8 tries: be-c refused
VolumeFull        pod/be-a-0          partition default has 512 MiB of 10.0 GiB left
NodeUnreachable   pod/fe-x2           fe-x2 did not answer in 5s
CertificateEnds   certificate/fe-x1   ends in 3 d
";
        assert_eq!(text(&report(&picture()), true, false), expected);
    }

    #[test]
    fn without_the_nodes_the_objects_have_to_do() {
        let picture = Picture {
            answers: Answers::new(),
            certificates: Vec::new(),
            silence: Some("cannot read Secret mc-admin-tls: forbidden".to_owned()),
            ..picture()
        };
        let expected = "\
MURDER    mc             ready   namespace mail   discrete
MUPDATE   mc-mupdate-0   ready

BACKEND   STATE     READY   VOLUME   USERS   MAIL   DRAIN
be-a      Active    yes     -        -       -
be-b      Drained   yes     -        -       -      FailedMailboxes
be-c      Active    yes     -        -       -

FRONTEND   READY   SESSIONS   VERSION
fe         1/2     -          -

ALERT           OBJECT             WHAT
DrainBlocked    backend/be-b       FailedMailboxes: 1 user was given up for now
MoveFailed      backend/be-b       user.bob after 8 tries: be-c refused
NodesNotAsked   murdercluster/mc   nodes were not asked: cannot read Secret mc-admin-tls: forbidden
";
        assert_eq!(text(&report(&picture), false, false), expected);
    }
}
