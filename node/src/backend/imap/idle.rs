//! IDLE (RFC 2177).

use murder_proto::imap::server::Event;

use super::{Answer, Reply, Session};
use crate::imap::End;

impl Session {
    pub(super) async fn idle(&mut self) -> Answer {
        self.wire.line("+ idling");
        self.wire.reader.expect_done();
        let mut changes = self.selected.as_ref().map(|selected| selected.view.watch());
        loop {
            self.sync(true).await?;
            let event = match &mut changes {
                Some(changes) => tokio::select! {
                    event = self.next_event() => Some(event?),
                    changed = changes.changed() => {
                        // The view lives as long as the session holds it.
                        changed.map_err(|_| End::Closed)?;
                        None
                    }
                },
                None => Some(self.next_event().await?),
            };
            match event {
                None => {}
                Some(Event::Done) => return Ok(Reply::ok("done")),
                Some(Event::Fatal { text }) => {
                    self.wire.line(&format!("* BYE {text}"));
                    return Err(End::Logout);
                }
                Some(_) => return Ok(Reply::Bad("expected DONE")),
            }
        }
    }
}
