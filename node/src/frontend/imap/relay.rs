//! Passing a command on to a backend, and its answer back.

use bytes::Bytes;
use murder_proto::imap::client::{Event, Kind, Response};
use murder_proto::imap::response::Status;

use super::link::{Link, LinkError, is_bye};
use super::{Selected, Session};
use crate::frontend::{Moved, Target};
use crate::imap::End;

/// What became of a command that was passed on.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Answered, and the client has the answer.
    Answered(Status),
    /// The backend does not serve the mailbox; nothing was told to the client.
    Moved(Moved),
    /// The backend takes no new mailboxes; nothing was told to the client.
    Cordoned,
    /// The connection broke before the answer.
    Lost,
}

impl Session {
    /// Passes a command on to `target` and its answer back to the client.
    pub(super) async fn relay(
        &mut self,
        target: &Target,
        tag: &Bytes,
        command: &[u8],
    ) -> Result<Outcome, End> {
        let index = match self.link(target).await {
            Ok(index) => index,
            Err(error) => {
                self.tell_unreachable(target, &error);
                return Ok(Outcome::Lost);
            }
        };
        if self.links[index].send(command).await.is_err() {
            return self.lose(index);
        }
        self.answer(index, tag).await
    }

    /// Copies what the backend says until it has answered the command with this tag.
    pub(super) async fn answer(&mut self, index: usize, tag: &Bytes) -> Result<Outcome, End> {
        let mut whole = true;
        loop {
            let event = match self.links[index].event().await {
                Ok(event) => event,
                Err(_) if whole => return self.lose(index),
                // The client has the beginning of a response whose end is lost.
                Err(_) => return Err(End::Closed),
            };
            whole = matches!(event, Event::Response(_) | Event::End(_));
            if let Event::Response(response) = &event {
                match response.kind() {
                    Kind::Tagged if response.tag() == Some(tag) => {
                        return Ok(self.tagged_answer(response));
                    }
                    Kind::Untagged if is_bye(response) => return self.bye(index, response).await,
                    _ => {}
                }
            }
            self.wire.out.extend_from_slice(event.bytes());
            self.wire.flush_if_full().await?;
        }
    }

    pub(super) fn tagged_answer(&mut self, response: &Response) -> Outcome {
        let text = response.text();
        let code = text.strip_prefix(b"NO [X").and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b']')?;
            std::str::from_utf8(&rest[..end]).ok()
        });
        if let Some(moved) = code
            .and_then(|code| code.strip_prefix("MOVED"))
            .and_then(Moved::parse)
        {
            return Outcome::Moved(moved);
        }
        if code == Some("CORDONED") {
            return Outcome::Cordoned;
        }
        self.wire.out.extend_from_slice(response.raw());
        let status = response
            .status()
            .map_or(Status::Bad, |status| status.status);
        Outcome::Answered(status)
    }

    /// The backend says goodbye. A client whose mailbox is selected there is told so; else only the
    /// connection is gone.
    pub(super) async fn bye(&mut self, index: usize, response: &Response) -> Result<Outcome, End> {
        if self.is_selected_at(index) {
            self.wire.out.extend_from_slice(response.raw());
            self.wire.flush().await?;
            return Err(End::Logout);
        }
        self.lose(index)
    }

    /// The connection broke.
    pub(super) fn lose(&mut self, index: usize) -> Result<Outcome, End> {
        if self.is_selected_at(index) {
            self.selected = Selected::Lost;
        }
        self.links.remove(index);
        Ok(Outcome::Lost)
    }

    pub(super) fn is_selected_at(&self, index: usize) -> bool {
        matches!(&self.selected, Selected::At(server) if *server == self.links[index].server)
    }

    /// The connection to a server; opened if there is none.
    pub(super) async fn link(&mut self, target: &Target) -> Result<usize, LinkError> {
        let known = |link: &Link| link.server == target.server;
        if let Some(index) = self.links.iter().position(known) {
            // A server that was restarted while the connection lay idle has closed it.
            if self.is_selected_at(index) || !self.links[index].has_ended().await {
                return Ok(index);
            }
            self.links.remove(index);
        }
        self.make_room();
        let mut link = Link::open(&self.frontend, target, &self.identity).await?;
        if self.condstore {
            link.send(b"E ENABLE CONDSTORE\r\n").await?;
            link.wait_ok(b"E").await?;
        }
        self.links.push(link);
        Ok(self.links.len() - 1)
    }

    /// Closes the oldest connection that nothing is selected on, if there are too many.
    fn make_room(&mut self) {
        if self.links.len() < super::LINKS_MAX {
            return;
        }
        let idle = (0..self.links.len()).find(|index| !self.is_selected_at(*index));
        if let Some(index) = idle {
            self.links.remove(index);
        }
    }

    fn tell_unreachable(&self, target: &Target, error: &LinkError) {
        tracing::info!(event = "backend_unreachable", server = %target.server, %error);
    }
}
